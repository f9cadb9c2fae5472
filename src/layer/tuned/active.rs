//! The active profiles, read as the image's tuned will read them.

use anyhow::Result;
use basalt_contract::kernel_arguments::{self, Declaration, Source};
use basalt_contract::{KernelArgument, TunedInfo};

use super::report::{Report, Told};
use super::variables;
use crate::failure::{Failure, Kind};
use crate::layer::settings::suggestion;
use crate::plan;
use crate::recipe::names;
use crate::tree::Tree;
use crate::tuned::{self, Argument, Finding, Folders, Installed, KernelArguments, LoadError, Merged, Origin, Root, Weight, What};

/// A profile that tuned lays over the active ones, whatever they are; seldom there.
const POST_LOADED: &str = "/etc/tuned/post_loaded_profile";

/// Evaluates the profiles in `active` of the finished tree; those in `given` have variables of the recipe.
///
/// # Errors
/// [`Kind::Invalid`]: what tuned would refuse, or could surely make nothing of; kernel arguments that contradict each other.
pub fn evaluate<'g>(
    active: &str,
    given: impl Iterator<Item = &'g String>,
    tree: &Tree,
    folders: &Folders,
) -> Result<(Report, KernelArguments)> {
    let about = |failure: Failure| failure.about("tuned.active", active);
    let post_loaded =
        Root::read(tree, POST_LOADED)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let names = format!("{active} {post_loaded}");
    let merged = tuned::evaluate(tree, folders, &names, &Installed::of(tree))
        .map_err(|error| about(refused(active, &error, &folders.profiles(tree))))?;
    let wrong: Vec<_> = merged.findings.iter().filter(|finding| finding.what.weight() == Weight::Error).collect();
    if !wrong.is_empty() {
        let lines: Vec<_> = wrong.iter().map(|finding| told(finding).to_string()).collect();
        let what = format!("tuned could not do what {active} says:\n  {}", lines.join("\n  "));
        return Err(about(Failure::new(Kind::Invalid, what).hint("correct the profile, or make another one active")).into());
    }
    let left = merged.kernel_arguments.append.iter().filter(|argument| !argument.left.is_empty());
    let report = Report {
        format: TunedInfo::FORMAT,
        active: active.to_owned(),
        profiles: merged.profiles.iter().map(|profile| profile.name.clone()).collect(),
        arguments: known(&merged).map_err(about)?,
        left: left.map(|argument| single(&merged, argument)).collect(),
        told: all_told(&merged, given),
    };
    Ok((report, merged.kernel_arguments))
}

/// What tuned would say, and the next step.
pub fn refused(active: &str, error: &LoadError, known: &[String]) -> Failure {
    let hint = match error {
        LoadError::Missing { profile, .. } => suggestion(profile, known.iter().map(String::as_str))
            .unwrap_or_else(|| "name a folder that has it in tuned.profiles, or add the package that brings it".to_owned()),
        LoadError::Assertion { .. } => format!("give the profile what it asks for: [tuned.variables.NAME] of {active}"),
        LoadError::NoProfile(_) => "write active = \"NAME\"".to_owned(),
        _ => "correct the file".to_owned(),
    };
    Failure::new(Kind::Invalid, format!("tuned would not load {active}: {error}")).hint(hint)
}

/// One list of the arguments that are known.
///
/// # Errors
/// [`Kind::Invalid`]: one that no boot entry can have, or two that contradict each other.
pub fn known(merged: &Merged) -> Result<Vec<KernelArgument>, Failure> {
    let known = || merged.kernel_arguments.append.iter().filter(|argument| argument.left.is_empty());
    for argument in known() {
        names::kernel_arg(&argument.text).map_err(|why| {
            let what = format!("{}: {}: {why}", place(&argument.origin), argument.option);
            Failure::new(Kind::Invalid, what).hint("write it so, or leave it to [kernel] args")
        })?;
    }
    let declarations = Declaration::list(known().map(|argument| (argument.text.clone(), source(merged, &argument.origin))));
    kernel_arguments::resolve(declarations).map_err(|found| plan::contradictory(&found))
}

fn single(merged: &Merged, argument: &Argument) -> KernelArgument {
    KernelArgument { text: argument.text.clone(), asked_by: vec![source(merged, &argument.origin)] }
}

/// The profile that has a line.
fn source(merged: &Merged, origin: &Origin) -> Source {
    let profile = merged.profiles.iter().find(|profile| profile.file == origin.file);
    let by = profile.map_or_else(|| "tuned".to_owned(), |profile| format!("tuned profile {}", profile.name));
    Source::new(by).at(place(origin))
}

fn all_told<'g>(merged: &Merged, given: impl Iterator<Item = &'g String>) -> Vec<Told> {
    // Which arguments may have two values is not for tuned to say.
    let findings = merged.findings.iter().filter(|finding| !matches!(finding.what, What::TwoValues { .. }));
    let mut all: Vec<_> = findings.map(told).collect();
    let KernelArguments { append, skip_grub_config, .. } = &merged.kernel_arguments;
    if let (Some(first), false) = (append.first(), skip_grub_config) {
        let what =
            "[bootloader] has no skip_grub_config=1: tuned will say that it cannot write the boot loader's files".to_owned();
        all.push(Told { at: place(&first.origin), weight: Weight::Warning, what });
    }
    for name in given {
        let file = variables::file(name);
        let read = merged.variables.iter().any(|variable| *variable.origin.file == *file);
        if let (Some(profile), false) = (merged.profiles.iter().find(|profile| profile.name == *name), read) {
            let what = format!("[variables] does not include {file}, which tuned.variables of the recipe are for");
            all.push(Told { at: format!("{}:1", profile.file), weight: Weight::Warning, what });
        }
    }
    all
}

fn told(finding: &Finding) -> Told {
    Told { at: place(&finding.origin), weight: finding.what.weight(), what: finding.what.to_string() }
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}
