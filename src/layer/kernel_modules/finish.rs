//! Modules as they will lie in the image: signed anew where the recipe says so, then packed as the kernel's own are.
//!
//! A signature is kept in the store, by the object, the certificate and the hash: the next build needs no key, and gets the same bytes also of a
//! token that signs the same object otherwise each time (ECDSA). What is packed is kept by its bytes.
//!
//! Architecture invariant: the store has signatures, which are public, and nothing of a private key.

use std::fs::{self, File};

use anyhow::{Context, Result};

use super::Found;
use super::source::Sources;
use super::target::Target;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::module;
use crate::format::module::signature;
use crate::format::packed::Packing;
use crate::host::interrupt;
use crate::kmod::signing::{Certificate, Hash};
use crate::layer::agent::blob;
use crate::plan::{KernelModules, ModuleSet};
use crate::sign::{KnownSignature, ModuleKeys, ModuleSigners};
use crate::store::Store;
use crate::tree::{Content, Pack};

/// The kinds of the store's entries, and the one file of each.
const SIGNATURES: &str = "module-signature";
const SIGNATURE: &str = "signature";
const PACKED: &str = "packed-module";
const MODULE: &str = "module";
/// Part of what names them: whatever changes how they are made changes this.
const VERSION: u32 = 1;
/// Where the kernel's own modules do not say.
const HASH: Hash = Hash::Sha256;

/// Who signs the modules of a set.
struct Signer {
    certificate: Certificate,
    /// Of the certificate's file.
    digest: Digest,
    hash: Hash,
}

/// Signs and packs the modules of `sources`, and names them accordingly.
///
/// # Errors
/// [`Kind::Input`]: nobody has a key; [`Kind::Invalid`]: no module, or no certificate.
pub fn all(
    wanted: &KernelModules,
    target: &Target<'_>,
    sources: &mut Sources,
    store: &Store,
    signers: &ModuleSigners,
) -> Result<()> {
    let own = target.index.paths().next().map_or(Packing::None, |path| Packing::of_name(path.as_str()));
    let keys = ModuleKeys::new(signers);
    let mut by_set = Vec::new();
    for set in &wanted.sets {
        by_set.push(signer(set, target, store)?);
    }
    for found in &mut sources.modules {
        interrupt::check()?;
        let set = &wanted.sets[found.set];
        let packing = set.compress.unwrap_or(own);
        let signature = finish(found, packing, by_set[found.set].as_ref(), store, &keys)
            .map_err(|error| crate::failure::about(error, "kernel-module", &set.name))?;
        sources.signatures.extend(signature.map(|signature| (found.path.to_string(), signature)));
    }
    Ok(())
}

fn signer(set: &ModuleSet, target: &Target<'_>, store: &Store) -> Result<Option<Signer>> {
    let Some(sign) = &set.sign else { return Ok(None) };
    let bytes = blob(store, sign.certificate.sha256, sign.certificate.size, "a certificate for kernel modules")?.bytes()?;
    let certificate = Certificate::parse(&bytes).map_err(|bad| {
        let what = format!("kernel module {}: sign.certificate: {bad}", set.name);
        Failure::new(Kind::Invalid, what).about("kernel-module", &set.name)
    })?;
    let hash = match sign.hash {
        Some(hash) => hash,
        None => of_kernel(target)?,
    };
    Ok(Some(Signer { certificate, digest: sign.certificate.sha256, hash }))
}

/// What the kernel's own modules are hashed by.
fn of_kernel(target: &Target<'_>) -> Result<Hash> {
    let Some(path) = target.index.paths().next() else { return Ok(HASH) };
    let content = target.file(path.as_str())?.with_context(|| format!("{path}: in the index, and not there"))?;
    let bytes = content.bytes()?;
    Ok(Hash::of_module(&module::unpack(&bytes).with_context(|| path.to_string())?).unwrap_or(HASH))
}

/// Signs and packs one; answers the signature, where there is a new one.
fn finish(
    found: &mut Found,
    packing: Packing,
    signer: Option<&Signer>,
    store: &Store,
    keys: &ModuleKeys<'_>,
) -> Result<Option<KnownSignature>> {
    let bytes = found.content.bytes()?;
    let path = found.path.packed(packing.ending())?;
    let mut signature_of = None;
    if signer.is_some() || !packing.fits(&bytes) {
        let invalid =
            |why: String| Failure::new(Kind::Invalid, format!("kernel module {}: {why}", found.path)).hint("build it again");
        let plain = module::unpack(&bytes).map_err(|bad| invalid(bad.to_string()))?;
        let finished = match signer {
            Some(signer) => {
                let object = signature::strip(&plain).map_err(|bad| invalid(format!("the appended signature: {bad}")))?;
                // Whoever signs bytes that are no module has mistaken one file for another.
                module::Module::parse(object).map_err(|bad| invalid(bad.to_string()))?;
                let raw = signed(object, signer, store, keys)?;
                signature_of = Some(KnownSignature::new(Digest::of(object), signer.digest, signer.hash, &raw));
                [object, &signature::trailer(&signer.certificate.wrap(signer.hash, &raw)?)].concat()
            }
            None => plain.into_owned(),
        };
        found.content = packed(&finished, packing, store)?;
    }
    found.path = path;
    Ok(signature_of)
}

/// The signature of `object`: the store's, or a new one.
fn signed(object: &[u8], signer: &Signer, store: &Store, keys: &ModuleKeys<'_>) -> Result<Vec<u8>> {
    let Signer { certificate, digest, hash } = signer;
    let key = Digest::of_value(&(SIGNATURES, VERSION, Digest::of(object), digest, hash.word()));
    let entry = store.entry_or_make(SIGNATURES, &key, |folder| {
        Ok(fs::write(folder.join(SIGNATURE), keys.sign(certificate, digest, *hash, object)?)?)
    })?;
    let raw = fs::read(entry.path.join(SIGNATURE))?;
    anyhow::ensure!(
        certificate.verifies(*hash, &hash.of(object), &raw),
        "{}: damaged; remove this folder to have it made again",
        entry.path.display()
    );
    Ok(raw)
}

fn packed(bytes: &[u8], packing: Packing, store: &Store) -> Result<Content> {
    if packing == Packing::None {
        return Ok(Content::from_bytes(bytes));
    }
    let key = Digest::of_value(&(PACKED, VERSION, Digest::of(bytes), packing.word()));
    let entry = store.entry_or_make(PACKED, &key, |folder| {
        let packed = packing.pack(bytes)?;
        // Nobody would notice before a node boots.
        anyhow::ensure!(module::unpack(&packed)? == bytes, "a module packed by {} does not come out again", packing.word());
        Ok(fs::write(folder.join(MODULE), packed)?)
    })?;
    let path = entry.path.join(MODULE);
    let (digest, len) = Digest::of_reader(File::open(&path)?)?;
    Ok(Content::packed(Pack::open(&path)?, 0, len, digest))
}
