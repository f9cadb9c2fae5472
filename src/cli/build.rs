//! `basalt build`: a recipe or a saved plan becomes artefacts.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::signer::{self, ModuleSignerArgs, SignerArgs};
use super::{Context, input};
use crate::artefact::manifest::DocumentKind;
use crate::host::{folder, memory};
use crate::pipeline::{self, Built};
use crate::plan::{Format, Plan};
use crate::sign::{Signers, state};

/// Builds the artefacts of a recipe or a saved plan into a folder, with a manifest and SHA256SUMS. Without a lock it writes one. What
/// is there already and still has its digest is left alone.
#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    input: input::InputArgs,
    /// Where the artefacts go
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// What to make [default: what the recipe's outputs say]
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', value_parser = format)]
    format: Vec<Format>,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    modules: ModuleSignerArgs,
    /// Tell progress and result as JSON lines
    #[arg(long)]
    pub json: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(args: &BuildArgs, context: &Context) -> Result<()> {
    folder::need(&args.out, "choose another folder with --out")?;
    let store = context.store()?;
    let plan = input::plan(&args.input, context, &store)?;
    if args.dry_run {
        return super::print(&crate::plan::explain(&plan));
    }
    let signers = args.signer.signers();
    needs(&plan, &signers)?;
    let mut built = build(&plan, args, context, &store).map_err(|error| input::placed(error, &args.input))?;
    if !signers.is_empty() {
        built.manifest = crate::sign::sign(&args.out, &signers, &*context.sink)?;
    }
    if args.json {
        let result = serde_json::json!({
            "version": crate::progress::VERSION, "event": "built", "up-to-date": built.up_to_date,
            "out": args.out, "manifest": built.manifest, "peak-resident-bytes": memory::peak_resident(),
        });
        return super::print(&format!("{result}\n"));
    }
    let keys = state::Keys::of(&args.out, &built.manifest)?;
    let signatures = state::of(&args.out, &built.manifest, None, &keys);
    let unsigned = signer::unsigned(&signatures).unwrap_or_default();
    super::print(&(summary(args, &built) + &unsigned))
}

/// Whether the recipe has the public keys of those who sign: told before minutes go into a build.
fn needs(plan: &Plan, signers: &Signers) -> Result<()> {
    let (commit, image) = plan.trust().map_or((false, false), |trust| (trust.commit.is_some(), trust.image.is_some()));
    for (signs, has, what) in [(signers.commit.is_some(), commit, "commit"), (signers.image.is_some(), image, "image")] {
        if signs && !has {
            let why = format!("{}: needed a public key for its {what} to verify the signature with, found none", plan.name);
            return Err(super::report::usage(why, &format!("name its file as [sign] {what} in the recipe")));
        }
    }
    Ok(())
}

fn build(plan: &Plan, args: &BuildArgs, context: &Context, store: &crate::store::Store) -> Result<Built> {
    let formats = if args.format.is_empty() { &plan.outputs } else { &args.format };
    let access = args.input.network.access();
    pipeline::build(plan, formats, &args.out, store, args.input.network(&access), &args.modules.signers(), &*context.sink)
}

fn summary(args: &BuildArgs, built: &Built) -> String {
    let manifest = &built.manifest;
    let mut text = format!("{} {} for {}", manifest.name, manifest.image_version, manifest.architecture);
    text += if built.up_to_date { ": up to date, every digest verified\n" } else { "\n" };
    text += &format!("  plan    {}\n  commit  {}\n", manifest.plan, manifest.commit);
    for artefact in &manifest.artefacts {
        let path = args.out.join(&artefact.file);
        let (size, allocated) = (artefact.size >> 20, artefact.allocated >> 20);
        text += &format!("  {}  {size} MiB, {allocated} MiB of them data\n", path.display());
    }
    for document in &manifest.documents {
        let what = match document.kind {
            DocumentKind::Sbom => "bill of materials (SPDX)",
            DocumentKind::Provenance => "provenance (in-toto, SLSA)",
            DocumentKind::CommitKey => "public key of the commit",
            DocumentKind::ImageKey => "public key of the OCI image",
            DocumentKind::ImagePayload => "what is signed of the OCI image",
            DocumentKind::ImageSignature => "signature of the OCI image",
        };
        text += &format!("  {}  {what}\n", args.out.join(&document.file).display());
    }
    text
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "raw" => Ok(Format::Raw),
        "qcow2" => Ok(Format::Qcow2),
        "oci" => Ok(Format::Oci),
        _ => Err("needed raw, qcow2 or oci".to_owned()),
    }
}
