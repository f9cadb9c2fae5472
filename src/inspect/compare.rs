//! How two disks differ: in their tables, deployments, packages and files. Bytes are compared, no digest is believed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::deployment::{self, Deployment, Root};
use super::disk::Disk;
use super::files::{self, File, Files};
use super::{Inspection, Package};
use crate::format::ext4::read::{Filesystem, InodeKind};

/// What is different between an old and a new disk. Empty lists where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The version of the JSON form.
    pub version: u32,
    /// What the disks say of themselves: size, identifiers, partitions, commit, kernel, arguments, layers.
    pub fields: Vec<Change>,
    /// Packages by name, with their versions.
    pub packages: Vec<Change>,
    /// Files of the deployments.
    pub files: Vec<FileChange>,
}

/// A value that is another one; none where one side does not have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Whose.
    pub what: String,
    /// In the first.
    pub old: Option<String>,
    /// In the second.
    pub new: Option<String>,
}

/// A file that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileChange {
    /// In the deployment.
    pub path: String,
    /// What is different of it; `added` and `removed` stand alone.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.packages.is_empty() && self.files.is_empty()
    }
}

/// Compares the disks at two paths.
///
/// # Errors
/// As [`super::inspect`], for either.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison> {
    let (old, new) = (Disk::open(old)?, Disk::open(new)?);
    let (one, other) = (super::inspect_disk(&old)?, super::inspect_disk(&new)?);
    Ok(Comparison {
        version: super::VERSION,
        fields: changed(&fields(&one), &fields(&other)),
        packages: changed(&packages(&one), &packages(&other)),
        files: files_of(&old, &new)?,
    })
}

pub(super) type Values = BTreeMap<String, String>;

pub(super) fn changed(old: &Values, new: &Values) -> Vec<Change> {
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| Change { what: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() };
    names.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

/// Everything but files and packages. How a file holds the disk is not the disk's.
fn fields(found: &Inspection) -> Values {
    let mut values = Values::new();
    let mut put = |what: String, value: String| drop(values.insert(what, value));
    put("disk size".into(), found.size.to_string());
    put("disk sector size".into(), found.sector_size.to_string());
    put("disk id".into(), found.id.clone());
    for partition in &found.partitions {
        let at = format!("partition {}", partition.number);
        put(format!("{at} label"), partition.label.clone());
        put(format!("{at} type"), partition.kind.clone());
        put(format!("{at} id"), partition.id.clone());
        put(format!("{at} start"), partition.start.to_string());
        put(format!("{at} size"), partition.size.to_string());
        if let Some(filesystem) = &partition.filesystem {
            put(format!("{at} filesystem"), filesystem.kind.clone());
            put(format!("{at} filesystem label"), filesystem.label.clone());
            put(format!("{at} filesystem id"), filesystem.id.clone());
        }
    }
    for (index, deployment) in found.deployments.iter().enumerate() {
        let at = if index == 0 { "deployment".to_owned() } else { format!("deployment {}", index + 1) };
        let Deployment { stateroot, commit, version, plan, signed_by, architecture, layers, os, kernel, kernel_args, .. } =
            deployment;
        let texts = [
            ("stateroot", Some(stateroot)),
            ("commit", Some(commit)),
            ("version", version.as_ref()),
            ("plan", plan.as_ref()),
            ("architecture", architecture.as_ref()),
            ("system", os.as_ref()),
            ("kernel", kernel.as_ref()),
        ];
        texts.into_iter().for_each(|(what, text)| put(format!("{at} {what}"), text.cloned().unwrap_or_default()));
        put(format!("{at} signed by"), signed_by.join(" "));
        put(format!("{at} kernel arguments"), kernel_args.join(" "));
        layers.iter().for_each(|layer| put(format!("{at} layer {}", layer.name), layer.digest.clone()));
    }
    values
}

fn packages(found: &Inspection) -> Values {
    let all = found.deployments.iter().flat_map(|deployment| &deployment.packages);
    all.map(|Package { name, version }| (name.clone(), version.clone())).collect()
}

/// The files of the deployments that are booted by default.
fn files_of(old: &Disk, new: &Disk) -> Result<Vec<FileChange>> {
    let listed = |disk: &Disk| -> Result<Option<(Box<Filesystem>, Files)>> {
        let Some(root) = Root::of(disk)? else { return Ok(None) };
        let Some(top) = deployment::chosen(disk, &root)? else { return Ok(None) };
        let files = files::below(&root.filesystem, &top)?;
        Ok(Some((root.filesystem, files)))
    };
    // Both are read at the same time.
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| listed(old));
        let other = listed(new);
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    });
    let (Some((one, before)), Some((other, after))) = (one?, other?) else { return Ok(Vec::new()) };
    file_differences(&before, &after, |file| kind(file).to_owned(), |old, new| file_changes((&one, old), (&other, new)))
}

/// The files that only one side has, and those of both with what `changes` finds. `kind` is a word for what a file is.
pub(super) fn file_differences<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    kind: impl Fn(&T) -> String,
    changes: impl Fn(&T, &T) -> Result<Vec<Change>>,
) -> Result<Vec<FileChange>> {
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let changes = match (before.get(path), after.get(path)) {
            (Some(old), Some(new)) => changes(old, new)?,
            (Some(old), None) => vec![Change { what: "removed".into(), old: Some(kind(old)), new: None }],
            (None, new) => vec![Change { what: "added".into(), old: None, new: new.map(&kind) }],
        };
        if !changes.is_empty() {
            found.push(FileChange { path: path.clone(), changes });
        }
    }
    Ok(found)
}

fn kind(file: &File) -> &'static str {
    match file.inode.kind {
        InodeKind::File => "file",
        InodeKind::Directory => "folder",
        InodeKind::Symlink => "link",
        InodeKind::Special => "device, pipe or socket",
    }
}

pub(super) fn file_changes(old: (&Filesystem, &File), new: (&Filesystem, &File)) -> Result<Vec<Change>> {
    let mut changes = changed(&values(old.1), &values(new.1));
    let (one, other) = (&old.1.inode, &new.1.inode);
    if one.kind == InodeKind::File
        && other.kind == InodeKind::File
        && one.size == other.size
        && let Some(at) = files::first_difference((old.0, one), (new.0, other))?
    {
        changes.push(Change { what: format!("byte {at}"), old: None, new: None });
    }
    Ok(changes)
}

fn values(file: &File) -> Values {
    let inode = &file.inode;
    let mut values = Values::from([
        ("kind".to_owned(), kind(file).to_owned()),
        ("mode".to_owned(), format!("{:04o}", inode.mode)),
        ("owner".to_owned(), format!("{}:{}", inode.uid, inode.gid)),
        ("time".to_owned(), inode.mtime.to_string()),
    ]);
    if inode.kind == InodeKind::File {
        values.insert("size".to_owned(), inode.size.to_string());
    }
    if let Some(target) = &file.target {
        values.insert("target".to_owned(), String::from_utf8_lossy(target).into_owned());
    }
    for (name, value) in &file.xattrs {
        values.insert(format!("xattr {name}"), hex::encode(value));
    }
    values
}
