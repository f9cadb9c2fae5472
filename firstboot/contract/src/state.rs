//! In which state the agent is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// In which state the agent is. On the wire: its word, in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs, but has not found out or not reported yet.
    Starting,
    /// It makes the node what it should be.
    Applying,
    /// All is done, and the machine boots anew for it.
    Rebooting,
    /// The node is what it should be, and this was reported.
    Configured,
    /// Something did not work: the report says what, why and what to do. The node runs on.
    Degraded,
}

/// The word names no state that this program knows.
#[derive(Debug, thiserror::Error)]
#[error("unknown state {0:?}: needed one of starting, applying, rebooting, configured, degraded")]
pub struct UnknownState(String);

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Applying, Self::Rebooting, Self::Configured, Self::Degraded];

    /// Whether the agent is done, for now.
    pub const fn settled(self) -> bool {
        matches!(self, Self::Configured | Self::Degraded)
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Applying => "applying",
            Self::Rebooting => "rebooting",
            Self::Configured => "configured",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| UnknownState(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn json_and_text_agree() {
        for state in State::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
            assert_eq!(state.word().parse::<State>().unwrap(), state);
        }
        assert!(
            "Configured"
                .parse::<State>()
                .unwrap_err()
                .to_string()
                .contains("starting, applying, rebooting, configured, degraded")
        );
    }
}
