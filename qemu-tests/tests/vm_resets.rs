//! The reset button, at random times over the first boot of a node for which everything is wished that a virtual machine can be: it always ends
//! configured, as one that nobody disturbed.

use std::hash::{BuildHasher as _, RandomState};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use basalt::vm::{Disk, Machine, Network, Running, choose_accel};
use qemu_tests::{OpenStack, Scratch, SshKey, free_port, holds, reference_image};
use serde_json::json;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(900);
/// The agent works within so many seconds from when a boot first answers, and reboots the node once.
const SPAN: u64 = 40;
/// A reset in the middle of it, and the reboot that the agent asks for.
const BOOTS: u32 = 4;
const DISK: u64 = 4 << 30;
/// Of QEMU, all boots one by one.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// Of one node: after some more it is configured, and a reset meets nothing that it could break.
const RESETS: u32 = 5;
const NODES: u32 = 6;

const DESIRED: &str = r#"
identity.host-name = "node-{mac}"
tuned.profile = "basalt-node"
kernel.arguments = ["basalt.case=1"]
labels.tier = "case"
modules.load = ["rdma-rxe"]
identity.interfaces.rail0 = "52:54:00:12:34:56"
kubelet = { reserved-cpus = "0", taints = ["example.org/gpu=yes:NoSchedule"] }
"#;

#[test]
fn vm_a_node_that_is_reset_in_its_first_boot_ends_configured() -> Result<()> {
    resets()
}

#[test]
fn soak_nodes_that_are_reset_in_their_first_boots_end_configured() -> Result<()> {
    for number in 1..=NODES {
        println!("node {number} of {NODES}, {RESETS} resets each");
        resets()?;
    }
    Ok(())
}

fn resets() -> Result<()> {
    let image = reference_image()?;
    let scratch = Scratch::new()?;
    let key = SshKey::new(&scratch)?;
    let drive = OpenStack {
        meta_data: json!({ "hostname": "drive", "public_keys": { "case": key.public } }),
        network_data: json!({
            "links": [{ "id": "port0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1400 }],
            "networks": [{ "id": "net0", "link": "port0", "type": "ipv4_dhcp" }],
            "services": [],
        }),
        user_data: String::new(),
    };
    let drive = drive.drive(&scratch, "config-2.iso")?;
    // Each boot that is cut off leaves its part of systemd's journal, and a deployment that nobody finished.
    let disk = Disk { size: Some(DISK), ..Disk::new(&image.artefact("raw")?) };
    let machine = Machine::new(disk, choose_accel(&image.cache)?).channel().limit(Some(LIMIT));
    let machine = machine.network(Network::Ssh { host_port: free_port()? }).data_disk("config-drive", &drive);
    let mut vm = machine.credential("basalt.firstboot", DESIRED).start()?;
    vm.ready(BOOT)?;
    for number in 1..=RESETS {
        let seconds = RandomState::new().hash_one(number) % SPAN;
        println!("reset {number} after {seconds} s");
        sleep(Duration::from_secs(seconds));
        vm.reset(BOOT)?;
    }
    let status = settled(&mut vm)?;
    println!("{status}");
    ensure!(status.contains("State       configured\n"), "{status}");
    holds(
        &mut vm,
        COMMAND,
        &[
            ("hostname; hostnamectl --static", "node-525400123456\nnode-525400123456"),
            ("grep -cw basalt.case=1 /proc/cmdline", "1"),
            (
                "cat /etc/kubernetes/node-feature-discovery/features.d/basalt",
                "feature.node.kubernetes.io/image=gpu-node\nfeature.node.kubernetes.io/tier=case",
            ),
            ("grep -c example.org/gpu /etc/kubernetes/kubelet.conf.d/50-basalt.conf", "1"),
            ("cat /etc/basalt/authorized_keys/root", &key.public),
            ("cat /sys/class/net/rail0/mtu", "1400"),
            ("cat /sys/module/rdma_rxe/initstate", "live"),
            ("basalt-firstboot status | grep -c ' good '", "3"),
            ("tuned-adm active", "Current active profile: basalt-node"),
            ("basalt-firstboot plan; basalt-firstboot verify >/dev/null && echo holds", "Nothing differs.\nholds"),
            ("cat /sys/fs/ext4/vda*/errors_count | sort -u", "0"),
            // Nothing that a reset left half-made.
            ("find /etc /var/lib/basalt -name '.*.new' | wc -l", "0"),
        ],
    )?;
    Ok(vm.power_off(COMMAND)?)
}

/// What the agent says in the end. It may reboot the node before it says anything.
fn settled(vm: &mut Running) -> Result<String> {
    let mut last = None;
    for _ in 0..BOOTS {
        match vm.shell("basalt-firstboot status --wait", COMMAND) {
            Ok(output) => return Ok(output.text().to_string()),
            Err(error) => last = Some(error),
        }
    }
    bail!("the node does not come to rest: {last:?}")
}
