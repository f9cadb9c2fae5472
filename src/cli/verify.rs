//! `basalt verify`: whether artefacts still are what their manifest says, and what their inputs make.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use super::input::{self, InputArgs};
use super::network::NetworkArgs;
use crate::artefact::Output;
use crate::artefact::manifest::{Artefact, Manifest};
use crate::failure::{Failure, Kind};
use crate::format::oci::layout::is_image;
use crate::inspect;
use crate::inspect::check::{self, Checked, Verdict};
use crate::inspect::image;
use crate::pipeline;
use crate::sign::ModuleSigners;
use crate::sign::state::{self, Keys, Signature, State, What};

/// Reads artefacts again: every digest of the manifest, and the disk itself, which must hold the commit, plan, partitions and kernel
/// arguments that the manifest names. With --rebuild, builds them again from the inputs that the lock pins and names the first
/// difference. Differences make exit code 6.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A folder that build made, or a file in it
    #[arg(value_name = "ARTEFACT")]
    what: PathBuf,
    /// Build again from this recipe with its lock, or from this saved or
    /// vendored plan, and compare the disks
    #[arg(long, value_name = "RECIPE|PLAN")]
    rebuild: Option<PathBuf>,
    /// Use no network to build again
    #[arg(long, requires = "rebuild")]
    offline: bool,
    #[command(flatten)]
    network: NetworkArgs,
    /// Demand that the commit is signed by one of the public OpenPGP keys in
    /// FILE [default: tell whether it is by the recipe's]
    #[arg(long, value_name = "FILE")]
    trust_commit: Option<PathBuf>,
    /// Demand that the OCI image is signed by the public key in FILE (PEM)
    /// [default: tell whether it is by the recipe's]
    #[arg(long, value_name = "FILE")]
    trust_image: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &VerifyArgs, context: &Context) -> Result<()> {
    // An OCI image is a folder, too.
    let all = args.what.is_dir() && !is_image(&args.what);
    let (folder, name) = if all { (args.what.clone(), None) } else { split(&args.what)? };
    let (manifest, mut checked) = check::check(&folder, name.as_deref())?;
    if let Some(input) = &args.rebuild {
        checked.extend(rebuilt(input, args, &folder, &manifest, name.as_deref(), context)?);
    }
    let demanded = Keys::read(args.trust_commit.as_deref(), args.trust_image.as_deref())?;
    let of_recipe = Keys::of(&folder, &manifest)?;
    let keys = Keys { commit: demanded.commit.clone().or(of_recipe.commit), image: demanded.image.clone().or(of_recipe.image) };
    let signatures = state::of(&folder, &manifest, name.as_deref(), &keys);
    if args.json {
        let result = serde_json::json!({
            "version": 1, "plan": manifest.plan, "commit": manifest.commit, "files": checked, "signatures": signatures,
        });
        super::print(&(serde_json::to_string_pretty(&result)? + "\n"))?;
    } else {
        super::print(&(text(&checked) + &super::sign::text(&signatures)))?;
    }
    let bad: Vec<_> = checked.iter().filter(|checked| checked.verdict != Verdict::Good).collect();
    let Some(first) = bad.first() else { return judge(&signatures, &demanded) };
    let unknown = bad.iter().all(|checked| !matches!(checked.verdict, Verdict::Differs { .. }));
    let kind = if unknown { Kind::Input } else { Kind::Verification };
    let what = format!("{} of {} files are not what the manifest says: {}", bad.len(), checked.len(), first.file);
    Err(Failure::new(kind, what).hint("build again: `basalt build` makes anew what differs").into())
}

/// Fails for a signature that is wrong, and for one that is missing and demanded.
fn judge(signatures: &[Signature], demanded: &Keys) -> Result<()> {
    let is_demanded = |what| match what {
        What::Commit => demanded.commit.is_some(),
        What::Image => demanded.image.is_some(),
    };
    for Signature { file, what, state } in signatures {
        let word = what.word();
        let (kind, why, hint) = match state {
            State::Wrong { why } => (
                Kind::Verification,
                format!("wrong signature of its {word}: {why}"),
                "do not use it: fetch it again from who built it",
            ),
            State::Unsigned if is_demanded(*what) => {
                (Kind::Verification, format!("its {word} is unsigned"), "sign it: basalt sign")
            }
            State::Unknown { why } => (
                Kind::Input,
                format!("nobody knows whether the signature of its {word} is good: {why}"),
                "see to that, and verify again",
            ),
            State::Good { .. } | State::Unsigned => continue,
        };
        return Err(Failure::new(kind, format!("{file}: {why}")).hint(hint).into());
    }
    if demanded.image.is_some() && signatures.iter().all(|one| one.what != What::Image) {
        return Err(Failure::new(Kind::Input, "needed an OCI image whose signature can be verified, found none").into());
    }
    Ok(())
}

/// Builds the disks of `folder` again and compares them, one verdict each.
fn rebuilt(
    input: &Path,
    args: &VerifyArgs,
    folder: &Path,
    manifest: &Manifest,
    name: Option<&str>,
    context: &Context,
) -> Result<Vec<Checked>> {
    let store = context.store()?;
    let arch = Some(manifest.architecture);
    let input = InputArgs { path: input.to_owned(), arch, offline: args.offline, locked: true, network: args.network.clone() };
    let plan = input::plan(&input, context, &store)?;
    if plan.id() != manifest.plan {
        let what = format!("{}: it makes another plan: needed {}, found {}", input.path.display(), manifest.plan, plan.id());
        return Err(Failure::new(Kind::Verification, what)
            .hint("name the recipe, with its lock, that the artefacts were made from")
            .into());
    }
    let wanted = |artefact: &&Artefact| name.is_none_or(|name| name == artefact.file);
    let artefacts: Vec<_> = manifest.artefacts.iter().filter(wanted).collect();
    let formats: Vec<_> = artefacts.iter().map(|artefact| artefact.format).collect();
    if formats.is_empty() {
        return Ok(Vec::new());
    }
    // Beside the artefacts, where there is room for their like; nobody changes them meanwhile.
    let output = Output::open(folder)?;
    let again = output.folder()?;
    let access = input.network.access();
    // Nobody has the keys of kernel modules here; what they signed is known.
    let known = manifest.kernel_modules.iter().filter_map(|module| module.signature.clone()).collect();
    let (network, signers) = (input.network(&access), ModuleSigners { known, ..Default::default() });
    let mut built = pipeline::build(&plan, &formats, again.path(), &store, network, &signers, &*context.sink)
        .map_err(|error| input::placed(error, &input))?;
    // A signature is no input: what was built again gets the one that is there, and then every byte counts.
    if let Some(metadata) = crate::sign::state::metadata_of(folder, &artefacts) {
        crate::sign::folder::attach_metadata(&Output::open(again.path())?, &mut built.manifest.artefacts, &metadata)?;
    }
    let compare = |artefact: &Artefact| -> Result<Checked> {
        let at = |folder: &Path| folder.join(&artefact.file);
        let (wanted, found) = (at(again.path()), at(folder));
        let found = if artefact.format.is_disk() {
            let found = inspect::first_difference(&inspect::Disk::open(&wanted)?, &inspect::Disk::open(&found)?)?;
            found.map(|found| format!("at byte {}, {}", found.at, found.what))
        } else {
            image::first_difference(&wanted, &found)?
        };
        let needed = "what its inputs make".to_owned();
        let verdict = found.map_or(Verdict::Good, |found| Verdict::Differs { needed, found });
        Ok(Checked { file: format!("{} built again", artefact.file), verdict })
    };
    artefacts.into_iter().map(compare).collect()
}

/// The folder of a file, and its name.
fn split(path: &Path) -> Result<(PathBuf, Option<String>)> {
    let name = path.file_name().with_context(|| format!("{}: needed a folder or a file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_owned(), Some(name.to_string_lossy().into_owned())))
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for Checked { file, verdict } in checked {
        let words = match verdict {
            Verdict::Good => "good".to_owned(),
            Verdict::Differs { needed, found } => format!("differs: needed {needed}, found {found}"),
            Verdict::Missing => "missing".to_owned(),
            Verdict::Unreadable { why } => format!("cannot be read: {why}"),
        };
        let _ = writeln!(text, "{file}: {words}");
    }
    text
}
