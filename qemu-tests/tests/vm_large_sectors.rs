//! A disk with 4096-byte sectors boots and grows as one with 512 does; a file's capability and other attributes get to the node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, SectorSize, choose_accel};
use qemu_tests::Warm;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(120);
const GROWTH: u64 = 1 << 30;
/// `CAP_NET_RAW`, effective and permitted, as `struct vfs_cap_data` of revision 2.
const FILE: &str = r#"
[[file]]
path = "/usr/bin/capable"
source = "capable"
mode = "0755"
xattrs = { "security.capability" = "0sAQAAAgAgAAAAAAAAAAAAAAAAAAA=", "user.basalt" = "kept" }
"#;
/// The attributes of a file as GNU tar archives them.
const ATTRIBUTES: &str = "tar --xattrs --xattrs-include=user.* -C / -cf - usr/bin/capable | grep -ao 'SCHILY.xattr.user.*'";

#[test]
fn vm_a_disk_with_large_sectors_boots() -> Result<()> {
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)?;
    let changed = text.replace("sector-size = 512", "sector-size = 4096") + FILE;
    ensure!(changed.len() > text.len() + FILE.len(), "the reference recipe has no sector-size = 512 to change");
    fs::write(&warm.recipe, changed)?;
    warm.scratch.write("image-recipes/capable", "a file\n")?;
    warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
    let manifest = warm.manifest("out")?;
    ensure!(manifest["sector-size"] == 4096, "manifest.json: {manifest}");
    let commit = manifest["commit"].as_str().context("manifest.json: no commit")?;

    let raw = warm.scratch.path().join("out/gpu-node.raw");
    let size = raw.metadata()?.len() + GROWTH;
    let disk = Disk { sector_size: SectorSize::B4096, size: Some(size), ..Disk::new(&raw) };
    let mut vm = Machine::new(disk, choose_accel(&warm.cache)?).channel().start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager", COMMAND)?.text());
    for (script, wanted) in [
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
