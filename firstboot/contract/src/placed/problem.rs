//! What is wrong with a file: all of it at once, each with its place and the next step.

use std::fmt;

use serde::Serialize;

use super::{Place, Sources};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file that it stands in, as the command line and the includes name it.
    pub file: String,
    /// Line and column, counted from 1. None when the file as a whole is meant.
    pub at: Option<(usize, usize)>,
    /// What, needed and found.
    pub what: String,
    /// The next step, where we know one.
    pub hint: Option<String>,
}

/// `file:line:column: what; hint`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Collects what is wrong while the files are read, merged and checked.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<(Place, String, Option<String>)>,
}

impl Findings {
    /// Something is wrong at `place`.
    pub fn add(&mut self, place: Place, what: impl Into<String>) {
        self.list.push((place, what.into(), None));
    }

    /// Something is wrong at `place`, and this is the next step.
    pub fn add_with_hint(&mut self, place: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.list.push((place, what.into(), Some(hint.into())));
    }

    /// Adds all that is wrong in the part `key` of a file, which was looked at by itself.
    pub fn add_part(&mut self, key: &str, part: Self) {
        self.list.extend(part.list.into_iter().map(|(place, what, hint)| (place, format!("{key}.{what}"), hint)));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// With file, line and column, in the order of the files, nothing twice.
    pub fn into_problems(mut self, sources: &Sources) -> Vec<Problem> {
        self.list.sort_by_key(|(place, ..)| *place);
        let mut list: Vec<_> = self
            .list
            .into_iter()
            .map(|(place, what, hint)| {
                let position = sources.position(place);
                Problem { file: position.file, at: Some((position.line, position.column)), what, hint }
            })
            .collect();
        list.dedup();
        list
    }
}
