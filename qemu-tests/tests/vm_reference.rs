//! The boot proof: the unchanged raw disk, written to a larger one, boots with Secure Boot on and is what its manifest says.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, choose_accel};
use qemu_tests::{Image, reference_image};
use serde_json::Value;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(180);
const GROWTH: u64 = 2 << 30;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2FsdC10ZXN0cy1oYXZlLW5vLXByaXZhdGUta2V5 cases";
/// Of no password that anybody knows.
const HASH: &str = "$6$basaltcases$Z0Y5nCqUqk4dAa1Ck2DqZ7nLZq0eHmKxGQ1b1Zx0l0VQm0c7iBqjF3x3z2b6mT7oI0k0iY8M0G9fLrFJr1yHc/";

/// A script and what it must print.
type Row<'a> = (&'a str, &'a str);

fn holds(vm: &mut Running, rows: &[Row<'_>]) -> Result<()> {
    for (script, wanted) in rows {
        let found = vm.must(script, COMMAND)?;
        ensure!(found == *wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
    }
    Ok(())
}

fn manifest(image: &Image) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(image.folder.join("manifest.json"))?)?)
}

#[test]
fn vm_the_reference_image_is_what_its_manifest_says() -> Result<()> {
    let image = reference_image()?;
    let manifest = manifest(&image)?;
    let text = |key: &str| manifest[key].as_str().with_context(|| format!("manifest.json: no {key}"));
    let (plan, commit) = (text("plan")?, text("commit")?);
    let partitions = manifest["partitions"].as_array().context("manifest.json: no partitions")?;
    let root = partitions.iter().find(|partition| partition["label"] == "root").context("no root partition")?;
    let shipped_uuid = root["filesystem-id"].as_str().context("no UUID")?;

    let raw = image.artefact("raw")?;
    let size = raw.metadata()?.len() + GROWTH;
    let disk = Disk { size: Some(size), ..Disk::new(&raw) };
    let machine = Machine::new(disk, choose_accel(&image.cache)?).channel();
    let machine = machine.credential("ssh.authorized_keys.root", KEY).credential("passwd.hashed-password.root", HASH);
    let mut vm = machine.start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager", COMMAND)?.text());

    holds(
        &mut vm,
        &[
            ("cat /sys/kernel/security/lockdown", "none [integrity] confidentiality"),
            // Four bytes of attributes, then the value: on.
            ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
            ("ostree admin status | sed -n 's/^\\* gpu-node //p'", &format!("{commit}.0")),
            ("touch /usr/x 2>/dev/null && echo writable || echo read-only", "read-only"),
            ("echo kept >/etc/x && echo kept >/var/x && cat /etc/x", "kept"),
            ("cat /usr/etc/machine-id", "uninitialized"),
            ("grep -cx '[0-9a-f]\\{32\\}' /etc/machine-id", "1"),
            ("sed -n 's/^root:\\([^:]*\\):.*/\\1/p' /etc/shadow", HASH),
            ("cat /root/.ssh/authorized_keys", KEY),
            ("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean"),
        ],
    )?;
    let uuid = vm.must("blkid -p -s UUID -o value /dev/disk/by-label/root", COMMAND)?;
    ensure!(uuid.len() == 36 && uuid != shipped_uuid, "the root filesystem's UUID: {uuid}, shipped {shipped_uuid}");
    let grown: u64 = vm.must("stat -f -c '%b %S' /var | { read b s; echo $((b * s)); }", COMMAND)?.parse()?;
    ensure!(grown > GROWTH, "the root filesystem did not grow: {grown} bytes");

    agent_answers(&mut vm, plan, commit)?;

    let machine_id = vm.must("cat /etc/machine-id", COMMAND)?;
    vm.reboot(BOOT)?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "after a reboot: {state}");
    holds(
        &mut vm,
        &[
            ("cat /etc/x /var/x", "kept\nkept"),
            ("cat /etc/machine-id", &machine_id),
            ("blkid -p -s UUID -o value /dev/disk/by-label/root", &uuid),
        ],
    )?;
    agent_answers(&mut vm, plan, commit)
}

/// The agent's properties on the system bus, and its report file.
fn agent_answers(vm: &mut Running, plan: &str, commit: &str) -> Result<()> {
    let boot_id = vm.must("cat /proc/sys/kernel/random/boot_id", COMMAND)?;
    for (property, wanted) in [("State", "configured"), ("PlanId", plan), ("BootId", &boot_id), ("Deployment", commit)] {
        let name = "org.basalt.FirstBoot1";
        let script = format!("busctl get-property {name} /org/basalt/FirstBoot1 {name} {property}");
        holds(vm, &[(&script, &format!("s \"{wanted}\""))])?;
    }
    let report: Value = serde_json::from_slice(&vm.read_file("/var/lib/basalt/firstboot/report.json", COMMAND)?)?;
    ensure!(report["state"] == "configured" && report["boot_id"] == boot_id.as_str(), "report.json: {report}");
    Ok(())
}
