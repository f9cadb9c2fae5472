//! Container images as bases: which one a name means now ([`pin`]), and its blobs ([`fetch`]). Registries are asked through skopeo: see
//! [`crate::registry`].

mod choose;

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use super::Network;
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::layout::Layout;
use crate::format::oci::{self, Index};
use crate::host::{interrupt, space};
use crate::lock::{LockedBlob, LockedImage};
use crate::progress::{Sink, Stage, Unit};
use crate::recipe::{ImageSource, LocalImage};
use crate::registry::{self, Access, Document};
use crate::store::Store;

/// The image that is at `from` now, and its time in seconds since 1970. `folder` is what local paths are relative to. Manifest and
/// configuration are in the store afterwards; of an image that lies here, its layers, too.
///
/// # Errors
/// [`Kind::Input`]: there is no such image, or other bytes than its digests say; [`Kind::Invalid`]: it is no image of a system;
/// [`Kind::Failed`]: what the registry, or the way to it, refused.
pub fn pin(
    from: &ImageSource,
    folder: &Path,
    architecture: Architecture,
    access: &Access,
    store: &Store,
    sink: &dyn Sink,
) -> Result<(LockedImage, i64)> {
    let stage = Stage::start(sink, "resolve", format!("{from} for {architecture}"), None, Unit::None);
    let pinned = match from {
        ImageSource::Registry(reference) => remote(reference, architecture, access, store)?,
        ImageSource::Folder(image) | ImageSource::Archive(image) => local(from, image, folder, architecture, store)?,
    };
    stage.finish(false);
    Ok(pinned)
}

fn remote(reference: &str, architecture: Architecture, access: &Access, store: &Store) -> Result<(LockedImage, i64)> {
    let mut name = format!("docker://{reference}");
    let mut known = reference.split_once('@').map(|(_, digest)| digest.to_owned());
    let mut bytes = registry::document(&name, Document::Manifest, access)?;
    if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
        if let Some(known) = known.filter(|known| *known != oci::digest(&Digest::of(&bytes))) {
            let what = format!("{reference}: the list is not that of its digest {known}");
            return Err(Failure::new(Kind::Input, what).hint("it was altered: do not use this registry").into());
        }
        let chosen = choose::of_list(reference, &index, architecture)?;
        name = format!("docker://{}@{}", repository(reference), chosen.digest);
        bytes = registry::document(&name, Document::Manifest, access)?;
        known = Some(chosen.digest.clone());
    }
    let (image, _) = choose::locked(reference, &bytes, known.as_deref())?;
    // By digest: the tag may move meanwhile.
    let name = format!("docker://{}@{}", repository(reference), oci::digest(&image.manifest.sha256));
    let config = registry::document(&name, Document::Config, access)?;
    let time = choose::time(reference, &config, architecture)?;
    keep(store, reference, &bytes[..], &image.manifest)?;
    keep(store, reference, &config[..], &image.config)?;
    Ok((image, time))
}

fn local(
    from: &ImageSource,
    image: &LocalImage,
    folder: &Path,
    architecture: Architecture,
    store: &Store,
) -> Result<(LockedImage, i64)> {
    let from = from.to_string();
    let layout = Layout::open(&folder.join(&image.path))?;
    let candidates = choose::candidates(&from, layout.descriptors()?, image.tag.as_deref(), architecture)?;
    let images = match candidates.len() {
        // Whether it is an image at all is said below.
        1 => None,
        _ => Some(candidates.iter().cloned().map(|one| layout.image(one)).collect::<Result<Vec<_>>>()?),
    };
    let descriptor = match (images, candidates) {
        (Some(images), _) => choose::only(&from, images, architecture)?.0,
        (None, mut one) => one.pop().context("a candidate")?,
    };
    let mut bytes = Vec::new();
    layout.blob(&descriptor)?.read_to_end(&mut bytes).context("its manifest")?;
    let (locked, manifest) = choose::locked(&from, &bytes, Some(&descriptor.digest))?;
    let mut config = Vec::new();
    layout.blob(&manifest.config)?.read_to_end(&mut config).context("its configuration")?;
    let time = choose::time(&from, &config, architecture)?;
    keep(store, &from, &bytes[..], &locked.manifest)?;
    let parts = [&manifest.config].into_iter().chain(&manifest.layers).zip([&locked.config].into_iter().chain(&locked.layers));
    for (descriptor, blob) in parts {
        keep(store, &from, layout.blob(descriptor)?, blob)?;
    }
    Ok((locked, time))
}

/// `registry/path` of a reference, without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn keep(store: &Store, from: &str, reader: impl Read, blob: &LockedBlob) -> Result<()> {
    let LockedBlob { sha256, size, media_type } = blob;
    store.add_known_blob(reader, sha256, *size).with_context(|| format!("{from}: {media_type} {sha256}"))
}

/// Brings what the store lacks of `image`.
///
/// # Errors
/// [`Kind::Input`]: it lay here and does no more, or `network` is offline; [`Kind::Failed`]: what the registry refused. What came
/// whole is kept.
pub fn fetch(image: &LockedImage, network: Network<'_>, store: &Store, sink: &dyn Sink) -> Result<()> {
    let missing: Vec<_> = image.blobs().filter(|blob| !store.has_blob(&blob.sha256)).collect();
    let all = image.blobs().count();
    if missing.is_empty() {
        Stage::start(sink, "fetch", format!("{} layers", image.layers.len()), None, Unit::None).finish(true);
        return Ok(());
    }
    let from = &image.from;
    let reference = match ImageSource::parse("", from) {
        Ok(ImageSource::Registry(reference)) if !network.offline => reference,
        Ok(ImageSource::Registry(_)) => {
            let what = format!("{from}: {} of {all} parts are not in the cache, and --offline allows no network", missing.len());
            return Err(Failure::new(Kind::Input, what)
                .hint("build once without --offline, or from a folder that `basalt vendor` made")
                .into());
        }
        _ => {
            let what = format!("{from}: {} of {all} parts are not in the cache", missing.len());
            return Err(Failure::new(Kind::Input, what).hint("build from the recipe, which says where it lies").into());
        }
    };
    let total = missing.iter().map(|blob| blob.size).sum();
    let detail = format!("{} of {all} parts of {from}", missing.len());
    let mut stage = Stage::start(sink, "fetch", detail, Some(total), Unit::Bytes);
    space::need(store.root(), 2 * total, "fetching the base")?;
    let folder = tempfile::tempdir_in(store.root().join("tmp"))?;
    let name = format!("docker://{}@{}", repository(&reference), oci::digest(&image.manifest.sha256));
    let mut done = 0;
    let mut progress = |bytes: u64| {
        let bytes = bytes.min(total);
        stage.advance(bytes.saturating_sub(done));
        done = done.max(bytes);
    };
    let pulled = pull(&name, image, folder.path(), network.access, store, &mut progress);
    let brought = bring(&missing, folder.path(), from, store);
    // Why something is missing is said by the way, not by what is missing.
    pulled?;
    brought?;
    stage.finish(false);
    Ok(())
}

fn pull(
    name: &str,
    image: &LockedImage,
    folder: &Path,
    access: &Access,
    store: &Store,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let shared = folder.join(SHARED).join("sha256");
    fs::create_dir_all(&shared)?;
    if image.manifest.media_type == oci::DOCKER_MANIFEST {
        // Only a plain folder takes it as it is; there everything comes anew.
        return Ok(registry::pull(name, &registry::Into::Plain(&folder.join(PLAIN)), access, progress)?);
    }
    let mut there = 0;
    for blob in image.blobs().filter(|blob| store.has_blob(&blob.sha256)) {
        fs::hard_link(store.blob_path(&blob.sha256), shared.join(blob.sha256.to_hex()))?;
        there += blob.size;
    }
    let mut progress = |bytes: u64| progress(bytes.saturating_sub(there));
    let into = registry::Into::Layout { folder: &folder.join(PLAIN), blobs: &folder.join(SHARED) };
    Ok(registry::pull(name, &into, access, &mut progress)?)
}

/// Where skopeo leaves blobs.
const SHARED: &str = "shared";
const PLAIN: &str = "image";

/// Takes what came whole.
fn bring(missing: &[&LockedBlob], folder: &Path, from: &str, store: &Store) -> Result<()> {
    let mut absent = None;
    for blob in missing {
        interrupt::check()?;
        let hex = blob.sha256.to_hex();
        let is_manifest = oci::DOCKER_MANIFEST == blob.media_type;
        let plain = folder.join(PLAIN).join(if is_manifest { "manifest.json" } else { &hex });
        let places = [folder.join(SHARED).join("sha256").join(&hex), plain];
        match places.iter().find_map(|place| fs::File::open(place).ok()) {
            Some(file) => keep(store, from, file, blob)?,
            None => absent = Some(blob),
        }
    }
    match absent {
        None => Ok(()),
        Some(blob) => {
            let what = format!("{from}: needed {} {}, found none", blob.media_type, blob.sha256);
            Err(Failure::new(Kind::Input, what).hint("the registry has lost it: push the image again").into())
        }
    }
}
