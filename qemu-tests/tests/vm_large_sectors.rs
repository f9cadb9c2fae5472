//! A disk with 4096-byte sectors boots and grows as one with 512 does; a file's capability and other attributes get to the node; and
//! with Debian's SELinux policy in its base, every file has the label that libselinux gives it, on the host and on the node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, SectorSize, choose_accel};
use qemu_tests::{Labels, Warm};

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const GROWTH: u64 = 1 << 30;
/// `CAP_NET_RAW`, effective and permitted, as `struct vfs_cap_data` of revision 2.
const FILE: &str = r#"
[[file]]
path = "/usr/bin/capable"
source = "capable"
mode = "0755"
xattrs = { "security.capability" = "0sAQAAAgAgAAAAAAAAAAAAAAAAAAA=", "user.basalt" = "kept" }
"#;
/// What brings SELinux to Debian, and reads labels. Debian's kernel prefers AppArmor unless it is told.
const POLICY: [(&str, &str); 2] = [
    ("packages = [", r#"packages = ["selinux-policy-default", "selinux-utils", "policycoreutils", "#),
    ("[ssh]", "[kernel]\nargs = [\"security=selinux\", \"enforcing=0\"]\n\n[ssh]"),
];
/// Kind, path and label of everything in the image's own folder, in byte order.
const LABELS: &str = "find /usr -xdev -printf '%y %p %Z\\n' | LC_ALL=C sort | sha256sum";
/// What restorecon would change of what the image brings.
const WRONG: &str = "restorecon -R -n -v /usr /boot /etc/systemd /etc/init.d 2>&1";
/// The attributes of a file as GNU tar archives them.
const ATTRIBUTES: &str = "tar --xattrs --xattrs-include=user.* -C / -cf - usr/bin/capable | grep -ao 'SCHILY.xattr.user.*'";

#[test]
fn vm_a_disk_with_large_sectors_boots() -> Result<()> {
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)?;
    let mut changed = text + FILE;
    for (from, to) in POLICY.into_iter().chain([("sector-size = 512", "sector-size = 4096")]) {
        ensure!(changed.contains(from), "the reference recipe has no {from} to change");
        changed = changed.replacen(from, to, 1);
    }
    fs::write(&warm.recipe, changed)?;
    warm.scratch.write("image-recipes/capable", "a file\n")?;
    warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
    let manifest = warm.manifest("out")?;
    ensure!(manifest["sector-size"] == 4096, "manifest.json: {manifest}");
    let commit = manifest["commit"].as_str().context("manifest.json: no commit")?;
    let repository = warm.cache.join("ostree/repo");
    let labels = Labels::of_commit(&repository, commit)?;
    let wanted = labels.by_libselinux(&repository, commit, &warm.scratch.folder("rules")?)?;
    ensure!(labels.0.len() > 10_000, "{} paths", labels.0.len());
    let wrong = labels.0.iter().filter(|(path, label)| wanted.0.get(*path) != Some(*label));
    let wrong: Vec<_> = wrong.take(10).map(|(path, label)| (path, label, wanted.0.get(path))).collect();
    ensure!(wrong.is_empty(), "path, label, what libselinux says: {wrong:#?}");

    let raw = warm.scratch.path().join("out/gpu-node.raw");
    let size = raw.metadata()?.len() + GROWTH;
    let disk = Disk { sector_size: SectorSize::B4096, size: Some(size), ..Disk::new(&raw) };
    let mut vm = Machine::new(disk, choose_accel(&warm.cache)?).channel().start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager", COMMAND)?.text());
    let sum = vm.must(LABELS, COMMAND)?;
    ensure!(sum.trim_end_matches([' ', '-']) == labels.sum("/usr"), "{LABELS}: {sum}, on the host {}", labels.sum("/usr"));
    for (script, wanted) in [
        ("getenforce", "Permissive"),
        (WRONG, ""),
        ("cat /sys/class/block/vda/queue/logical_block_size", "4096"),
        ("cat /sys/kernel/security/lockdown", "none [integrity] confidentiality"),
        ("ostree admin status | sed -n 's/^\\* gpu-node //p'", &format!("{commit}.0")),
        ("getcap /usr/bin/capable", "/usr/bin/capable cap_net_raw=ep"),
        (ATTRIBUTES, "SCHILY.xattr.user.basalt=kept"),
        // Both as the commit has them.
        (
            &format!(
                "ostree ls -X {commit} /usr/bin/capable | grep -c \"b'security.capability'.*0x01, 0x00, 0x00, 0x02, 0x00, 0x20,\""
            ),
            "1",
        ),
    ] {
        let found = vm.must(script, COMMAND)?;
        ensure!(found == wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
    }
    let grown: u64 = vm.must("stat -f -c '%b %S' /var | { read b s; echo $((b * s)); }", COMMAND)?.parse()?;
    ensure!(grown > GROWTH, "the root filesystem did not grow: {grown} bytes");
    Ok(())
}
