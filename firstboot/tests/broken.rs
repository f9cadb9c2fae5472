//! Every file that the agent reads, broken in every way: named reasons, never a panic, and the rest is done. So with whoever is on the bus.

use std::collections::BTreeSet;
use std::time::Duration;

use basalt_contract::{Fault, StepState};
use basalt_firstboot::apply::{Applied, apply, plan, verify};
use basalt_firstboot::backend::PeerError;
use basalt_firstboot::export::export;
use basalt_firstboot::facts;
use basalt_firstboot_sim::SimulatedNode;

const WISHES: &str = r#"identity.host-name = "gpu-{serial}"
tuned.profile = "basalt-gpu-training"
kernel.arguments = ["iommu=pt"]
labels.tier = "training"
kubelet.reserved-cpus = "0-1"
kubelet.labels."example.org/rack" = "7"
modules.load = ["rdma-rxe"]
identity.interfaces.enp1s0 = "52:54:00:12:34:56"
"#;
const ALL: [&str; 10] =
    ["drivers", "identity", "interfaces", "kernel", "kubelet", "labels", "modules", "network", "ssh-keys", "tuned"];

/// What makes nothing sure any more: then nothing is done.
const STOPS: [&str; 2] = ["desired-state", "config-drive"];

/// A file that is read, what is in it, and what may be left undone, with a reason, when it is broken.
const FILES: [(&str, &str, &[&str]); 31] = [
    ("/usr/lib/basalt/image.json", include_str!("../contract/fixtures/image-1.json"), &[]),
    ("/usr/lib/basalt/tuned.json", include_str!("../contract/fixtures/tuned-1.json"), &[]),
    ("/proc/sys/kernel/random/boot_id", "2f6d3ee1-6b0f-4a52-9d0f-7f0c7a3e5a11\n", &[]),
    ("/etc/machine-id", "6c1f0a55a4f94f0a8f5a1b2c3d4e5f60\n", &[]),
    ("/proc/self/mountinfo", "1 1 0:30 / / rw - overlay overlay ro\n", &[]),
    ("/sys/devices/system/cpu/online", "0-1\n", &[]),
    ("/proc/meminfo", "MemTotal: 2014156 kB\n", &[]),
    ("/sys/class/dmi/id/product_name", "Standard PC\n", &[]),
    ("/sys/class/dmi/id/product_serial", "CZ1234\n", &["identity"]),
    ("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n", &["drivers"]),
    ("/sys/bus/pci/devices/0000:01:00.0/device", "0x2330\n", &["drivers"]),
    ("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n", &["drivers"]),
    ("/sys/class/net/enp1s0/address", "52:54:00:12:34:56\n", &["interfaces"]),
    ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet ostree=/ostree/boot.1/basalt/abc/0\n", &ALL),
    ("/etc/basalt/firstboot.d/50-site.toml", WISHES, &ALL),
    ("/run/credentials/@system/basalt.firstboot", "", &ALL),
    ("/sys/firmware/qemu_fw_cfg/by_name/opt/org.basalt/firstboot/raw", "", &ALL),
    ("/run/basalt/config-drive/nocloud/meta-data", "instance-id: i\n", &ALL),
    (
        "/run/basalt/config-drive/nocloud/user-data",
        "#cloud-config\nssh_authorized_keys:\n- ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4oMs7dBk me\n",
        &ALL,
    ),
    (
        "/run/basalt/config-drive/nocloud/network-config",
        "version: 2\nethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:56'}\n    dhcp4: true\n",
        &ALL,
    ),
    ("/proc/sys/kernel/hostname", "localhost\n", &["identity"]),
    ("/etc/hostname", "old\n", &["identity"]),
    ("/etc/basalt/authorized_keys/root", "old\n", &["ssh-keys"]),
    ("/etc/modules-load.d/50-basalt.conf", "old\n", &["modules"]),
    ("/etc/systemd/network/05-basalt-enp1s0.link", "old\n", &["interfaces"]),
    ("/etc/kubernetes/kubelet.conf.d/50-basalt.conf", "{}\n", &["kubelet"]),
    ("/etc/kubernetes/basalt-kubelet.env", "KUBELET_EXTRA_ARGS=\n", &["kubelet"]),
    ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=\n", &["kubelet"]),
    ("/etc/kubernetes/node-feature-discovery/features.d/basalt", "old=1\n", &["labels"]),
    ("/etc/tuned/bootcmdline", "TUNED_BOOT_CMDLINE=\"pci=realloc=off\"\n", &["kernel"]),
    ("/boot/loader/entries/ostree-1.conf", "title x\noptions quiet root=LABEL=root\n", &["kernel"]),
];

/// Folders that are read, and what may be left undone when they are broken.
const FOLDERS: [(&str, &[&str]); 5] = [
    ("/sys/bus/pci/devices", &["drivers"]),
    ("/sys/class/net", &["interfaces"]),
    ("/etc/basalt/firstboot.d", &ALL),
    ("/etc/systemd/network", &["interfaces", "network"]),
    ("/boot/loader/entries", &["kernel"]),
];

/// Links, and a file of the agent's own that is not there yet.
const OTHERS: [(&str, &[&str]); 4] = [
    ("/sys/bus/pci/devices/0000:01:00.0/driver", &["drivers"]),
    ("/sys/class/net/enp1s0/device", &[]),
    ("/sysroot/ostree/boot.1/basalt/abc/0", &[]),
    ("/var/lib/basalt/firstboot/kernel-arguments.json", &["kernel"]),
];

/// What says it, too, when this does not.
const SAID_TWICE: &str = "/proc/self/mountinfo";
const JOURNAL: &str = "/var/lib/basalt/firstboot/journal.json";

fn node() -> SimulatedNode {
    let files: Vec<_> = FILES.iter().map(|(path, text, _)| (*path, *text)).collect();
    let node = SimulatedNode::new(&files).with_tuned("balanced\n").with_modules(&["rdma_rxe"]);
    let checksum = "9a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9";
    for (path, target) in [
        ("/sys/bus/pci/devices/0000:01:00.0/driver", "../../../bus/pci/drivers/nvidia"),
        ("/sys/class/net/enp1s0/device", "../../../0000:02:00.0"),
        ("/sysroot/ostree/boot.1/basalt/abc/0", &format!("../../../deploy/basalt/deploy/{checksum}.0")),
    ] {
        node.link(path, target);
    }
    node
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
        // Simulated time: tuned alone is waited for, as long as it says.
        tokio::time::timeout(Duration::from_secs(1200), future).await.expect("it ends in time")
    })
}

/// All that is told of a node, and what was done on it.
fn told(node: &SimulatedNode, case: &str) -> (BTreeSet<String>, Vec<Fault>) {
    let outside = node.outside();
    let facts = facts::collect(outside.files.as_ref());
    let planned = run(plan(&outside, &facts));
    let exported = run(export(&outside, &facts)).unwrap_or_else(|why| panic!("{case}: {why}"));
    assert!(exported.lines().all(|line| line.len() < 2_000), "{case}");
    let Applied { steps, holds, faults, .. } = run(apply(&outside, &facts, &mut |_| ()));
    let verified = run(verify(&outside, &facts));
    let done = steps.iter().filter(|step| step.state == StepState::Done).map(|step| step.name.split('/').next().unwrap());
    let done = done.chain(holds.iter().map(|holds| holds.subject.as_str())).map(str::to_owned).collect();
    for Fault { subject, what, next_step } in facts.faults.iter().chain(&planned.faults).chain(&faults).chain(&verified.faults) {
        assert!(!subject.is_empty() && !next_step.is_empty() && what.len() < 2_000, "{case}: {subject}: {what}; {next_step}");
    }
    (done, facts.faults.into_iter().chain(faults).collect())
}

/// Whatever is broken at `path`, what has nothing to do with it is done, and what is not done has a reason.
fn survives(node: &SimulatedNode, path: &str, how: &str, may_be_left: &[&str]) -> Vec<Fault> {
    let case = format!("{path}: {how}");
    let (done, faults) = told(node, &case);
    for subject in ALL.into_iter().filter(|subject| !done.contains(*subject)) {
        let stops = |why: &str| STOPS.contains(&why) || (subject, why) == ("drivers", "hardware");
        let reason = faults.iter().find(|fault| fault.subject == subject || stops(&fault.subject));
        // User data may be anything: what is not for the agent is told, and no fault.
        // A device that went away meanwhile is none.
        let gone = how == "missing" && path.starts_with("/sys/bus/pci/devices/") && subject == "drivers";
        let told = gone || reason.is_some() || node.warnings().iter().any(|warning| warning.contains(path));
        assert!(told && may_be_left.contains(&subject), "{case}: {subject} is not done: {faults:?}");
    }
    faults
}

const UNREADABLE: [(&str, i32); 2] = [("an error of the device", 5), ("not allowed", 13)];

#[test]
fn a_whole_node_becomes_what_it_should_be() {
    let (done, faults) = told(&node(), "whole");
    assert_eq!((done, faults), (ALL.map(str::to_owned).into(), vec![]));
}

#[test]
fn whatever_cannot_be_read_is_named() {
    let files = FILES.iter().map(|(path, _, may_be_left)| (*path, *may_be_left));
    for (path, may_be_left) in files.chain(FOLDERS).chain(OTHERS) {
        for (how, errno) in UNREADABLE {
            let node = node();
            node.spoil(path, errno);
            let faults = survives(&node, path, how, may_be_left);
            // A serial number is for root alone.
            let named = faults.iter().any(|fault| fault.what.contains(path));
            let hidden = path.starts_with("/sys/class/dmi") && errno == 13;
            assert!(named || hidden || path == SAID_TWICE, "{path}: {how}: {faults:?}");
        }
    }
}

#[test]
fn whatever_is_something_else_is_named_or_nothing() {
    let huge = "x".repeat(1 << 20);
    for (path, text, may_be_left) in FILES {
        let ways: [(&str, &[u8]); 5] = [
            ("empty", b""),
            ("not UTF-8", b"\xff\xfe\0\x1b[2J\n"),
            ("a word", b"garbage\n"),
            ("large", huge.as_bytes()),
            ("too large", &[b"x", huge.as_bytes()].concat()),
        ];
        for (how, bytes) in ways {
            // What nobody wishes is nothing to miss.
            if how == "empty" && may_be_left == ALL && path != "/proc/cmdline" {
                continue;
            }
            let node = node();
            node.write_bytes(path, bytes);
            survives(&node, path, how, may_be_left);
        }
        let [missing, folder] = [(); 2].map(|()| node());
        missing.take_out(path);
        if may_be_left != ALL || path == "/proc/cmdline" {
            survives(&missing, path, "missing", may_be_left);
        }
        folder.take_out(path);
        folder.write(&format!("{path}/a"), text);
        let faults = survives(&folder, path, "a folder", may_be_left);
        let named = faults.iter().any(|fault| fault.what.contains(path));
        assert!(named || path == SAID_TWICE, "{path}: a folder: {faults:?}");
    }
    for (path, may_be_left) in FOLDERS {
        let node = node();
        node.files("nothing").keys().filter(|file| file.starts_with(&format!("{path}/"))).for_each(|file| node.take_out(file));
        node.write(path, "a file");
        let faults = survives(&node, path, "a file", may_be_left);
        assert!(faults.iter().any(|fault| fault.what.contains(path)), "{path}: a file: {faults:?}");
    }
}

#[test]
fn the_agents_own_journal_may_be_anything() {
    for bytes in [&b""[..], b"{", b"\xff", b"{\"format\":1,\"entries\":7}"] {
        let node = node();
        node.write_bytes(JOURNAL, bytes);
        survives(&node, JOURNAL, "garbage", &[]);
        assert!(node.warnings()[0].contains(JOURNAL), "{:?}", node.warnings());
    }
    let node = node();
    node.write(&format!("{JOURNAL}/a"), "");
    let (done, faults) = told(&node, "a folder");
    assert!(
        done == ["drivers".to_owned()].into() && faults.iter().all(|fault| fault.what.contains(JOURNAL)),
        "without it nothing is begun: {faults:?}"
    );
}

#[test]
fn whoever_is_not_there_or_hangs_is_named_and_the_rest_is_done() {
    type Answer = fn() -> PeerError;
    const ANSWERS: [(Answer, &str); 4] = [
        (|| PeerError::Absent("org.example"), "org.example is not on the system bus"),
        (|| PeerError::Silent("org.example", Duration::from_secs(60)), "org.example does not answer within 60 s"),
        (|| PeerError::Refused("no".to_owned()), ": no"),
        (|| PeerError::Bus("org.example went away".to_owned()), "org.example went away"),
    ];
    for (answer, why) in ANSWERS {
        let node = node().with_peers(Some(answer));
        let (done, faults) = told(&node, why);
        assert_eq!(done, ["interfaces", "kubelet", "labels", "ssh-keys"].map(str::to_owned).into(), "{why}");
        let subjects: Vec<_> = faults.iter().map(|fault| fault.subject.as_str()).collect();
        assert_eq!(subjects, ["identity", "network", "modules", "drivers", "tuned", "kernel"], "{faults:?}");
        assert!(faults.iter().all(|fault| fault.what.contains(why)), "{why}: {faults:?}");
        // What nobody did is not taken as done.
        let (done, faults) = told(&node.with_peers(None), why);
        assert_eq!((done, faults), (ALL.map(str::to_owned).into(), vec![]), "{why}");
    }
}
