//! The JSON documents of an OCI image: index, manifest, configuration.
//!
//! Source: <https://github.com/opencontainers/image-spec>, version 1.1. What is read may have more fields than these; what is written
//! has its keys in one order, so that the same image has the same digest.

pub mod layout;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The file that says that a folder or archive holds images.
pub const LAYOUT_FILE: &str = "oci-layout";
/// What stands in it.
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists the images of a folder or archive.
pub const INDEX_FILE: &str = "index.json";
/// The annotation of an image in an index: its tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Of a layer: tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Of a layer: tar, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Of a layer: tar, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

// The words of Docker for the same things, which registries still have. Source: <https://distribution.github.io/distribution/spec/>.
/// Of an index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Of a manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Of a configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Of layers.
pub const DOCKER_LAYERS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// Whether a document of this type lists manifests.
pub fn is_list(media_type: &str) -> bool {
    [INDEX, DOCKER_LIST].contains(&media_type)
}

/// Whether a layer of this type is a tar, compressed or not.
pub fn is_layer(media_type: &str) -> bool {
    [LAYER, LAYER_GZIP, LAYER_ZSTD].contains(&media_type) || DOCKER_LAYERS.contains(&media_type)
}

/// A digest as these documents write it: `sha256:` and 64 hexadecimal digits.
pub fn digest(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

/// Reads a digest as these documents write it. None for other algorithms.
pub fn parse_digest(text: &str) -> Option<Digest> {
    text.strip_prefix("sha256:")?.parse().ok()
}

/// Where the blob with this digest lies in a folder or archive.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Names a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// As [`digest`] writes it.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Which machines it is for: of a manifest in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of a blob of `size` bytes.
    pub fn new(media_type: &str, sha256: &Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest: digest(sha256), size, platform: None, annotations: BTreeMap::new() }
    }
}

/// Which machines an image is for, in Go's words (which for ours are Debian's).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// A list of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// [`INDEX`]; older writers leave it out.
    #[serde(default)]
    pub media_type: String,
    /// One for each architecture, or tag.
    pub manifests: Vec<Descriptor>,
}

/// An image: its configuration and layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// [`MANIFEST`]; older writers leave it out.
    #[serde(default)]
    pub media_type: String,
    /// Its configuration.
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
    /// Version, commit and the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How an image runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// As in [`Platform`].
    pub architecture: String,
    /// As in [`Platform`].
    pub os: String,
    /// What a container of it gets.
    #[serde(default)]
    pub config: Runtime,
    /// The layers before compression.
    pub rootfs: RootFs,
    /// One entry a layer.
    #[serde(default)]
    pub history: Vec<History>,
}

/// What a container of an image gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Runtime {
    /// Key to value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The layers before compression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digest of each tar.
    pub diff_ids: Vec<String>,
}

/// Where a layer comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom or what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}
