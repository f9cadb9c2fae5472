//! systemd's own journal daemon for a node of the tests, in a namespace in which the node's `/run` is the one that it knows.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::node::{DEADLINE, Node, end};

/// It ends with the test.
pub struct Journald {
    child: Child,
    folder: String,
}

impl Journald {
    /// Starts it; its socket is there when this returns.
    pub fn start(node: &Node) -> Self {
        let run = node.path("run");
        std::fs::create_dir_all(run.join("systemd/journal")).unwrap();
        // What it keeps in memory only, it keeps there.
        std::fs::create_dir_all(run.join("log/journal")).unwrap();
        let child = Command::new("unshare")
            .args([
                "--map-root-user",
                "--mount",
                "sh",
                "-ec",
                "mount --bind \"$1\" /run; exec /lib/systemd/systemd-journald",
                "sh",
            ])
            .arg(&run)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare must be installed (package util-linux)");
        let begun = Instant::now();
        while !run.join("systemd/journal/socket").exists() {
            assert!(begun.elapsed() < DEADLINE, "systemd-journald does not come");
        }
        Self { child, folder: run.join("log/journal").display().to_string() }
    }

    /// All entries with this `MESSAGE_ID`, once there are `count`.
    pub fn entries(&self, id: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let mut journalctl = Command::new("journalctl");
            journalctl.args(["--directory", &self.folder, "--output=json", "--no-pager", &format!("MESSAGE_ID={id}")]);
            let output = journalctl.output().expect("journalctl must be installed (package systemd)");
            let text = String::from_utf8(output.stdout).unwrap();
            let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if entries.len() >= count {
                return entries;
            }
            assert!(begun.elapsed() < DEADLINE, "{count} entries {id} do not come: {entries:?}");
        }
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
