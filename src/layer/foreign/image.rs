//! A container image as a base: its layers over one another, whiteouts honoured; one that holds an OSTree commit gives the tree of the
//! commit.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::spool::Spool;
use super::{encapsulated, normalise};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Config};
use crate::host::interrupt;
use crate::layer::{Layer, cache};
use crate::lock::{LockedBlob, LockedImage};
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;
use crate::tree::Tree;
use crate::tree::tar::{End, TarError};

/// Changes whenever the same image would give another tree.
const RULES: u32 = 1;
/// The store's word for its entries.
const KIND: &str = "base";

#[derive(Serialize)]
struct Key {
    rules: u32,
    manifest: Digest,
    time: i64,
}

/// The layer that `image` is: from the store, else made now from its blobs. `time` is the image's, in seconds since 1970.
///
/// # Errors
/// [`Kind::Input`]: a blob is missing, or not what manifest and configuration say; [`Kind::Invalid`]: a layer has what no image can have.
pub fn produce(image: &LockedImage, time: i64, store: &Store, sink: &dyn Sink) -> Result<Layer> {
    let entry = store.entry_or_make(KIND, &key(image, time), |folder| make(image, folder, time, store, sink))?;
    if entry.cached {
        Stage::start(sink, "base", format!("image {}", image.from), None, Unit::None).finish(true);
    }
    let tree = cache::read(&entry.path)?;
    let digest = cache::digest(&entry.path, &tree);
    Ok(Layer { name: "base".to_owned(), replaces: Vec::new(), removals: Vec::new(), finished: true, digest, tree })
}

/// Whether the store has the layer that [`produce`] would answer, so that no blob is needed.
pub fn is_cached(image: &LockedImage, time: i64, store: &Store) -> bool {
    store.entry(KIND, &key(image, time)).is_some()
}

fn key(image: &LockedImage, time: i64) -> Digest {
    Digest::of_value(&Key { rules: RULES, manifest: image.manifest.sha256, time })
}

/// Fills the entry `folder`.
fn make(image: &LockedImage, folder: &Path, time: i64, store: &Store, sink: &dyn Sink) -> Result<()> {
    let total = image.layers.iter().map(|layer| layer.size).sum();
    let mut stage = Stage::start(sink, "base", format!("image {}", image.from), Some(total), Unit::Bytes);
    let path = folder.join("pack");
    let mut spool = Spool::create(&path)?;
    let (tree, config) = unpacked(image, &mut spool, store, &mut |bytes| stage.advance(bytes))?;
    let pack = spool.pack().clone();
    spool.finish()?;
    let mut tree = encapsulated::tree(tree, &config).map_err(|error| damaged(image, format!("{error:#}")))?;
    normalise(&mut tree, time)?;
    cache::move_into_pack(&mut tree.root, &pack, &mut File::options().append(true).open(&path)?)?;
    cache::write_index(folder, &tree).context("the base's index")?;
    stage.finish(false);
    Ok(())
}

/// The layers of `image` over one another, their contents in `spool`; its configuration. `advance` is told the bytes of each layer.
///
/// # Errors
/// As [`produce`].
pub fn unpacked(image: &LockedImage, spool: &mut Spool, store: &Store, advance: &mut dyn FnMut(u64)) -> Result<(Tree, Config)> {
    let config: Config = serde_json::from_slice(&fs::read(blob(image, &image.config, store)?)?)
        .map_err(|error| damaged(image, format!("its configuration: {error}")))?;
    let ids = &config.rootfs.diff_ids;
    if ids.len() != image.layers.len() {
        let what = format!("needed a diff_id for each of {} layers, found {}", image.layers.len(), ids.len());
        return Err(damaged(image, what).into());
    }
    let mut tree = Tree::new();
    for (index, (layer, id)) in image.layers.iter().zip(ids).enumerate() {
        let name = format!("layer {} of {} ({})", index + 1, ids.len(), layer.sha256);
        let file = File::open(blob(image, layer, store)?)?;
        let found = spool.unpack(&mut tree, BufReader::with_capacity(1 << 18, file), layer.size, End::MayBeBare);
        interrupt::check()?;
        let found = found.map_err(|error| unfit(image, &name, error))?;
        if oci::digest(&found) != *id {
            return Err(damaged(image, format!("{name}: unpacked, needed {id}, found {}", oci::digest(&found))).into());
        }
        advance(layer.size);
    }
    Ok((tree, config))
}

fn blob(image: &LockedImage, blob: &LockedBlob, store: &Store) -> Result<std::path::PathBuf, Failure> {
    if store.has_blob(&blob.sha256) {
        return Ok(store.blob_path(&blob.sha256));
    }
    let what = format!("{}: {} {} is not in the cache", image.from, blob.media_type, blob.sha256);
    Err(Failure::new(Kind::Input, what).hint("build without --offline, or from a folder that `basalt vendor` made"))
}

fn damaged(image: &LockedImage, what: String) -> Failure {
    Failure::new(Kind::Input, format!("{}: {what}", image.from)).hint("the image is damaged: make it again")
}

/// A layer that is no tar of a system is invalid; one that cannot be read to its end is damaged.
fn unfit(image: &LockedImage, name: &str, error: anyhow::Error) -> anyhow::Error {
    let what = format!("{name}: {error:#}");
    match error.downcast_ref::<TarError>() {
        Some(TarError::Member { .. }) => {
            Failure::new(Kind::Invalid, format!("{}: {what}", image.from)).hint("leave it out of the image").into()
        }
        _ => damaged(image, what).into(),
    }
}
