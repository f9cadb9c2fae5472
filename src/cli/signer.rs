//! Who signs, as verbs take it on the command line: by file, by agent or by command, for commits and for images alike.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::sign::state::{Signature, State, What};
use crate::sign::{CommitSigner, ImageSigner, ModuleSigners, Signers};

/// Private keys, or who has them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct SignerArgs {
    /// Sign the commit with the secret OpenPGP key in FILE (what
    /// `gpg --export-secret-keys` writes)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["commit_agent", "commit_command"])]
    commit_key: Option<PathBuf>,
    /// A file with the passphrase of that key
    #[arg(long, value_name = "FILE", requires = "commit_key")]
    commit_passphrase_file: Option<PathBuf>,
    /// Sign the commit with a key that gpg and its agent have
    #[arg(long, value_name = "KEY", conflicts_with = "commit_command")]
    commit_agent: Option<String>,
    /// Sign the commit by a program (no shell): the commit on its standard
    /// input, a detached OpenPGP signature on its standard output
    #[arg(long, value_name = "COMMAND")]
    commit_command: Option<String>,
    /// Sign the OCI image with the ECDSA P-256 key in FILE (PEM)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image_agent", "image_command"])]
    image_key: Option<PathBuf>,
    /// Sign the OCI image with the recipe's key in the agent of
    /// SSH_AUTH_SOCK
    #[arg(long, conflicts_with = "image_command")]
    image_agent: bool,
    /// Sign the OCI image by a program (no shell): the payload on its
    /// standard input, an ECDSA signature over its SHA-256 on its standard
    /// output, DER or base64
    #[arg(long, value_name = "COMMAND")]
    image_command: Option<String>,
    /// The repository that the image is signed for [default: that from
    /// which the recipe says nodes are updated]
    #[arg(long, value_name = "REGISTRY/PATH")]
    repository: Option<String>,
}

/// Who has the keys of kernel modules, which are signed while an image is built.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct ModuleSignerArgs {
    /// Sign kernel modules with the private key in FILE (PEM: RSA, or ECDSA
    /// on P-256 or P-384), where `sign` of a [[kernel-module]] names its
    /// certificate; may be given several times
    #[arg(long, value_name = "FILE")]
    module_key: Vec<PathBuf>,
    /// Sign kernel modules by a program (no shell): the module on its
    /// standard input, a signature on its standard output, as RSA or ECDSA
    /// (DER, or r and s) has it; {hash} becomes sha256 or what is used
    #[arg(long, value_name = "COMMAND")]
    module_command: Option<String>,
}

impl ModuleSignerArgs {
    /// Who signs.
    pub fn signers(&self) -> ModuleSigners {
        ModuleSigners { files: self.module_key.clone(), command: self.module_command.clone(), known: Vec::new() }
    }
}

impl SignerArgs {
    /// Who signs.
    pub fn signers(&self) -> Signers {
        let file = self.commit_key.clone().map(|key| CommitSigner::File(key, self.commit_passphrase_file.clone()));
        let agent = self.commit_agent.clone().map(CommitSigner::Agent);
        let command = self.commit_command.clone().map(CommitSigner::Command);
        let image_file = self.image_key.clone().map(ImageSigner::File);
        let image_agent = self.image_agent.then_some(ImageSigner::Agent);
        let image_command = self.image_command.clone().map(ImageSigner::Command);
        Signers {
            commit: file.or(agent).or(command),
            image: image_file.or(image_agent).or(image_command),
            repository: self.repository.clone(),
        }
    }
}

/// What a recipe has a key for and nobody has signed, and the next step. None when there is nothing.
pub fn unsigned(signatures: &[Signature]) -> Option<String> {
    let mut words: Vec<_> = signatures
        .iter()
        .filter(|one| one.state == State::Unsigned)
        .map(|one| (one.what == What::Image, one.what.word()))
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut text = String::new();
    for (_, what) in words {
        let _ = writeln!(text, "  unsigned: the {what}. Nodes with this recipe's key refuse it");
    }
    (!text.is_empty()).then(|| text + "  next: basalt sign, here or where the private keys are\n")
}
