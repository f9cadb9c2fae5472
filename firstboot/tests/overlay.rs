//! The overlay that brings the agent into an image agrees with the agent, and its unit is locked in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use basalt_contract::names;

fn overlay(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/50-basalt-firstboot").join(path)
}

fn unit() -> PathBuf {
    overlay("usr/lib/systemd/system").join(names::AGENT_UNIT)
}

/// The value of a line `KEY=value`.
fn value(path: &Path, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{}: no {key}=", path.display())).to_owned()
}

#[test]
fn names_and_places_are_those_of_the_contract() {
    assert_eq!(value(&unit(), "BusName"), names::BUS_NAME);
    assert_eq!(value(&unit(), "ExecStart"), format!("{} serve", names::AGENT_PROGRAM));
    let state = Path::new("/var/lib").join(value(&unit(), "StateDirectory"));
    assert_eq!(Path::new(names::REPORT_FILE).parent().unwrap(), state);

    let activation = overlay("usr/share/dbus-1/system-services").join(format!("{}.service", names::BUS_NAME));
    assert_eq!(
        (value(&activation, "Name"), value(&activation, "SystemdService")),
        (names::BUS_NAME.into(), names::AGENT_UNIT.into())
    );

    let policy = fs::read_to_string(overlay("usr/share/dbus-1/system.d").join(format!("{}.conf", names::BUS_NAME))).unwrap();
    assert!(policy.contains(&format!("<allow own=\"{}\"/>", names::BUS_NAME)));
}

#[test]
fn the_units_are_locked_in() {
    // Ten times systemd's figure. More than 35 is never allowed. The agent sees the node's network interfaces, the waiting unit needs nothing,
    // who measures networks and GPUs needs those, and libostree a mount namespace of its own.
    for (name, most) in [
        (names::AGENT_UNIT, "15"),
        ("basalt-configured.service", "15"),
        ("basalt-acceptance.service", "25"),
        ("basalt-kernel-arguments.service", "30"),
    ] {
        // As for a user's manager: the files of the other kind lie in /run, which systemd alone may have made.
        let runtime = tempfile::tempdir().unwrap();
        let output = Command::new("systemd-analyze")
            .env("XDG_RUNTIME_DIR", runtime.path())
            .args(["--user", "security", "--offline=true", "--no-pager", &format!("--threshold={most}")])
            .arg(overlay("usr/lib/systemd/system").join(name))
            .output()
            .expect("systemd-analyze must be installed (package systemd)");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{text}");
    }
}
