//! What the agent does and did about one thing, and what it found to hold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that differed, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The subject, a slash, and which of the subject's: `identity/host-name`.
    pub name: String,
    /// What was so and what is wished, in words.
    pub what: String,
    /// Where it is.
    pub state: StepState,
    /// Why it is there. Empty: there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How often it was begun without success; 0 when it is done.
    pub attempts: u32,
    /// When the agent tries it again, in seconds since 1970. Absent: not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// Since when it is there, in seconds since 1970.
    pub since: u64,
}

/// Where a step is. On the wire: its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its turn has not come.
    Pending,
    /// It is being done.
    Running,
    /// It is done, and was found to hold.
    Done,
    /// It was tried, and did not work.
    Failed,
    /// It failed too often: it is not tried until what is wished changes, or somebody asks for it.
    Waiting,
    /// Somebody else on the node owns it: it stays as it is.
    Left,
}

impl StepState {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is wished of a subject, and was found to be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// One word: `tuned`.
    pub subject: String,
    /// What is so, in words, and who says it where somebody does.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::StepState;

    #[test]
    fn json_and_text_agree() {
        use StepState::{Done, Failed, Left, Pending, Running, Waiting};
        for state in [Pending, Running, Done, Failed, Waiting, Left] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
