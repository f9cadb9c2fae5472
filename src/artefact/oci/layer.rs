//! One layer of the image: a gzipped tar with the objects of a repository, and the files of the system as hard links to them.
//!
//! The first layer has the commit with its folders, the others have files. Extended attributes are objects of their own, so that no
//! container tool can lose them. Compressed layers are kept in the store by the digest of what is in them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tar::EntryType;

use super::Subject;
use super::chunk::{Chunk, Object};
use crate::commit::{self, ObjectKind};
use crate::digest::{Digest, Digesting};
use crate::host::interrupt;
use crate::store::{Alone, Store};
use crate::tree::tar::member;
use crate::tree::{LeafKind, Meta, Node, Pack, TreePath};

/// The store's word for compressed layers.
pub const KIND: &str = "oci-layer";
/// In an entry: the compressed layer ...
const LAYER: &str = "layer.tar.gz";
/// ... and which objects are in it, a line each.
const OBJECTS: &str = "objects";
/// Changes whenever the same objects would give other bytes.
const RULES: u32 = 1;
/// Of gzip: what everybody uses.
const LEVEL: u32 = 6;
const REPO: &str = "sysroot/ostree/repo";
/// Folders of a repository beside its objects.
const SURROUNDINGS: [&str; 8] = ["extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache"];
/// Marks the repository as one in a tar.
const REPO_CONFIG: &[u8] = b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n";

/// What a layer is made of.
pub enum Job<'a> {
    /// The commit, its folders, and the repository around them.
    Commit,
    /// Files and links.
    Chunk(&'a Chunk),
}

impl Job<'_> {
    /// For people.
    pub fn name(&self) -> &str {
        match self {
            Self::Commit => "commit",
            Self::Chunk(chunk) => &chunk.name,
        }
    }
}

/// A compressed layer in the store.
pub struct Blob {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Digest of what is sent.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where it lies: the whole file.
    pub pack: Arc<Pack>,
    /// Whether it was there already.
    pub cached: bool,
}

/// What an entry of the store says of its layer.
#[derive(Serialize, Deserialize)]
struct Record {
    diff_id: Digest,
    sha256: Digest,
    size: u64,
}

/// The layer of `job`, from the store or compressed now.
pub fn blob(subject: &Subject<'_>, job: &Job<'_>, store: &Store) -> Result<Blob> {
    let key = match job {
        Job::Commit => Digest::of_value(&(RULES, subject.commit.checksum)),
        Job::Chunk(chunk) => {
            let objects: Vec<_> = chunk.objects.iter().map(|(checksum, object)| (checksum, &object.paths)).collect();
            Digest::of_value(&(RULES, objects))
        }
    };
    let entry = store.entry_or_make(KIND, &key, |folder| make(subject, job, folder))?;
    let cannot = || format!("{}: damaged; remove this folder to have it made again", entry.path.display());
    let record: Record =
        serde_json::from_slice(&fs::read(entry.path.join("layer.json")).with_context(cannot)?).with_context(cannot)?;
    let pack = Pack::open(&entry.path.join(LAYER)).with_context(cannot)?;
    let Record { diff_id, sha256, size } = record;
    anyhow::ensure!(pack.file().metadata()?.len() == size, cannot());
    Ok(Blob { diff_id, sha256, size, pack, cached: entry.cached })
}

fn make(subject: &Subject<'_>, job: &Job<'_>, folder: &Path) -> Result<()> {
    let file = BufWriter::with_capacity(1 << 20, File::create_new(folder.join(LAYER))?);
    let compressed = GzEncoder::new(Digesting::new(file), Compression::new(LEVEL));
    let mut out = BufWriter::with_capacity(1 << 18, Digesting::new(compressed));
    match job {
        Job::Commit => write_commit(subject, &mut out)?,
        Job::Chunk(chunk) => {
            write_structure(&mut out)?;
            write_objects(chunk, &mut out)?;
        }
    }
    member::end(&mut out)?;
    let (diff_id, _, compressed) = out.into_inner().map_err(io::IntoInnerError::into_error)?.finish();
    let (sha256, size, mut file) = compressed.finish()?.finish();
    file.flush()?;
    fs::write(folder.join("layer.json"), serde_json::to_vec(&Record { diff_id, sha256, size })?)?;
    let mut objects = String::new();
    match job {
        Job::Commit => objects = subject.commit.checksum.to_hex(),
        Job::Chunk(chunk) => chunk.objects.keys().for_each(|object| objects += &format!("{object}\n")),
    }
    fs::write(folder.join(OBJECTS), objects)?;
    Ok(())
}

/// A tar as a layer has it.
pub(super) fn compressed(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    gz.write_all(tar)?;
    gz.finish()
}

/// The member with the detached metadata of a commit.
pub(super) fn metadata_member(out: &mut impl Write, commit: &Digest, metadata: &[u8]) -> io::Result<()> {
    file(out, &object_path(commit, crate::sign::metadata::EXTENSION), metadata)
}

/// Takes the layers out of `store` that no commit of it can need: those with an object that `is_there` denies. Answers how many, and
/// their bytes.
///
/// # Errors
/// When the cache cannot be read or changed.
pub fn prune(store: &Store, _alone: &Alone<'_>, is_there: impl Fn(&Digest) -> bool) -> Result<(u64, u64)> {
    let folder = store.root().join(KIND);
    let entries = if folder.is_dir() { fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    let (mut layers, mut bytes) = (0, 0);
    for path in entries.iter().map(fs::DirEntry::path) {
        let objects = fs::read_to_string(path.join(OBJECTS)).with_context(|| path.display().to_string())?;
        if objects.lines().all(|object| object.parse().is_ok_and(|object| is_there(&object))) {
            continue;
        }
        layers += 1;
        bytes += fs::metadata(path.join(LAYER)).map_or(0, |meta| meta.len());
        fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
    }
    Ok((layers, bytes))
}

/// Owner root, time 0.
fn plain(mode: u16) -> Meta {
    Meta::root(mode)
}

/// Without what tar would say of attributes and time.
fn bare(meta: &Meta) -> Meta {
    Meta { uid: meta.uid, gid: meta.gid, mode: meta.mode, ..Meta::default() }
}

fn folder(out: &mut impl Write, path: &str, meta: &Meta) -> io::Result<()> {
    member::header(out, &format!("{path}/"), EntryType::Directory, meta, "", 0)
}

fn file(out: &mut impl Write, path: &str, bytes: &[u8]) -> io::Result<()> {
    member::header(out, path, EntryType::Regular, &plain(0o644), "", bytes.len() as u64)?;
    out.write_all(bytes)?;
    member::pad(out, bytes.len() as u64)
}

fn object_path(checksum: &Digest, extension: &str) -> String {
    let hex = checksum.to_hex();
    let (folder, name) = hex.split_at(2);
    format!("{REPO}/objects/{folder}/{name}.{extension}")
}

/// Where a file of the commit stands in a container: `/etc` is no template there.
fn in_container(path: &TreePath) -> &str {
    let path = path.relative();
    match path.strip_prefix("usr/etc") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => &path["usr/".len()..],
        _ => path,
    }
}

/// The folders of the repository, which each layer has.
fn write_structure(out: &mut impl Write) -> io::Result<()> {
    for path in ["sysroot", "sysroot/ostree", REPO] {
        folder(out, path, &plain(0o755))?;
    }
    folder(out, &format!("{REPO}/objects"), &plain(0o755))?;
    for number in 0..=u8::MAX {
        folder(out, &format!("{REPO}/objects/{number:02x}"), &plain(0o755))?;
    }
    for path in SURROUNDINGS {
        folder(out, &format!("{REPO}/{path}"), &plain(0o755))?;
    }
    file(out, &format!("{REPO}/config"), REPO_CONFIG)
}

/// The commit object first, as readers need it, then those of its folders, then the folders themselves.
fn write_commit(subject: &Subject<'_>, out: &mut impl Write) -> Result<()> {
    folder(out, ".", &bare(&subject.tree.root.meta))?;
    write_structure(out)?;
    let (commits, folders): (Vec<_>, Vec<_>) =
        subject.commit.metadata.iter().partition(|object| object.kind == ObjectKind::Commit);
    for object in commits.into_iter().chain(folders) {
        file(out, &object_path(&object.checksum(), object.kind.extension()), &object.content.bytes()?)?;
    }
    let sysroot = TreePath::parse("/sysroot")?;
    for (path, node) in subject.tree.walk() {
        if let Node::Directory(directory) = node
            && path != sysroot
        {
            folder(out, in_container(&path), &bare(&directory.meta))?;
        }
    }
    // What programs in a container expect, and tmpfiles makes on a node.
    folder(out, "var/tmp", &plain(0o1777))?;
    Ok(())
}

fn write_objects(chunk: &Chunk, out: &mut impl Write) -> Result<()> {
    let mut attributes = HashSet::new();
    for (checksum, object) in &chunk.objects {
        interrupt::check()?;
        let Object { leaf, paths } = object;
        let bytes = commit::xattrs(&leaf.meta);
        let sum = Digest::of(&bytes);
        let attributes_path = object_path(&sum, "file-xattrs");
        if attributes.insert(sum) {
            file(out, &attributes_path, &bytes)?;
        }
        let link = object_path(checksum, "file-xattrs-link");
        member::header(out, &link, EntryType::Link, &plain(0o644), &attributes_path, 0)?;
        let (path, meta) = (object_path(checksum, "file"), bare(&leaf.meta));
        let empty = match &leaf.kind {
            LeafKind::Symlink(target) => {
                member::header(out, &path, EntryType::Symlink, &meta, target, 0)?;
                false
            }
            LeafKind::File(content) => {
                member::header(out, &path, EntryType::Regular, &meta, "", content.len())?;
                io::copy(&mut content.reader(), out)?;
                member::pad(out, content.len())?;
                content.is_empty()
            }
        };
        for at in paths.iter().map(in_container) {
            // A hard link to an empty file is what a container would write through: readers expect none.
            let (kind, target) = if empty { (EntryType::Regular, "") } else { (EntryType::Link, path.as_str()) };
            member::header(out, at, kind, &meta, target, 0)?;
        }
    }
    Ok(())
}
