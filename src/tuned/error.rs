//! Why there is no merged profile: tuned would refuse to load it, too.

use super::Origin;
use super::ini::BadLine;

/// Why profiles cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No name is left: none was given, or none of those has only letters, digits, `_`, `.` and `-`.
    #[error("needed the name of a profile (letters, digits, _ . -), found {0:?}")]
    NoProfile(String),
    /// A profile that no folder has.
    #[error("{}there is no profile {profile:?}; looked for it in {}", asked(.asked_by), .searched.join(", "))]
    Missing {
        /// Its name.
        profile: String,
        /// The `include` that names it; none: it was to be active.
        asked_by: Option<Origin>,
        /// Where its `tuned.conf` could have been, the folder that wins first.
        searched: Vec<String>,
    },
    /// Lines that are neither sections nor options.
    #[error("{}", each(.file, .lines))]
    Syntax {
        /// The file.
        file: String,
        /// Each of them.
        lines: Vec<BadLine>,
    },
    /// A file that is not UTF-8.
    #[error("{0}: needed text in UTF-8, found other bytes")]
    NotText(String),
    /// A file that is there and cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// An assertion of the profile does not hold.
    #[error("{origin}: the assertion {what:?} failed: {why}")]
    Assertion {
        /// Where it is written.
        origin: Origin,
        /// Its first argument.
        what: String,
        /// `"a" and "b" differ`
        why: String,
    },
    /// `${f}` names no function: tuned breaks off.
    #[error("{origin}: needed ${{f:FUNCTION}}, found ${{f}}")]
    NoFunction {
        /// Where it is written.
        origin: Origin,
    },
    /// Variables that hold each other grow without end.
    #[error("{origin}: the value is longer than {max} characters when its variables are expanded")]
    TooLong {
        /// Where it is written.
        origin: Origin,
        /// How long it may be.
        max: usize,
    },
}

fn asked(by: &Option<Origin>) -> String {
    by.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default()
}

fn each(file: &str, lines: &[BadLine]) -> String {
    let line = |bad: &BadLine| format!("{file}, line {}: needed {}, found {:?}", bad.line, bad.needed, bad.found);
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}
