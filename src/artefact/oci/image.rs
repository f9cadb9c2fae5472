//! The documents of the image: configuration and manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::layer::{Blob, Job};
use super::{Document, Subject};
use crate::commit;
use crate::format::oci::{self, Config, Descriptor, History, Manifest, Platform, RootFs, Runtime};

/// By which ostree-ext knows where the commit's layers end.
const LAST_LAYER: &str = "ostree.final-diffid";
/// Which packages a layer has, for people and for ostree-ext.
const COMPONENTS: &str = "ostree.components";
const CREATED_BY: &str = concat!("basalt ", env!("CARGO_PKG_VERSION"));

/// The image without its layers.
pub struct Image {
    /// How it runs.
    pub config: Document,
    /// What it is made of.
    pub manifest: Document,
    /// Names the manifest, in the index.
    pub descriptor: Descriptor,
}

/// Describes the image of `blobs`, which were made by `jobs`.
pub fn describe(subject: &Subject<'_>, jobs: &[Job<'_>], blobs: &[Arc<Blob>]) -> Result<Image> {
    let created = jiff::Timestamp::from_second(subject.time).context("the image's time")?.to_string();
    let platform = Platform { architecture: subject.architecture.debian().to_owned(), os: "linux".to_owned() };
    let last = blobs.last().context("an image has layers")?;
    let said = BTreeMap::from(
        [
            ("containers.bootc", "1".to_owned()),
            ("org.basalt.plan", subject.plan.to_string()),
            ("org.opencontainers.image.created", created.clone()),
            ("org.opencontainers.image.title", subject.name.to_owned()),
            ("org.opencontainers.image.version", subject.version.to_owned()),
            ("ostree.bootable", "true".to_owned()),
            ("ostree.commit", subject.commit.checksum.to_hex()),
            (LAST_LAYER, oci::digest(&last.diff_id)),
            ("ostree.linux", commit::kernel_version(subject.tree).unwrap_or_default().to_owned()),
            ("version", subject.version.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let history = |job: &Job<'_>| History {
        created: Some(created.clone()),
        created_by: Some(CREATED_BY.to_owned()),
        comment: Some(job.name().to_owned()),
        empty_layer: false,
    };
    let config = Document::of(&Config {
        created: Some(created.clone()),
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        config: Runtime { labels: said.clone() },
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: blobs.iter().map(|blob| oci::digest(&blob.diff_id)).collect() },
        history: jobs.iter().map(history).collect(),
    })?;
    let layer = |(job, blob): (&Job<'_>, &Arc<Blob>)| {
        let mut layer = Descriptor::new(oci::LAYER_GZIP, &blob.sha256, blob.size);
        if let Job::Chunk(chunk) = job {
            layer.annotations.insert(COMPONENTS.to_owned(), chunk.components.join(","));
        }
        layer
    };
    let manifest = Document::of(&Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.to_owned(),
        config: Descriptor::new(oci::CONFIG, &config.sha256, config.bytes.len() as u64),
        layers: jobs.iter().zip(blobs).map(layer).collect(),
        annotations: said,
    })?;
    let mut descriptor = Descriptor::new(oci::MANIFEST, &manifest.sha256, manifest.bytes.len() as u64);
    descriptor.platform = Some(platform);
    descriptor.annotations.insert(oci::REF_NAME.to_owned(), subject.version.to_owned());
    Ok(Image { config, manifest, descriptor })
}
