//! What OCI images in an archive or a folder say of themselves, and the first difference between two.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::artefact::oci::metadata::CommitLayer;
use crate::format::oci::layout::{Layout, comment, layer_name};
use crate::format::oci::{self, Config, Descriptor, Manifest};
use crate::host::interrupt;
use crate::sign::state::said_signers;

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

/// Inspects the archive or folder at `path`.
///
/// # Errors
/// [`crate::failure::Kind::Input`]: it is not there, or none; [`crate::failure::Kind::Verification`]: a document is not that of its digest.
pub fn inspect(path: &Path) -> Result<Images> {
    let layout = Layout::open(path)?;
    let format = layout.transport();
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
