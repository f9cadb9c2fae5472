//! What differs between a simulated node and its desired state, and that doing it makes nothing differ, wherever the power goes.

use basalt_firstboot::apply::{Applied, apply, plan, retry};
use basalt_firstboot::facts;
use basalt_firstboot::plan::{Effect, Plan};
use basalt_firstboot_sim::{SimulatedNode, Unsynced};

const DESIRED: &str = "/etc/basalt/firstboot.d/50-site.toml";
const JOURNAL: &str = "/var/lib/basalt/firstboot/journal.json";
const ALL: &str = r#"identity.host-name = "gpu-{serial}"
tuned.profile = "basalt-gpu-training"
[labels]
tier = "training"
"example.org/site" = "hall-3"
[kubelet]
reserved-cpus = "0-1"
cpu-manager-policy = "static"
taints = ["example.org/gpu=yes:NoSchedule"]
"#;

/// A node with this desired state, in which all that every node has can be read.
fn node(desired: &str) -> SimulatedNode {
    SimulatedNode::new(&[
        (DESIRED, desired),
        ("/proc/cmdline", "quiet\n"),
        ("/proc/meminfo", "MemTotal: 2014156 kB\n"),
        ("/sys/devices/system/cpu/online", "0-1\n"),
        ("/sys/class/dmi/id/product_serial", "CZ1234\n"),
    ])
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn planned(node: &SimulatedNode) -> Plan {
    let outside = node.outside();
    run(plan(&outside, &facts::collect(outside.files.as_ref())))
}

fn applied(node: &SimulatedNode) -> Applied {
    run(apply(&node.outside()))
}

/// What a plan says, an action each: its name, what it is about, and who asked for it.
fn said(plan: &Plan) -> Vec<(String, &str, Vec<&str>)> {
    plan.actions
        .iter()
        .map(|action| {
            let places = action.asked_by.iter().map(|place| place.strip_prefix(DESIRED).unwrap_or(place)).collect();
            (format!("{}/{}", action.subject, action.name), action.what.as_str(), places)
        })
        .collect()
}

#[test]
fn what_nobody_wishes_is_left_alone() {
    let node = node("");
    node.write("/etc/hostname", "own\n");
    assert_eq!((planned(&node), applied(&node)), (Plan::default(), Applied::default()));
    assert_eq!(node.changes(), [""; 0]);
}

#[test]
fn every_subject_says_what_differs_and_once_it_is_done_nothing_does() {
    let node = node(ALL).with_tuned("basalt-node\n");
    let plan = planned(&node);
    assert_eq!(plan.faults, []);
    assert_eq!(
        said(&plan),
        [
            ("identity/host-name".into(), "the host name gpu-cz1234, now localhost", vec![":1:22"]),
            ("tuned/profile".into(), "the profile basalt-gpu-training, now basalt-node", vec![":2:17"]),
            (
                "kubelet/drop-in".into(),
                "the kubelet's configuration in /etc/kubernetes/kubelet.conf.d/50-basalt.conf",
                vec![":9:11", ":7:17", ":8:22"]
            ),
            (
                "labels/features".into(),
                "2 labels in /etc/kubernetes/node-feature-discovery/features.d/basalt",
                vec![":5:22", ":4:8"]
            ),
        ]
    );
    assert_eq!(node.changes(), [""; 0], "a plan changes nothing");

    let done = applied(&node);
    assert!(done.faults.is_empty() && done.outcomes.len() == 4, "{done:?}");
    assert_eq!((planned(&node), applied(&node)), (Plan::default(), Applied::default()));
    let features = node.text("/etc/kubernetes/node-feature-discovery/features.d/basalt").unwrap();
    assert_eq!(features, "example.org/site=hall-3\ntier=training\n");
    let kubelet = node.text("/etc/kubernetes/kubelet.conf.d/50-basalt.conf").unwrap();
    let json: serde_json::Value = serde_json::from_str(kubelet.split_once('\n').unwrap().1).unwrap();
    assert_eq!(json["cpuManagerPolicy"], "static");
    assert_eq!(json["registerWithTaints"][0]["effect"], "NoSchedule");

    // Who wishes it no more gets it taken away, but for what has no state without a wish.
    node.write(DESIRED, "");
    let plan = planned(&node);
    let effects: Vec<_> = plan.actions.iter().flat_map(|action| &action.effects).collect();
    assert!(matches!(effects.as_slice(), [Effect::Remove { .. }, Effect::Remove { .. }]), "{effects:?}");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(planned(&node), Plan::default());
}

#[test]
fn a_subject_that_cannot_tell_does_not_stop_the_others() {
    let node = node("identity.host-name = \"gpu-{uuid}\"\ntuned.profile = \"a\"\nlabels.x = \"y\"\n");
    let done = applied(&node);
    let faults: Vec<_> = done.faults.iter().map(|fault| format!("{}: {}", fault.subject, fault.what)).collect();
    assert_eq!(
        faults,
        [
            format!(
                "identity: {DESIRED}:1:22: the host name \"gpu-{{uuid}}\" cannot be made: /sys/class/dmi/id/product_uuid cannot be read"
            ),
            "tuned: cannot be asked: com.redhat.tuned is not on the system bus".to_owned(),
        ]
    );
    let subjects: Vec<_> = done.outcomes.iter().map(|outcome| outcome.subject).collect();
    assert_eq!(subjects, ["labels"]);
}

#[test]
fn while_a_file_has_a_mistake_nothing_is_changed() {
    let node = node(ALL).with_tuned("basalt-node\n");
    assert_eq!(applied(&node).faults, []);
    let changes = node.changes();
    node.write(DESIRED, "[label]\ntier = \"training\"\n");
    let done = applied(&node);
    let faults: Vec<_> = done.faults.iter().map(|fault| fault.what.clone()).collect();
    assert_eq!(faults, [format!("{DESIRED}:1:2: unknown key \"label\"; did you mean \"labels\"?")]);
    assert_eq!((done.outcomes, node.changes()), (vec![], changes));
}

#[test]
fn what_fails_three_times_waits_and_says_so() {
    let node = node("tuned.profile = \"unknown\"\n").with_tuned("");
    let why = |applied: &Applied| applied.outcomes[0].failed.clone().unwrap();
    for _ in 0..3 {
        assert_eq!(why(&applied(&node)), "simulated: no such profile");
    }
    assert_eq!(why(&applied(&node)), "waits: it failed 3 times, the last time: simulated: no such profile");
    retry(&node.outside()).unwrap();
    assert_eq!(why(&applied(&node)), "simulated: no such profile");
    node.write(DESIRED, "tuned.profile = \"known\"\n");
    assert_eq!(applied(&node).faults, []);
}

#[test]
fn a_journal_of_another_version_is_told_and_begun_anew() {
    let node = node(ALL).with_tuned("basalt-node\n");
    node.write(JOURNAL, "{\"format\": 9, \"entries\": {}}");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(node.warnings(), [format!("{JOURNAL}: needed format 1, found 9; beginning a new one")]);
}

/// At every point, with every fate of what was not on the disk, once and twice.
#[test]
fn wherever_the_power_goes_the_node_ends_as_if_it_had_not() {
    let fresh = || node(ALL).with_tuned("basalt-node\n");
    let whole = fresh();
    assert_eq!(applied(&whole).faults, []);
    let (points, wanted) = (whole.passed(), whole.files(JOURNAL));
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
                let last = applied(&node);
                let case = format!("{first}, {second:?}, {unsynced:?}");
                assert_eq!((last.faults, node.files(JOURNAL)), (vec![], wanted.clone()), "{case}");
                // What the disk kept is never done again.
                let changes = node.changes();
                for path in wanted.keys().filter(|path| path.starts_with("/etc/kubernetes")) {
                    assert_eq!(changes.iter().filter(|changed| *changed == path).count(), 1, "{case}: {path}");
                }
                cuts += 1 + usize::from(second.is_some());
            }
        }
    }
    println!("{points} points, {cuts} power cuts");
}
