//! Which profile of tuned is to be active: what the builder tells the agent.

use serde::{Deserialize, Serialize};

use crate::{ContractError, wire};

/// What tuned is to do on a node; [`names::TUNED_FILE`](crate::names::TUNED_FILE), which has more for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunedInfo {
    /// The format of this file: [`TunedInfo::FORMAT`].
    pub format: u32,
    /// The active profiles, with one space between two.
    pub active: String,
}

impl TunedInfo {
    /// The format that is written.
    pub const FORMAT: u32 = 1;

    /// Reads one.
    ///
    /// # Errors
    /// When the format is unknown, or the JSON is not that of a `TunedInfo`.
    pub fn from_json(json: &[u8]) -> Result<Self, ContractError> {
        wire::read("tuned.json", Self::FORMAT, json)
    }
}

#[cfg(test)]
mod tests {
    use super::TunedInfo;

    const V1: &str = include_str!("../fixtures/tuned-1.json");

    #[test]
    fn format_1_stays_readable() {
        assert_eq!(TunedInfo::from_json(V1.as_bytes()).unwrap().active, "basalt-gpu-inference basalt-cpu-isolated");
        let error = TunedInfo::from_json(V1.replacen("\"format\": 1", "\"format\": 2", 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("tuned.json of format 2"), "{error}");
    }
}
