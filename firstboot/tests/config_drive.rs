//! Networks as cloud-init's documents, Nova and Ironic write them, and the files of systemd-networkd that they become: golden,
//! and judged by systemd-networkd itself.
//!
//! `config_drive/NAME.yaml` or `.json` is a `network-config`, `NAME.network_data.json` is OpenStack's; `NAME.expected` beside it
//! has all that is said. The structure is the documents', the values are ours.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use basalt_firstboot::config_drive::{ConfigDrive, FOLDER, read};
use basalt_firstboot_sim::SimulatedNode;

/// Every case: its name, and what the drive says.
fn cases() -> Vec<(String, ConfigDrive)> {
    let folder = folder();
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| !name.ends_with(".expected")).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            let openstack = name.ends_with("network_data.json");
            let path = if openstack { "openstack/openstack/latest/network_data.json" } else { "nocloud/network-config" };
            let node = SimulatedNode::new(&[(&format!("{FOLDER}/{path}"), &text)]);
            (name.split('.').next().unwrap().to_owned(), read(node.outside().files.as_ref(), FOLDER))
        })
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_drive")
}

fn shown(drive: &ConfigDrive) -> String {
    let mut text = String::new();
    for note in &drive.notes {
        writeln!(text, "note: {}", note.replace(FOLDER, "DRIVE")).unwrap();
    }
    for fault in &drive.faults {
        writeln!(text, "fault: {}", fault.what.replace(FOLDER, "DRIVE")).unwrap();
    }
    for file in &drive.network {
        let lines = file.text.split_once('\n').unwrap().1;
        writeln!(text, "\n=== {}\n{}", file.name, lines.trim()).unwrap();
    }
    text
}

#[test]
fn documented_networks_become_the_expected_files() {
    let mut different = String::new();
    for (name, drive) in cases() {
        let (path, found) = (folder().join(format!("{name}.expected")), shown(&drive));
        if fs::read_to_string(&path).unwrap_or_default() != found {
            writeln!(different, "{} differs; found:\n{found}", path.display()).unwrap();
        }
        assert!(drive.faults.is_empty() && !drive.network.is_empty(), "{name}: {:?}", drive.faults);
    }
    assert!(different.is_empty(), "{different}");
}

/// What the documents show and describe nowhere is a mistake, and not a bridge without its port.
#[test]
fn a_port_that_nobody_describes_is_told() {
    let text = fs::read_to_string(folder().join("v2-most.yaml")).unwrap().replace("[switchports]", "[wlp1s0, switchports]");
    let node = SimulatedNode::new(&[(&format!("{FOLDER}/nocloud/network-config"), &text)]);
    let drive = read(node.outside().files.as_ref(), FOLDER);
    let place = format!("{FOLDER}/nocloud/network-config:37:20: network.bridges.br0.interfaces[0]");
    let what = format!("{place}: needed a link that this file describes, found \"wlp1s0\"");
    assert_eq!((drive.faults[0].what.as_str(), drive.network.len()), (what.as_str(), 0));
}

const NETWORKD: &str = "/usr/lib/systemd/systemd-networkd";
/// A network and mounts of its own, where an ordinary user may do what networkd does when it reads its files.
const APART: [&str; 6] = ["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--net", "--mount"];

/// What systemd-networkd says about the files in `folder`.
fn judged(folder: &Path) -> io::Result<String> {
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/netif && cp -r \"$0\" /run/systemd/network && exec \"$1\"";
    let mut child = Command::new("unshare")
        .args(APART)
        .args(["sh", "-c", script])
        .arg(folder)
        .arg(NETWORKD)
        .env("SYSTEMD_LOG_LEVEL", "debug")
        .env("SYSTEMD_LOG_TARGET", "console")
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    // It has read its files when it has looked at what is there; then it would wait for events.
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line?;
        writeln!(said, "{line}").unwrap();
        if line.contains("Enumeration completed") {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(said)
}

fn complaints(said: &str) -> Vec<&str> {
    assert!(said.contains("Enumeration completed"), "{NETWORKD} has not read its files: {said}");
    said.lines().filter(|line| line.contains("/run/systemd/network/")).collect()
}

#[test]
fn networkd_takes_every_line() {
    let scratch = tempfile::tempdir().unwrap();
    let written = |name: &str, files: &[(String, String)]| {
        let folder = scratch.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        judged(&folder).unwrap()
    };
    for (name, drive) in cases() {
        let files: Vec<_> = drive.network.into_iter().map(|file| (file.name, file.text)).collect();
        let said = written(&name, &files);
        assert_eq!(complaints(&said), [""; 0], "{name}");
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".netdev")) {
            let device = name.trim_start_matches("10-basalt-").trim_end_matches(".netdev");
            assert!(said.contains(&format!("{device}: loaded \"")), "{device}: {said}");
        }
    }
    // It would say so.
    let wrong = "[Match]\nName=a\n[Network]\nAddress=192.0.2.256/24\nGatewy=192.0.2.1\n[Rout]\nGateway=192.0.2.1\n";
    let said = written("wrong", &[("10-wrong.network".to_owned(), wrong.to_owned())]);
    assert_eq!(complaints(&said).len(), 3, "{said}");
}
