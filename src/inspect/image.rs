//! OCI images in an archive or a folder: index, manifests, configurations and blobs, each read where it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::artefact::manifest::Stoppable;
use crate::artefact::oci::metadata::CommitLayer;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Config, Descriptor, Index, Manifest};
use crate::host::interrupt;
use crate::sign::state::said_signers;

/// A document is not longer than this: registries refuse what is.
const DOCUMENT: u64 = 4 << 20;
/// An archive has not more members than this.
const MEMBERS: usize = 10_000;
/// Where the magic word of a tar stands.
const TAR_MAGIC: u64 = 257;

/// What was found in an archive or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Images {
    /// [`super::VERSION`].
    pub version: u32,
    /// `oci-archive` or `oci`.
    pub format: &'static str,
    /// In the order of the index.
    pub images: Vec<Image>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// Of its manifest: what a registry knows it by.
    pub digest: String,
    /// Its tag.
    pub tag: Option<String>,
    /// What it runs on.
    pub architecture: String,
    /// RFC 3339.
    pub created: Option<String>,
    /// Of the image, as its labels say.
    pub image_version: Option<String>,
    /// The OSTree commit in it.
    pub commit: Option<String>,
    /// The plan that it was made from.
    pub plan: Option<String>,
    /// The version of its kernel.
    pub kernel: Option<String>,
    /// Whose signatures of the commit are in it, as they say: keys' fingerprints. Nothing is verified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// Bytes of all layers, compressed.
    pub size: u64,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageLayer {
    /// Of what is sent.
    pub digest: String,
    /// Bytes, compressed.
    pub size: u64,
    /// What its maker says of it.
    pub comment: Option<String>,
    /// What is in it: packages and layers of Basalt.
    pub components: Vec<String>,
}

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

    /// The images, and where each stands in the archive's index.
    pub fn images(&self) -> Result<Vec<(Descriptor, Manifest, Config)>> {
        let index: Index = self.parse(oci::INDEX_FILE, &self.read(oci::INDEX_FILE)?)?;
        let mut found = Vec::new();
        for descriptor in index.manifests {
            if descriptor.media_type == oci::INDEX {
                let inner: Index = self.document(&descriptor)?;
                for descriptor in inner.manifests {
                    found.push(self.image(descriptor)?);
                }
            } else {
                found.push(self.image(descriptor)?);
            }
        }
        Ok(found)
    }

    fn image(&self, descriptor: Descriptor) -> Result<(Descriptor, Manifest, Config)> {
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

    /// The bytes of a layer, as they are sent.
    pub(crate) fn blob(&self, layer: &Descriptor) -> Result<Box<dyn Read>> {
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

/// The first difference of the images at `found` from those that were `wanted`, in words; none when every layer is the same.
///
/// # Errors
/// When what was wanted cannot be read.
pub fn first_difference(wanted: &Path, found: &Path) -> Result<Option<String>> {
    let needed = Layout::open(wanted)?.images()?;
    let read = || -> Result<Option<String>> {
        let layout = Layout::open(found)?;
        let images = layout.images()?;
        for ((wanted, one, config), (found, other, _)) in needed.iter().zip(&images) {
            if wanted.digest != found.digest {
                let layers = one.layers.iter().zip(&other.layers).enumerate();
                let differs = layers.filter(|(_, (one, other))| one.digest != other.digest);
                let layer = differs.map(|(index, (one, other))| (layer_name(config, index), &one.digest, &other.digest)).next();
                let (what, one, other) = layer.unwrap_or(("manifest".to_owned(), &wanted.digest, &found.digest));
                return Ok(Some(format!("{what}: needed {one}, found {other}")));
            }
            layout.verify(other, config)?;
        }
        Ok((needed.len() != images.len()).then(|| format!("needed {} images, found {}", needed.len(), images.len())))
    };
    let difference = read();
    interrupt::check()?;
    Ok(difference.unwrap_or_else(|error| Some(format!("{error:#}"))))
}

/// What the maker of a layer says of it.
fn comment(config: &Config, index: usize) -> Option<&String> {
    config.history.iter().filter(|one| !one.empty_layer).nth(index).and_then(|made| made.comment.as_ref())
}

/// What people call a layer.
fn layer_name(config: &Config, index: usize) -> String {
    comment(config, index).map_or_else(|| format!("layer {}", index + 1), |name| format!("layer {name}"))
}

/// Inspects the archive or folder at `path`.
///
/// # Errors
/// [`Kind::Input`]: it is not there, or none; [`Kind::Verification`]: a document is not that of its digest.
pub fn inspect(path: &Path) -> Result<Images> {
    let layout = Layout::open(path)?;
    let format = if matches!(layout.place, Place::Folder) { "oci" } else { "oci-archive" };
    let image = |(descriptor, manifest, config): (_, Manifest, Config)| {
        // Another's image may have no commit: then it says nothing.
        let first = manifest.layers.first().filter(|_| config.config.labels.contains_key("ostree.commit"));
        let first = first.and_then(|layer| CommitLayer::read(layout.blob(layer).ok()?).ok());
        let signed_by = said_signers(first.as_ref().and_then(CommitLayer::metadata));
        Image { signed_by, ..describe(descriptor, &manifest, &config) }
    };
    let images = layout.images()?.into_iter().map(image).collect();
    Ok(Images { version: super::VERSION, format, images })
}

pub(super) fn describe(descriptor: Descriptor, manifest: &Manifest, config: &Config) -> Image {
    let label = |name: &str| config.config.labels.get(name).or_else(|| manifest.annotations.get(name)).cloned();
    let layer = |(index, layer): (usize, &Descriptor)| ImageLayer {
        digest: layer.digest.clone(),
        size: layer.size,
        comment: comment(config, index).cloned(),
        components: layer
            .annotations
            .get("ostree.components")
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
    };
    Image {
        tag: descriptor.annotations.get(oci::REF_NAME).cloned(),
        digest: descriptor.digest,
        architecture: config.architecture.clone(),
        created: config.created.clone(),
        image_version: label("org.opencontainers.image.version").or_else(|| label("version")),
        commit: label("ostree.commit"),
        plan: label("org.basalt.plan"),
        kernel: label("ostree.linux"),
        signed_by: Vec::new(),
        size: manifest.layers.iter().map(|layer| layer.size).sum(),
        layers: manifest.layers.iter().enumerate().map(layer).collect(),
    }
}
