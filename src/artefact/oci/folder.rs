//! The image as a folder: an OCI layout, `NAME.oci/{oci-layout,index.json,blobs/sha256/DIGEST}`.
//!
//! A blob's name is its digest. So a build writes only the blobs that are not there, and what the last build left is whole until the
//! new index takes the place of the old one; then the blobs that nobody names go.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::image::Image;
use super::layer::Blob;
use crate::artefact::manifest::is_whole_file;
use crate::artefact::output::{Output, unwritable};
use crate::digest::{Digest, Digesting};
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Descriptor, Index, Manifest};
use crate::host::interrupt::Stoppable;
use crate::store::sync_folder;
use crate::tree::{Content, Pack};

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;
/// What a filesystem allocates.
const BLOCK: u64 = 4096;

/// What stands in the folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// By digest.
    blobs: Vec<Content>,
    index: Vec<u8>,
    /// Of the image's manifest: what a registry knows it by.
    pub digest: Digest,
}

impl Folder {
    pub(super) fn of(image: &Image, layers: &[Arc<Blob>]) -> Result<Self> {
        let layer = |blob: &Arc<Blob>| Content::packed(Arc::clone(&blob.pack), 0, blob.size, blob.sha256);
        let documents = [&image.config, &image.manifest].map(|document| Content::from_bytes(document.bytes.as_slice()));
        let blobs = documents.into_iter().chain(layers.iter().map(layer)).collect();
        let index = Index { schema_version: 2, media_type: oci::INDEX.to_owned(), manifests: vec![image.descriptor.clone()] };
        Ok(Self::with(blobs, serde_json::to_vec(&index)?, image.manifest.sha256))
    }

    /// Of `blobs`, an index, and the digest of the image's manifest.
    pub fn with(mut blobs: Vec<Content>, index: Vec<u8>, digest: Digest) -> Self {
        blobs.sort_by_key(Content::digest);
        // Two layers that are the same are one blob.
        blobs.dedup_by_key(|blob| blob.digest());
        Self { blobs, index, digest }
    }

    fn lengths(&self) -> impl Iterator<Item = u64> {
        let documents = [self.index.len() as u64, oci::LAYOUT.len() as u64];
        self.blobs.iter().map(Content::len).chain(documents)
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.lengths().sum()
    }

    /// Bytes that all files take, in whole blocks.
    pub fn allocated(&self) -> u64 {
        self.lengths().map(|len| len.next_multiple_of(BLOCK)).sum()
    }

    /// Bytes that have to be written into the folder at `path`.
    pub fn missing(&self, path: &Path) -> u64 {
        let blobs = self.blobs.iter().filter(|blob| !path.join(oci::blob_path(&blob.digest())).exists());
        blobs.map(|blob| blob.len().next_multiple_of(BLOCK)).sum()
    }

    /// Puts the blobs that are not there into the folder `name` of `output`. What the index there names is not touched.
    ///
    /// # Errors
    /// When a blob cannot be written, or the cache has another one than it should.
    pub fn write(self, output: &Output, name: &str, mut advance: impl FnMut(u64) -> io::Result<()>) -> Result<Added> {
        let path = output.path().join(name);
        let mut added = Added { folder: self, path, name: name.to_owned(), new: Vec::new(), kept: false };
        for folder in ["", "blobs", "blobs/sha256"] {
            let folder = added.path.join(folder);
            if !folder.is_dir() {
                fs::create_dir(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
                // Whatever the umask: an artefact is for everyone to read.
                fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
            }
        }
        for blob in added.folder.blobs.clone() {
            let inside = oci::blob_path(&blob.digest());
            if !is_whole_file(&added.path.join(&inside), blob.len(), &blob.digest())? {
                let mut file = output.begin()?;
                copy(&blob, file.as_file_mut()).map_err(|error| unwritable(&added.path.join(&inside), &error))?;
                added.new.push(output.keep(file, &format!("{name}/{inside}"))?);
            }
            advance(blob.len()).map_err(|error| unwritable(&added.path, &error))?;
        }
        sync_folder(&added.path.join("blobs/sha256"))?;
        Ok(added)
    }
}

/// An image whose blobs are all there, and whose index is not. What was added vanishes unless it is kept.
pub struct Added {
    /// The image.
    pub folder: Folder,
    /// Where it is.
    pub path: PathBuf,
    name: String,
    new: Vec<PathBuf>,
    kept: bool,
}

impl Added {
    /// Puts the index in its place, and takes away what it does not name.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub fn keep(&mut self, output: &Output) -> Result<()> {
        output.write(&format!("{}/{}", self.name, oci::LAYOUT_FILE), oci::LAYOUT)?;
        output.write(&format!("{}/{}", self.name, oci::INDEX_FILE), &self.folder.index)?;
        self.kept = true;
        sync_folder(&self.path)?;
        let named: BTreeSet<_> = self.folder.blobs.iter().map(|blob| blob.digest().to_hex()).collect();
        for entry in fs::read_dir(self.path.join("blobs/sha256"))? {
            let entry = entry?;
            if !named.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path()).with_context(|| format!("{}: cannot be removed", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // What cannot be removed is named by no index; the next build takes it away.
        self.new.iter().for_each(|path| drop(fs::remove_file(path)));
        for folder in ["blobs/sha256", "blobs", ""] {
            let _ = fs::remove_dir(self.path.join(folder));
        }
    }
}

/// Copies a blob of the store; it must be the one of its digest.
fn copy(blob: &Content, to: &mut File) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(CHUNK, Stoppable(blob.reader()));
    let mut digesting = Digesting::new(&mut *to);
    io::copy(&mut reader, &mut digesting)?;
    let (found, ..) = digesting.finish();
    if found != blob.digest() {
        let place = blob.packed_at().map(|(pack, _): (&Arc<Pack>, u64)| pack.path().display().to_string()).unwrap_or_default();
        return Err(io::Error::other(format!("{place}: needed sha256 {}, found {found}; remove its folder", blob.digest())));
    }
    to.sync_all()
}

/// Whether the folder at `path` holds the image with this digest of its manifest, every blob whole.
///
/// # Errors
/// When something cannot be read, which says nothing of either.
pub fn is_whole(path: &Path, digest: &Digest) -> Result<bool> {
    let Some(index) = small::<Index>(&path.join(oci::INDEX_FILE))? else { return Ok(false) };
    let named = |descriptor: &Descriptor| oci::parse_digest(&descriptor.digest).map(|digest| (digest, descriptor.size));
    let [image] = index.manifests.as_slice() else { return Ok(false) };
    if named(image).is_none_or(|(found, _)| found != *digest) {
        return Ok(false);
    }
    let at = |digest: &Digest| path.join(oci::blob_path(digest));
    if !is_whole_file(&at(digest), image.size, digest)? {
        return Ok(false);
    }
    let Some(manifest) = small::<Manifest>(&at(digest))? else { return Ok(false) };
    for descriptor in manifest.layers.iter().chain([&manifest.config]) {
        match named(descriptor) {
            Some((digest, size)) if is_whole_file(&at(&digest), size, &digest)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// A document. None when it is not there, or is none.
fn small<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(Kind::Failed, format!("{}: cannot be read: {error}", path.display())).into()),
    }
}
