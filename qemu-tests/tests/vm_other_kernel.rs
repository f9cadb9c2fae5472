//! Before an operating system's upgrade: `basalt preflight` names the modules that a kernel of backports would not load, `basalt kmod build`
//! makes those for it, preflight is content, and the node boots that kernel with Secure Boot on and loads them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use basalt::kmod::keyring;
use basalt::vm::{Disk, Machine, choose_accel};
use qemu_tests::{ModuleKey, Ran, Warm, holds};
use serde_json::Value;

const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
/// Another kernel of Debian's archive.
const OTHER: &str = "linux-image-amd64/trixie-backports";
/// For the kernel that the suite has, and for every other one.
const NODE: &str = r#"include = ["gpu-node-stock.toml"]

[kernel]
module-keys = ["module.pem"]

[[kernel-module]]
name = "mtty"
load = ["mtty"]
kernel-mappings = [{ regexp = '^6\.12\.', from = "oci:today/mtty.oci" }, { regexp = '.', from = "oci:next/mtty.oci" }]
sign = { certificate = "module.pem" }
"#;

struct Case {
    warm: Warm,
}

impl Case {
    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.warm.recipe.with_file_name(name), text)?)
    }

    /// mtty of the kernel's own source, for the kernel of the recipe `recipe`, into the folder `out`. Answers that kernel's release.
    fn build(&self, recipe: &str, source: &str, out: &str) -> Result<String> {
        let beside = |name: &str| self.warm.recipe.with_file_name(name);
        let command = self.warm.basalt(["kmod", "build", "--json", "--name", "mtty", "--kernel"]).arg(beside(recipe));
        let command = command.args(["--source", source, "--folder", "samples/vfio-mdev", "--make"]);
        let command = command.args(["CONFIG_SAMPLE_VFIO_MDEV_MTTY=m", "--out"]).arg(beside(out));
        let ran = command.run(&self.warm.scratch)?.exits(0);
        let line = ran.stdout.lines().rev().find(|line| line.contains("modules-built")).context("no result")?;
        let result: Value = serde_json::from_str(line)?;
        ensure!(result["modules"][0]["name"] == "mtty", "{result}");
        Ok(result["kernel"].as_str().context("no kernel")?.to_owned())
    }

    fn preflight(&self) -> Result<Ran> {
        let recipe = self.warm.recipe.with_file_name("node.toml");
        self.warm.basalt(["preflight", "--kernel", OTHER]).arg(recipe).run(&self.warm.scratch)
    }
}

/// The package with the source of a kernel of this release: `linux-source-6.12`.
fn source(release: &str) -> Result<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next().context("no number")?, numbers.next().context("no second number")?);
    Ok(format!("linux-source-{major}.{minor}"))
}

#[test]
fn vm_modules_follow_the_kernel() -> Result<()> {
    let case = Case { warm: Warm::new()? };
    let key = ModuleKey::new(&case.warm.scratch, "p384")?;
    fs::copy(&key.certificate, case.warm.recipe.with_file_name("module.pem"))?;
    case.write("node.toml", NODE)?;
    let today = case.build("node.toml", "linux-source-6.12", "today")?;
    ensure!(today.starts_with("6.12."), "{today}");

    let ran = case.preflight()?.exits(VERIFICATION);
    println!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.stdout.contains("mtty"), "preflight does not name the module: {}", ran.stdout);

    // What the upgrade will be: the node's recipe, with the other kernel.
    case.write("next.toml", &format!("include = [\"node.toml\"]\npackages = [{OTHER:?}]\n"))?;
    let other = {
        let told = ran.stdout.split_whitespace().find(|word| word.contains("+deb13-amd64") && !word.starts_with("6.12."));
        told.with_context(|| format!("no release in {}", ran.stdout))?.trim_matches([',', ':', '.']).to_owned()
    };
    let built = case.build("next.toml", &format!("{}/trixie-backports", source(&other)?), "next")?;
    ensure!(built == other, "needed modules for {other}, found {built}");
    let ran = case.preflight()?.exits(0);
    println!("{}", ran.stdout);

    let out = case.warm.scratch.folder("out")?;
    let build = case.warm.basalt(["build", "--format", "raw", "--module-key"]).arg(&key.key).arg("--out").arg(&out);
    build.arg(case.warm.recipe.with_file_name("next.toml")).run(&case.warm.scratch)?.exits(0);
    let disk = Disk { size: Some(4 << 30), ..Disk::new(&out.join("gpu-node.raw")) };
    // The builder enrols the key by itself here, and `virt-fw-vars` in `vm_drivers`.
    let certificate = keyring::der(&fs::read(&key.certificate)?)?;
    let mut vm = Machine::new(disk, choose_accel(&case.warm.cache)?).channel().owner_keys([certificate]).start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager; dmesg | tail", COMMAND)?.text());
    let rows = [
        ("uname -r", other.as_str()),
        ("cat /sys/kernel/security/lockdown", "none [integrity] confidentiality"),
        ("ls /sys/class/mdev_bus/mtty/mdev_supported_types", "mtty-1\nmtty-2"),
        ("modinfo -F vermagic mtty | cut -d' ' -f1", &other),
        ("basalt-firstboot status --wait >/dev/null && echo configured", "configured"),
    ];
    holds(&mut vm, COMMAND, &rows)
}
