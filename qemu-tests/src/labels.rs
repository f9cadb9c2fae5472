//! The SELinux labels of a commit, and what libselinux says that they should be.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::digest::Digest;

/// So many paths are asked for at once.
const AT_ONCE: usize = 1000;
const RULES: &str = "/usr/etc/selinux/default/contexts/files/file_contexts";

/// The label of each file, folder and link, by kind (as matchpathcon(8) calls it) and path.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<(&'static str, String), String>);

impl Labels {
    /// As the commit in `repository` has them, read by libostree's own program. `<<none>>` stands for none.
    pub fn of_commit(repository: &Path, commit: &str) -> Result<Self> {
        let text = ostree(repository, &["ls", "-R", "-X", commit])?;
        let entries = text.lines().map(|line| entry(line).with_context(|| format!("ostree ls: {line}")));
        Ok(Self(entries.collect::<Result<_>>()?))
    }

    /// Digest of what find(1) says of `folder` and all below it: a line with kind, path and label each, in byte order.
    pub fn sum(&self, folder: &str) -> String {
        let within = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let lines = self.0.iter().filter(|((_, path), _)| within(path));
        let mut lines: Vec<_> = lines.map(|((kind, path), label)| format!("{} {path} {label}\n", &kind[..1])).collect();
        lines.sort_unstable();
        Digest::of(lines.concat().as_bytes()).to_hex()
    }

    /// What libselinux says of the same paths, by the rules that the commit has. `folder` is for those.
    pub fn by_libselinux(&self, repository: &Path, commit: &str, folder: &Path) -> Result<Self> {
        let rules = folder.join("file_contexts");
        for end in ["", ".homedirs", ".subs_dist"] {
            let text = ostree(repository, &["cat", commit, &format!("{RULES}{end}")])?;
            fs::write(folder.join(format!("file_contexts{end}")), text)?;
        }
        let mut labels = BTreeMap::new();
        for kind in ["dir", "file", "link"] {
            let paths: Vec<&String> = self.0.keys().filter(|(of, _)| *of == kind).map(|(_, path)| path).collect();
            for paths in paths.chunks(AT_ONCE) {
                let rules = rules.as_os_str();
                let args = [OsStr::new("-n"), OsStr::new("-m"), OsStr::new(kind), OsStr::new("-f"), rules];
                let text = run(Command::new("matchpathcon").args(args).args(paths))?;
                ensure!(text.lines().count() == paths.len(), "matchpathcon: {} lines for {}", text.lines().count(), paths.len());
                labels.extend(paths.iter().zip(text.lines()).map(|(path, label)| ((kind, (*path).clone()), label.to_owned())));
            }
        }
        Ok(Self(labels))
    }
}

/// A line of `ostree ls -X`: kind and mode, owner, size, attributes, path and the target of a link.
fn entry(line: &str) -> Option<((&'static str, String), String)> {
    let kind = match line.chars().next()? {
        'd' => "dir",
        'l' => "link",
        '-' => "file",
        _ => return None,
    };
    let (head, path) = line.split_once(" } ")?;
    let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
    Some(((kind, path.to_owned()), label(head).unwrap_or_else(|| "<<none>>".to_owned())))
}

/// `(b'security.selinux', b'LABEL')`: bytes with a NUL at their end, which every label has, are shown as text.
fn label(attributes: &str) -> Option<String> {
    let (label, _) = attributes.split_once("(b'security.selinux', b'")?.1.split_once('\'')?;
    Some(label.to_owned())
}

fn ostree(repository: &Path, args: &[&str]) -> Result<String> {
    run(Command::new("ostree").arg(format!("--repo={}", repository.display())).args(args))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
