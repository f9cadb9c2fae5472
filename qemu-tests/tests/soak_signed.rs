//! A node whose recipe has `[sign]`: it shows who signed what it runs, and takes from a registry what is signed, and nothing that is
//! unsigned, foreign or altered: the image's signature by the policy that the image ships, the commit's by the stock libostree.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, choose_accel};
use qemu_tests::{Registry, Signer, Warm, demanding};
use serde_json::Value;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const PULL: Duration = Duration::from_secs(900);
const LIMIT: Duration = Duration::from_secs(60 * 60);
const PATH: &str = "hosts/gpu-node";

/// The builder, with a registry and two who sign: one whom the node trusts, and somebody else.
struct Factory {
    warm: Warm,
    registry: Registry,
    trusted: Signer,
    foreign: Signer,
    /// Of the recipe.
    plain: String,
}

impl Factory {
    fn new() -> Result<Self> {
        let warm = Warm::new()?;
        let (trusted, foreign) = (Signer::new(&warm.scratch, "trusted")?, Signer::new(&warm.scratch, "foreign")?);
        let plain = fs::read_to_string(&warm.recipe)?;
        Ok(Self { registry: Registry::start(&warm.scratch)?, warm, trusted, foreign, plain })
    }

    /// Builds a version for nodes that trust these keys, into the folder `out`.
    fn build(&self, version: &str, commit: &Signer, image: &Signer, formats: &str, out: &str) -> Result<()> {
        let folder = self.warm.recipe.parent().context("a recipe lies in a folder")?;
        let update = format!("{}/{PATH}:stable", self.registry.from_guest);
        let (from, to) = ("version = \"0.1.0\"", format!("version = {version:?}"));
        ensure!(self.plain.contains(from), "the reference recipe has another version than {from}");
        fs::write(&self.warm.recipe, demanding(&self.plain.replacen(from, &to, 1), folder, &update, commit, image)?)?;
        self.warm.build(out)?.args(["--format", formats]).run(&self.warm.scratch)?.exits(0);
        Ok(())
    }

    fn sign(&self, out: &str, commit: Option<&Signer>, image: Option<&Signer>) -> Result<()> {
        let mut run = self.warm.basalt(["sign"]).arg(self.warm.scratch.path().join(out));
        if let Some(signer) = commit {
            run = run.arg("--commit-key").arg(&signer.commit_key);
        }
        if let Some(signer) = image {
            run = run.arg("--image-key").arg(&signer.image_key);
        }
        run.run(&self.warm.scratch)?.exits(0);
        Ok(())
    }

    /// Sends what is in `out` under `tag`; answers the tag of its signature.
    fn push(&self, out: &str, tag: &str) -> Result<String> {
        let push = self.warm.basalt(["push", "--json", "--authfile"]).arg(&self.registry.auth_file);
        let push = push.arg("--cert-dir").arg(&self.registry.certificates).arg(self.warm.scratch.path().join(out));
        let ran = push.arg(format!("{}/{PATH}:{tag}", self.registry.host)).run(&self.warm.scratch)?.exits(0);
        let result: Value = serde_json::from_str(ran.stdout.lines().last().context("no result")?)?;
        Ok(result["digest"].as_str().context("no digest")?.replace(':', "-") + ".sig")
    }

    /// Lets one tag name what another names.
    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let at = |tag: &str| format!("docker://{}/{PATH}:{tag}", self.registry.host);
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests", "--src-cert-dir"])
            .arg(&self.registry.certificates)
            .arg("--dest-cert-dir")
            .arg(&self.registry.certificates)
            .arg("--authfile")
            .arg(&self.registry.auth_file)
            .args([at(from), at(to)])
            .output()?;
        ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        Ok(())
    }
}

/// A pull of `tag` as the deployment's origin names the image.
fn pull(factory: &Factory, tag: &str) -> String {
    let image = format!("{}/{PATH}:{tag}", factory.registry.from_guest);
    format!("ostree container image pull --quiet /ostree/repo ostree-remote-registry:basalt:{image}")
}

fn refuses(vm: &mut Running, factory: &Factory, tag: &str, words: &[&str]) -> Result<()> {
    let done = vm.shell(&pull(factory, tag), PULL)?;
    let said = format!("{}{}", done.text(), done.error_text());
    ensure!(done.status != 0, "{tag}: the node took it");
    ensure!(words.iter().any(|word| said.contains(word)), "{tag}: needed one of {words:?}, found:\n{said}");
    println!("{tag}: refused: {}", said.trim());
    Ok(())
}

#[test]
fn soak_a_node_takes_what_is_signed_and_nothing_else() -> Result<()> {
    let factory = Factory::new()?;
    let Factory { trusted, foreign, .. } = &factory;
    factory.build("0.1.0", trusted, trusted, "raw", "node")?;
    factory.sign("node", Some(trusted), None)?;

    factory.build("0.2.0", trusted, trusted, "oci", "next")?;
    factory.push("next", "unsigned")?;
    factory.build("0.3.0", trusted, trusted, "oci", "altered")?;
    let altered = factory.push("altered", "altered")?;
    factory.build("0.4.0", foreign, foreign, "oci", "foreign")?;
    factory.sign("foreign", Some(foreign), Some(foreign))?;
    factory.push("foreign", "foreign")?;
    factory.build("0.5.0", foreign, trusted, "oci", "commit-foreign")?;
    factory.sign("commit-foreign", Some(foreign), Some(trusted))?;
    factory.push("commit-foreign", "commit-foreign")?;

    let raw = factory.warm.scratch.path().join("node/gpu-node.raw");
    let disk = Disk { size: Some(4 << 30), ..Disk::new(&raw) };
    let machine = Machine::new(disk, choose_accel(&factory.warm.cache)?).channel().limit(Some(LIMIT));
    let tmpfiles = factory.registry.tmpfiles(&factory.warm.scratch)?;
    let mut vm = machine.credential("tmpfiles.extra", tmpfiles.as_str()).start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager", COMMAND)?.text());

    // What it runs, by the node's own libostree, remote and keys.
    let booted = factory.warm.manifest("node")?["commit"].as_str().context("no commit")?.to_owned();
    let shown = vm.must(&format!("ostree show --repo=/ostree/repo --gpg-verify-remote=basalt {booted}"), COMMAND)?;
    ensure!(shown.contains("Good signature from \"trusted <trusted@example.org>\""), "{shown}");
    let origin = vm.must(&format!("grep -h ^container /ostree/deploy/gpu-node/deploy/{booted}.0.origin"), COMMAND)?;
    let wanted = format!("container-image-reference=ostree-remote-registry:basalt:{}/{PATH}:stable", factory.registry.from_guest);
    ensure!(origin == wanted, "needed {wanted}, found {origin}");

    refuses(&mut vm, &factory, "unsigned", &["A signature was required, but no signature exists"])?;
    // A signature is of a manifest, whatever its tag: what is unsigned is so only before it is signed.
    factory.sign("next", None, Some(trusted))?;
    factory.push("next", "commit-unsigned")?;
    factory.sign("next", Some(trusted), Some(trusted))?;
    let signature = factory.push("next", "signed")?;
    factory.copy(&signature, &altered)?;
    refuses(&mut vm, &factory, "foreign", &["signature verification failed", "invalid signature"])?;
    refuses(&mut vm, &factory, "altered", &["does not match"])?;
    refuses(&mut vm, &factory, "commit-unsigned", &["Expected commitmeta object"])?;
    refuses(&mut vm, &factory, "commit-foreign", &["public key not found"])?;
    let listed = "ostree container image list --repo /ostree/repo";
    ensure!(vm.must(listed, COMMAND)?.is_empty(), "something that was refused is there");
    vm.must(&pull(&factory, "signed"), PULL)?;
    let listed = vm.must(listed, COMMAND)?;
    ensure!(listed == format!("docker://{}/{PATH}:signed", factory.registry.from_guest), "{listed}");
    Ok(())
}
