//! `basalt diff`: how two artefacts differ.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::inspect::{self, Change, Comparison};

/// Shows how two disks differ, raw or qcow2: sizes, identifiers, commit, kernel, arguments, layers, packages, and each file with what
/// is different of it.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A raw or qcow2 disk
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Another
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &DiffArgs) -> Result<()> {
    let found = inspect::compare(&args.old, &args.new)?;
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&found)? + "\n"));
    }
    super::print(&text(&found))
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
