//! The one way in which shared files are read and written: JSON, the format's number looked at before anything else.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ContractError;

/// All that is read before the format is known.
#[derive(serde::Deserialize)]
struct Header {
    format: u64,
}

/// Reads `json` as a `T` when its `format` is `known`.
pub fn read<T: DeserializeOwned>(what: &'static str, known: u32, json: &[u8]) -> Result<T, ContractError> {
    let malformed = |cause| ContractError::Malformed { what, cause };
    let Header { format } = serde_json::from_slice(json).map_err(malformed)?;
    if format != u64::from(known) {
        return Err(ContractError::UnknownFormat { what, found: format, known });
    }
    serde_json::from_slice(json).map_err(malformed)
}

/// Writes `value` as indented JSON with a line feed at the end: the same value gives the same bytes.
///
/// # Panics
/// When a type of this crate cannot be JSON (a map whose keys are not text): a mistake in the type.
pub fn write(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a type of this crate is always JSON");
    text.push('\n');
    text
}
