//! Signatures: of the commit by OpenPGP, as libostree verifies them; of the OCI image in sigstore's form, as containers-policy.json(5)
//! enforces them.
//!
//! ```text
//! folder of artefacts --state::of--> [Signature]            commit --gpg::sign--> bytes --metadata--> .commitmeta
//! (folder, Signers) --folder::sign--> folder                (digest, repository) --simple--> payload --ecdsa::sign--> DER
//! ```
//!
//! Signing comes after building: what is built without a key is the same bytes for everyone, and a signature is put beside the commit
//! ([`disk`], [`crate::artefact::oci::metadata`]) and the image ([`folder`]) later, perhaps on another machine. Kernel modules are another
//! matter: their signatures are part of the tree, so [`module`] signs while it is built.
//!
//! Architecture invariant: a private key is read from where a person keeps it, used, and forgotten. It is no part of a recipe, plan,
//! store, artefact or log; an agent or a command keeps it to itself. What is signed is verified with the recipe's public key.

pub mod disk;
pub mod ecdsa;
pub mod folder;
pub mod gpg;
pub mod metadata;
pub mod module;
pub mod openpgp;
pub mod simple;
pub mod state;

use std::path::PathBuf;

pub use folder::sign;
pub use module::{KnownSignature, ModuleKeys, ModuleSigners};
pub use state::{Signature, State};

/// Who signs commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitSigner {
    /// A secret OpenPGP key in a file, as `gpg --export-secret-keys` writes it, and a file with its passphrase.
    File(PathBuf, Option<PathBuf>),
    /// A key of gpg and its agent, by fingerprint or user.
    Agent(String),
    /// A program with its arguments: the commit on its standard input, a detached OpenPGP signature on its standard output.
    Command(String),
}

/// Who signs images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSigner {
    /// An ECDSA P-256 key in a PEM file, PKCS#8 or SEC 1.
    File(PathBuf),
    /// The recipe's key, in an agent that speaks ssh-agent's protocol.
    Agent,
    /// A program with its arguments: the payload on its standard input, an ECDSA signature over its SHA-256 on its standard output, DER
    /// or base64 of it.
    Command(String),
}

/// Who signs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// Commits.
    pub commit: Option<CommitSigner>,
    /// Images.
    pub image: Option<ImageSigner>,
    /// The repository that the image is signed for, where it is not the one that the node updates from.
    pub repository: Option<String>,
}

impl Signers {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.commit.is_none() && self.image.is_none()
    }
}
