//! The OCI image: the OSTree commit in layers, as ostree-ext encapsulates one, in a folder that skopeo and podman take.
//!
//! ```text
//! Tree --component--> [Chunk] --layer--> [Blob] (cached by what is in them) --image--> manifest --folder--> files
//! ```
//!
//! A disk is told which layers it holds: its node pulls only others.
//!
//! A file belongs to the package or layer that brought it ([`component`]); what changes together lies in one layer of the image
//! ([`chunk`]); so a layer that nobody touched keeps its digest, and neither a registry nor a node moves it again. Format: "tar
//! stream layout", version 1, of the crate ostree-ext.

mod chunk;
mod component;
pub mod document;
pub mod folder;
mod image;
mod layer;
pub mod metadata;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use crate::architecture::Architecture;
use crate::commit::Commit;
use crate::host::parallel;
use crate::layer::Layer;
use crate::layer::packages::Package;
use crate::plan::PlanId;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;
use crate::sysroot::HeldLayer;
use crate::tree::Tree;
use chunk::Chunk;
use document::Document;
use layer::Blob;

pub use folder::Folder;
pub use layer::prune;

/// What becomes an image.
pub struct Subject<'a> {
    /// Name of the image.
    pub name: &'a str,
    /// Its version: also its tag.
    pub version: &'a str,
    /// Of its plan.
    pub plan: PlanId,
    /// What it runs on.
    pub architecture: Architecture,
    /// Its time, in seconds since 1970.
    pub time: i64,
    /// The commit.
    pub commit: &'a Commit,
    /// The commit's tree.
    pub tree: &'a Tree,
    /// What the tree was merged from, lowest first.
    pub layers: &'a [Layer],
    /// The packages of the lowest layer.
    pub packages: &'a [Package],
}

/// The layers of an image that have files, compressed.
pub struct Layers {
    chunks: Vec<Chunk>,
    blobs: Vec<Arc<Blob>>,
}

impl Layers {
    /// Those of `subject`. What the store does not have is compressed now.
    ///
    /// # Errors
    /// When a content cannot be read, or the cache cannot be written.
    pub fn of(subject: &Subject<'_>, store: &Store, sink: &dyn Sink) -> Result<Self> {
        let components = component::Components::of(subject)?;
        let chunks = chunk::pack(subject, &components)?;
        let jobs: Vec<_> = chunks.iter().map(layer::Job::Chunk).collect();
        let stage = Stage::start(sink, "layers", subject.name, Some(jobs.len() as u64), Unit::Items);
        let blobs = compress(subject, &jobs, store, stage)?;
        Ok(Self { chunks, blobs })
    }

    /// By what a registry knows each layer, and the objects in it.
    pub fn held(&self) -> Vec<HeldLayer> {
        let held = |(chunk, blob): (&Chunk, &Arc<Blob>)| HeldLayer {
            sha256: blob.sha256,
            objects: chunk.objects.keys().copied().collect(),
        };
        self.chunks.iter().zip(&self.blobs).map(held).collect()
    }
}

/// The image of `subject`: the layer of its commit, which is compressed now if the store does not have it, and `layers`.
///
/// # Errors
/// When the cache cannot be read or written.
pub fn layout(subject: &Subject<'_>, layers: &Layers, store: &Store) -> Result<Folder> {
    let jobs: Vec<_> = std::iter::once(layer::Job::Commit).chain(layers.chunks.iter().map(layer::Job::Chunk)).collect();
    let commit = layer::blob(subject, &layer::Job::Commit, store).context("the commit's layer of the OCI image")?;
    let blobs: Vec<_> = std::iter::once(Arc::new(commit)).chain(layers.blobs.iter().cloned()).collect();
    let image = image::describe(subject, &jobs, &blobs)?;
    Folder::of(&image, &blobs)
}

/// The blob of each job, in their order. All processors work.
fn compress(subject: &Subject<'_>, jobs: &[layer::Job<'_>], store: &Store, stage: Stage<'_>) -> Result<Vec<Arc<Blob>>> {
    let stage = Mutex::new((stage, true));
    let blobs = parallel::map(jobs, |job| {
        let blob = layer::blob(subject, job, store).with_context(|| format!("layer {} of the OCI image", job.name()))?;
        if let Ok(mut stage) = stage.lock() {
            stage.0.advance(1);
            stage.1 &= blob.cached;
        }
        Ok(Arc::new(blob))
    })?;
    let (stage, cached) = stage.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    stage.finish(cached);
    Ok(blobs)
}
