//! The manifest: what lies in an artefact folder and what it was made from. Written last, so that a folder with a manifest is whole.
//!
//! Beside it `SHA256SUMS`, for people without Basalt: `sha256sum -c SHA256SUMS`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use basalt_contract::KernelArgument;
use serde::{Deserialize, Serialize};

use super::disk::Partition;
use super::output::Output;
use super::{Rendered, file_name, oci};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::format::oci as oci_format;
use crate::host::interrupt;
use crate::layer::kernel_modules::Proven;
use crate::layer::tuned;
use crate::plan::{Format, PlanId};

/// The version of the file's form.
pub const VERSION: u32 = 1;
/// Its name.
pub const FILE: &str = "manifest.json";
/// The name of the list of digests.
pub const SUMS: &str = "SHA256SUMS";

/// This Basalt: its version and the digest of its sources. Another one may make other bytes of the same plan.
pub const BUILDER: &str = concat!("basalt ", env!("CARGO_PKG_VERSION"), " ", env!("BASALT_SOURCES"));

/// What lies in an artefact folder and what it was made from. The same plan and the same Basalt give the same manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Which Basalt made it: [`BUILDER`].
    pub builder: String,
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub image_version: String,
    /// Of the plan.
    pub plan: PlanId,
    /// Checksum of the OSTree commit.
    pub commit: Digest,
    /// What it runs on.
    pub architecture: Architecture,
    /// The image's time, in seconds since 1970.
    pub time: i64,
    /// How many packages the base has.
    pub packages: usize,
    /// Kernel arguments of the deployment, in order.
    pub kernel_args: Vec<String>,
    /// Those of them that somebody asked for, and who did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<KernelArgument>,
    /// What the commit was made from, lowest first.
    pub layers: Vec<Layer>,
    /// 512 or 4096.
    pub sector_size: u32,
    /// Of the disk, in the order of its table.
    pub partitions: Vec<Partition>,
    /// The files beside the manifest, in the order of their formats.
    pub artefacts: Vec<Artefact>,
    /// What describes them: the bill of materials and the provenance; keys and signatures.
    pub documents: Vec<Document>,
    /// Kernel modules that others built: what the kernel was found to make of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_modules: Vec<Proven>,
    /// What the active profiles of tuned come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<tuned::Report>,
    /// The repository that the image is signed for: the one that the node updates from. Only of a recipe that has a key for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// A layer of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// As in the plan.
    pub name: String,
    /// Of its tree.
    pub digest: Digest,
}

/// A file beside the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Artefact {
    /// What it is.
    pub format: Format,
    /// Its name. An OCI image is a folder.
    pub file: String,
    /// Length in bytes, holes included; of an OCI image, of all its files.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Of the whole file; of an OCI image, of its manifest, which names all else by digest.
    pub sha256: Digest,
}

/// A file that describes the artefacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// Its name.
    pub file: String,
    /// Length in bytes.
    pub size: u64,
    /// Of the whole file.
    pub sha256: Digest,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// SPDX: which packages and layers, with their licences.
    Sbom,
    /// An in-toto statement: what the artefacts were made from.
    Provenance,
    /// The public OpenPGP keys of which one signs the commit.
    CommitKey,
    /// The public key that signs the OCI image, PEM.
    ImageKey,
    /// What is signed of the OCI image.
    ImagePayload,
    /// The signature of the OCI image: base64.
    ImageSignature,
}

impl DocumentKind {
    /// The name of the file, for the image `name`.
    pub fn file_name(self, name: &str) -> String {
        match self {
            Self::Sbom => format!("{name}.spdx.json"),
            Self::Provenance => format!("{name}.intoto.json"),
            Self::CommitKey => format!("{name}.commit.gpg"),
            Self::ImageKey => format!("{name}.image.pub"),
            Self::ImagePayload => format!("{name}.oci.payload.json"),
            Self::ImageSignature => format!("{name}.oci.sig"),
        }
    }
}

/// The text of a document.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a document of the image `name`. It appears beside the artefacts with the manifest that lists it.
pub fn document(output: &Output, name: &str, kind: DocumentKind, bytes: &[u8]) -> Result<Document> {
    let file = kind.file_name(name);
    output.write_later(&file, bytes)?;
    Ok(Document { kind, file, size: bytes.len() as u64, sha256: Digest::of(bytes) })
}

impl Artefact {
    /// The entries for `rendered`, sorted by format.
    pub fn list(name: &str, rendered: &[Rendered]) -> Vec<Self> {
        let mut list: Vec<_> = rendered
            .iter()
            .map(|Rendered { format, sha256, size, allocated, .. }| Self {
                format: *format,
                file: file_name(name, *format),
                size: *size,
                allocated: *allocated,
                sha256: *sha256,
            })
            .collect();
        list.sort_by_key(|artefact| artefact.format);
        list
    }
}

/// What the manifest lists.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Its name.
    pub file: &'a str,
    /// In bytes.
    pub size: u64,
    /// As in [`Artefact::sha256`].
    pub sha256: Digest,
    /// Of an artefact.
    pub format: Option<Format>,
}

impl Manifest {
    /// Everything beside the manifest.
    pub fn files(&self) -> impl Iterator<Item = Listed<'_>> {
        let artefacts = self.artefacts.iter().map(|artefact| {
            let Artefact { format, file, size, sha256, .. } = artefact;
            Listed { file, size: *size, sha256: *sha256, format: Some(*format) }
        });
        let documents = self.documents.iter().map(|document| {
            let Document { file, size, sha256, .. } = document;
            Listed { file, size: *size, sha256: *sha256, format: None }
        });
        artefacts.chain(documents)
    }
}

/// Writes the list of digests and then the manifest, each whole or not at all.
pub fn write(output: &Output, manifest: &Manifest) -> Result<()> {
    let bytes = json(manifest)?;
    let mut sums = String::new();
    for artefact in &manifest.artefacts {
        let Artefact { file, sha256, .. } = artefact;
        if artefact.format.is_disk() {
            writeln!(sums, "{sha256}  {file}")?;
        } else {
            writeln!(sums, "{sha256}  {file}/{}", oci_format::blob_path(sha256))?;
        }
    }
    for document in &manifest.documents {
        writeln!(sums, "{}  {}", document.sha256, document.file)?;
    }
    writeln!(sums, "{}  {FILE}", Digest::of(&bytes))?;
    output.write_later(SUMS, sums.as_bytes())?;
    // The manifest's name is durable last.
    output.flush()?;
    output.write(FILE, &bytes)?;
    output.flush()
}

/// Takes both files away: what lies in the folder is about to change.
pub(crate) fn retract(output: &Output) -> Result<()> {
    output.remove(FILE)?;
    output.remove(SUMS)?;
    output.flush()
}

/// The manifest of `folder`, when it and all it lists are what `plan` makes: written for this plan by this Basalt, with an artefact
/// of each of `formats`, every file whole (its length and SHA-256 are read and compared, not believed). None when anything must be made
/// again; an error when a file cannot be read, which says nothing of either.
pub fn up_to_date(folder: &Path, plan: PlanId, formats: &[Format]) -> Result<Option<Manifest>> {
    let Some(manifest) = read(folder)? else { return Ok(None) };
    let listed = |format: &Format| manifest.artefacts.iter().any(|artefact| artefact.format == *format);
    if manifest.version != VERSION || manifest.builder != BUILDER || manifest.plan != plan || !formats.iter().all(listed) {
        return Ok(None);
    }
    let whole: Vec<_> = thread::scope(|scope| {
        let spawn = |listed| scope.spawn(move || is_whole(folder, listed));
        let threads: Vec<_> = manifest.files().map(spawn).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<_>>()
    })?;
    Ok(whole.into_iter().all(|whole| whole).then_some(manifest))
}

/// The manifest of `folder`. None when there is none, or none that this version of Basalt reads.
pub fn read(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    match serde_json::from_slice(&bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "not a manifest of this version");
            Ok(None)
        }
    }
}

fn is_whole(folder: &Path, listed: Listed<'_>) -> Result<bool> {
    let Listed { file, size, sha256, format } = listed;
    // A manifest from elsewhere must not lead out of its folder.
    if file.contains('/') {
        return Ok(false);
    }
    let path = folder.join(file);
    if format == Some(Format::Oci) {
        return oci::folder::is_whole(&path, &sha256);
    }
    is_whole_file(&path, size, &sha256)
}

/// Whether the file at `path` is the one of this length and digest; an error when it cannot be read, which says nothing of either.
pub(super) fn is_whole_file(path: &Path, size: u64, sha256: &Digest) -> Result<bool> {
    let unreadable = || format!("{}: cannot be read", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(unreadable),
    };
    if file.metadata().with_context(unreadable)?.len() != size {
        return Ok(false);
    }
    let digest = Digest::of_reader(interrupt::Stoppable(file));
    interrupt::check()?;
    let (found, _) = digest.with_context(unreadable)?;
    Ok(found == *sha256)
}
