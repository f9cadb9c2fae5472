//! All that is wrong with a recipe.

use std::fmt;

use basalt_contract::placed::{Findings, Problem, Sources};

use crate::failure::{Failure, Kind};

/// All that is wrong with a recipe, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// [`Kind::Input`] when the recipe cannot be read, else [`Kind::Invalid`].
    pub kind: Kind,
    /// At least one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// What was found while the files were read, merged and checked.
    pub(super) fn of(findings: Findings, sources: &Sources) -> Self {
        Self { kind: Kind::Invalid, list: findings.into_problems(sources) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(problems.kind, problems.to_string())
    }
}
