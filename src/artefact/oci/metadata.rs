//! Detached metadata of the commit in its image: a member of the first layer, right behind the commit, where ostree-ext puts and looks for
//! it (`tar/export.rs`, `tar/import.rs`). Putting it there makes that layer, configuration and manifest anew; the other layers stay.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

use super::folder::Folder;
use super::layer;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Config, Descriptor, Index, Manifest};
use crate::tree::{Content, Pack};

/// The first layer is not longer than this: it has folders, and no files.
const LARGEST: u64 = 256 << 20;
const BLOCK: usize = 512;

/// What the first layer of an image has.
#[derive(Debug)]
pub struct CommitLayer {
    tar: Vec<u8>,
    /// The commit object's checksum ...
    pub checksum: Digest,
    /// ... and bytes.
    pub commit: Vec<u8>,
    /// The member with detached metadata: its place, empty where it would have it, and the place of what it holds.
    member: Range<usize>,
    inside: Range<usize>,
}

impl CommitLayer {
    /// Of a compressed layer.
    ///
    /// # Errors
    /// It is none that begins with a commit.
    pub fn read(compressed: impl Read) -> Result<Self> {
        let mut tar = Vec::new();
        MultiGzDecoder::new(compressed).take(LARGEST).read_to_end(&mut tar).context("the commit's layer")?;
        let (mut found, mut member, mut inside) = (None, 0..0, 0..0);
        let mut archive = tar::Archive::new(tar.as_slice());
        for entry in archive.entries()? {
            let entry = entry.context("the commit's layer")?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let at = usize::try_from(entry.raw_file_position())?;
            let end = at.saturating_add(usize::try_from(entry.size())?);
            let padded = end.next_multiple_of(BLOCK);
            if found.is_none() && name.ends_with(".commit") {
                let checksum = name.trim_end_matches(".commit").rsplit('/').take(2).collect::<Vec<_>>();
                let checksum: Digest = checksum.into_iter().rev().collect::<String>().parse()?;
                let commit = tar.get(at..end).context("the commit's layer ends too soon")?.to_vec();
                anyhow::ensure!(Digest::of(&commit) == checksum, "the commit is another than {checksum}, its name");
                (found, member, inside) = (Some((checksum, commit)), padded..padded, padded..padded);
            } else if let Some((checksum, _)) = &found {
                if name.ends_with(&format!("{}.{}", &checksum.to_hex()[2..], crate::sign::metadata::EXTENSION)) {
                    (member, inside) = (member.start..padded, at..end);
                }
                break;
            }
        }
        let (checksum, commit) = found.context("the first layer has no commit")?;
        anyhow::ensure!(member.end <= tar.len(), "the commit's layer ends too soon");
        Ok(Self { tar, checksum, commit, member, inside })
    }

    /// The detached metadata; none when it has none.
    pub fn metadata(&self) -> Option<&[u8]> {
        (!self.member.is_empty()).then(|| &self.tar[self.inside.clone()])
    }

    /// The tar with this metadata instead.
    fn with(&self, metadata: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut tar = self.tar[..self.member.start].to_vec();
        if let Some(metadata) = metadata {
            layer::metadata_member(&mut tar, &self.checksum, metadata)?;
        }
        tar.extend_from_slice(&self.tar[self.member.end..]);
        Ok(tar)
    }
}

/// The image in the folder at `path` with `metadata` as its commit's, to be written there.
///
/// # Errors
/// [`Kind::Input`]: there is no image of a commit.
pub fn attached(path: &Path, metadata: Option<&[u8]>) -> Result<Folder> {
    let bad = |why: String| {
        Failure::new(Kind::Input, format!("{}: {why}", path.display())).hint("build it again: basalt build RECIPE --format oci")
    };
    let document = |digest: &Digest| fs::read(path.join(oci::blob_path(digest))).map_err(|error| bad(error.to_string()));
    let named =
        |descriptor: &Descriptor| oci::parse_digest(&descriptor.digest).ok_or_else(|| bad("it has a digest that is none".into()));
    let index = fs::read(path.join(oci::INDEX_FILE)).map_err(|error| bad(error.to_string()))?;
    let mut index: Index = serde_json::from_slice(&index).map_err(|error| bad(error.to_string()))?;
    let [descriptor] = index.manifests.as_mut_slice() else { return Err(bad("needed one image".into()).into()) };
    let mut manifest: Manifest = serde_json::from_slice(&document(&named(descriptor)?)?)?;
    let mut config: Config = serde_json::from_slice(&document(&named(&manifest.config)?)?)?;
    let (Some(first), Some(diff_id)) = (manifest.layers.first_mut(), config.rootfs.diff_ids.first_mut()) else {
        return Err(bad("its image has no layers".into()).into());
    };
    let at = path.join(oci::blob_path(&named(first)?));
    let compressed = File::open(&at).map_err(|error| bad(error.to_string()))?;
    let tar = CommitLayer::read(compressed).map_err(|error| bad(format!("{error:#}")))?.with(metadata)?;
    let layer = Content::from_bytes(layer::compressed(&tar)?);
    *diff_id = oci::digest(&Digest::of(&tar));
    (first.digest, first.size) = (oci::digest(&layer.digest()), layer.len());

    let config = Content::from_bytes(serde_json::to_vec(&config)?);
    (manifest.config.digest, manifest.config.size) = (oci::digest(&config.digest()), config.len());
    let mut blobs = vec![layer, config];
    for kept in &manifest.layers[1..] {
        let digest = named(kept)?;
        let pack = Pack::open(&path.join(oci::blob_path(&digest))).map_err(|error| bad(error.to_string()))?;
        blobs.push(Content::packed(pack, 0, kept.size, digest));
    }
    let manifest = Content::from_bytes(serde_json::to_vec(&manifest)?);
    (descriptor.digest, descriptor.size) = (oci::digest(&manifest.digest()), manifest.len());
    let digest = manifest.digest();
    blobs.push(manifest);
    Ok(Folder::with(blobs, serde_json::to_vec(&index)?, digest))
}
