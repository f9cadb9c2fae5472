//! What differs between a simulated node and its desired state, and that doing it makes nothing differ, wherever the power goes.

mod acceptance;
mod drivers;
mod power;
mod reboots;

use basalt_contract::{Step, StepState};
use basalt_firstboot::apply::{Applied, apply, plan, retry, verify};
use basalt_firstboot::backend::PeerError;
use basalt_firstboot::export::export;
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
labels = { "example.org/rack" = "7", "node.kubernetes.io/a" = "" }
memory-manager-policy = "static"
system-reserved = { memory = "1Gi", hugepages-2Mi = "4Mi" }
[[kubelet.reserved-memory]]
numa-node = 0
limits = { memory = "1124Mi", hugepages-2Mi = "4Mi" }
[[acceptance]]
name = "memory"
ready = "memory"
[[acceptance]]
name = "net"
ready = "network"
server = "192.0.2.1"
[modules]
load = ["rdma-rxe", "siw"]
"#;

/// A node with this desired state, in which all that every node has can be read.
fn node(desired: &str) -> SimulatedNode {
    SimulatedNode::new(&[
        (DESIRED, desired),
        ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet root=LABEL=root single\n"),
        ("/boot/loader/entries/ostree-1.conf", "title x\noptions quiet root=LABEL=root\n"),
        ("/proc/meminfo", "MemTotal: 2014156 kB\n"),
        ("/sys/devices/system/cpu/online", "0-1\n"),
        ("/sys/class/dmi/id/product_serial", "CZ1234\n"),
    ])
    .with_modules(&["rdma_rxe", "siw"])
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn planned(node: &SimulatedNode) -> Plan {
    let outside = node.outside();
    run(plan(&outside, &facts::collect(outside.files.as_ref())))
}

fn applied(node: &SimulatedNode) -> Applied {
    let outside = node.outside();
    run(apply(&outside, &facts::collect(outside.files.as_ref()), &mut |_| ()))
}

fn verified(node: &SimulatedNode) -> Applied {
    let outside = node.outside();
    run(verify(&outside, &facts::collect(outside.files.as_ref())))
}

/// That nothing was to be done, and nothing is wrong.
fn nothing(applied: &Applied) -> bool {
    applied.steps.is_empty() && applied.faults.is_empty()
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
    assert_eq!((planned(&node), applied(&node), verified(&node)), (Plan::default(), Applied::default(), Applied::default()));
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
            (
                "modules/load".into(),
                "2 modules in /etc/modules-load.d/50-basalt.conf; not loaded: rdma_rxe siw",
                vec![":24:21", ":24:9"]
            ),
            (
                "kubelet/drop-in".into(),
                "the kubelet's configuration in /etc/kubernetes/kubelet.conf.d/50-basalt.conf",
                vec![":9:11", ":12:53", ":12:30", ":14:13", ":7:17", ":8:22", ":11:25"]
            ),
            (
                "kubelet/labels".into(),
                "2 labels for the kubelet's registration in /etc/kubernetes/basalt-kubelet.env",
                vec![":10:33", ":10:63"]
            ),
            (
                "labels/features".into(),
                "2 labels in /etc/kubernetes/node-feature-discovery/features.d/basalt",
                vec![":5:22", ":4:8"]
            ),
            ("tuned/profile".into(), "the profile basalt-gpu-training, now basalt-node", vec![":2:17"]),
            ("acceptance/run".into(), "an acceptance run: memory, net", vec![":17:8", ":20:8"]),
        ]
    );
    assert_eq!(node.changes(), [""; 0], "a plan changes nothing");

    assert_eq!(verified(&node).faults.len(), 7, "an action each");

    let done = applied(&node);
    assert!(done.faults.is_empty() && done.steps.len() == 7, "{done:?}");
    assert!(done.steps.iter().all(|step| step.state == StepState::Done && step.attempts == 0), "{done:?}");
    let holds: Vec<_> = done.holds.iter().map(|holds| (holds.subject.as_str(), holds.what.as_str())).collect();
    assert_eq!(
        holds,
        [
            ("identity", "the host name gpu-cz1234"),
            ("modules", "loaded: rdma_rxe siw"),
            (
                "kubelet",
                "the kubelet's configuration in /etc/kubernetes/kubelet.conf.d/50-basalt.conf; \
                 2 labels for the kubelet's registration in /etc/kubernetes/basalt-kubelet.env"
            ),
            ("labels", "2 labels in /etc/kubernetes/node-feature-discovery/features.d/basalt"),
            ("tuned", "the profile basalt-gpu-training, verified by tuned"),
            ("acceptance", "memory: 1000.5 MB/s; net: 1000.5 bit/s"),
        ]
    );
    assert_eq!(verified(&node), Applied { holds: done.holds, figures: done.figures, ..Applied::default() });
    assert_eq!(planned(&node), Plan::default());
    assert!(nothing(&applied(&node)));
    let features = node.text("/etc/kubernetes/node-feature-discovery/features.d/basalt").unwrap();
    assert_eq!(features, "example.org/site=hall-3\nfeature.node.kubernetes.io/tier=training\n");
    let kubelet = node.text("/etc/kubernetes/kubelet.conf.d/50-basalt.conf").unwrap();
    let json: serde_json::Value = serde_json::from_str(kubelet.split_once('\n').unwrap().1).unwrap();
    assert_eq!(json["cpuManagerPolicy"], "static");
    let environment = node.text("/etc/kubernetes/basalt-kubelet.env").unwrap();
    let labels = "KUBELET_EXTRA_ARGS=--node-labels=example.org/rack=7,node.kubernetes.io/a=";
    assert_eq!(environment.lines().nth(1), Some(labels));
    assert_eq!(json["registerWithTaints"][0]["effect"], "NoSchedule");
    assert_eq!((&json["memoryManagerPolicy"], &json["systemReserved"]["memory"]), (&"Static".into(), &"1Gi".into()));
    assert_eq!(
        json["reservedMemory"][0],
        serde_json::json!({ "numaNode": 0, "limits": { "memory": "1124Mi", "hugepages-2Mi": "4Mi" } })
    );

    // What is exported is what was wished, but for what the machine filled in.
    let outside = node.outside();
    let exported = run(export(&outside, &facts::collect(outside.files.as_ref()))).unwrap();
    node.write(DESIRED, &exported);
    assert_eq!(planned(&node), Plan::default(), "{exported}");
    assert!(exported.starts_with("[identity]\nhost-name = \"gpu-cz1234\"\n"), "{exported}");

    // Who wishes it no more gets it taken away, or what was before, but for what has no state without a wish.
    node.write(DESIRED, "");
    let plan = planned(&node);
    let effects: Vec<_> = plan.actions.iter().flat_map(|action| &action.effects).collect();
    let (back, removed): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| !matches!(effect, Effect::Remove { .. }));
    assert!(removed.len() == 7 && back == [&Effect::SwitchProfile { profile: "basalt-node".to_owned() }], "{removed:?} {back:?}");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(planned(&node), Plan::default());
}

/// Ours would take the place of theirs, or theirs of ours: which one, nobody would see.
#[test]
fn arguments_of_the_kubelet_that_a_person_gave_are_not_lost() {
    let person = |text: &str| {
        let node = node("kubelet.labels.\"example.org/rack\" = \"7\"\n");
        node.write("/etc/default/kubelet", text);
        node
    };
    let faults = planned(&person("# mine\nKUBELET_EXTRA_ARGS=\"--v=4\"\n")).faults;
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert!(fault.subject == "kubelet" && !fault.what.contains("--v"), "{fault:?}");
    assert!(fault.what.starts_with("/etc/default/kubelet: KUBELET_EXTRA_ARGS=... found"), "{}", fault.what);
    assert!(fault.next_step.contains("--node-labels"), "{}", fault.next_step);

    // As packages of the kubelet ship it.
    let node = person("KUBELET_EXTRA_ARGS=\n");
    assert_eq!(applied(&node).faults, []);
    // Who wishes no labels may say what they like.
    node.write("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--v=4\n");
    node.write(DESIRED, "");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(node.text("/etc/kubernetes/basalt-kubelet.env"), None);
}

#[test]
fn what_somebody_else_owns_is_left_alone_and_named() {
    let node = node(ALL).with_tuned("basalt-node\n");
    node.write("/etc/systemd/system/multi-user.target.wants/NetworkManager.service", "");
    node.write("/etc/machine-config-daemon/currentconfig", "{}");
    node.write("/var/lib/ocp-tuned/profiles/openshift/tuned.conf", "");
    let kubelet = "OpenShift's Machine Config Operator (/etc/machine-config-daemon/currentconfig)";
    let tuned = "OpenShift's Node Tuning Operator (/var/lib/ocp-tuned/profiles)";
    let plan = planned(&node);
    let left: Vec<_> = plan.left.iter().map(|left| (left.action.key(), left.owner.as_str())).collect();
    let owned = [("kubelet/drop-in", kubelet), ("kubelet/labels", kubelet), ("tuned/profile", tuned)];
    assert_eq!(left, owned.map(|(action, owner)| (action.to_owned(), owner)));
    assert!(plan.screen().contains(&format!("left to {tuned}\n")), "{}", plan.screen());

    let done = applied(&node);
    let steps: Vec<_> = done.steps.iter().map(|step| (step.name.as_str(), step.state, step.reason.clone())).collect();
    let left = |who: &str| (StepState::Left, format!("{who} owns it"));
    assert_eq!(
        steps,
        [
            ("identity/host-name", StepState::Done, String::new()),
            ("modules/load", StepState::Done, String::new()),
            ("kubelet/drop-in", left(kubelet).0, left(kubelet).1),
            ("kubelet/labels", left(kubelet).0, left(kubelet).1),
            ("labels/features", StepState::Done, String::new()),
            ("tuned/profile", left(tuned).0, left(tuned).1),
            ("acceptance/run", StepState::Done, String::new()),
        ]
    );
    assert!(done.faults.is_empty() && !done.again, "{done:?}");
    assert!(node.changes().iter().all(|path| !path.contains("kubelet") && !path.contains("tuned")), "{:?}", node.changes());
    let held: Vec<_> = verified(&node).holds.iter().map(|held| format!("{}: {}", held.subject, held.what)).collect();
    assert!(held.contains(&format!("tuned: left to {tuned}")), "{held:?}");

    // Nobody tunes the node: whoever owns that knows, and nobody waits for it.
    let node = self::node("tuned.profile = \"a\"\n");
    node.write("/var/lib/ocp-tuned/profiles/openshift/tuned.conf", "");
    assert!(nothing(&applied(&node)));
    // cloud-init takes the drive's word.
    node.write("/run/cloud-init/enabled", "");
    node.write(DESIRED, "identity.host-name = \"a\"\n");
    assert_eq!(planned(&node).left.len(), 1);
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
    let names: Vec<_> = done.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!((names, done.again), (vec!["labels/features"], true));
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
    assert_eq!((done.steps, done.again, node.changes()), (vec![], false, changes));
}

/// Labels whose lines are 65,535 bytes and `more`.
fn many_labels(more: usize) -> String {
    let value = "v".repeat(63);
    let line = |name: String| format!("\"example.org/{name}\" = \"{value}\"\n");
    let lines: String = (1..=808).map(|number| line(format!("{number:04}"))).collect();
    format!("[labels]\n{lines}{}", line("last-name-".to_owned() + &"x".repeat(more)))
}

#[test]
fn no_more_labels_than_node_feature_discovery_reads() {
    let node = node(&many_labels(1));
    assert_eq!(applied(&node).faults, []);
    let features = "/etc/kubernetes/node-feature-discovery/features.d/basalt";
    let whole = node.text(features).unwrap();
    assert_eq!(whole.len(), 65_536);
    node.write(DESIRED, &many_labels(2));
    let faults: Vec<_> = applied(&node).faults.into_iter().map(|fault| fault.what).collect();
    assert_eq!(faults, [format!("{features}: needed at most 65536 bytes, found 65537 in 809 labels")]);
    assert_eq!(node.text(features).unwrap(), whole, "what was there stays");
}

#[test]
fn one_label_has_one_value() {
    let same = node("[labels]\ntier = \"a\"\n\"feature.node.kubernetes.io/tier\" = \"a\"\n");
    assert_eq!(applied(&same).faults, []);
    let two = node("[labels]\ntier = \"a\"\n\"feature.node.kubernetes.io/tier\" = \"b\"\n");
    let faults: Vec<_> = applied(&two).faults.into_iter().map(|fault| fault.what).collect();
    let wanted = format!("feature.node.kubernetes.io/tier is wished to be \"b\" ({DESIRED}:3:37) and \"a\" ({DESIRED}:2:8)");
    assert_eq!(faults, [wanted]);
}

#[test]
fn what_fails_three_times_waits_and_says_so() {
    let node = node("tuned.profile = \"unknown\"\n").with_tuned("");
    let first = |applied: &Applied| {
        let Step { state, reason, attempts, .. } = applied.steps[0].clone();
        (state, reason, attempts, applied.again)
    };
    let refused = "simulated: no such profile";
    for attempt in 1..=3 {
        assert_eq!(first(&applied(&node)), (StepState::Failed, refused.to_owned(), attempt, attempt < 3));
    }
    let waits = applied(&node);
    let why = format!("it failed 3 times, the last time: {refused}");
    assert_eq!(first(&waits), (StepState::Waiting, why.clone(), 3, false));
    assert!(waits.faults[0].what.ends_with(&format!("now none: waits: {why}")), "{waits:?}");
    retry(&node.outside()).unwrap();
    assert_eq!(first(&applied(&node)), (StepState::Failed, refused.to_owned(), 1, true));
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

#[test]
fn a_config_drive_is_honoured_and_taking_it_out_takes_nothing_away() {
    let node = node("");
    let network = "/etc/systemd/network/10-basalt-";
    node.write("/etc/systemd/network/10-basalt-old.network", "x");
    node.write("/etc/systemd/network/50-theirs.network", "theirs");
    let folder = "/run/basalt/config-drive/nocloud";
    node.write(&format!("{folder}/meta-data"), "local-hostname: drive\ninstance-type: large\n");
    node.write(&format!("{folder}/user-data"), "#cloud-config\nssh_authorized_keys:\n- ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4oMs7dBk me\n");
    let config =
        "version: 2\nethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:56'}\n    set-name: lan\n    dhcp4: true\n";
    node.write(&format!("{folder}/network-config"), config);
    let done = applied(&node);
    assert!(done.faults.is_empty() && done.reboot, "an interface gets its name when it appears: {done:?}");
    let steps: Vec<_> = done.steps.iter().map(|step| (step.name.as_str(), step.state, step.reason.as_str())).collect();
    let after = "in force after the reboot";
    assert_eq!(
        steps,
        [
            ("identity/host-name", StepState::Done, ""),
            ("ssh-keys/root", StepState::Done, ""),
            ("network/files", StepState::Done, after)
        ]
    );
    applied(&node);
    let note = format!("{folder}/meta-data: not honoured: instance-type");
    assert_eq!(node.warnings(), std::slice::from_ref(&note), "once in a boot");
    node.boot_again(Unsynced::Kept);
    let done = applied(&node);
    assert!(nothing(&done) && !done.reboot, "{done:?}");
    applied(&node);
    assert_eq!(node.warnings(), [note.clone(), note], "and in each");
    let kept = node.files("/run");
    assert_eq!(kept.get("/etc/systemd/network/50-theirs.network").map(String::as_str), Some("theirs"));
    assert_eq!(kept.keys().filter(|path| path.starts_with(network)).count(), 2, "{kept:?}");
    for file in ["meta-data", "user-data", "network-config"] {
        node.take_out(&format!("{folder}/{file}"));
    }
    assert!(nothing(&applied(&node)));
    assert_eq!(node.files("/run").len(), kept.len());
}

#[test]
fn a_network_that_nobody_was_told_of_is_told_again_and_its_reboot_is_not_forgotten() {
    let node = node("").with_peers(Some(|| PeerError::Absent("org.example")));
    let drive = "/run/basalt/config-drive/nocloud";
    node.write(&format!("{drive}/meta-data"), "");
    let lan = "ethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:56'}\n    set-name: lan\n    dhcp4: true\n";
    node.write(&format!("{drive}/network-config"), &format!("version: 2\n{lan}"));
    let done = applied(&node);
    assert!(!done.reboot && done.again && done.steps[0].state == StepState::Failed, "{done:?}");
    let node = node.with_peers(None);
    let done = applied(&node);
    assert!(done.reboot && done.faults.is_empty(), "{done:?}");
    node.boot_again(Unsynced::Kept);
    assert!(nothing(&applied(&node)));
    // What somebody changed by hand is told, too.
    let network = node.files("/run").into_keys().find(|path| path.ends_with(".network")).unwrap();
    node.write(&network, "");
    let done = applied(&node.clone().with_peers(Some(|| PeerError::Absent("org.example"))));
    assert_eq!(done.steps[0].state, StepState::Failed);
    let node = node.with_peers(None);
    assert_eq!(said(&planned(&node))[0].1, "the network of the config drive, which systemd-networkd.service has not read");
    assert!(applied(&node).faults.is_empty() && nothing(&applied(&node)));
}
