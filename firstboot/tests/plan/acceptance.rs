//! An acceptance run on a simulated node: when it is measured, and how its figures are judged.

use basalt_contract::StepState;
use basalt_firstboot::apply::{Applied, accept};
use basalt_firstboot_sim::Unsynced;

use super::reboots::ARGUMENTS;
use super::{DESIRED, applied, node, nothing, planned, said, verified};

/// The names of what was measured, and whether it passed.
fn figures(applied: &Applied) -> Vec<(&str, Option<bool>)> {
    applied.figures.iter().map(|figure| (figure.name.as_str(), figure.passed)).collect()
}

#[test]
fn it_is_measured_once_and_judged_whenever_a_threshold_changes() {
    let wish = |least: &str| format!("[[acceptance]]\nname = \"disk\"\nready = \"disk-write\"\nat-least = {least}\n");
    let node = node(&wish("1000.5"));
    let done = applied(&node);
    assert_eq!((figures(&done), done.faults.len(), done.holds.len()), (vec![("disk", Some(true))], 0, 1), "{done:?}");
    assert_eq!(done.holds[0].what, "disk: 1000.5 MB/s, needed at least 1000.5");
    node.boot_again(Unsynced::Kept);
    assert!(nothing(&applied(&node)));

    node.write(DESIRED, &wish("1001"));
    let done = applied(&node);
    assert_eq!(done.faults[0].to_string().lines().next(), Some("acceptance: disk: 1000.5 MB/s, needed at least 1001"));
    assert_eq!((figures(&done), done.steps.len(), done.holds.len(), done.again), (vec![("disk", Some(false))], 0, 0, false));
    assert_eq!(verified(&node).faults, done.faults);
    assert_eq!(node.measured(), ["disk"], "a threshold is no reason to measure");

    accept(&node.outside()).unwrap();
    assert_eq!(figures(&applied(&node)), [("disk", Some(false))]);
    assert_eq!(node.measured(), ["disk", "disk"]);
    // Another deployment is measured anew.
    let mounts = |digit: &str| format!("1 1 8:1 /ostree/deploy/a/deploy/{}.0 / rw - ext4 /dev/sda1 rw\n", digit.repeat(64));
    for (digit, times) in [("a", 3), ("a", 3), ("b", 4)] {
        node.write("/proc/self/mountinfo", &mounts(digit));
        applied(&node);
        assert_eq!(node.measured().len(), times);
    }
    node.write(DESIRED, "");
    assert_eq!(said(&planned(&node))[0].1, "nothing is measured, now there are results of an acceptance run");
    applied(&node);
    assert_eq!((node.text("/var/lib/basalt/firstboot/acceptance.json"), applied(&node).figures), (None, vec![]));
}

#[test]
fn what_cannot_be_measured_is_tried_three_times_and_the_others_are_told() {
    let node = node("[[acceptance]]\nname = \"broken\"\ncommand = [\"x\"]\n[[acceptance]]\nname = \"good\"\ncommand = [\"y\"]\n");
    for attempt in 1..=3 {
        let done = applied(&node);
        assert_eq!(
            (figures(&done), done.again, done.steps[0].attempts),
            (vec![("good", None)], attempt < 3, attempt),
            "{done:?}"
        );
        let why = "an acceptance run: broken; broken failed: simulated: simulated: a figure is lacking";
        assert_eq!((done.faults[0].what.as_str(), done.holds.len()), (why, 0));
    }
    let done = applied(&node);
    assert!(done.steps[0].state == StepState::Waiting && node.measured().len() == 6, "{done:?}");
    accept(&node.outside()).unwrap();
    assert_eq!(applied(&node).steps[0].state, StepState::Failed);
    // Whoever is wished no more is asked no more.
    node.write(DESIRED, "[[acceptance]]\nname = \"good\"\ncommand = [\"y\"]\n");
    let done = applied(&node);
    assert_eq!(
        (done.steps[0].what.as_str(), figures(&done), done.faults.len()),
        ("less is measured than before", vec![("good", None)], 0)
    );
    assert_eq!(node.measured().len(), 8);
    node.write("/var/lib/basalt/firstboot/acceptance.json", "{}");
    let done = applied(&node);
    assert!(done.faults[0].to_string().ends_with("next: run `basalt-firstboot accept`: it is measured anew"), "{done:?}");
}

#[test]
fn a_reboot_comes_before_an_acceptance_run() {
    let node = node(&format!("{ARGUMENTS}[[acceptance]]\nname = \"disk\"\nready = \"disk-write\"\n"));
    let done = applied(&node);
    let last = done.steps.last().unwrap();
    assert_eq!(
        (last.name.as_str(), last.state, last.reason.as_str()),
        ("acceptance/run", StepState::Pending, "after the reboot")
    );
    assert!(done.reboot && done.faults.is_empty() && node.measured().is_empty(), "{done:?}");
    node.boot_again(Unsynced::Kept);
    let done = applied(&node);
    assert!(!done.reboot && figures(&done) == [("disk", None)] && done.faults.is_empty(), "{done:?}");
}

#[test]
fn runs_of_all_files_together_have_an_end() {
    let wish = |name: &str| format!("[[acceptance]]\nname = \"{name}\"\nready = \"memory\"\ntimeout-s = 1000\n");
    let node = node(&wish("a"));
    node.write("/usr/lib/basalt/firstboot.d/10-a.toml", &wish("b"));
    assert_eq!(planned(&node).faults[0].what, "needed at most 1800 s in all, found 2000 s");
}
