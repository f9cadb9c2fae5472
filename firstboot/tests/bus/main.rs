//! The agent on a real bus: dbus-daemon with the shipped policy, the agent under a root folder, and `busctl` as the reader.
//!
//! Run by root, an unprivileged reader is another user (nobody); else it is the user who runs the test.

mod broken_hostnamed;
mod journald;
mod node;
mod simulated_systemd;
mod simulated_tuned;
mod somebody;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use basalt_contract::names::journal;
use basalt_contract::{Report, State, StepState, names};
use basalt_firstboot::subject::SUBJECTS;
use broken_hostnamed::Instead;
use journald::Journald;
use node::{Node, Who};

#[test]
fn everybody_can_ask_a_configured_node() {
    let node = Node::new();
    node.describe();
    let mut agent = node.serve();
    let line = agent.summary();
    assert_eq!(line, "Basalt gpu-node 1.2.0: configured, plan 0f1e2d3c4b5a, deployment 9a0b1c2d3e4f");

    let wanted = [
        ("State", "configured"),
        ("Reason", ""),
        ("Version", env!("CARGO_PKG_VERSION")),
        ("PlanId", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        ("ImageName", "gpu-node"),
        ("ImageVersion", "1.2.0"),
        ("BootId", "2f6d3ee1-6b0f-4a52-9d0f-7f0c7a3e5a11"),
        ("Deployment", node::CHECKSUM),
    ];
    for who in [Who::Owner, Who::Nobody] {
        for (name, value) in wanted {
            assert_eq!(node.property(who, name), value, "{name}");
        }
    }
    let file = fs::read(node.path("var/lib/basalt/firstboot/report.json")).unwrap();
    let report = Report::from_json(&file).unwrap();
    assert_eq!((report.state, report.faults.as_slice()), (State::Configured, &[][..]));
    assert!(report.started > 1_700_000_000 && report.finished >= report.started);
    assert_eq!(node.property(Who::Nobody, "Report").as_bytes(), file, "bus and file say the same");

    let status = node.agent(&["status"]);
    assert!(status.status.success());
    let screen = String::from_utf8(status.stdout).unwrap();
    assert!(screen.starts_with("Source      the running agent\nState       configured\n"), "{screen}");

    agent.terminate();
    assert_eq!(agent.wait().code(), Some(0));
    assert_eq!(agent.rest_of_stdout(), Vec::<String>::new(), "one line and no more");
    let status = node.agent(&["status", "--json"]);
    assert!(!status.status.success(), "the folder's report is not that of /");
}

#[test]
fn introspection_explains_itself() {
    let node = Node::new();
    node.describe();
    let mut agent = node.serve();
    agent.summary();
    let xml = node.busctl_ok(Who::Nobody, &["introspect", "--xml-interface", names::BUS_NAME, names::OBJECT_PATH]);
    for part in [
        "<interface name=\"org.basalt.FirstBoot1\">",
        "<property name=\"PlanId\" type=\"s\" access=\"read\"",
        "The plan that the image was built from",
        "org.freedesktop.DBus.Property.EmitsChangedSignal",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    assert!(!xml.contains("access=\"readwrite\"") && !xml.contains("<property name=\"State\" type=\"s\" access=\"write\""));
}

#[test]
fn nobody_can_change_or_take_anything() {
    let node = Node::new();
    node.describe();
    let mut agent = node.serve();
    agent.summary();
    for who in [Who::Owner, Who::Nobody] {
        let set = ["set-property", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, "State", "s", "starting"];
        let error = node.busctl(who, &set).unwrap_err();
        assert!(error.contains("Access denied") || error.contains("Sender is not authorized"), "{error}");
    }
    assert_eq!(node.property(Who::Nobody, "State"), "configured");
    let other = node.serve();
    let (status, stderr) = other.end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("another agent has org.basalt.FirstBoot1 on the bus"), "{stderr}");

    if node::is_root() {
        for method in ["Apply", "Retry", "Accept"] {
            let call = ["call", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, method];
            let error = node.busctl(Who::Nobody, &call).unwrap_err();
            assert!(error.contains("Access denied"), "nobody is there who could allow it: {error}");
        }
        let request = ["call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName"];
        let error = node.busctl(Who::Nobody, &[&request[..], &["su", names::BUS_NAME, "0"]].concat()).unwrap_err();
        assert!(error.contains("Access denied"), "{error}");
    }
}

#[test]
fn what_changes_is_told_and_nothing_else() {
    let node = Node::new();
    node.describe();
    let mut monitor = node.monitor();
    let mut agent = node.serve();
    agent.summary();
    let signal = monitor.line_with("PropertiesChanged");
    for part in ["\"State\"", "applying", "\"PlanId\"", "\"BootId\"", "\"Facts\""] {
        assert!(signal.contains(part), "{part}: {signal}");
    }
    let last = monitor.line_with("configured");
    assert!(last.contains("\"Report\"") && !last.contains("\"BootId\""), "{last}");
    assert!(!signal.contains("\"Version\""), "what never changes is not told: {signal}");
}

#[test]
fn a_node_that_is_no_basalt_image_is_degraded_and_says_why() {
    let node = Node::new();
    let mut agent = node.serve();
    let line = agent.summary();
    assert!(line.starts_with("Basalt: degraded: image: /usr/lib/basalt/image.json: cannot read it: No such file"), "{line}");
    assert!(line.ends_with("(and 6 more); see `basalt-firstboot status`"), "{line}");
    assert_eq!((node.property(Who::Nobody, "State").as_str(), node.property(Who::Nobody, "PlanId").as_str()), ("degraded", ""));
    assert!(node.property(Who::Nobody, "Reason").starts_with("image: "));
    assert_eq!(node.agent(&["status"]).status.code(), Some(1));
    let status = node.agent_in_root(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["state"], &status["source"]["kind"]), (&"degraded".into(), &"file".into()));
    assert!(status["report"]["faults"][0]["next_step"].is_string());
}

#[test]
fn a_report_that_cannot_be_written_is_told_everywhere_else() {
    let node = Node::new();
    node.describe();
    fs::create_dir_all(node.path("var/lib/basalt/firstboot/report.json/in the way")).unwrap();
    let mut agent = node.serve();
    let line = agent.summary();
    assert!(line.contains("degraded: report: /var/lib/basalt/firstboot/report.json: cannot write it: Is a directory"), "{line}");
    assert_eq!(node.property(Who::Nobody, "State"), "degraded");
}

#[test]
fn without_a_bus_the_node_still_gets_its_report() {
    let node = Node::without_bus();
    node.describe();
    let (status, stderr) = node.serve().end();
    assert_eq!(status.code(), Some(1), "systemd may try again");
    assert!(stderr.contains("bus: cannot have org.basalt.FirstBoot1 on the system bus"), "{stderr}");
    let report = Report::from_json(&fs::read(node.path("var/lib/basalt/firstboot/report.json")).unwrap()).unwrap();
    assert_eq!((report.state, report.faults[0].subject.as_str()), (State::Degraded, "bus"));
    assert_eq!(report.image.unwrap().name, "gpu-node");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_ends() {
    let node = Node::new();
    node.describe();
    let socket = UnixDatagram::bind(node.notify_socket()).unwrap();
    socket.set_read_timeout(Some(node::DEADLINE)).unwrap();
    let mut said = Vec::new();
    let mut hear = |last: &str| {
        let mut buffer = [0; 4096];
        while said.last().is_none_or(|message| message != last) {
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{last} was never said ({error}): {said:?}"));
            said.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        said.clone()
    };
    let mut agent = node.serve();
    // A socket keeps ten datagrams: who does not listen keeps the agent waiting.
    let heard = hear("STATUS=configured");
    agent.summary();
    assert!(heard[0] == "READY=1" && heard[1..].iter().all(|words| words.starts_with("STATUS=")), "{heard:?}");
    let last = format!("STATUS=applying: {} of {}", SUBJECTS.len() - 1, SUBJECTS.len());
    assert!(heard.contains(&last), "{heard:?}");
    agent.terminate();
    assert_eq!(hear("STOPPING=1")[heard.len()..], ["STOPPING=1"]);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn the_profile_of_the_image_becomes_active_and_is_verified() {
    let node = Node::new();
    node.describe();
    node.wants_profile("basalt-node");
    let calls = simulated_tuned::start(&node.address(), "balanced");
    let call = ["call", "com.redhat.tuned", "/Tuned", "com.redhat.tuned.control", "switch_profile", "s", "unknown"];
    assert!(node.busctl_ok(Who::Owner, &call).starts_with("(bs) false "), "the simulation answers as tuned does");
    let agent = node.serve();
    node.wait_for_name();
    let status = node.agent(&["status", "--wait"]);
    assert!(status.status.success());
    let screen = String::from_utf8(status.stdout).unwrap();
    for line in [
        "\nHolds       tuned                the profile basalt-node, verified by tuned\n",
        "\nSteps       tuned/profile        done     the profile basalt-node, now balanced\n",
    ] {
        assert!(screen.contains(line), "{screen}");
    }
    let report = Report::from_json(node.property(Who::Nobody, "Report").as_bytes()).unwrap();
    drop(agent);
    assert_eq!((report.state, report.faults.as_slice()), (State::Configured, &[][..]));
    assert_eq!((report.steps[0].state, report.holds.len()), (StepState::Done, 1));
    assert_eq!(
        *calls.lock().unwrap(),
        ["switch unknown", "active", "switch basalt-node", "applied basalt-node", "active", "verify", "verify"]
    );
}

#[test]
fn a_profile_that_tuned_refuses_is_a_fault_and_one_that_never_comes_does_not_hold_the_end() {
    let node = Node::new();
    node.describe();
    node.wants_profile("unknown");
    let waiting = node.serve();
    node.wait_for_name();
    assert_eq!(node.property(Who::Nobody, "State"), "applying");
    waiting.terminate();
    assert_eq!(waiting.end().0.code(), Some(0));

    simulated_tuned::start(&node.address(), "balanced");
    for (profile, why) in [
        ("unknown", "Requested profile 'unknown' doesn't exist."),
        // After it was accepted.
        ("broken", "Cannot load profile(s) 'broken'"),
    ] {
        node.wants_profile(profile);
        let line = node.serve().summary();
        assert!(line.contains(&format!("degraded: tuned: the profile {profile}, now balanced: {why}")), "{line}");
    }
}

/// A node whose image loads mtty, which is not loaded, in a machine with a GPU that NVIDIA's driver has.
fn with_gpu() -> Node {
    let node = Node::new();
    node.describe();
    let gpu = "sys/bus/pci/devices/0000:01:00.0";
    let promise =
        r#"{"format": 1, "kernel": "6.12", "load": [{"name": "mtty"}], "blacklist": ["nouveau"], "firmware": ["a/b.bin"]}"#;
    for (path, text) in [
        (&names::MODULES_FILE[1..], promise),
        ("proc/sys/kernel/osrelease", "6.12\n"),
        ("usr/lib/firmware/a/b.bin.zst", ""),
        ("sys/module/nvidia/version", "550.163.01\n"),
        (&format!("{gpu}/vendor"), "0x10de\n"),
        (&format!("{gpu}/device"), "0x2330\n"),
        (&format!("{gpu}/class"), "0x030200\n"),
    ] {
        let path = node.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    symlink("../../../../bus/pci/drivers/nvidia", node.path(gpu).join("driver")).unwrap();
    node
}

#[test]
fn systemd_loads_modules_and_starts_services_in_their_order() {
    let node = with_gpu();
    let service = "nvidia-persistenced.service";
    let calls = simulated_systemd::start(&node.address(), node.path("sys/module"), service, "done");
    let mut agent = node.serve();
    let line = agent.summary();
    assert!(line.starts_with("Basalt gpu-node 1.2.0: configured"), "{line}");
    let started = format!("start {service} replace");
    assert_eq!(*calls.lock().unwrap(), ["restart systemd-modules-load.service replace", &started]);
    let report = Report::from_json(node.property(Who::Nobody, "Report").as_bytes()).unwrap();
    let holds: Vec<_> = report.holds.iter().map(|holds| (holds.subject.as_str(), holds.what.as_str())).collect();
    let drivers = "nvidia 550.163.01 for 1 of 1 GPUs; not loaded: nouveau; 1 firmware files; HMM: cannot tell, the kernel's configuration is not in \
                   the image; nvidia-persistenced.service runs";
    assert_eq!(holds, [("modules", "loaded: mtty"), ("drivers", drivers)]);
}

#[test]
fn only_a_job_that_is_done_counts() {
    for result in ["failed", "dependency", "skipped"] {
        let node = with_gpu();
        let service = "nvidia-persistenced.service";
        simulated_systemd::start(&node.address(), node.path("sys/module"), service, result);
        let line = node.serve().summary();
        assert!(line.contains(&format!("{service}: its job ended as \"{result}\"; see `systemctl status {service}`")), "{line}");
    }
}

#[test]
fn who_may_has_the_node_made_what_it_should_be() {
    let node = Node::new();
    node.describe();
    let exporter = node.path("var/lib/prometheus/node-exporter");
    fs::create_dir_all(&exporter).unwrap();
    let mut agent = node.serve();
    agent.summary();
    let features = node.path("etc/kubernetes/node-feature-discovery/features.d/basalt");
    assert!(!features.exists(), "nobody wishes any");
    let wishes = node.path("etc/basalt/firstboot.d/50-site.toml");
    fs::create_dir_all(wishes.parent().unwrap()).unwrap();
    fs::write(&wishes, "labels.tier = \"test\"\n").unwrap();
    let call = |method| ["call", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, method];
    let plan = node.busctl_ok(Who::Nobody, &call("Plan"));
    assert!(plan.contains("1 label in ") && plan.contains("50-site.toml:1:15"), "{plan}");
    assert!(node.busctl_ok(Who::Nobody, &call("Verify")).contains("it differs: 1 label in "));
    assert!(!features.exists(), "a plan changes nothing");

    node.busctl_ok(Who::Owner, &call("Apply"));
    let line = agent.summary();
    assert!(line.starts_with("Basalt gpu-node 1.2.0: configured"), "{line}");
    assert_eq!(fs::read_to_string(&features).unwrap(), "feature.node.kubernetes.io/tier=test\n");
    let metrics = fs::read_to_string(exporter.join("basalt.prom")).unwrap();
    assert!(metrics.contains("{step=\"labels/features\",state=\"done\"} 1\n"), "{metrics}");
    let steps = ["--json=short", "get-property", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, "Steps"];
    let steps: serde_json::Value = serde_json::from_str(&node.busctl_ok(Who::Nobody, &steps)).unwrap();
    let first = &steps["data"][0];
    assert_eq!(
        (&steps["type"], &first[0], &first[2]),
        (&"a(ssssutt)".into(), &"labels/features".into(), &"done".into()),
        "{steps}"
    );
    let progress = ["--json=short", "get-property", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, "Progress"];
    let all = SUBJECTS.len();
    assert_eq!(node.busctl_ok(Who::Nobody, &progress).trim(), format!("{{\"type\":\"(uu)\",\"data\":[{all},{all}]}}"));

    // By hand: the running agent does it, once more also what failed too often.
    fs::write(&wishes, "labels.tier = \"other\"\n").unwrap();
    let done = node.agent(&["apply", "--retry"]);
    let screen = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && screen.starts_with("labels/features      done     1 label in "), "{screen}");
    assert_eq!(fs::read_to_string(&features).unwrap(), "feature.node.kubernetes.io/tier=other\n");
    fs::write(&wishes, "label.tier = \"other\"\n").unwrap();
    let done = node.agent(&["apply"]);
    let screen = String::from_utf8(done.stdout).unwrap();
    assert!(!done.status.success() && screen.contains("unknown key \"label\"; did you mean \"labels\"?"), "{screen}");
    assert_eq!(
        (node.property(Who::Nobody, "State").as_str(), fs::read_to_string(&features).unwrap().as_str()),
        ("degraded", "feature.node.kubernetes.io/tier=other\n")
    );
}

/// A minute: the shortest time that anybody has on the bus.
#[test]
fn who_takes_a_call_and_does_not_answer_is_named_and_the_rest_is_done() {
    for (instead, limit, why) in [
        (Instead::Leaves, node::DEADLINE, "org.freedesktop.hostname1 went away and did not answer: "),
        (Instead::Hangs, node::DEADLINE + Duration::from_secs(60), "org.freedesktop.hostname1 does not answer within 60 s"),
    ] {
        let node = Node::new();
        node.describe();
        for (path, text) in [
            ("proc/sys/kernel/hostname", "localhost\n"),
            ("etc/basalt/firstboot.d/50-site.toml", "identity.host-name = \"a\"\nlabels.tier = \"test\"\n"),
        ] {
            fs::create_dir_all(node.path(path).parent().unwrap()).unwrap();
            fs::write(node.path(path), text).unwrap();
        }
        broken_hostnamed::start(&node.address(), instead);
        let line = node.serve().summary_within(limit);
        let wanted = format!("degraded: identity: the host name a, now localhost: {why}");
        assert!(line.contains(&wanted), "{line}");
        assert!(node.path("etc/kubernetes/node-feature-discovery/features.d/basalt").exists());
    }
}

#[test]
fn a_bus_that_hangs_is_given_up_on() {
    let node = Node::without_bus();
    node.describe();
    let _bus = node.silent_bus();
    let (status, stderr) = node.serve().end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("on the system bus: ") && stderr.contains("the bus does not answer within 10 s"), "{stderr}");
    let status = node.agent(&["status"]);
    let why = String::from_utf8(status.stderr).unwrap();
    assert!(why.contains("the bus does not answer within 10 s"), "{why}");
}

#[test]
fn the_journal_has_an_entry_for_each_step_each_fault_and_the_end() {
    let node = Node::new();
    node.describe();
    node.wants_profile("unknown");
    let wishes = node.path("etc/basalt/firstboot.d/50-site.toml");
    fs::create_dir_all(wishes.parent().unwrap()).unwrap();
    fs::write(wishes, "labels.tier = \"test\"\n").unwrap();
    simulated_tuned::start(&node.address(), "balanced");
    let journald = Journald::start(&node);
    let agent = node.serve();
    let plan = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let settled = journald.entries(journal::SETTLED, 1).remove(0);
    let line = settled["MESSAGE"].as_str().unwrap();
    assert!(line.starts_with("Basalt gpu-node 1.2.0: degraded: tuned: the profile unknown, now balanced: "), "{line}");
    let fields = ["SYSLOG_IDENTIFIER", "PRIORITY", "BASALT_STATE", "BASALT_PLAN_ID"].map(|name| settled[name].as_str().unwrap());
    assert_eq!(fields, ["basalt-firstboot", "4", "degraded", plan]);
    let fault = journald.entries(journal::FAULT, 1).remove(0);
    assert_eq!((&fault["BASALT_SUBJECT"], &fault["BASALT_STATE"]), (&"tuned".into(), &"degraded".into()));
    assert!(fault["BASALT_NEXT_STEP"].as_str().unwrap().ends_with("`basalt-firstboot apply --retry`"), "{fault}");
    let steps: Vec<_> = journald
        .entries(journal::STEP, 2)
        .iter()
        .map(|step| {
            let fields = ["BASALT_SUBJECT", "BASALT_STEP", "BASALT_STEP_STATE", "BASALT_ATTEMPTS", "PRIORITY", "BASALT_PLAN_ID"];
            fields.map(|name| step[name].as_str().unwrap()).join(" ")
        })
        .collect();
    assert_eq!(
        steps,
        [format!("labels labels/features done 0 6 {plan}"), format!("tuned tuned/profile failed 1 4 {plan}")],
        "one each"
    );
    agent.terminate();
    let (status, stderr) = agent.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "nothing is told twice");
}

#[test]
fn an_action_is_explained() {
    let node = Node::without_bus();
    node.describe();
    let wishes = node.path("etc/basalt/firstboot.d/50-site.toml");
    fs::create_dir_all(wishes.parent().unwrap()).unwrap();
    fs::write(&wishes, "labels.tier = \"test\"\n").unwrap();
    let explained = node.agent_in_root(&["explain", "labels/features"]);
    let screen = String::from_utf8(explained.stdout).unwrap();
    for part in [
        "Asked by    /etc/basalt/firstboot.d/50-site.toml:1:15\n",
        "features.d/basalt (1 lines):\n              feature.node.kubernetes.io/tier=test\n",
    ] {
        assert!(screen.contains(part), "{screen}");
    }
    let unknown = node.agent_in_root(&["explain", "labels/feature"]);
    let why = String::from_utf8(unknown.stderr).unwrap();
    assert!(why.contains("labels/feature: nothing differs by this name; what differs: labels/features"), "{why}");
}

#[test]
fn memory_stays_small() {
    let node = Node::new();
    node.describe();
    let mut agent = node.serve();
    agent.summary();
    let peak = agent.peak_memory_kib();
    assert!(peak < 15 * 1024, "VmHWM is {peak} KiB, needed less than 15 MiB");
}

#[test]
fn facts_say_what_is_and_what_cannot_be_told() {
    let node = Node::without_bus();
    let facts = node.agent_in_root(&["facts"]);
    assert_eq!(facts.status.code(), Some(1));
    let screen = String::from_utf8(facts.stdout).unwrap();
    assert!(
        screen.contains("Image       unknown\n") && screen.contains("\n  next: boot an image that Basalt built\n"),
        "{screen}"
    );
    let full = node.agent_to(&["facts"], fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8(full.stderr).unwrap().contains("cannot write to standard output: No space left"));
    node.describe();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = node.agent_to(&["facts"], writer);
    assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]), "`| head` is no failure");
    let facts = node.agent_in_root(&["facts", "--json"]);
    assert!(facts.status.success());
    let facts: serde_json::Value = serde_json::from_slice(&facts.stdout).unwrap();
    assert_eq!(facts["deployment"]["checksum"], node::CHECKSUM);
    let hardware = &facts["hardware"];
    assert_eq!((hardware["processors"].as_u64(), hardware["memory_mib"].as_u64()), (Some(2), Some(1966)), "{hardware}");
    assert!(!node.path("var").exists(), "facts change nothing");
}
