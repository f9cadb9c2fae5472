//! The profile: tuned has made it active, the agent has had it verified, the kernel has its arguments and settings.

use anyhow::{Result, ensure};
use basalt::vm::Running;
use qemu_tests::holds;

use crate::COMMAND;

/// Everything that a switch of profiles must leave alone.
const BOOT_FILES: &str = "{ find /boot -xdev -type f -exec sha256sum {} + ; find /boot -type l -printf '%p %l\\n'; sha256sum /etc/default/grub; } | sort";
const STATUS: &str = "basalt-firstboot status --wait | sed -n 's/^.* tuned   *//p'";
const STEP: &str = "basalt-firstboot status --wait | sed -n 's/^.* tuned.profile  *//p'";

/// The agent's report, the bus, `/proc` and tuned itself agree.
pub fn is_in_force(vm: &mut Running, args: &[String]) -> Result<()> {
    let told = vm.must(STATUS, COMMAND)?;
    if !told.ends_with("verified by tuned") {
        println!("{}", vm.shell("tuned-adm verify; tail -n 60 /var/log/tuned/tuned.log", COMMAND)?.text());
    }
    holds(
        vm,
        COMMAND,
        &[
            (STATUS, "the profile case, verified by tuned"),
            (STEP, ""),
            ("busctl call com.redhat.tuned /Tuned com.redhat.tuned.control active_profile", "s \"case\""),
            ("cat /proc/sys/net/core/somaxconn /proc/sys/vm/swappiness /proc/sys/vm/stat_interval", "5432\n7\n10"),
            ("cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64"),
            ("cat /sys/devices/system/cpu/nohz_full", "1"),
            ("cat /proc/irq/default_smp_affinity", "1"),
            ("sed -n 's/^Cpus_allowed_list:\\s*//p' /proc/1/status", "0"),
            ("tuned-adm verify >/dev/null && echo verified", "verified"),
        ],
    )?;
    let cmdline = vm.must("cat /proc/cmdline", COMMAND)?;
    let given: Vec<_> = cmdline.split_whitespace().collect();
    let own = ["isolcpus=managed_irq,1", "nohz_full=1", "rcu_nocbs=1", "irqaffinity=0", "hugepages=64", "case.flag", "iommu=pt"];
    for arg in args.iter().map(String::as_str).chain(own) {
        ensure!(given.contains(&arg), "{arg} is not in {cmdline}");
    }
    Ok(())
}

/// Somebody makes another profile active: no byte of the boot menu is another one. The agent brings the image's back, and says so.
pub fn may_be_switched(vm: &mut Running) -> Result<()> {
    let before = vm.must(BOOT_FILES, COMMAND)?;
    for file in ["/boot/loader.1/entries/ostree-1.conf", "/boot/grub/grub.cfg", "/vmlinuz-", "/etc/default/grub"] {
        ensure!(before.contains(file), "no {file}:\n{before}");
    }
    holds(
        vm,
        COMMAND,
        &[
            ("tuned-adm profile basalt-rdma-sriov && tuned-adm active", "Current active profile: basalt-rdma-sriov"),
            (BOOT_FILES, &before),
            ("systemctl restart basalt-firstboot", ""),
            (STEP, "done     the profile case, now basalt-rdma-sriov"),
            (STATUS, "the profile case, verified by tuned"),
            ("tuned-adm active", "Current active profile: case"),
            (BOOT_FILES, &before),
        ],
    )
}
