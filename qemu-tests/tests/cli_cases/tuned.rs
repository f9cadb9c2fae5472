//! `[tuned]`: the active profile's kernel arguments are in the image's boot entry, with who asked for them; what tuned would refuse, or what
//! contradicts the recipe, ends the build with file and line. tuned's own plugin for boot loaders judges the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Ran, Warm, boot_folder, repository, run, tuned};
use serde_json::Value;

const INVALID: i32 = Kind::Invalid.exit_code() as i32;
/// Beside the reference recipe, which it includes.
const RECIPE: &str = r#"include = ["gpu-node-stock.toml"]

[kernel]
args = ["case.recipe"]

[tuned]
profiles = ["profiles"]
active = "case"

[tuned.variables.basalt-cpu-isolated]
isolated_cores = "1"
reserved_cores = "0"
hugepages_2m = "64"
"#;
/// The recipe's own profile. `iommu=pt` is the reference recipe's, too.
const PROFILE: &str = "[main]\nsummary=Case\ninclude=basalt-cpu-isolated\n[bootloader]\ncmdline_case=+iommu=pt case.flag\n";
/// Where that lies in the image.
const CONF: &str = "/usr/lib/tuned/profiles/case/tuned.conf";

struct Case {
    warm: Warm,
    recipe: PathBuf,
}

impl Case {
    fn new() -> Result<Self> {
        let warm = Warm::new()?;
        let recipe = warm.recipe.with_file_name("case.toml");
        // The same packages as far as they are the same.
        fs::copy(warm.recipe.with_extension("lock"), recipe.with_extension("lock"))?;
        Ok(Self { warm, recipe })
    }

    fn write(&self, recipe: &str, profile: &str) -> Result<()> {
        let folder = self.recipe.with_file_name("profiles").join("case");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("tuned.conf"), profile)?;
        Ok(fs::write(&self.recipe, recipe)?)
    }

    fn build(&self, recipe: &str, profile: &str) -> Result<Ran> {
        self.write(recipe, profile)?;
        let out = self.warm.scratch.folder("out")?;
        self.warm.basalt(["build", "--format", "raw", "--out"]).arg(out).arg(&self.recipe).run(&self.warm.scratch)
    }

    fn ostree(&self, args: &[&str]) -> Result<String> {
        run(Command::new("ostree").arg(format!("--repo={}", self.warm.cache.join("ostree/repo").display())).args(args))
    }

    /// The image's files that tuned looks at, and its boot filesystem, as one folder.
    fn root(&self, manifest: &Value) -> Result<PathBuf> {
        let commit = manifest["commit"].as_str().context("no commit")?;
        let root = self.warm.scratch.folder("root")?;
        for (subpath, to) in [("/usr/etc", "etc"), ("/usr/lib/tuned", "usr/lib/tuned")] {
            let to = root.join(to);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            let subpath = format!("--subpath={subpath}");
            self.ostree(&["checkout", "--user-mode", "--force-copy", &subpath, commit, &to.display().to_string()])?;
        }
        let boot = root.join("boot");
        fs::create_dir_all(&boot)?;
        boot_folder(&self.warm.scratch.path().join("out/gpu-node.raw"), manifest, &boot)?;
        // What the image has no opinion on.
        self.warm.scratch.write("root/sys/devices/system/cpu/online", "0-1\n")?;
        Ok(root)
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What tuned's own plugin says of the active profiles of `root`, whose kernel has been given `cmdline`.
fn by_tuned(root: &Path, cmdline: &Path) -> Result<String> {
    let script = repository().join("qemu-tests/tests/cli_cases/tuned_bootloader.py");
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).args([root, cmdline]).env("PYTHONPATH", tuned()?.join("usr/lib/python3/dist-packages"));
    Ok(run(python.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1"))?.trim().to_owned())
}

#[test]
fn cli_tuned_kernel_arguments_are_in_the_boot_entry_and_tuned_finds_them_there() -> Result<()> {
    let case = Case::new()?;
    case.write(RECIPE, PROFILE)?;
    let plan = case.warm.basalt(["plan"]).arg(&case.recipe).run(&case.warm.scratch)?.exits(0).stdout;
    for part in
        ["iommu=pt (recipe: fragments/gpu-host.toml:", "active case", "and what tuned's case asks for: the build reads it"]
    {
        ensure!(plan.contains(part), "{part}\n{plan}");
    }
    let ran = case.build(RECIPE, PROFILE)?.exits(0);
    ensure!(
        ran.stderr.contains("tuned.conf:") && ran.stderr.contains("\"cpulist_invert\" is left to the node"),
        "{}",
        ran.stderr
    );

    let manifest = case.warm.manifest("out")?;
    let args = words(&manifest["kernel-args"]);
    let isolated = [
        "init_on_alloc=0",
        "isolcpus=managed_irq,1",
        "nohz_full=1",
        "rcu_nocbs=1",
        "irqaffinity=0",
        "systemd.cpu_affinity=0",
        "case.flag",
    ];
    for arg in isolated.iter().chain(&["iommu=pt", "case.recipe", "console=ttyS0,115200"]) {
        ensure!(args.iter().filter(|found| *found == arg).count() == 1, "{arg}: {args:?}");
    }
    ensure!(args.windows(2).any(|pair| pair == ["hugepagesz=2M", "hugepages=64"]), "{args:?}");
    let asked = manifest["kernel-arguments"].as_array().context("nobody asked")?;
    let pt = asked.iter().find(|argument| argument["text"] == "iommu=pt").context("no iommu=pt")?;
    ensure!(pt["asked-by"][0]["by"] == "recipe" && pt["asked-by"][1]["by"] == "tuned profile case", "{pt}");
    ensure!(pt["asked-by"][1]["at"] == format!("{CONF}:5").as_str(), "{pt}");
    ensure!(manifest["tuned"]["profiles"] == serde_json::json!(["basalt-node", "basalt-cpu-isolated", "case"]), "{manifest}");
    ensure!(manifest["tuned"]["left"] == serde_json::json!([]), "{manifest}");

    // By libostree: the commit says it, and has the files.
    let commit = manifest["commit"].as_str().context("no commit")?;
    let metadata = case.ostree(&["show", "--print-metadata-key=basalt.kernel-arguments", commit])?;
    ensure!(metadata.contains(&format!("('iommu=pt', ['recipe', 'tuned profile case: {CONF}:5'])")), "{metadata}");
    for (path, text) in
        [("/usr/etc/tuned/active_profile", "case\n"), ("/usr/etc/tuned/profile_mode", "manual\n"), (CONF, PROFILE)]
    {
        ensure!(case.ostree(&["cat", commit, path])? == text, "{path}");
    }
    let enabled = "/usr/etc/systemd/system/multi-user.target.wants/tuned.service";
    ensure!(case.ostree(&["ls", commit, enabled])?.contains("-> /usr/lib/systemd/system/tuned.service"), "tuned is not enabled");
    let preset = case.ostree(&["cat", commit, "/usr/lib/systemd/system-preset/10-basalt.preset"])?;
    ensure!(preset.lines().any(|line| line == "enable tuned.service"), "{preset}");
    ensure!(case.ostree(&["ls", commit, "/usr/etc/grub.d/00_tuned"])?.starts_with("-00644 "), "grub-mkconfig would run 00_tuned");

    // The boot entry, as libostree would read it, is what the kernel will be given.
    let root = case.root(&manifest)?;
    let entry = fs::read_to_string(root.join("boot/loader.1/entries/ostree-1.conf"))?;
    let options = entry.lines().find_map(|line| line.strip_prefix("options ")).context("no options")?;
    ensure!(options.split_whitespace().collect::<Vec<_>>() == args, "{options}");
    let cmdline = case.warm.scratch.write("cmdline", options)?;
    let before = case.warm.scratch.path().join("before");
    run(Command::new("cp").arg("-a").args([&root, &before]))?;
    ensure!(by_tuned(&root, &cmdline)? == "true", "tuned does not find its arguments: {options}");
    // The profile came and went: no byte is another one, also not what tuned notes in /etc.
    run(Command::new("diff").args(["-r", "--no-dereference"]).args([&before, &root]))?;
    // And it would have told us otherwise.
    let without = case.warm.scratch.write("without", options.replace("nohz_full=1", "nohz_full=0"))?;
    ensure!(by_tuned(&root, &without)? == "false", "tuned verifies what is not there");
    let node = root.join("usr/lib/tuned/profiles/basalt-node/tuned.conf");
    fs::write(&node, fs::read_to_string(&node)?.replace("skip_grub_config=1", "skip_grub_config=0"))?;
    by_tuned(&root, &cmdline)?;
    let differs = run(Command::new("diff").args(["-r", "--no-dereference"]).args([before.join("boot"), root.join("boot")]));
    ensure!(differs.is_err(), "tuned changes nothing of /boot anyway: this case shows nothing");

    // Who asked is part of the image, on which line of the recipe is not.
    let moved = format!("# one line more\n{RECIPE}");
    let again = case.build(&moved, PROFILE)?.exits(0);
    ensure!(again.stdout.contains("up to date"), "{}", again.stdout);

    // What is wrong, over the same base.
    let refused = |recipe: &str, profile: &str, said: &[&str]| -> Result<()> {
        let ran = case.build(recipe, profile)?.exits(INVALID);
        let missing: Vec<_> = said.iter().filter(|part| !ran.stderr.contains(*part)).collect();
        ensure!(missing.is_empty(), "{missing:?} is not said:\n{}", ran.stderr);
        Ok(())
    };
    let contradiction = format!("{PROFILE}cmdline_more=+iommu=nopt\n");
    let both = format!("\"iommu=nopt\" (tuned profile case: {CONF}:6)");
    // The profile contradicts itself here, and the recipe in the next one.
    refused(RECIPE, &contradiction, &["the kernel argument iommu (pt) can have one value", &both, "next: "])?;
    let contradiction = PROFILE.replace("+iommu=pt", "+iommu=nopt");
    let both = ["\"iommu=pt\" (recipe: fragments/gpu-host.toml:", &format!("\"iommu=nopt\" (tuned profile case: {CONF}:5)")];
    refused(RECIPE, &contradiction, &both)?;
    let parent = PROFILE.replace("basalt-cpu-isolated", "basalt-cpu-isolatde");
    let said = format!(
        "case.toml:8:10: layer tuned: tuned would not load case: {CONF}, line 3: there is no profile \"basalt-cpu-isolatde\""
    );
    refused(RECIPE, &parent, &[&said, "did you mean basalt-cpu-isolated?"])?;
    let sysctl = format!("{PROFILE}[sysctl]\nnet/ipv4/ip_forward=1\n");
    refused(RECIPE, &sysctl, &[&format!("{CONF}:7: sysctl \"net/ipv4/ip_forward\": needed dots")])?;
    let unset = RECIPE.split("[tuned.variables").next().context("no variables")?;
    refused(unset, PROFILE, &["isolated_cores is set in /etc/tuned/basalt-cpu-isolated-variables.conf", "tuned.variables"])?;
    Ok(())
}

#[test]
fn cli_tuned_mistakes_in_the_recipe_are_told_with_their_place() -> Result<()> {
    let case = Case::new()?;
    let recipe =
        RECIPE.replace("active = \"case\"", "active = \"basalt-gpu-trainign\"").replace("isolated_cores", "isolated-cores");
    case.write(&recipe.replace("case.recipe", "iommu=nopt"), PROFILE)?;
    let ran = case.warm.basalt(["check"]).arg(&case.recipe).run(&case.warm.scratch)?.exits(INVALID);
    for (place, words) in [
        ("case.toml:8:10:", "there is no profile \"basalt-gpu-trainign\"; did you mean \"basalt-gpu-training\"?"),
        ("case.toml:11:", "needed a variable's name"),
        (
            "case.toml:4:9:",
            "the kernel argument iommu (pt) can have one value, and is asked for as \"iommu=pt\" (recipe: fragments/gpu-host.toml:",
        ),
    ] {
        let told = ran.stderr.lines().chain(ran.stdout.lines()).any(|line| line.contains(place) && line.contains(words));
        ensure!(told, "{place} {words}\n{}{}", ran.stdout, ran.stderr);
    }
    Ok(())
}
