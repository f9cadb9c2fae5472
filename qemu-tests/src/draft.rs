//! A container image made here, part by part, so that each part can be wrong by itself: tar layers from their members, and the OCI folder
//! around them. Whole systems come from other programs: see [`crate::foreign_base`].
//!
//! Format: the OCI image specification 1.1 (image layout, manifest, configuration).

mod member;
mod system;

pub use member::{Member, archive, record};
pub use system::{KERNEL, efi, system};

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use basalt::digest::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// The media type of a gzipped layer.
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The media type of a layer that is a plain tar.
pub const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
/// The media type of a layer by zstd.
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The media type of a list of images.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image to be.
#[derive(Clone, Debug)]
pub struct Draft {
    layers: Vec<Layer>,
    architecture: &'static str,
}

#[derive(Clone, Debug)]
struct Layer {
    media_type: String,
    stored: Vec<u8>,
    diff_id: String,
}

impl Draft {
    /// Of gzipped layers, lowest first: each the bytes of a tar.
    pub fn new(layers: &[&[u8]]) -> Self {
        let empty = Self { layers: Vec::new(), architecture: "amd64" };
        layers.iter().fold(empty, |draft, tar| draft.stored(GZIP, gzip(tar), tar))
    }

    /// For machines of another architecture than `amd64`.
    #[must_use]
    pub fn on(self, architecture: &'static str) -> Self {
        Self { architecture, ..self }
    }

    /// With one more layer on top: `bytes` in the folder, `tar` where the configuration says what it unpacks to.
    #[must_use]
    pub fn stored(mut self, media_type: &str, bytes: Vec<u8>, tar: &[u8]) -> Self {
        self.layers.push(Layer { media_type: media_type.to_owned(), stored: bytes, diff_id: sha256(tar) });
        self
    }

    /// Writes the OCI folder; its one image has the tag `latest`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_with(folder, &|_, _| ())
    }

    /// The same, after `change` had each of its documents: `config`, `manifest`, `index`.
    pub fn write_with(&self, folder: &Path, change: &dyn Fn(&str, &mut Value)) -> Result<()> {
        let keep = |bytes: &[u8]| -> Result<()> {
            let blobs = folder.join("blobs/sha256");
            fs::create_dir_all(&blobs)?;
            Ok(fs::write(blobs.join(Digest::of(bytes).to_string()), bytes)?)
        };
        let document = |name: &str, media_type: &str, mut value: Value| -> Result<Value> {
            change(name, &mut value);
            let bytes = serde_json::to_vec(&value)?;
            keep(&bytes)?;
            Ok(descriptor(media_type, &bytes))
        };
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": self.layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>() },
        });
        let config = document("config", CONFIG, config)?;
        let mut layers = Vec::new();
        for layer in &self.layers {
            keep(&layer.stored)?;
            layers.push(descriptor(&layer.media_type, &layer.stored));
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut manifest = document("manifest", MANIFEST, manifest)?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let mut index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        change("index", &mut index);
        fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
        fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        Ok(())
    }

    /// Writes a folder whose tag `latest` is a list of these images, one for each architecture, and the list itself a blob.
    pub fn write_list(images: &[Self], folder: &Path) -> Result<()> {
        let mut manifests = Vec::new();
        for image in images {
            image.write(folder)?;
            let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json"))?)?;
            let mut manifest = index["manifests"][0].clone();
            manifest.as_object_mut().context("no manifest")?.remove("annotations");
            manifest["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
            manifests.push(manifest);
        }
        let list = serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))?;
        fs::write(folder.join("blobs/sha256").join(Digest::of(&list).to_string()), &list)?;
        let mut list = descriptor(INDEX, &list);
        list["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [list] });
        Ok(fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?)
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

/// Compressed quickly.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}
