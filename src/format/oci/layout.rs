//! OCI images in an archive or a folder: index, manifests, configurations and blobs, each read where it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use super::{Config, Descriptor, Index, Manifest};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci;
use crate::host::interrupt::{self, Stoppable};

/// A document is not longer than this: registries refuse what is.
const DOCUMENT: u64 = 4 << 20;
/// An archive has not more members than this.
const MEMBERS: usize = 10_000;
/// Where the magic word of a tar stands.
const TAR_MAGIC: u64 = 257;

/// Where blobs lie.
pub struct Layout {
    path: PathBuf,
    place: Place,
}

enum Place {
    Folder,
    /// Name of each member: its place and length.
    Archive(HashMap<String, (u64, u64)>),
}

/// Whether there are OCI images at `path`: a folder with their layout, or a tar.
pub fn is_image(path: &Path) -> bool {
    if path.is_dir() {
        return path.join(oci::LAYOUT_FILE).is_file();
    }
    let magic = || -> io::Result<[u8; 5]> {
        let mut file = File::open(path)?;
        let mut magic = [0; 5];
        file.seek(SeekFrom::Start(TAR_MAGIC))?;
        file.read_exact(&mut magic)?;
        Ok(magic)
    };
    magic().is_ok_and(|magic| &magic == b"ustar")
}

impl Layout {
    /// Opens the archive or folder at `path`.
    ///
    /// # Errors
    /// [`Kind::Input`]: it is not there, or none.
    pub fn open(path: &Path) -> Result<Self> {
        let place = if path.is_dir() {
            Place::Folder
        } else {
            Place::Archive(members(path).map_err(|error| bad(path, &error.to_string()))?)
        };
        Ok(Self { path: path.to_owned(), place })
    }

    /// `oci` or `oci-archive`.
    pub fn transport(&self) -> &'static str {
        match self.place {
            Place::Folder => "oci",
            Place::Archive(_) => "oci-archive",
        }
    }

    /// The images, and where each stands in the archive's index.
    ///
    /// # Errors
    /// [`Kind::Input`]: a document is missing or none; [`Kind::Verification`]: it is not that of its digest.
    pub fn images(&self) -> Result<Vec<(Descriptor, Manifest, Config)>> {
        self.descriptors()?.into_iter().map(|descriptor| self.image(descriptor)).collect()
    }

    /// What names the images: the index, and lists in it. The images themselves are not read.
    ///
    /// # Errors
    /// As [`Self::images`].
    pub fn descriptors(&self) -> Result<Vec<Descriptor>> {
        let index: Index = self.parse(oci::INDEX_FILE, &self.read(oci::INDEX_FILE)?)?;
        let mut found = Vec::new();
        for descriptor in index.manifests {
            if oci::is_list(&descriptor.media_type) {
                let inner: Index = self.document(&descriptor)?;
                for mut one in inner.manifests {
                    // The tag is that of the list.
                    if let Some(tag) = descriptor.annotations.get(oci::REF_NAME) {
                        one.annotations.entry(oci::REF_NAME.to_owned()).or_insert_with(|| tag.clone());
                    }
                    found.push(one);
                }
            } else {
                found.push(descriptor);
            }
        }
        Ok(found)
    }

    /// The image that `descriptor` names.
    ///
    /// # Errors
    /// As [`Self::images`].
    pub fn image(&self, descriptor: Descriptor) -> Result<(Descriptor, Manifest, Config)> {
        let manifest: Manifest = self.document(&descriptor)?;
        let config = self.document(&manifest.config)?;
        Ok((descriptor, manifest, config))
    }

    /// A document that `descriptor` names; its digest is checked.
    fn document<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let digest = self.digest(descriptor)?;
        let name = oci::blob_path(&digest);
        let bytes = self.read(&name)?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(self.damaged(&name, &format!("needed sha256 {digest}, found {found}")).into());
        }
        self.parse(&name, &bytes)
    }

    /// Reads every layer of an image and compares length and digest with what its manifest says. `config` names them.
    ///
    /// # Errors
    /// [`Kind::Verification`] with the first that differs.
    pub fn verify(&self, manifest: &Manifest, config: &Config) -> Result<()> {
        for (index, layer) in manifest.layers.iter().enumerate() {
            let digest = self.digest(layer)?;
            let name = oci::blob_path(&digest);
            let read = Digest::of_reader(Stoppable(self.reader(&name)?));
            interrupt::check()?;
            let (found, size) = read.with_context(|| name.clone())?;
            if (size, found) != (layer.size, digest) {
                let what = format!("needed {} bytes, sha256 {digest}; found {size} bytes, sha256 {found}", layer.size);
                return Err(self.damaged(&format!("{} ({name})", layer_name(config, index)), &what).into());
            }
        }
        Ok(())
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, Failure> {
        oci::parse_digest(&descriptor.digest)
            .ok_or_else(|| bad(&self.path, &format!("needed a digest \"sha256:...\", found {:?}", descriptor.digest)))
    }

    /// The bytes of a blob, as they are sent.
    pub fn blob(&self, layer: &Descriptor) -> Result<Box<dyn Read>> {
        self.reader(&oci::blob_path(&self.digest(layer)?))
    }

    fn reader(&self, name: &str) -> Result<Box<dyn Read>> {
        let cannot = |error: io::Error| bad(&self.path, &format!("{name}: cannot be read: {error}"));
        match &self.place {
            Place::Folder => Ok(Box::new(File::open(self.path.join(name)).map_err(cannot)?)),
            Place::Archive(members) => {
                let (at, len) = members.get(name).ok_or_else(|| bad(&self.path, &format!("{name} is missing")))?;
                let mut file = File::open(&self.path).map_err(cannot)?;
                file.seek(SeekFrom::Start(*at)).map_err(cannot)?;
                Ok(Box::new(file.take(*len)))
            }
        }
    }

    /// A document, whole.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(name)?.take(DOCUMENT + 1).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
        if bytes.len() as u64 > DOCUMENT {
            return Err(bad(&self.path, &format!("{name}: needed at most {DOCUMENT} bytes, found more")).into());
        }
        Ok(bytes)
    }

    fn parse<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| bad(&self.path, &format!("{name}: {error}")).into())
    }

    fn damaged(&self, name: &str, what: &str) -> Failure {
        Failure::new(Kind::Verification, format!("{}: {name}: {what}", self.path.display()))
    }
}

fn bad(path: &Path, what: &str) -> Failure {
    Failure::new(Kind::Input, format!("{}: {what}", path.display()))
        .hint("needed OCI images: an archive, or a folder with oci-layout")
}

/// Where each member of the tar at `path` lies. Its data are not read.
fn members(path: &Path) -> io::Result<HashMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    let mut found = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if found.len() == MEMBERS {
            return Err(io::Error::other(format!("needed an archive of at most {MEMBERS} members, found more")));
        }
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            found.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(found)
}

/// What the maker of a layer says of it.
pub fn comment(config: &Config, index: usize) -> Option<&String> {
    config.history.iter().filter(|one| !one.empty_layer).nth(index).and_then(|made| made.comment.as_ref())
}

/// What people call a layer.
pub fn layer_name(config: &Config, index: usize) -> String {
    comment(config, index).map_or_else(|| format!("layer {}", index + 1), |name| format!("layer {name}"))
}
