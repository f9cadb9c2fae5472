//! `basalt diff`: how two artefacts differ.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::input;
use crate::failure::{Failure, Kind};
use crate::inspect::{self, Change, Comparison};
use crate::lock::{self, Lock};
use crate::plan;

/// Shows how two artefacts, plans or locks differ. Of disks, raw or qcow2: sizes, identifiers, commit, kernel, arguments, layers,
/// packages, and each file with what is different of it; of OCI images: commit, layers and files; of locks and plans: every input.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A disk, OCI images (archive or folder), a saved plan (.json) or a lock
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Another of the same kind
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &DiffArgs) -> Result<()> {
    let (found, text) = match (What::of(&args.old), What::of(&args.new)) {
        (What::Plan, What::Plan) => plans(args)?,
        (What::Lock, What::Lock) => locks(args)?,
        (What::Images, What::Images) => shown(&inspect::contents::compare(&args.old, &args.new)?)?,
        (What::Disk, What::Disk) => shown(&inspect::compare(&args.old, &args.new)?)?,
        (old, new) => {
            let what = format!("needed two of one kind, found {} and {}", old.name(), new.name());
            return Err(super::report::usage(what, "compare disks with disks, images with images, plans with plans"));
        }
    };
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&found)? + "\n"));
    }
    super::print(&text)
}

/// What a file is.
#[derive(Clone, Copy)]
enum What {
    Plan,
    Lock,
    Images,
    Disk,
}

impl What {
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Plan,
            Some("lock") => Self::Lock,
            _ if crate::format::oci::layout::is_image(path) => Self::Images,
            _ => Self::Disk,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Plan => "a plan",
            Self::Lock => "a lock",
            Self::Images => "OCI images",
            Self::Disk => "a disk",
        }
    }
}

/// A comparison as JSON and for people.
fn shown(found: &Comparison) -> Result<(Value, String)> {
    Ok((serde_json::to_value(found)?, text(found)))
}

fn plans(args: &DiffArgs) -> Result<(Value, String)> {
    let lines = plan::diff(&input::read_plan(&args.old)?, &input::read_plan(&args.new)?);
    let mut text = lines.join("\n");
    text += if lines.is_empty() { "no difference\n" } else { "\n" };
    Ok((json!({ "version": 1, "differences": lines }), text))
}

fn locks(args: &DiffArgs) -> Result<(Value, String)> {
    let read = |path: &Path| -> Result<Lock> {
        let missing = || Failure::new(Kind::Input, format!("{}: no such lock", path.display())).hint("run `basalt lock RECIPE`");
        Ok(lock::read(path)?.ok_or_else(missing)?)
    };
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let mut text = String::new();
    let mut found = serde_json::Map::new();
    for (architecture, section) in &new.architecture {
        let changes = lock::diff(old.architecture.get(architecture), section);
        if !changes.is_empty() {
            let _ = writeln!(text, "{architecture}\n{changes}");
        }
        found.insert(architecture.to_string(), serde_json::to_value(&changes)?);
    }
    for architecture in old.architecture.keys().filter(|architecture| !new.architecture.contains_key(architecture)) {
        let _ = writeln!(text, "{architecture}: removed");
        found.insert(architecture.to_string(), Value::Null);
    }
    if text.is_empty() {
        text.push_str("no difference\n");
    }
    Ok((json!({ "version": 1, "architectures": found }), text))
}

fn text(found: &Comparison) -> String {
    if found.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    found.fields.iter().for_each(|change| line(&mut text, "", change));
    if !found.packages.is_empty() {
        text.push_str("packages\n");
        found.packages.iter().for_each(|change| line(&mut text, "  ", change));
    }
    if !found.files.is_empty() {
        let _ = writeln!(text, "files: {}", found.files.len());
    }
    for file in &found.files {
        let words: Vec<_> = file.changes.iter().map(in_words).collect();
        let _ = writeln!(text, "  {}: {}", file.path, words.join(", "));
    }
    text
}

fn line(text: &mut String, indent: &str, change: &Change) {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let _ = writeln!(text, "{indent}{}: {} -> {}", change.what, side(&change.old), side(&change.new));
}

fn in_words(change: &Change) -> String {
    match (change.what.as_str(), &change.old, &change.new) {
        (what, Some(old), Some(new)) => format!("{what} {old} -> {new}"),
        ("added" | "removed", ..) => change.what.clone(),
        (what, Some(_), None) => format!("{what} removed"),
        (what, None, Some(_)) => format!("{what} added"),
        // Bytes of a content, of which the first is named.
        (what, None, None) => format!("content differs from {what} on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::FileChange;

    #[test]
    fn differences_in_words() {
        let change = |what: &str, old: Option<&str>, new: Option<&str>| Change {
            what: what.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let file = |path: &str, changes| FileChange { path: path.into(), changes };
        let found = Comparison {
            version: 1,
            fields: vec![change("deployment version", Some("1"), Some("2"))],
            packages: vec![change("htop", None, Some("3.4"))],
            files: vec![
                file("/etc/a", vec![change("mode", Some("0644"), Some("0600")), change("byte 7", None, None)]),
                file("/etc/b", vec![change("added", None, Some("file"))]),
                file("/etc/c", vec![change("xattr user.a", Some("00"), None)]),
            ],
        };
        let wanted = "deployment version: 1 -> 2\npackages\n  htop: - -> 3.4\nfiles: 3\n  \
                      /etc/a: mode 0644 -> 0600, content differs from byte 7 on\n  /etc/b: added\n  /etc/c: xattr user.a removed\n";
        assert_eq!(text(&found), wanted);
        assert_eq!(text(&Comparison::default()), "no difference\n");
    }
}
