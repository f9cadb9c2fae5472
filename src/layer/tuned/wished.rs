//! Profiles that the agent is to make active on a node: whether the image's tuned would load them there, and what they take.

use anyhow::Result;
use basalt_contract::KernelArgument;

use super::{active, needed};
use crate::failure::{Failure, Kind};
use crate::tree::Tree;
use crate::tuned::{self, Folders, Installed, LoadError, Merged};

/// Looks whether the tuned of `tree` loads `profiles` (names with spaces between them), which `key` of the recipe wishes. An assertion that
/// does not hold yet is no mistake: the node may have variables that the image has not.
///
/// # Errors
/// [`Kind::Invalid`]: no tuned, or what it would refuse on every node, with what was probably meant.
pub fn loadable(key: &str, profiles: &str, tree: &Tree) -> Result<()> {
    needed(key, tree)?;
    evaluated(profiles, tree).map(drop)
}

/// The kernel arguments that `profiles` surely take on a node that has the image `tree`: not those that only the node can know.
///
/// # Errors
/// As [`loadable`], and [`Kind::Invalid`]: kernel arguments that contradict each other.
pub fn taken(profiles: &str, tree: &Tree) -> Result<Vec<KernelArgument>> {
    let merged = evaluated(profiles, tree)?;
    Ok(merged.map(|merged| active::known(&merged)).transpose()?.unwrap_or_default())
}

/// `None`: an assertion does not hold yet.
fn evaluated(profiles: &str, tree: &Tree) -> Result<Option<Merged>> {
    let folders = Folders::of(tree).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
    match tuned::evaluate(tree, &folders, profiles, &Installed::of(tree)) {
        Ok(merged) => Ok(Some(merged)),
        Err(LoadError::Assertion { .. }) => Ok(None),
        Err(error) => Err(active::refused(profiles, &error, &folders.profiles(tree)).into()),
    }
}
