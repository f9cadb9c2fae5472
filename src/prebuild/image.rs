//! The modules as an OCI image of one layer, in KMM's layout, in a folder that skopeo, podman and `basalt push` take.
//!
//! Source: <https://kmm.sigs.k8s.io/documentation/module_loader_image/>: modules and what depmod makes of them below
//! `/opt/lib/modules/RELEASE`.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Built, Request};
use crate::artefact::oci::Folder;
use crate::artefact::oci::document::Document;
use crate::digest::Digest;
use crate::format::oci::{self, Config, Descriptor, History, Index, Manifest, Platform, RootFs, Runtime};
use crate::tree::{Content, tar};

const CREATED_BY: &str = concat!("basalt kmod build ", env!("CARGO_PKG_VERSION"));

/// An image, ready to be written.
#[derive(Debug)]
pub struct Image {
    /// What stands in its folder.
    pub folder: Folder,
    /// The kernel's release, as far as a tag can say it: as KMM does.
    pub tag: String,
}

impl Image {
    /// Of what was built.
    ///
    /// # Errors
    /// When a module cannot be read from the store.
    pub fn of(request: &Request<'_>, built: &Built) -> Result<Self> {
        let mut packed = Vec::new();
        tar::write(&built.tree, &mut packed)?;
        let diff = Digest::of(&packed);
        let mut gz = GzEncoder::new(Vec::new(), Compression::new(6));
        gz.write_all(&packed)?;
        let layer = gz.finish()?;
        let created = jiff::Timestamp::from_second(request.time).context("the build's time")?.to_string();
        let tag = tag(&request.kernel.release);
        let said = BTreeMap::from(
            [
                ("org.opencontainers.image.created", created.clone()),
                ("org.opencontainers.image.title", request.source.name.clone()),
                ("org.opencontainers.image.version", request.source.version.clone()),
                ("org.basalt.kernel", request.kernel.release.clone()),
                ("org.basalt.source", request.source.digest.to_hex()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let platform = Platform { architecture: request.architecture.debian().to_owned(), os: "linux".to_owned() };
        let comment = format!("{} {} for {}", request.source.name, request.source.version, request.kernel.release);
        let config = Document::of(&Config {
            created: Some(created.clone()),
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            config: Runtime { labels: said.clone() },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![oci::digest(&diff)] },
            history: vec![History {
                created: Some(created),
                created_by: Some(CREATED_BY.to_owned()),
                comment: Some(comment),
                empty_layer: false,
            }],
        })?;
        let manifest = Document::of(&Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            config: Descriptor::new(oci::CONFIG, &config.sha256, config.bytes.len() as u64),
            layers: vec![Descriptor::new(oci::LAYER_GZIP, &Digest::of(&layer), layer.len() as u64)],
            annotations: said,
        })?;
        let mut descriptor = Descriptor::new(oci::MANIFEST, &manifest.sha256, manifest.bytes.len() as u64);
        descriptor.platform = Some(platform);
        descriptor.annotations.insert(oci::REF_NAME.to_owned(), tag.clone());
        let index = Index { schema_version: 2, media_type: oci::INDEX.to_owned(), manifests: vec![descriptor] };
        let blobs = [config.bytes, manifest.bytes, layer].map(Content::from_bytes).into();
        Ok(Self { folder: Folder::with(blobs, serde_json::to_vec(&index)?, manifest.sha256), tag })
    }
}

/// KMM writes `_` for what no tag may have.
fn tag(release: &str) -> String {
    release.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_no_plus() {
        assert_eq!(tag("6.12.48+deb13-amd64"), "6.12.48_deb13-amd64");
    }
}
