//! Takes out of the store what no image's last build has: commits that no ref names any more, and the overlays of such commits.
//!
//! Bases and packages stay: they are shared by images, and the slowest to have again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::known::Known;
use super::repository::Repository;
use crate::digest::Digest;
use crate::lock::OVERLAY_KIND;
use crate::store::{Alone, Store};

/// What was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects of commits: files, folders, commits.
    pub objects: u64,
    /// Overlays.
    pub overlays: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// Takes out of `store` what no ref of its repository reaches. `_alone`: a build reads its commit until its last artefact is written.
pub fn prune(store: &Store, _alone: &Alone<'_>) -> Result<Pruned> {
    if !store.root().join("ostree/repo/config").exists() {
        return Ok(Pruned::default());
    }
    let repository = Repository::open(store)?;
    let kept = kept_overlays(&repository)?;
    let (objects, bytes) = repository.prune()?;
    let mut known = Known::load(&store.root().join("ostree/known"))?;
    known.retain(|object| repository.has_file(object))?;
    let mut pruned = Pruned { objects, overlays: 0, bytes };
    let folder = store.root().join(OVERLAY_KIND);
    let entries = if folder.is_dir() { fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    for entry in entries {
        if !kept.contains(entry.file_name().to_string_lossy().as_ref()) {
            let path = entry.path();
            pruned.bytes += size(&path)?;
            pruned.overlays += 1;
            fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(pruned)
}

/// Whether the repository of `store` has an object: a file, link or commit.
///
/// # Errors
/// When the repository cannot be opened.
pub fn objects(store: &Store) -> Result<impl Fn(&Digest) -> bool> {
    let repository = Repository::open(store)?;
    Ok(move |object: &Digest| repository.has_file(object) || repository.has_commit(object))
}

/// The digests of all layers that commits with a ref were made from.
fn kept_overlays(repository: &Repository) -> Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    for commit in repository.commits()? {
        let metadata = commit.child_value(0);
        let layers = ostree::glib::VariantDict::new(Some(&metadata)).lookup_value("basalt.layers", None);
        let layers: Option<Vec<(String, String)>> = layers.and_then(|layers| layers.get());
        let layers = layers.context("a commit of the cache does not say its layers; nothing was taken for unused")?;
        kept.extend(layers.into_iter().map(|(_, digest)| digest));
    }
    Ok(kept)
}

/// The bytes of the files in `folder`.
fn size(folder: &Path) -> Result<u64> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
