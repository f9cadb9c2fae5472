//! Profiles of tuned that become part of an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Profiles of tuned, and which are active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tuned {
    /// Where the profiles come from, lowest first.
    pub sources: Vec<TunedSource>,
    /// The active ones, with one space between two. None: tuned's own choice.
    pub active: Option<String>,
    /// By profile, then by name.
    pub variables: BTreeMap<String, BTreeMap<String, String>>,
}

/// A tree with profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TunedSource {
    /// As the lock names it.
    pub name: String,
    /// Of the tree: the key of the store's entry.
    pub digest: Digest,
}
