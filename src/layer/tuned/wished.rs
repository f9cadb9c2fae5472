//! Profiles that the agent is to make active on a node: whether the image's tuned would load them there.

use anyhow::Result;

use super::{active, needed};
use crate::failure::{Failure, Kind};
use crate::tree::Tree;
use crate::tuned::{self, Folders, Installed, LoadError};

/// Looks whether the tuned of `tree` loads `profiles` (names with spaces between them), which `key` of the recipe wishes. An assertion that
/// does not hold yet is no mistake: the node may have variables that the image has not.
///
/// # Errors
/// [`Kind::Invalid`]: no tuned, or what it would refuse on every node, with what was probably meant.
pub fn loadable(key: &str, profiles: &str, tree: &Tree) -> Result<()> {
    needed(key, tree)?;
    let folders = Folders::of(tree).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
    match tuned::evaluate(tree, &folders, profiles, &Installed::of(tree)) {
        Ok(_) | Err(LoadError::Assertion { .. }) => Ok(()),
        Err(error) => Err(active::refused(profiles, &error, &folders.profiles(tree)).into()),
    }
}
