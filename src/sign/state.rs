//! Which signatures artefacts have, and whether they are good: each commit and each image, one state.
//!
//! "Unsigned", "wrong" and "nobody knows" are three states: who has no gpgv does not know whether a signature is wrong.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::ecdsa::PublicKey;
use super::gpg::{self, Verdict};
use super::metadata;
use super::openpgp::{self, PublicKeys};
use super::simple::Payload;
use crate::artefact::manifest::{Artefact, DocumentKind, Manifest};
use crate::artefact::oci::metadata::CommitLayer;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci;
use crate::format::oci::layout::Layout;
use crate::inspect::{self, Disk};

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The OSTree commit in an artefact.
    Commit,
    /// An OCI image.
    Image,
}

impl What {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Image => "image",
        }
    }
}

/// The signature of a commit or an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signature {
    /// The artefact's name.
    pub file: String,
    /// What of it is signed, or should be.
    pub what: What,
    /// What was found.
    #[serde(flatten)]
    pub state: State,
}

/// What a signature is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Of a trusted key.
    Good {
        /// The key, and what it signed for.
        by: String,
    },
    /// There is none.
    Unsigned,
    /// There is one, and it is none of a trusted key over this.
    Wrong {
        /// Why.
        why: String,
    },
    /// Nobody knows.
    Unknown {
        /// Why.
        why: String,
    },
}

/// The keys that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// For commits.
    pub commit: Option<PublicKeys>,
    /// For images.
    pub image: Option<PublicKey>,
}

impl Keys {
    /// Those that a build put beside its artefacts: the recipe's.
    ///
    /// # Errors
    /// [`Kind::Input`]: one cannot be read, or is none.
    pub fn of(folder: &Path, manifest: &Manifest) -> Result<Self, Failure> {
        let path = |kind| manifest.documents.iter().find(|one| one.kind == kind).map(|found| folder.join(&found.file));
        Self::read(path(DocumentKind::CommitKey).as_deref(), path(DocumentKind::ImageKey).as_deref())
    }

    /// From files.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn read(commit: Option<&Path>, image: Option<&Path>) -> Result<Self, Failure> {
        let bytes = |path: &Path| {
            fs::read(path).map_err(|error| Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display())))
        };
        let bad = |path: &Path, why: String| Failure::new(Kind::Input, format!("{}: {why}", path.display()));
        let commit = commit.map(|path| openpgp::public_keys(&bytes(path)?).map_err(|why| bad(path, why.to_string())));
        let image = image.map(|path| {
            let needed = "needed an ECDSA P-256 public key in PEM, found something else";
            PublicKey::parse(&bytes(path)?).ok_or_else(|| bad(path, needed.to_owned()))
        });
        Ok(Self { commit: commit.transpose()?, image: image.transpose()? })
    }
}

/// Whose signatures the detached metadata of a commit have, as they say. Nothing is verified.
pub fn said_signers(bytes: Option<&[u8]>) -> Vec<String> {
    bytes.into_iter().flat_map(metadata::signatures).flat_map(|signature| openpgp::issuers(&signature)).collect()
}

/// The signatures of the artefacts that `manifest` lists in `folder` (only `name`, when one is given), next to `keys`.
pub fn of(folder: &Path, manifest: &Manifest, name: Option<&str>, keys: &Keys) -> Vec<Signature> {
    let mut found = Vec::new();
    for artefact in manifest.artefacts.iter().filter(|artefact| name.is_none_or(|name| name == artefact.file)) {
        let path = folder.join(&artefact.file);
        let mut add = |what, state: Result<State>| {
            let state = state.unwrap_or_else(|error| State::Unknown { why: format!("{error:#}") });
            found.push(Signature { file: artefact.file.clone(), what, state });
        };
        if let Some(key) = &keys.commit {
            add(What::Commit, commit_in(&path, artefact.format.is_disk(), &manifest.commit, key));
        }
        if let Some(key) = keys.image.as_ref().filter(|_| !artefact.format.is_disk()) {
            add(What::Image, image(&path, &artefact.sha256, key));
        }
    }
    found
}

/// A commit and its detached metadata, in a disk or an OCI image.
pub(super) fn read_commit(path: &Path, is_disk: bool) -> Result<(Digest, Vec<u8>, Option<Vec<u8>>)> {
    if is_disk {
        let found = inspect::committed(&Disk::open(path)?)?.into_iter().next().context("no commit is deployed on it")?;
        return Ok((found.checksum, found.commit, found.metadata.map(|(bytes, _)| bytes)));
    }
    let layer = commit_layer(path)?;
    let metadata = layer.metadata().map(<[u8]>::to_vec);
    Ok((layer.checksum, layer.commit, metadata))
}

/// The detached metadata of the commit in `artefacts` of `folder`, where it has signatures.
pub fn metadata_of(folder: &Path, artefacts: &[&Artefact]) -> Option<Vec<u8>> {
    let read = |artefact: &&Artefact| read_commit(&folder.join(&artefact.file), artefact.format.is_disk()).ok()?.2;
    artefacts.iter().filter_map(read).find(|bytes| !metadata::signatures(bytes).is_empty())
}

/// The layer with the commit, of the first image in an archive or folder.
pub fn commit_layer(path: &Path) -> Result<CommitLayer> {
    let layout = Layout::open(path)?;
    let (_, manifest, _) = layout.images()?.into_iter().next().context("it has no image")?;
    CommitLayer::read(layout.blob(manifest.layers.first().context("its image has no layers")?)?)
}

fn commit_in(path: &Path, is_disk: bool, checksum: &Digest, key: &PublicKeys) -> Result<State> {
    let (found, commit, metadata) = read_commit(path, is_disk)?;
    if found != *checksum || Digest::of(&commit) != found {
        return Ok(State::Wrong { why: format!("it has another commit: needed {checksum}, found {found}") });
    }
    commit_state(&commit, metadata.as_deref(), key)
}

/// What the signatures of a commit are next to `key`.
fn commit_state(commit: &[u8], metadata: Option<&[u8]>, key: &PublicKeys) -> Result<State> {
    let mut state = State::Unsigned;
    for signature in metadata.map(metadata::signatures).unwrap_or_default() {
        match gpg::verify(key, commit, &signature)? {
            Verdict::Good(by) => return Ok(State::Good { by }),
            Verdict::Wrong(why) => state = State::Wrong { why },
        }
    }
    Ok(state)
}

/// Where the signature of an OCI image lies: the payload and the signature, beside the folder.
pub fn beside(image: &Path) -> [std::path::PathBuf; 2] {
    ["payload.json", "sig"].map(|ending| {
        let mut path = image.as_os_str().to_owned();
        path.push(".");
        path.push(ending);
        path.into()
    })
}

/// The payload and the signature (in DER) that lie beside an OCI image. None when neither does.
///
/// # Errors
/// Only one does, or one is no such thing.
pub fn read_image(image: &Path) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    let [payload, signature] = beside(image);
    match (read(&payload)?, read(&signature)?) {
        (None, None) => Ok(None),
        (Some(bytes), Some(text)) => {
            let der = STANDARD.decode(String::from_utf8_lossy(&text).trim());
            let der = der.with_context(|| format!("{}: needed base64", signature.display()))?;
            Ok(Some((bytes, der)))
        }
        (None, _) => anyhow::bail!("{} is missing", payload.display()),
        (_, None) => anyhow::bail!("{} is missing", signature.display()),
    }
}

fn image(path: &Path, digest: &Digest, key: &PublicKey) -> Result<State> {
    // What cannot be read at all has no state.
    File::open(path)?;
    let (payload, signature) = match read_image(path) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(State::Unsigned),
        Err(error) => return Ok(State::Wrong { why: format!("{error:#}") }),
    };
    Ok(image_state(&payload, &signature, digest, key))
}

/// What a signature over `payload` is for the image `digest`, next to `key`.
fn image_state(payload: &[u8], signature: &[u8], digest: &Digest, key: &PublicKey) -> State {
    let wrong = |why: String| State::Wrong { why };
    if !key.verifies(payload, signature) {
        return wrong(format!("it is of another key than {}, or of another payload", key.name()));
    }
    match Payload::parse(payload) {
        None => wrong("what was signed is no payload".to_owned()),
        Some(payload) if payload.digest() != oci::digest(digest) => {
            wrong(format!("it is for another image: needed {}, found {}", oci::digest(digest), payload.digest()))
        }
        Some(payload) => State::Good { by: format!("{} for {}", key.name(), payload.repository()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::ImageSigner;
    use crate::sign::ecdsa;

    /// A new key in `folder`, by openssl: its private file, and the public half.
    fn key(folder: &Path, name: &str) -> (ImageSigner, PublicKey) {
        let path = folder.join(name);
        let openssl = |args: &[&str]| crate::host::cmd::Cmd::new("openssl").args(args).arg(&path);
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]).run().unwrap();
        let public = openssl(&["pkey", "-pubout", "-in"]).run().unwrap().stdout;
        (ImageSigner::File(path), PublicKey::parse(&public).unwrap())
    }

    #[test]
    fn a_signature_is_of_one_key_over_one_image() {
        let folder = tempfile::tempdir().unwrap();
        let ((signer, public), (_, other)) = (key(folder.path(), "one"), key(folder.path(), "other"));
        let image = Digest::of(b"image");
        let payload = Payload::new("r.example.org/a", &image).bytes();
        let signature = ecdsa::sign(&signer, &public, &payload).unwrap();
        assert_eq!(signature, ecdsa::sign(&signer, &public, &payload).unwrap());
        let good = State::Good { by: format!("{} for r.example.org/a", public.name()) };
        assert_eq!(image_state(&payload, &signature, &image, &public), good);
        let wrong = |state: State, word: &str| match state {
            State::Wrong { why } => assert!(why.contains(word), "{why}"),
            state => panic!("{state:?}"),
        };
        wrong(image_state(&payload, &signature, &image, &other), "another key");
        wrong(image_state(&payload, &signature, &Digest::of(b"x"), &public), "another image");
        wrong(image_state(&payload[1..], &signature, &image, &public), "another payload");
        let signed = ecdsa::sign(&signer, &public, b"{}").unwrap();
        wrong(image_state(b"{}", &signed, &image, &public), "no payload");
        assert!(ecdsa::sign(&signer, &other, &payload).unwrap_err().what.contains("not one of the recipe's key"));

        // What lies beside an image: both files or none.
        let at = folder.path().join("x.oci");
        assert_eq!(read_image(&at).unwrap(), None);
        let [payload_file, signature_file] = beside(&at);
        fs::write(&payload_file, &payload).unwrap();
        assert!(read_image(&at).unwrap_err().to_string().ends_with("x.oci.sig is missing"));
        fs::write(&signature_file, "???").unwrap();
        assert!(read_image(&at).is_err());
        fs::write(&signature_file, STANDARD.encode(&signature) + "\n").unwrap();
        assert_eq!(read_image(&at).unwrap(), Some((payload, signature)));
    }
}
