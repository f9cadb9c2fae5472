//! `basalt sign`: artefacts that a build made get signatures, here or on another machine.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Context;
use super::signer::{self, SignerArgs};
use crate::sign::state::{self, Keys, Signature, State};

/// Signs the artefacts in a folder that build made: the OSTree commit by OpenPGP, in disks and OCI image alike; the OCI image as cosign
/// does. Each signature is verified with the recipe's public key. Nothing is built, and no network is used; the private key is read
/// where it lies and goes nowhere else. What is signed already stays as it is.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// A folder that build made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    signer: SignerArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &SignArgs, context: &Context) -> Result<()> {
    let signers = args.signer.signers();
    if signers.is_empty() {
        let what = "needed a private key to sign with, found none";
        return Err(super::report::usage(
            what,
            "name one for the commit (--commit-key, --commit-agent, --commit-command), for the \
                                               image (--image-key, --image-agent, --image-command), or both",
        ));
    }
    let manifest = crate::sign::sign(&args.folder, &signers, &*context.sink)?;
    let found = state::of(&args.folder, &manifest, None, &Keys::of(&args.folder, &manifest)?);
    if args.json {
        let result = serde_json::json!({
            "version": crate::progress::VERSION, "event": "signed", "out": args.folder, "manifest": manifest, "signatures": found,
        });
        return super::print(&format!("{result}\n"));
    }
    let unsigned = signer::unsigned(&found).unwrap_or_default();
    super::print(&(text(&found) + &unsigned))
}

/// A line for each signature.
pub fn text(signatures: &[Signature]) -> String {
    let line = |Signature { file, what, state }: &Signature| {
        let words = match state {
            State::Good { by } => format!("signed by {by}"),
            State::Unsigned => "unsigned".to_owned(),
            State::Wrong { why } => format!("wrong signature: {why}"),
            State::Unknown { why } => format!("nobody knows whether its signature is good: {why}"),
        };
        format!("{file}: {} {words}\n", what.word())
    };
    signatures.iter().map(line).collect()
}
