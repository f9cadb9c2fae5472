//! Why a shared file could not be read.

/// Why a shared file could not be read. The caller knows the path and adds it.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The file is of a format that this program does not know.
    #[error("{what} of format {found}, but this program reads format {known}: use a program as new as the file")]
    UnknownFormat {
        /// Which file: `image.json`, `report.json`.
        what: &'static str,
        /// The number in the file.
        found: u64,
        /// The newest number that we read.
        known: u32,
    },
    /// The file is not JSON, or a field is missing or of the wrong type.
    #[error("{what} cannot be understood: {cause}")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// Line, column and reason.
        cause: serde_json::Error,
    },
}
