//! The boot menu lives: libostree on the node rewrites it with each deployment. One node, from the reference image to its next version
//! and back: a power cut, the update, the old one by menu and by command, another power cut.

use std::time::Duration;

use anyhow::{Result, ensure};
use basalt::vm::{KEY_NEXT, Running};
use qemu_tests::{BRANCH, Update, reference_image};

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(180);
const DEPLOY: Duration = Duration::from_secs(300);

/// What the next version changes in `/etc`: one file that the node has changed too, one that it has not, and a new one.
const CHANGES: &str = r#"
[[file]]
path = "/etc/motd"
text = "next\n"
replaces = true

[[file]]
path = "/etc/issue"
text = "next\n"
replaces = true

[[file]]
path = "/etc/issue.d/next.issue"
text = "next\n"
"#;
/// As libostree titles the entry of the second deployment.
const SECOND_TITLE: &str = "(ostree:1)";

/// The node.
struct Node {
    vm: Running,
}

impl Node {
    /// Runs a script that must succeed.
    fn must(&mut self, script: &str) -> Result<String> {
        Ok(self.vm.must(script, COMMAND)?)
    }

    fn holds(&mut self, rows: &[(&str, &str)]) -> Result<()> {
        for (script, wanted) in rows {
            let found = self.must(script)?;
            ensure!(found == *wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
        }
        Ok(())
    }

    /// Every boot: systemd has started all, Secure Boot is on, libostree reads its deployments, what the node wrote is there. Answers
    /// the commit that is booted.
    fn booted(&mut self) -> Result<String> {
        let state = self.vm.wait_for_boot(BOOT)?;
        ensure!(state == "running", "{state}: {}", self.vm.shell("systemctl --failed --no-pager", COMMAND)?.text());
        self.holds(&[
            ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
            ("cat /etc/motd /var/mine", "mine\nmine"),
            ("ls /etc/issue.net 2>/dev/null || echo removed", "removed"),
        ])?;
        let booted = self.must("ostree admin status | sed -n 's/^\\* gpu-node \\([0-9a-f]*\\)\\..*/\\1/p'")?;
        let property =
            self.must("busctl get-property org.basalt.FirstBoot1 /org/basalt/FirstBoot1 org.basalt.FirstBoot1 Deployment")?;
        ensure!(property == format!("s {booted:?}"), "needed the agent to say {booted}, found {property}");
        Ok(booted)
    }

    /// Deploys the branch and looks at the menu.
    fn deploy(&mut self) -> Result<()> {
        self.vm.must(&format!("ostree admin deploy --os=gpu-node {BRANCH}"), DEPLOY)?;
        self.menu_has_one_entry_for_each_of_two_deployments()
    }

    fn menu_has_one_entry_for_each_of_two_deployments(&mut self) -> Result<()> {
        self.holds(&[
            ("ostree admin status | grep -c '^[* ] gpu-node '", "2"),
            ("ls /boot/loader/entries", "ostree-1.conf\nostree-2.conf"),
            ("grep -c '\\(menuentry\\|submenu\\) ' /boot/grub/grub.cfg", "2"),
        ])
    }

    /// Begins to deploy the branch, holds it where `midway` is true (`$old`: the target of `/boot/loader` before), and takes the power
    /// away.
    fn cut_while_it_deploys(&mut self, midway: &str) -> Result<()> {
        let script = format!(
            "old=$(readlink /boot/loader)\n\
             ostree admin deploy --os=gpu-node {BRANCH} &\n\
             until {midway}; do :; done\n\
             kill -STOP $!"
        );
        self.vm.must(&script, DEPLOY)?;
        self.vm.power_cut();
        Ok(self.vm.start_again()?)
    }
}

#[test]
fn vm_a_node_is_updated_and_goes_back() -> Result<()> {
    let image = reference_image()?;
    let update = Update::new("0.2.0", CHANGES)?;
    let vm = image.machine()?.data_disk("update", &update.disk).start()?;
    let mut node = Node { vm };
    let Update { from, to, .. } = &update;

    node.must("echo mine >/etc/motd && rm /etc/issue.net && echo mine >/var/mine && sync")?;
    ensure!(node.booted()? == *from, "the reference image has another commit than its manifest");
    node.must(&format!(
        "mkdir /run/update && mount -o ro /dev/disk/by-id/virtio-update /run/update && unshare --mount sh -ec '\
         mount -o remount,rw /sysroot\n\
         ostree pull-local /run/update/ostree/repo {to}\n\
         ostree refs --force --create={BRANCH} {to}' && umount /run/update"
    ))?;

    // The new kernel's folder is made before the kernel and its initramfs are copied into it.
    node.cut_while_it_deploys("set -- /boot/ostree/*; [ $# = 2 ]")?;
    ensure!(node.booted()? == *from, "after a power cut before the swap the old commit must be booted");
    node.holds(&[("cat /boot/loader/entries/* | grep -c ^title", "1")])?;
    node.deploy()?;
    node.holds(&[(
        // In KiB: what one kernel takes is still free.
        "used=$(du -sk /boot/ostree/* | sort -n | sed -n '$s/\\t.*//p'); free=$(df -k --output=avail /boot | tail -n 1)\n\
         [ $free -gt $used ] && echo room || echo needed $used, found $free",
        "room",
    )])?;
    node.vm.reboot(BOOT)?;

    ensure!(node.booted()? == *to, "after a reboot the new commit must be booted");
    node.holds(&[
        ("cat /etc/issue /etc/issue.d/next.issue /usr/etc/motd", "next\nnext\nnext"),
        ("sed -n 's/^IMAGE_VERSION=//p' /etc/os-release", "\"0.2.0\""),
    ])?;

    node.vm.power_off(BOOT)?;
    node.vm.start_again()?;
    let shown = node.vm.expect(SECOND_TITLE, BOOT)?;
    node.vm.console()?.send(&format!("{KEY_NEXT}\r"))?;
    ensure!(!shown.contains("error:"), "GRUB has something to complain about:\n{shown}");
    ensure!(node.booted()? == *from, "the menu's second entry must boot the old commit");
    node.holds(&[("ls /etc/issue.d/next.issue 2>/dev/null || echo none", "none")])?;

    node.must("ostree admin set-default 1")?;
    node.menu_has_one_entry_for_each_of_two_deployments()?;
    node.vm.reboot(BOOT)?;
    ensure!(node.booted()? == *from, "after set-default the old commit must be booted");

    node.cut_while_it_deploys("[ ! /boot/loader -ef /boot/$old ]")?;
    let booted = node.booted()?;
    ensure!([from, to].contains(&&booted), "needed {from} or {to}, found {booted}");
    node.menu_has_one_entry_for_each_of_two_deployments()?;
    node.holds(&[("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean")])
}
