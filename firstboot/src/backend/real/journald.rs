//! systemd's journal, in its own protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. One datagram is one entry.
//!
//! The crate for it (`libsystemd`) has one socket for all, that of "/", and brings six others along.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::console::one_line;
use crate::notice::Notice;

/// Of all entries.
const IDENTIFIER: &str = "basalt-firstboot";
/// No value is longer, so that all of an entry fit a datagram (`net.core.wmem_default`, 208 KiB): the report has all of it.
const LONGEST: usize = 16 * 1024;
/// A journal that does not read holds up nobody for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The journal of a node.
pub struct Journald {
    socket: PathBuf,
}

impl Journald {
    /// That of the node whose root folder is `root`, there or not.
    pub fn new(root: &Path) -> Self {
        Self { socket: root.join("run/systemd/journal/socket") }
    }

    /// Tells it.
    pub fn send(&self, notice: &Notice) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to(&datagram(notice), &self.socket).map(drop)
    }
}

fn datagram(notice: &Notice) -> Vec<u8> {
    let Notice { kind, message, urgency, fields } = notice;
    let mut bytes = Vec::new();
    put(&mut bytes, "MESSAGE", &one_line(message));
    put(&mut bytes, "PRIORITY", &(*urgency as u8).to_string());
    put(&mut bytes, "SYSLOG_IDENTIFIER", IDENTIFIER);
    if let Some(id) = kind.message_id() {
        put(&mut bytes, "MESSAGE_ID", id);
    }
    for (name, value) in fields {
        put(&mut bytes, name, value);
    }
    bytes
}

/// One field. A value of several lines has its length before it.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let cut = (0..=value.len().min(LONGEST)).rev().find(|at| value.is_char_boundary(*at)).unwrap_or_default();
    let rest = value.len() - cut;
    let note = if rest == 0 { String::new() } else { format!("... (and {rest} bytes more)") };
    let value = format!("{}{note}", &value[..cut]);
    bytes.extend(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend((value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::net::UnixDatagram;

    use basalt_contract::{Fault, Report, Step, StepState};

    use super::Journald;
    use crate::notice::Notice;

    /// By the description of the protocol, and by nothing of the writer's.
    fn decode(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
            let (name, rest) = (&bytes[..end], &bytes[end + 1..]);
            let (value, rest) = if bytes[end] == b'=' {
                rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap())
            } else {
                let (length, rest) = rest.split_first_chunk().unwrap();
                rest.split_at(u64::from_le_bytes(*length) as usize)
            };
            assert_eq!(rest[0], b'\n');
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            assert!(fields.insert(text(name), text(value)).is_none(), "{}", text(name));
            bytes = &rest[1..];
        }
        fields
    }

    fn told(notice: &Notice) -> BTreeMap<String, String> {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("run/systemd/journal/socket");
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let socket = UnixDatagram::bind(socket).unwrap();
        Journald::new(root.path()).send(notice).unwrap();
        let mut buffer = vec![0; 1 << 18];
        let length = socket.recv(&mut buffer).unwrap();
        decode(&buffer[..length])
    }

    fn has(told: &BTreeMap<String, String>, wanted: &[(&str, &str)]) {
        let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(told, wanted);
    }

    const PLAN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    #[test]
    fn each_kind_has_its_fields() {
        let report = Report::from_json(include_bytes!("../../../contract/fixtures/report-1.json")).unwrap();
        has(
            &told(&Notice::settled(&report)),
            &[
                ("BASALT_PLAN_ID", PLAN),
                ("BASALT_STATE", "configured"),
                ("MESSAGE", "Basalt gpu-node 1.2.0: configured, plan 0f1e2d3c4b5a, deployment 9a0b1c2d3e4f"),
                ("MESSAGE_ID", "c692ebd0b8a7479e887e8a4da5f7bd34"),
                ("PRIORITY", "6"),
                ("SYSLOG_IDENTIFIER", "basalt-firstboot"),
            ],
        );
        has(
            &told(&Notice::fault(&Fault::new("tuned", "no\x1b\nprofile", "one\ntwo=\n"), &report)),
            &[
                ("BASALT_NEXT_STEP", "one\ntwo=\n"),
                ("BASALT_PLAN_ID", PLAN),
                ("BASALT_STATE", "configured"),
                ("BASALT_SUBJECT", "tuned"),
                ("MESSAGE", "tuned: no  profile; one two= "),
                ("MESSAGE_ID", "734c1cde7b88431e941fa4d2d8198078"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "basalt-firstboot"),
            ],
        );
        let (name, what, reason) = ("labels/features".to_owned(), "2 labels".to_owned(), "no room".to_owned());
        let mut step = Step { name, what, state: StepState::Failed, reason, attempts: 2, next_attempt: None, since: 1 };
        has(
            &told(&Notice::step(&step, Some(PLAN))),
            &[
                ("BASALT_ATTEMPTS", "2"),
                ("BASALT_PLAN_ID", PLAN),
                ("BASALT_STEP", "labels/features"),
                ("BASALT_STEP_STATE", "failed"),
                ("BASALT_SUBJECT", "labels"),
                ("MESSAGE", "labels/features: failed: 2 labels: no room"),
                ("MESSAGE_ID", "52f3ac557de24609bf4ba90aa2e0065d"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "basalt-firstboot"),
            ],
        );
        (step.state, step.reason) = (StepState::Done, String::new());
        let done = told(&Notice::step(&step, None));
        assert_eq!((done["MESSAGE"].as_str(), done["PRIORITY"].as_str()), ("labels/features: done: 2 labels", "6"));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let told = told(&Notice::remark(&"ü".repeat(1 << 19)));
        let message = &told["MESSAGE"];
        assert!(message.len() < 17_000 && message.ends_with("ü... (and 1032192 bytes more)"), "{}", &message[16_000..]);
        assert!(!told.contains_key("MESSAGE_ID"));
    }

    #[test]
    fn nobody_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(Journald::new(root.path()).send(&Notice::remark("x")).is_err());
    }
}
