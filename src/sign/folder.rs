//! Signs the artefacts of a folder that a build made: the commit in each, then the OCI image, then what lists them.
//!
//! What is there is verified first: nobody signs what somebody altered. The manifest goes before the first change and comes back after the
//! last, so that a folder with a manifest is whole, also after a power cut.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::simple::{self, Payload};
use super::state::{self, Keys, Signature, State, What};
use super::{Signers, disk, ecdsa, gpg, metadata};
use crate::artefact::manifest::{self, Artefact, Document, DocumentKind, Manifest};
use crate::artefact::{Output, oci, provenance};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::host::interrupt::Stoppable;
use crate::inspect::check::{self, Verdict};
use crate::progress::{Sink, Stage, Unit};

/// What the documents of an image's signature are.
pub const OF_IMAGE: [DocumentKind; 2] = [DocumentKind::ImagePayload, DocumentKind::ImageSignature];

/// Signs the artefacts of `folder` by `signers`, and lists them anew. What is signed well already stays as it is.
///
/// # Errors
/// [`Kind::Input`]: no manifest, no public key to verify with, a key that is not the recipe's; [`Kind::Verification`]: an artefact is
/// not what its manifest says.
pub fn sign(folder: &Path, signers: &Signers, sink: &dyn Sink) -> Result<Manifest> {
    let output = Output::open(folder)?;
    let (mut manifest, checked) = check::check(folder, None)?;
    if let Some(bad) = checked.iter().find(|checked| checked.verdict != Verdict::Good) {
        let what = format!("{}: it is not what the manifest says; nothing was signed", folder.join(&bad.file).display());
        return Err(Failure::new(Kind::Verification, what).hint("look with `basalt verify`, and build again").into());
    }
    let keys = Keys::of(folder, &manifest)?;
    let stage = Stage::start(sink, "sign", folder.display().to_string(), None, Unit::None);
    let before = manifest.clone();
    if let Some(signer) = &signers.commit {
        let key = keys.commit.as_ref().ok_or_else(|| no_key("commit", folder))?;
        let unsigned = |one: &Signature| one.what == What::Commit && !matches!(one.state, State::Good { .. });
        let found = state::of(folder, &manifest, None, &Keys { commit: keys.commit.clone(), image: None });
        if found.iter().any(unsigned) {
            let first = manifest.artefacts.first().context("the folder has no artefact")?;
            let (_, commit, _) = state::read_commit(&folder.join(&first.file), first.format.is_disk())?;
            let signature = gpg::sign(signer, key, &commit, manifest.time)?;
            attach(&output, &mut manifest, &signature)?;
            restate(&output, &mut manifest)?;
        }
    }
    if let Some(signer) = &signers.image {
        let key = keys.image.as_ref().ok_or_else(|| no_key("image", folder))?;
        sign_image(&output, &mut manifest, signer, key, signers.repository.as_deref())?;
    }
    stage.finish(manifest == before);
    Ok(manifest)
}

fn no_key(what: &str, folder: &Path) -> Failure {
    let text = format!("{}: needed a recipe with a public key for its {what}, found none", folder.display());
    Failure::new(Kind::Input, text).hint(format!("name the public key as [sign] {what} in the recipe, and build again"))
}

/// Puts the signature of the commit into every artefact.
fn attach(output: &Output, manifest: &mut Manifest, signature: &[u8]) -> Result<()> {
    let length = signature.len();
    let metadata = metadata::with(&[signature.to_vec()]).ok_or_else(|| {
        Failure::new(Kind::Input, format!("the signature has {length} bytes, for which a disk has no room"))
            .hint("sign with a smaller key")
    })?;
    manifest::retract(output)?;
    attach_metadata(output, &mut manifest.artefacts, &metadata)?;
    // What was signed before is another image now.
    manifest.documents.retain(|document| !OF_IMAGE.contains(&document.kind));
    for kind in OF_IMAGE {
        output.remove(&kind.file_name(&manifest.name))?;
    }
    Ok(())
}

/// Puts detached metadata of the commit into `artefacts`, which lie in the folder of `output`, and names their new digests. Also for
/// comparisons: what was built again gets the signature that is compared.
///
/// # Errors
/// When one has no room for it, or cannot be written.
pub fn attach_metadata(output: &Output, artefacts: &mut [Artefact], metadata: &[u8]) -> Result<()> {
    for artefact in artefacts {
        let path = output.path().join(&artefact.file);
        if artefact.format.is_disk() {
            disk::attach(&path, metadata)?;
            let read = Digest::of_reader(Stoppable(File::open(&path)?));
            interrupt::check()?;
            (artefact.sha256, _) = read.with_context(|| path.display().to_string())?;
        } else {
            let folder = oci::metadata::attached(&path, Some(metadata))?;
            (artefact.sha256, artefact.size, artefact.allocated) = (folder.digest, folder.size(), folder.allocated());
            folder.write(output, &artefact.file, |_| interrupt::check_io())?.keep(output)?;
        }
    }
    Ok(())
}

/// Signs the OCI image of the folder, if it has one.
fn sign_image(
    output: &Output,
    manifest: &mut Manifest,
    signer: &super::ImageSigner,
    key: &ecdsa::PublicKey,
    repository: Option<&str>,
) -> Result<()> {
    let Some(artefact) = manifest.artefacts.iter().find(|artefact| !artefact.format.is_disk()) else {
        let what = format!("{}: needed an OCI image to sign, found none", output.path().display());
        return Err(Failure::new(Kind::Input, what).hint("build one: basalt build RECIPE --format oci").into());
    };
    let repository = repository.or(manifest.repository.as_deref()).map(simple::repository).ok_or_else(|| {
        Failure::new(Kind::Usage, "needed the repository that the image is signed for, found none")
            .hint("name it: --repository REGISTRY/PATH, or [update] image in the recipe")
    })?;
    let payload = Payload::new(repository, &artefact.sha256).bytes();
    let image = output.path().join(&artefact.file);
    if let Ok(Some((old, signature))) = state::read_image(&image)
        && old == payload
        && key.verifies(&payload, &signature)
        && OF_IMAGE.iter().all(|kind| manifest.documents.iter().any(|document| document.kind == *kind))
    {
        return Ok(());
    }
    let signature = STANDARD.encode(ecdsa::sign(signer, key, &payload)?) + "\n";
    manifest::retract(output)?;
    for (kind, bytes) in OF_IMAGE.into_iter().zip([payload, signature.into_bytes()]) {
        let document = manifest::document(output, &manifest.name, kind, &bytes)?;
        list(&mut manifest.documents, document);
    }
    manifest::write(output, manifest)
}

/// Puts a document into the list, in the place of the one of its kind.
fn list(documents: &mut Vec<Document>, document: Document) {
    match documents.iter_mut().find(|one| one.kind == document.kind) {
        Some(one) => *one = document,
        None => documents.push(document),
    }
}

/// The provenance names the artefacts by their digests: it gets the new ones. Then the manifest comes back.
fn restate(output: &Output, manifest: &mut Manifest) -> Result<()> {
    if let Some(document) = manifest.documents.iter().find(|document| document.kind == DocumentKind::Provenance) {
        let path = output.path().join(&document.file);
        let mut statement = serde_json::from_reader(File::open(&path)?).with_context(|| path.display().to_string())?;
        let digests = manifest.artefacts.iter().map(|artefact| (artefact.file.as_str(), &artefact.sha256));
        provenance::restate(&mut statement, digests);
        let bytes = manifest::json(&statement)?;
        let document = manifest::document(output, &manifest.name, DocumentKind::Provenance, &bytes)?;
        list(&mut manifest.documents, document);
    }
    manifest::write(output, manifest)
}
