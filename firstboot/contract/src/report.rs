//! What the agent found, did and could not do in one boot.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ContractError, Figure, Holds, ImageInfo, State, Step, wire};

/// What the agent found, did and could not do in one boot; [`names::REPORT_FILE`](crate::names::REPORT_FILE).
///
/// It holds no secret: everybody on the node may read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The format of this file: [`Report::FORMAT`].
    pub format: u32,
    /// How it ended: configured, degraded, or rebooting for what was done.
    pub state: State,
    /// What did not work; empty when configured.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// The image, when its file could be read.
    pub image: Option<ImageInfo>,
    /// The boot that this report is about, as `/proc/sys/kernel/random/boot_id` writes it.
    pub boot_id: Option<String>,
    /// The node, as `/etc/machine-id` writes it: 32 hexadecimal digits.
    pub machine_id: Option<String>,
    /// The OSTree deployment that was booted.
    pub deployment: Option<Deployment>,
    /// What is wished and was found to be so, a subject each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Holds>,
    /// What was measured, in the order in which it is wished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
    /// What differed, and what became of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// When the agent tries again what did not work, in seconds since 1970. Absent: not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// The version of the agent that wrote this.
    pub agent_version: String,
    /// When the agent started, in seconds since 1970, by the node's clock.
    pub started: u64,
    /// When it was done, in seconds since 1970, by the node's clock.
    pub finished: u64,
}

/// One thing that did not work: where, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it is about, one word: `image`, `deployment`, `report`.
    pub subject: String,
    /// What is wrong and where, needed versus found.
    pub what: String,
    /// What a person can do.
    pub next_step: String,
}

impl Fault {
    /// What is wrong with `subject`, and what a person can do.
    pub fn new(subject: &str, what: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), what: what.into(), next_step: next_step.into() }
    }
}

/// Two lines for people.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  next: {}", self.subject, self.what, self.next_step)
    }
}

/// A deployment of OSTree: a commit, checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The operating system's name in the sysroot.
    pub os_name: String,
    /// The commit: 64 hexadecimal digits.
    pub checksum: String,
    /// Which of several deployments of the same commit.
    pub serial: u32,
}

impl Report {
    /// The format that is written.
    pub const FORMAT: u32 = 1;

    /// Reads one.
    ///
    /// # Errors
    /// When the format is unknown, or the JSON is not that of a `Report`.
    pub fn from_json(json: &[u8]) -> Result<Self, ContractError> {
        wire::read("report.json", Self::FORMAT, json)
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> String {
        wire::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::{ContractError, State};

    const V1: &str = include_str!("../fixtures/report-1.json");
    const V1_DEGRADED: &str = include_str!("../fixtures/report-1-degraded.json");
    const V1_FIGURES: &str = include_str!("../fixtures/report-1-figures.json");

    #[test]
    fn format_1_stays_readable() {
        let report = Report::from_json(V1.as_bytes()).unwrap();
        assert_eq!((report.state, report.faults.len()), (State::Configured, 0));
        assert_eq!(report.image.as_ref().unwrap().name, "gpu-node");
        assert_eq!(report.deployment.as_ref().unwrap().serial, 0);
        assert_eq!(report.to_json(), V1);

        let report = Report::from_json(V1_DEGRADED.as_bytes()).unwrap();
        assert_eq!((report.state, report.faults[0].subject.as_str()), (State::Degraded, "image"));
        assert_eq!((report.image.clone(), report.machine_id.clone(), report.deployment.clone()), (None, None, None));
        assert_eq!(report.to_json(), V1_DEGRADED);

        let report = Report::from_json(V1_FIGURES.as_bytes()).unwrap();
        let figures: Vec<_> = report.figures.iter().map(|figure| (figure.to_string(), figure.passed)).collect();
        assert_eq!(figures[0], ("disk-write: 12.5 MB/s, needed at least 500".to_owned(), Some(false)));
        assert_eq!(figures[1], ("memory: 9000 MB/s".to_owned(), None));
        assert_eq!(report.to_json(), V1_FIGURES);
    }

    #[test]
    fn absent_is_like_null() {
        let short = r#"{"format":1,"state":"configured","agent_version":"0.1.0","started":1,"finished":2,"later":[]}"#;
        let report = Report::from_json(short.as_bytes()).unwrap();
        assert_eq!((report.boot_id, report.steps.len(), report.faults.len()), (None, 0, 0));
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let error = Report::from_json(V1.replacen("\"format\": 1", "\"format\": 3", 1).as_bytes()).unwrap_err();
        assert!(matches!(error, ContractError::UnknownFormat { found: 3, .. }), "{error}");
    }
}
