//! The boot proof: the unchanged raw disk, written to a larger one, boots with Secure Boot on and is what its manifest says; the qcow2
//! boots as well, by the program that a user has, and is another machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Network, Running, choose_accel};
use qemu_tests::{Basalt, Image, Scratch, SshKey, free_port, holds, manifest, reference_image, repository};
use serde_json::Value;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const GROWTH: u64 = 2 << 30;
const PASSWORD: &str = "cases only";
/// Of the password.
const HASH: &str = "$6$basaltcases$KTZi1JLztinywP5Syw5ANKLQ9Z6jKSnaali.oBalPAvxkafBMIdOz/LhvSYE9KGvB3gjTHOkDKKIxjnvcypYV0";
/// The workspace has one version: the agent's is that of these cases.
const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What this machine should be: QEMU's network card has this address.
const DESIRED: &str = r#"
identity.host-name = "node-{mac}"

[[when]]
name = "machines of QEMU"
match = { dmi = { sys_vendor = "QEMU" }, processors = { at-least = 2 } }
set = { labels = { tier = "case" }, kubelet = { reserved-cpus = "0" } }

[[when]]
name = "machines with a GPU"
match.pci = [{ id = "10de:*" }]
set.labels.tier = "training"
"#;
const HOST_NAME: &str = "node-525400123456";

/// What two machines of one image must not share.
struct Identity {
    machine_id: String,
    root_uuid: String,
}

#[test]
fn vm_the_reference_image_is_what_its_manifest_says() -> Result<()> {
    let image = reference_image()?;
    let identity = the_raw_disk(&image)?;
    the_qcow2_is_another_machine(&image, &identity)
}

fn the_raw_disk(image: &Image) -> Result<Identity> {
    let manifest = manifest(&image.folder)?;
    let text = |key: &str| manifest[key].as_str().with_context(|| format!("manifest.json: no {key}"));
    let (plan, commit) = (text("plan")?, text("commit")?);
    let partitions = manifest["partitions"].as_array().context("manifest.json: no partitions")?;
    let root = partitions.iter().find(|partition| partition["label"] == "root").context("no root partition")?;
    let shipped_uuid = root["filesystem-id"].as_str().context("no UUID")?;

    let scratch = Scratch::new()?;
    let key = SshKey::new(&scratch)?;
    let host_port = free_port()?;
    let raw = image.artefact("raw")?;
    let size = raw.metadata()?.len() + GROWTH;
    let disk = Disk { size: Some(size), ..Disk::new(&raw) };
    let machine = Machine::new(disk, choose_accel(&image.cache)?).channel().network(Network::Ssh { host_port });
    let machine =
        machine.credential("ssh.authorized_keys.root", key.public.as_str()).credential("passwd.hashed-password.root", HASH);
    let machine = machine.credential("basalt.firstboot", DESIRED);
    let mut vm = machine.start()?;
    comes_up(&mut vm)?;

    holds(
        &mut vm,
        COMMAND,
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
            ("cat /root/.ssh/authorized_keys", &key.public),
            ("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean"),
        ],
    )?;
    let machine_id = vm.must("cat /etc/machine-id", COMMAND)?;
    let root_uuid = vm.must("blkid -p -s UUID -o value /dev/disk/by-label/root", COMMAND)?;
    ensure!(
        root_uuid.len() == 36 && root_uuid != shipped_uuid,
        "the root filesystem's UUID: {root_uuid}, shipped {shipped_uuid}"
    );
    let grown: u64 = vm.must("stat -f -c '%b %S' /var | { read b s; echo $((b * s)); }", COMMAND)?.parse()?;
    ensure!(grown > GROWTH, "the root filesystem did not grow: {grown} bytes");

    let version = text("image-version")?;
    vm.expect(&format!("Basalt gpu-node {version}: configured, plan {}", &plan[..12]), COMMAND)?;
    agent_answers(&mut vm, plan, commit)?;
    login_by_ssh(&mut vm, &key, host_port)?;
    login_by_console(&mut vm)?;
    it_becomes_what_it_should_be(&mut vm)?;

    vm.reboot(BOOT)?;
    comes_up(&mut vm).context("after a reboot")?;
    holds(
        &mut vm,
        COMMAND,
        &[
            ("cat /etc/x /var/x", "kept\nkept"),
            ("cat /etc/machine-id", &machine_id),
            ("hostnamectl --transient; hostnamectl --static", &format!("{HOST_NAME}\n{HOST_NAME}")),
            ("basalt-firstboot plan", "Nothing differs."),
            // What growing and the new UUID left behind is sound.
            ("cat /sys/fs/ext4/vda*/errors_count | sort -u", "0"),
            ("blkid -p -s UUID -o value /dev/disk/by-label/root", &root_uuid),
        ],
    )?;
    agent_answers(&mut vm, plan, commit)?;
    Ok(Identity { machine_id, root_uuid })
}

/// With no failed unit; else says what the failed ones told.
fn comes_up(vm: &mut Running) -> Result<()> {
    let state = vm.wait_for_boot(BOOT)?;
    let why = "systemctl --failed --plain --no-legend | while read unit rest; do systemctl status --no-pager --full $unit; done";
    ensure!(state == "running", "{state}: {}", vm.shell(why, COMMAND)?.text());
    Ok(())
}

/// The agent's properties on the system bus, and its report file.
fn agent_answers(vm: &mut Running, plan: &str, commit: &str) -> Result<()> {
    let boot_id = vm.must("cat /proc/sys/kernel/random/boot_id", COMMAND)?;
    // tuned starts late, and the agent has it verify.
    vm.must("basalt-firstboot status --wait", COMMAND)?;
    for (property, wanted) in
        [("State", "configured"), ("Version", AGENT_VERSION), ("PlanId", plan), ("BootId", &boot_id), ("Deployment", commit)]
    {
        let name = "org.basalt.FirstBoot1";
        let script = format!("busctl get-property {name} /org/basalt/FirstBoot1 {name} {property}");
        holds(vm, COMMAND, &[(&script, &format!("s \"{wanted}\""))])?;
    }
    let report: Value = serde_json::from_slice(&vm.read_file("/var/lib/basalt/firstboot/report.json", COMMAND)?)?;
    ensure!(report["state"] == "configured" && report["boot_id"] == boot_id.as_str(), "report.json: {report}");
    ensure!(report["tuned"]["profile"] == "basalt-node" && report["tuned"]["verified"] == true, "report.json: {report}");
    Ok(())
}

/// Desired state from a system credential is planned, applied once, and found to hold.
fn it_becomes_what_it_should_be(vm: &mut Running) -> Result<()> {
    let plan = vm.must("basalt-firstboot plan", COMMAND)?;
    let asked = "asked for by /run/credentials/@system/basalt.firstboot:2:22";
    ensure!(plan.contains(&format!("the host name {HOST_NAME}, now ")) && plan.contains(asked), "{plan}");
    let done = vm.must("basalt-firstboot apply", COMMAND)?;
    ensure!(done.lines().count() == 3 && done.lines().all(|line| line.starts_with("done ")), "{done}");
    holds(
        vm,
        COMMAND,
        &[
            ("hostname; hostnamectl --static", &format!("{HOST_NAME}\n{HOST_NAME}")),
            ("cat /etc/kubernetes/node-feature-discovery/features.d/basalt", "tier=case"),
            (
                "grep -o '\"reservedSystemCPUs\": \"0\"' /etc/kubernetes/kubelet.conf.d/50-basalt.conf",
                "\"reservedSystemCPUs\": \"0\"",
            ),
            ("basalt-firstboot apply", "Nothing differs."),
            // Without what only root may read, an ordinary user is told the same, or why not.
            ("setpriv --reuid nobody --clear-groups basalt-firstboot plan 2>&1 | head -n 1", "Nothing else differs."),
        ],
    )
}

/// From outside, with the key of the credential: the same boot answers there as on the channel.
fn login_by_ssh(vm: &mut Running, key: &SshKey, port: u16) -> Result<()> {
    let boot_id = vm.must("cat /proc/sys/kernel/random/boot_id", COMMAND)?;
    vm.must("/usr/lib/systemd/systemd-networkd-wait-online --any --ipv4 --timeout=120", COMMAND)?;
    let found = key.root(port, "cat /proc/sys/kernel/random/boot_id")?;
    ensure!(found == boot_id, "over SSH answers the boot {found}, needed {boot_id}");
    Ok(())
}

/// At the console, with the password whose hash is the credential. Nothing but what is typed comes between prompt and answer: the
/// kernel's notices stay in the journal.
fn login_by_console(vm: &mut Running) -> Result<()> {
    // The agent's line, which comes when tuned has verified, may lie over the prompt.
    vm.console()?.send("\r")?;
    vm.expect(" login: ", COMMAND)?;
    for (keys, answer) in [("root\r", "Password: "), (&format!("{PASSWORD}\r"), "# "), ("echo $((6 * 7))\r", "\r42\r\n")] {
        vm.console()?.send(keys)?;
        let shown = vm.expect(answer, COMMAND)?;
        ensure!(!shown.contains("audit:"), "the kernel talks into a login:\n{shown}");
    }
    Ok(())
}

/// A machine of the same image has an id and a filesystem of its own, and passes the recipe's own checks.
fn the_qcow2_is_another_machine(image: &Image, first: &Identity) -> Result<()> {
    let scratch = Scratch::new()?;
    let recipe = scratch.copy(&repository().join("image-recipes"))?.join("gpu-node-stock.toml");
    let Identity { machine_id, root_uuid } = first;
    let more = format!(
        r#"
[[check]]
name = "it has a machine id, and not that of another machine"
run = ["grep", "--count", "--invert-match", "--line-regexp", "{machine_id}\\|uninitialized\\|", "/etc/machine-id"]
stdout = "1"

[[check]]
name = "no filesystem here has the UUID of another machine's root"
run = ["blkid", "--cache-file", "/dev/null", "--uuid", "{root_uuid}"]
status = 2
"#
    );
    fs::write(&recipe, fs::read_to_string(&recipe)? + &more)?;
    let ran = Basalt::new(["test", "--json", "--recipe"])
        .arg(&recipe)
        .arg(image.artefact("qcow2")?)
        .cache(&image.cache)
        .run(&scratch)?;
    ensure!(ran.code == 0, "exit code {}\n{}\n{}", ran.code, ran.stdout, ran.stderr);
    ensure!(ran.stdout.contains("not that of another machine"), "the added checks did not run:\n{}", ran.stdout);
    Ok(())
}
