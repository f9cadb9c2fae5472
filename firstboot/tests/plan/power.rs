//! The power goes, at every point.

use std::collections::BTreeMap;

use basalt_firstboot::apply::Applied;
use basalt_firstboot_sim::{SimulatedNode, Unsynced};

use super::reboots::ARGUMENTS;
use super::{ALL, JOURNAL, applied, node};

const DRIVE: &str = "version: 2\nethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:56'}\n    dhcp4: true\n";

/// Until nothing asks for a reboot any more.
fn settled(node: &SimulatedNode) -> Applied {
    for _ in 0..3 {
        let done = applied(node);
        if !done.reboot {
            return done;
        }
        node.boot_again(Unsynced::Lost);
    }
    panic!("it boots for ever");
}

/// What is the same whenever the power went.
fn state(node: &SimulatedNode) -> BTreeMap<String, String> {
    let mut files = node.files(JOURNAL);
    files.remove("/proc/sys/kernel/random/boot_id");
    files
}

/// At every point, with every fate of what was not on the disk, once and twice.
#[test]
fn wherever_the_power_goes_the_node_ends_as_if_it_had_not() {
    let fresh = || {
        let node =
            node(&format!("{ARGUMENTS}{ALL}[identity.interfaces]\nrail0 = \"52:54:00:12:34:56\"\n")).with_tuned("basalt-node\n");
        let node = node.with_profile("basalt-gpu-training", "pci=realloc=off");
        node.write("/sys/class/net/enp1s0/address", "52:54:00:12:34:56\n");
        let drive = "/run/basalt/config-drive/nocloud";
        node.write(&format!("{drive}/meta-data"), "instance-id: a\n");
        node.write(&format!("{drive}/network-config"), DRIVE);
        node
    };
    let whole = fresh();
    assert_eq!(settled(&whole).faults, []);
    let (points, wanted) = (whole.passed(), state(&whole));
    assert!(points > 20, "{points}");
    let mut cuts = 0;
    for first in 0..points {
        for second in [None].into_iter().chain((0..points).map(Some)) {
            for unsynced in Unsynced::ALL {
                let node = fresh();
                node.cut_at(first);
                applied(&node);
                node.boot_again(unsynced);
                if let Some(second) = second {
                    node.cut_at(first + second);
                    applied(&node);
                    node.boot_again(unsynced);
                }
                let last = settled(&node);
                let case = format!("{first}, {second:?}, {unsynced:?}");
                assert_eq!((last.faults, state(&node)), (vec![], wanted.clone()), "{case}");
                // What the disk kept is never done again.
                let changes = node.changes();
                let kept = ["/etc/kubernetes", "/etc/modules-load.d"];
                for path in wanted.keys().filter(|path| kept.iter().any(|folder| path.starts_with(folder))) {
                    assert_eq!(changes.iter().filter(|changed| *changed == path).count(), 1, "{case}: {path}");
                }
                cuts += 1 + usize::from(second.is_some());
            }
        }
    }
    println!("{points} points, {cuts} power cuts");
}
