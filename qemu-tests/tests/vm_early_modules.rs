//! What is loaded in the initramfs: the kernel of a node unpacks the archive behind the base's own, and systemd loads the module from it before
//! the root filesystem is there. With Secure Boot: the module is Debian's, laid elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, choose_accel};
use qemu_tests::{Warm, kernel_package, run};

const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const ENTRY: &str = r#"
[[kernel-module]]
name = "sampler"
path = "modules"
load-early = ["act_sample"]
blacklist = ["nouveau"]
in-tree-modules-to-remove = ["act_sample"]
"#;

#[test]
fn vm_a_module_is_loaded_in_the_initramfs() -> Result<()> {
    let (warm, package) = (Warm::new()?, kernel_package()?);
    // The archive may have a newer kernel than the lock.
    let lock = fs::read_to_string(warm.recipe.with_extension("lock"))?;
    if !lock.contains(&format!("\"linux-image-{}\"", package.release)) {
        warm.basalt(["lock", "--update"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0);
    }
    let found = run(Command::new("find").arg(&package.modules).args(["-name", "act_sample.ko*"]))?;
    let stock = Path::new(found.trim_end());
    let modules = warm.recipe.with_file_name("modules");
    fs::create_dir(&modules)?;
    fs::copy(stock, modules.join(stock.file_name().context("a name")?))?;
    fs::write(&warm.recipe, format!("{}\n{ENTRY}", fs::read_to_string(&warm.recipe)?))?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);

    let disk = Disk::new(&warm.scratch.path().join("out/gpu-node.raw"));
    let mut vm = Machine::new(disk, choose_accel(&warm.cache)?).channel().start()?;
    vm.ready(BOOT)?;
    vm.wait_for_boot(BOOT)?;
    let loaded = vm.must("grep -c '^act_sample ' /proc/modules", COMMAND)?;
    ensure!(loaded == "1", "it is not loaded");
    // The journal of the initramfs is kept: it was loaded before the root filesystem was switched to.
    let journal =
        "journalctl --boot --no-hostname --output=short-monotonic --grep \"Inserted module 'act_sample'|Switching root\"";
    let told = vm.must(journal, COMMAND)?;
    let at = |words: &str| {
        told.lines().position(|line| line.contains(words)).with_context(|| format!("{words:?} is not told:\n{told}"))
    };
    ensure!(at("Inserted module 'act_sample'")? < at("Switching root")?, "{told}");
    let from = vm.must("modinfo -F filename act_sample", COMMAND)?;
    ensure!(from.contains("/updates/sampler/act_sample.ko"), "{from}");
    vm.power_off(COMMAND)?;
    Ok(())
}
