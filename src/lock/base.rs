//! What a lock says of the base.

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::recipe::Recipe;

/// What the base is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LockedBase {
    /// Debian packages, which stand in the lock, too.
    Debian(LockedDebian),
    /// A container image.
    Oci(LockedImage),
    /// A local folder or tar archive.
    Tree(LockedTree),
}

impl LockedBase {
    /// The question to Debian's archive, where it is one.
    pub fn debian(&self) -> Option<&LockedDebian> {
        match self {
            Self::Debian(debian) => Some(debian),
            Self::Oci(_) | Self::Tree(_) => None,
        }
    }
}

/// The question whose answer is the list of packages. When the recipe asks another, the lock is stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedDebian {
    /// Debian's suite: `trixie`.
    pub suite: String,
    /// Components: `main`.
    pub components: Vec<String>,
    /// What the recipe asked for, sorted.
    pub requested: Vec<String>,
}

impl LockedDebian {
    /// What `recipe` asks; none where its base is not made of packages.
    pub fn of(recipe: &Recipe, architecture: Architecture) -> Option<Self> {
        let debian = recipe.base.debian()?;
        let requested = recipe.base.requested(architecture);
        Some(Self { suite: debian.suite.clone(), components: debian.components.clone(), requested })
    }
}

/// A container image for one architecture. Its manifest's digest decides all the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedImage {
    /// As the recipe names it; relative to the recipe's folder when it lies there. Empty in a plan's identity.
    pub from: String,
    /// Its manifest.
    pub manifest: LockedBlob,
    /// Its configuration.
    pub config: LockedBlob,
    /// Its layers, lowest first, as they are sent.
    pub layers: Vec<LockedBlob>,
}

impl LockedImage {
    /// Every blob of the image.
    pub fn blobs(&self) -> impl Iterator<Item = &LockedBlob> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers)
    }
}

/// A blob of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedBlob {
    /// Of its bytes.
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
    /// What it is.
    pub media_type: String,
}

/// The files of a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedTree {
    /// As the recipe names it.
    pub path: String,
    /// Of the tree without times ([`crate::tree::dump::digest`]): the key of the store's entry.
    pub digest: Digest,
}
