//! The boot proof: the unchanged raw disk, written to a larger one, boots with Secure Boot on and is what its manifest says; the qcow2
//! boots as well, by the program that a user has, and is another machine.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Network, Running, choose_accel};
use qemu_tests::{Basalt, Image, OpenStack, Scratch, SshKey, free_port, holds, manifest, reference_image, repository};
use serde_json::{Value, json};

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
/// Of QEMU, all boots one by one.
const LIMIT: Duration = Duration::from_secs(60 * 60);
const GROWTH: u64 = 2 << 30;
/// By anybody on the bus.
const APPLY: &str = "busctl call org.basalt.FirstBoot1 /org/basalt/FirstBoot1 org.basalt.FirstBoot1 Apply";
const PASSWORD: &str = "cases only";
/// Of the password.
const HASH: &str = "$6$basaltcases$KTZi1JLztinywP5Syw5ANKLQ9Z6jKSnaali.oBalPAvxkafBMIdOz/LhvSYE9KGvB3gjTHOkDKKIxjnvcypYV0";
/// The workspace has one version: the agent's is that of these cases.
const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What this machine should be: QEMU's network card has this address.
const DESIRED: &str = r#"
identity.host-name = "node-{mac}"
modules.load = ["rdma-rxe"]

[[when]]
name = "machines of QEMU"
match = { dmi = { sys_vendor = "QEMU" }, processors = { at-least = 2 } }
set = { labels = { tier = "case" }, kubelet = { reserved-cpus = "0", labels = { "example.org/rack" = "7" } } }

[[when]]
name = "machines with a GPU"
match.pci = [{ id = "10de:*" }]
set.labels.tier = "training"
"#;
/// For the image's drop-in, which has it wait and gives it arguments: it takes them as kubeadm's unit does. Nobody waits for it.
const KUBELET: &str = "[Unit]\nDefaultDependencies=no\nConditionPathExists=!/etc/initrd-release\n\
                       [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo kubelet $KUBELET_EXTRA_ARGS\n";
const PROFILE: &str = "the profile basalt-node, verified by tuned";
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
    let others = Scratch::new()?;
    let drives_key = SshKey::new(&others)?;
    let drive = config_drive(&others, &drives_key)?;
    let host_port = free_port()?;
    let raw = image.artefact("raw")?;
    let size = raw.metadata()?.len() + GROWTH;
    let disk = Disk { size: Some(size), ..Disk::new(&raw) };
    let machine = Machine::new(disk, choose_accel(&image.cache)?).channel().network(Network::Ssh { host_port });
    let machine = machine.limit(Some(LIMIT));
    let machine =
        machine.credential("ssh.authorized_keys.root", key.public.as_str()).credential("passwd.hashed-password.root", HASH);
    let machine = machine.credential("basalt.firstboot", DESIRED).data_disk("config-drive", &drive);
    let machine = machine.unit("kubelet.service", KUBELET, "basic.target");
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
    a_config_drive_is_honoured(&mut vm, &drives_key, host_port)?;
    it_became_what_it_should_be(&mut vm)?;

    only_who_asks_for_it_waits(&mut vm)?;
    what_was_waited_for_in_vain_is_reached_once_it_is_mended(&mut vm)?;

    kernel_arguments_come_and_go(&mut vm)?;
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

/// As OpenStack gives one: a host name that the credential overrules, a key, a bond over the network card, with address and MTU, and a VLAN on it.
fn config_drive(scratch: &Scratch, key: &SshKey) -> Result<PathBuf> {
    let drive = OpenStack {
        meta_data: json!({ "uuid": "6c1f0a55", "hostname": "drive", "public_keys": { "case": key.public } }),
        network_data: json!({
            "links": [
                { "id": "port0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56" },
                {
                    "id": "uplink", "type": "bond", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1400, "bond_links": ["port0"],
                    "bond_mode": "active-backup", "bond_miimon": 100,
                },
                { "id": "storage", "type": "vlan", "vlan_link": "uplink", "vlan_id": 42, "vlan_mac_address": "52:54:00:12:34:57" },
            ],
            "networks": [
                {
                    "id": "net0", "link": "uplink", "type": "ipv4", "ip_address": "10.0.2.15", "netmask": "255.255.255.0",
                    "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2" }],
                },
                { "id": "net1", "link": "storage", "type": "ipv4", "ip_address": "192.0.2.5/24" },
            ],
            "services": [],
        }),
        user_data: String::new(),
    };
    drive.drive(scratch, "config-2.iso")
}

/// The kernel, sshd and the journal say so.
fn a_config_drive_is_honoured(vm: &mut Running, key: &SshKey, port: u16) -> Result<()> {
    const BOND: &str = "bond=$(cat /sys/class/net/bonding_masters)";
    holds(
        vm,
        COMMAND,
        &[
            (
                &format!("{BOND}; ip -4 -o addr show dev $bond | grep -o 'inet .* brd [^ ]* scope global[^ ]*'"),
                "inet 10.0.2.15/24 brd 10.0.2.255 scope global",
            ),
            (
                &format!("{BOND}; cat /sys/class/net/$bond/mtu; sed 's/ .*//' /sys/class/net/$bond/bonding/mode"),
                "1400\nactive-backup",
            ),
            (&format!("{BOND}; wc -w </sys/class/net/$bond/bonding/slaves"), "1"),
            ("ip -4 -o addr show to 192.0.2.5 | grep -o 192.0.2.5/24", "192.0.2.5/24"),
            ("ip -d -o link show type vlan | grep -o 'protocol 802.1Q id 42'", "protocol 802.1Q id 42"),
            ("cat /etc/basalt/authorized_keys/root", &key.public),
            (
                "journalctl -b -u basalt-firstboot | grep -o 'meta_data.json: not honoured: uuid' | sort -u",
                "meta_data.json: not honoured: uuid",
            ),
        ],
    )?;
    login_by_ssh(vm, key, port)
}

/// An argument that the image does not carry, which is a deployment of its own, a site's profile of tuned that takes another one and is wished
/// for machines like this one, and a name for the network card: one reboot by the agent for all. Nobody wishes them any more: one more.
fn kernel_arguments_come_and_go(vm: &mut Running) -> Result<()> {
    const DEPLOYMENTS: &str =
        "ostree admin status | sed -n 's/^\\(..\\)gpu-node [0-9a-f]*\\(.[0-9]*\\).*/\\1\\2/p' | tr '\\n' '|'";
    let wish = "mkdir -p /etc/basalt/firstboot.d /etc/tuned/profiles/site\n\
                printf '[main]\\ninclude=basalt-node\\n[bootloader]\\ncmdline_site=+basalt.site=1\\n' >/etc/tuned/profiles/site/tuned.conf\n\
                cat >/etc/basalt/firstboot.d/60-case.toml <<'E'\n\
                kernel.arguments = [\"basalt.case=1\"]\nidentity.interfaces.rail0 = \"52:54:00:12:34:56\"\n\
                [[when]]\nname = \"machines of QEMU\"\nmatch.dmi.sys_vendor = \"QEMU\"\n\
                set.tuned.profile = \"site\"\n\
                [[when]]\nname = \"machines with a GPU\"\nmatch.pci = [{ id = \"10de:*\" }]\n\
                set.tuned.profile = \"basalt-gpu-inference\"\nE";
    let before = vm.must("cat /proc/cmdline", COMMAND)?;
    let origin = vm.must("sort -u /ostree/deploy/gpu-node/deploy/*.origin", COMMAND)?;
    for (wish, count, profile, deployments) in
        [(wish, "1", "site", "* .1|  .0|"), ("rm /etc/basalt/firstboot.d/60-case.toml", "0", "basalt-node", "* .2|  .1|")]
    {
        vm.must(wish, COMMAND)?;
        vm.reboot_by(APPLY, BOOT)?;
        comes_up(vm).context("after the agent's reboot")?;
        holds(
            vm,
            COMMAND,
            &[
                ("basalt-firstboot status --wait >/dev/null && echo configured", "configured"),
                ("grep -cw basalt.case=1 /proc/cmdline; :", count),
                ("grep -cw basalt.site=1 /proc/cmdline; :", count),
                ("tuned-adm active", &format!("Current active profile: {profile}")),
                (&format!("basalt-firstboot status | grep -c 'the profile {profile}, verified by tuned'"), "1"),
                ("ls /sys/class/net | grep -cx rail0; :", count),
                // The bond has its port under either name.
                ("wc -w </sys/class/net/$(cat /sys/class/net/bonding_masters)/bonding/slaves", "1"),
                (DEPLOYMENTS, deployments),
                ("sort -u /ostree/deploy/gpu-node/deploy/*.origin", &origin),
            ],
        )?;
    }
    let words =
        |line: &str| line.split_whitespace().filter(|word| !word.starts_with("ostree=")).map(str::to_owned).collect::<Vec<_>>();
    let after = vm.must("cat /proc/cmdline", COMMAND)?;
    ensure!(words(&after) == words(&before), "{after}, before {before}");
    Ok(())
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
    let holds = report["holds"].as_array().context("report.json: nothing holds")?;
    ensure!(holds.iter().any(|held| held["subject"] == "tuned" && held["what"] == PROFILE), "report.json: {report}");
    Ok(())
}

/// The service read desired state from a system credential, applied it before anybody logged in, and finds that it holds.
fn it_became_what_it_should_be(vm: &mut Running) -> Result<()> {
    let status = vm.must("basalt-firstboot status --wait", COMMAND)?;
    for (name, what) in [
        ("identity/host-name", format!("the host name {HOST_NAME}, now localhost")),
        ("modules", "loaded: rdma_rxe".to_owned()),
        ("tuned", PROFILE.to_owned()),
        ("disk-write", "good".to_owned()),
        ("memory", "good".to_owned()),
    ] {
        ensure!(status.lines().any(|line| line.contains(name) && line.contains(&what)), "{name}, {what}:\n{status}");
    }
    let changed = |labels: &str| format!("basalt-firstboot explain labels/features | sed -n 's/^{labels}  *//p' | tail -n 1");
    holds(
        vm,
        COMMAND,
        &[
            ("hostname; hostnamectl --static", &format!("{HOST_NAME}\n{HOST_NAME}")),
            (
                "cat /etc/kubernetes/node-feature-discovery/features.d/basalt",
                "feature.node.kubernetes.io/image=gpu-node\nfeature.node.kubernetes.io/tier=case",
            ),
            (
                "grep -o '\"reservedSystemCPUs\": \"0\"' /etc/kubernetes/kubelet.conf.d/50-basalt.conf",
                "\"reservedSystemCPUs\": \"0\"",
            ),
            (
                "journalctl -b -u kubelet -o cat | grep ^kubelet",
                "kubelet --node-labels=example.org/rack=7,node.kubernetes.io/instance-type=gpu-node",
            ),
            ("cat /sys/module/rdma_rxe/initstate", "live"),
            (
                "journalctl -b -o json MESSAGE_ID=c692ebd0b8a7479e887e8a4da5f7bd34 | grep -o '\"BASALT_STATE\":\"[a-z]*\"'",
                "\"BASALT_STATE\":\"configured\"",
            ),
            (
                "journalctl -b -x MESSAGE_ID=c692ebd0b8a7479e887e8a4da5f7bd34 | sed -n 's/.*Subject: //p'",
                "The first-boot agent is done: configured",
            ),
            ("systemctl is-active basalt-configured.target", "active"),
            ("cat /run/cluster-api/bootstrap-success.complete", "success"),
            ("head -n 1 /run/issue.d/50-basalt.issue | cut -d: -f 2 | cut -d, -f 1", " configured"),
            ("basalt-firstboot plan; basalt-firstboot apply | head -n 1", "Nothing differs.\nNothing differs."),
            // Without what only root may read, an ordinary user is told the same, or why not.
            ("setpriv --reuid nobody --clear-groups basalt-firstboot plan 2>&1 | head -n 1", "Nothing else differs."),
            (
                "setpriv --reuid nobody --clear-groups basalt-firstboot apply 2>&1; :",
                "basalt-firstboot: the running agent: org.basalt.FirstBoot1.apply: polkit does not allow it",
            ),
            // A line of a label is taken away by hand: it is found, explained and put back.
            ("echo tier=other >/etc/kubernetes/node-feature-discovery/features.d/basalt", ""),
            (&changed("Asked by"), "/run/credentials/@system/basalt.firstboot:8:27"),
            ("basalt-firstboot verify | grep -o 'labels: it differs: 2 labels'", "labels: it differs: 2 labels"),
            (
                &format!(
                    "{APPLY}; basalt-firstboot status --wait >/dev/null; cat /etc/kubernetes/node-feature-discovery/features.d/basalt"
                ),
                "feature.node.kubernetes.io/image=gpu-node\nfeature.node.kubernetes.io/tier=case",
            ),
        ],
    )?;
    units_are_sandboxed(vm)
}

/// A mistake in desired state fails the target, and the agent's next success reaches it.
fn what_was_waited_for_in_vain_is_reached_once_it_is_mended(vm: &mut Running) -> Result<()> {
    let state = format!("{APPLY}; basalt-firstboot status --wait | sed -n 's/^State *//p'");
    holds(
        vm,
        COMMAND,
        &[
            ("mkdir -p /etc/basalt/firstboot.d; echo 'label.tier = 1' >/etc/basalt/firstboot.d/70-case.toml", ""),
            (&state, "degraded"),
            (
                "systemctl restart basalt-configured.service 2>/dev/null || systemctl is-failed basalt-configured.service",
                "failed",
            ),
            ("systemctl is-active basalt-configured.target; :", "inactive"),
            ("rm /etc/basalt/firstboot.d/70-case.toml", ""),
            (&state, "configured"),
            ("until systemctl is-active -q basalt-configured.target; do sleep 1; done; echo reached", "reached"),
        ],
    )
}

/// By systemd's own account of the boot.
fn only_who_asks_for_it_waits(vm: &mut Running) -> Result<()> {
    let mut chain = |unit: &str| vm.must(&format!("systemd-analyze critical-chain --no-pager {unit}"), COMMAND);
    let (kubelet, boot) = (chain("kubelet.service")?, chain("multi-user.target")?);
    println!("{kubelet}\n{boot}");
    ensure!(kubelet.contains("basalt-configured.target @"), "{kubelet}");
    ensure!(boot.contains("basic.target @") && !boot.contains("basalt-configured"), "{boot}");
    let waiting = |unit: &str| format!("systemctl show -P Before {unit} | xargs -n 1 | sort | xargs");
    holds(
        vm,
        COMMAND,
        &[
            (&waiting("basalt-configured.service"), "basalt-configured.target shutdown.target"),
            (&waiting("basalt-configured.target"), "kubelet.service shutdown.target"),
        ],
    )
}

/// By systemd's own count: 0 is none, 10 is all.
fn units_are_sandboxed(vm: &mut Running) -> Result<()> {
    for unit in
        ["basalt-firstboot.service", "basalt-configured.service", "basalt-kernel-arguments.service", "basalt-acceptance.service"]
    {
        let script = format!("systemd-analyze security --no-pager {unit} | tail -n 1");
        let line = vm.must(&script, COMMAND)?;
        let exposure: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).with_context(|| line.clone())?;
        ensure!(exposure <= 3.5, "{line}");
        println!("{line}");
    }
    let peak = vm.must(
        "sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(systemctl show -P MainPID basalt-firstboot)/status",
        COMMAND,
    )?;
    println!("VmHWM of the agent: {peak} KiB");
    ensure!(peak.parse::<u64>()? <= 15 << 10, "VmHWM is {peak} KiB, needed at most 15 MiB");
    Ok(())
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
