//! The files of `docs/ci` as they stand, in the container image of Basalt, as an ordinary user's unprivileged container: the reference
//! recipe becomes the same bytes there as outside, base included, boots, and arrives in a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Account, Container, IMAGE, Provided, Registry, Script, System, Warm, manifest};
use serde_json::Value;

/// A CI run to be: a repository with recipe and lock, its cache, and where it pushes.
struct Run<'a> {
    system: System,
    container: &'a Container<'a>,
    registry: &'a Registry,
    project: PathBuf,
    /// The folder of the login, for systems that mount it.
    login: PathBuf,
}

#[test]
fn vm_ci_files_run_as_they_stand_in_an_unprivileged_container() -> Result<()> {
    let warm = Warm::apart()?;
    fs::remove_dir_all(warm.cache.join("base"))?;
    let login = warm.scratch.folder("login")?;
    warm.give_to(Account::Ordinary)?;
    let registry = Registry::start(&warm.scratch)?;
    let auth = fs::read_to_string(&registry.auth_file)?;
    let secret: Value = serde_json::from_str(&auth)?;
    let secret = secret["auths"][&registry.host]["auth"].as_str().context("no login")?.to_owned();
    warm.scratch.write("login/config.json", &auth)?;
    let container = Container::build(&warm.scratch)?;
    container.trust(&registry)?;
    is_unprivileged(&container)?;

    let (mut booted, mut cache) = (BTreeSet::new(), warm.cache.clone());
    for system in System::ALL {
        let project = warm.scratch.path().join(format!("{system:?}").to_lowercase());
        let run = Run { system, container: &container, registry: &registry, project, login: login.clone() };
        run.check_out(&warm, &cache)?;
        if system == System::GitHub {
            run.a_forbidden_namespace_is_told()?;
        }
        for mut script in system.scripts(&run.provided(&auth))? {
            script.text = without_known_boots(&script.text, &mut booted);
            let told = run.run(&script)?;
            ensure!(!told.contains(&secret), "{}: the login is in the log", script.name);
        }
        run.look(&secret).with_context(|| format!("{system:?}"))?;
        cache = run.project.join(".cache/basalt");
    }
    ensure!(booted.len() == 1, "booted with {booted:?}");
    Ok(())
}

/// Root of the container is the ordinary user outside, and may do nothing that makes a host its own.
fn is_unprivileged(container: &Container<'_>) -> Result<()> {
    let status = "cat /proc/self/uid_map /proc/self/status";
    let status = container.run("podman", &["run", "--rm", IMAGE, "sh", "-c", status])?;
    let root: Vec<_> = status.lines().next().unwrap_or_default().split_whitespace().collect();
    let user = container.run("id", &["-u"])?;
    ensure!(root == ["0", user.trim(), "1"] && user.trim() != "0", "root of the container is {root:?}");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
    ensure!(u64::from_str_radix(capabilities.trim(), 16)? >> 21 & 1 == 0, "SYS_ADMIN in {capabilities}");
    Ok(())
}

/// A boot takes most of a minute: a command that has run is not run again on the same bytes in the same image.
fn without_known_boots(script: &str, known: &mut BTreeSet<String>) -> String {
    let mut keep = |line: &str| {
        let (program, verb) = line.trim().split_once(' ').unwrap_or_default();
        !(["basalt", "$BASALT"].contains(&program) && verb.starts_with("test ")) || known.insert(verb.to_owned())
    };
    script.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

impl Run<'_> {
    fn provided(&self, auth: &str) -> Provided {
        let registry = format!("{}/{:?}", self.registry.host, self.system).to_lowercase();
        let text = |path: &Path| path.display().to_string();
        let pairs = match self.system {
            System::GitHub => {
                vec![
                    ("github.workspace", text(&self.project)),
                    ("vars.REGISTRY", registry),
                    ("secrets.REGISTRY_AUTH", auth.to_owned()),
                ]
            }
            System::GitLab => vec![
                ("CI_PROJECT_DIR", text(&self.project)),
                ("CI_REGISTRY_IMAGE", registry),
                ("REGISTRY_AUTH_FILE", text(&self.login.join("config.json"))),
            ],
            System::Tekton => vec![
                ("params.branch", "main".to_owned()),
                ("params.image", format!("{registry}/hosts/my-node")),
                ("workspaces.source.path", text(&self.project)),
                ("workspaces.cache.path", text(&self.project.join(".cache/basalt"))),
                ("workspaces.login.path", text(&self.login)),
            ],
        };
        pairs.into_iter().collect()
    }

    /// The recipe under the files' name for it, its lock, and the cache of the run before.
    fn check_out(&self, warm: &Warm, cache: &Path) -> Result<()> {
        let recipes = warm.recipe.parent().context("a folder of recipes")?.display().to_string();
        let project = self.project.display().to_string();
        self.sh(&format!(
            "mkdir -p '{project}/.cache' && cp -r '{recipes}/fragments' '{project}' && cp '{recipes}/gpu-node-stock.toml' \
             '{project}/my-node.toml' && cp '{recipes}/gpu-node-stock.lock' '{project}/my-node.lock' && mv '{}' '{project}/.cache/basalt'",
            cache.display(),
        ))
    }

    fn sh(&self, script: &str) -> Result<()> {
        self.container.run("sh", &["-ec", script]).map(drop)
    }

    /// What its system does with a script. Answers all that it wrote.
    fn run(&self, script: &Script) -> Result<String> {
        let project = self.project.display().to_string();
        let mut command = match &script.image {
            None => {
                let mut command = self.container.command("sh")?;
                command.envs(&script.env);
                command
            }
            Some(image) => {
                let mut command = self.container.command("podman")?;
                let login = format!("{0}:{0}:ro", self.login.display());
                command.args([
                    "run",
                    "--rm",
                    "--workdir",
                    &project,
                    "--volume",
                    &format!("{project}:{project}"),
                    "--volume",
                    &login,
                ]);
                for (name, value) in &script.env {
                    command.args(["--env", &format!("{name}={value}")]);
                }
                command.args([image, "sh"]);
                command
            }
        };
        let output = command.args(["-ec", &script.text]).current_dir(&self.project).output()?;
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        ensure!(output.status.success(), "{:?}: {}: {}\n{told}", self.system, script.name, output.status);
        println!("{:?}: {}\n{told}", self.system, script.name);
        Ok(told)
    }

    /// As in Docker with its own profile, which this one stands for: root there can make no namespace.
    fn a_forbidden_namespace_is_told(&self) -> Result<()> {
        let profile =
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["unshare"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
        let path = self.project.join(".cache/seccomp.json").display().to_string();
        self.sh(&format!("printf %s '{profile}' > '{path}'"))?;
        let mut command = self.container.command("podman")?;
        command.args(["run", "--rm", "--security-opt", &format!("seccomp={path}"), "--env", "BASALT_CACHE=.cache/basalt"]);
        command.args(["--workdir", "/work", "--volume", &format!("{}:/work", self.project.display()), IMAGE]);
        let output = command.args(["basalt", "build", "--locked", "--offline", "--out", "out", "my-node.toml"]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(5), "{}: {told}", output.status);
        ensure!(told.contains("cannot make a user namespace") && told.contains("--security-opt seccomp=unconfined"), "{told}");
        Ok(())
    }

    /// Whether everything is there, and is what the reference image is.
    fn look(&self, secret: &str) -> Result<()> {
        let expected = Warm::expected()?;
        for kept in self.system.kept()? {
            let folder = self.project.join(kept);
            let found = manifest(&folder)?;
            for key in ["plan", "commit", "artefacts", "documents"] {
                ensure!(found[key] == expected[key], "{key}: needed {}, found {}", expected[key], found[key]);
            }
            for name in
                ["gpu-node.raw", "gpu-node.qcow2", "gpu-node.oci", "gpu-node.spdx.json", "gpu-node.intoto.json", "SHA256SUMS"]
            {
                ensure!(folder.join(name).exists(), "{name} is not kept");
            }
        }
        for entry in fs::read_dir(&self.project)?.flatten().filter(|entry| entry.path().is_file()) {
            ensure!(!fs::read_to_string(entry.path())?.contains(secret), "{}: the login stayed", entry.path().display());
        }
        let image = format!("docker://{}/{:?}/hosts/my-node:0.1.0", self.registry.host, self.system).to_lowercase();
        let read = Command::new("skopeo")
            .args(["inspect", "--cert-dir"])
            .arg(&self.registry.certificates)
            .arg("--authfile")
            .arg(&self.registry.auth_file)
            .arg(&image)
            .output()
            .context("skopeo (apt install skopeo)")?;
        ensure!(read.status.success(), "{image}: {}", String::from_utf8_lossy(&read.stderr));
        let read: BTreeMap<String, Value> = serde_json::from_slice(&read.stdout)?;
        ensure!(read["Labels"]["ostree.commit"] == expected["commit"], "{image}: {read:?}");
        Ok(())
    }
}
