//! Where something is written.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A file of the image and a line of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// `/usr/lib/tuned/profiles/balanced/tuned.conf`
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}
