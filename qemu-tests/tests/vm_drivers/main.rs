//! A node with modules that others built, and with a profile that sets a processor and large pages aside: NVIDIA's open modules, mtty and
//! netdevsim are built from Debian's source, proven, signed with a key that the machine's owner enrolled, and loaded with Secure Boot on. The
//! kernel judges the stock modules, and altered ones, as the builder did. One image, one boot.

mod altered;
mod image;
mod judged;
mod tuned;

use std::time::Duration;

use anyhow::{Result, ensure};
use basalt::vm::Running;
use qemu_tests::holds;

use image::Drivers;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);

#[test]
fn vm_modules_load_and_the_profile_is_in_force() -> Result<()> {
    let drivers = Drivers::new()?;
    let mut vm = drivers.start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager; dmesg | tail -n 50", COMMAND)?.text());
    holds(
        &mut vm,
        COMMAND,
        &[
            ("uname -r", &drivers.stock.package.release),
            ("cat /sys/kernel/security/lockdown", "none [integrity] confidentiality"),
            ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
        ],
    )?;
    early(&mut vm)?;
    tuned::is_in_force(&mut vm, &drivers.args)?;
    built_modules_load(&mut vm)?;
    judged::as_the_builder_did(&mut vm, &drivers)?;
    tuned::may_be_switched(&mut vm)
}

/// The module of the archive behind the initramfs was there before the root filesystem, with its parameter: the kernel names the one that it
/// does not know.
fn early(vm: &mut Running) -> Result<()> {
    let log = vm.must("dmesg", COMMAND)?;
    let line = |words: &str| log.lines().position(|line| line.contains(words));
    let (module, root) = (line("act_sample: unknown parameter 'case' ignored"), line("EXT4-fs (vda3): mounted"));
    ensure!(module.is_some() && root.is_some() && module < root, "act_sample at {module:?}, the root at {root:?}:\n{log}");
    Ok(())
}

/// What `kmod build` made: found by modprobe with what it needs, loaded by the kernel, and at work.
fn built_modules_load(vm: &mut Running) -> Result<()> {
    holds(
        vm,
        COMMAND,
        &[
            ("modprobe mtty && ls /sys/class/mdev_bus/mtty/mdev_supported_types", "mtty-1\nmtty-2"),
            ("lsmod | grep -c '^mdev '", "1"),
            (
                "modprobe netdevsim && echo '7 2' >/sys/bus/netdevsim/new_device && ls -d /sys/bus/netdevsim/devices/*",
                "/sys/bus/netdevsim/devices/netdevsim7",
            ),
            ("ls /sys/bus/netdevsim/devices/netdevsim7/net | wc -l", "2"),
            (
                "modinfo -F signer mtty netdevsim nvidia nvidia-uvm nvidia-modeset nvidia-drm nvidia-peermem | sort -u",
                "module signing",
            ),
        ],
    )?;
    // There is no device here, and nothing else is missing.
    let done = vm.shell("dmesg --clear; modprobe nvidia; status=$?; dmesg; exit $status", COMMAND)?;
    let (log, error) = (done.text(), done.error_text());
    ensure!(done.status != 0 && error.contains("could not insert 'nvidia': No such device"), "{error}\n{log}");
    ensure!(log.contains("NVRM: No NVIDIA GPU found."), "{log}");
    Ok(())
}
