//! Hands a tree to libostree: only files that the repository does not have are read.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::known::{self, Known};
use super::object::{self, MetadataObject, Names, ObjectKind};
use super::repository::Repository;
use super::{Commit, CommitInfo};
use crate::digest::Digest;
use crate::host::interrupt;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;
use crate::tree::{Directory, Leaf, LeafKind, Node, Tree, TreePath};

/// Writes `tree` as a commit into the repository of `store`. The same tree and info give the same commit: its time is the image's,
/// it has no parent. Another process that writes is waited for; killed at any point, it can be run again.
///
/// # Errors
/// When the cache cannot be written, or a content cannot be read.
pub fn write(tree: &Tree, info: &CommitInfo, store: &Store, progress: &dyn Sink) -> Result<Commit> {
    let _lock = store.lock("ostree")?;
    let repository = Repository::open(store)?;
    let known = Known::load(&store.root().join("ostree/known"))?;
    let mut writer =
        Writer { repository: &repository, known, metadata: BTreeMap::new(), files: BTreeMap::new(), new: Vec::new() };
    let missing = writer.missing(tree);
    let bytes = missing.iter().map(|(_, leaf, _)| length(leaf)).sum();
    let mut stage = Stage::start(progress, "commit", info.branch.clone(), Some(bytes), Unit::Bytes);
    let transaction = repository.begin()?;
    writer.write_files(&missing, &mut stage)?;
    let (names, meta) = writer.write_directory(&tree.root)?;
    let checksum = writer.write_metadata(ObjectKind::Commit, &object::commit(info, kernel(tree), names, meta))?;
    let cached = writer.new.is_empty() && repository.branch_is(&info.branch, &checksum)?;
    if cached {
        drop(transaction);
    } else {
        repository.set_branch(&info.branch, &checksum);
        transaction.commit(ostree::gio::Cancellable::NONE)?;
        repository.flush(&writer.new, &info.branch)?;
    }
    writer.known.save()?;
    stage.finish(cached);
    Ok(Commit {
        checksum,
        info: info.clone(),
        repository: repository.path().to_owned(),
        metadata: writer.metadata.into_values().collect(),
        files: writer.files,
    })
}

fn length(leaf: &Leaf) -> u64 {
    match &leaf.kind {
        LeafKind::File(content) => content.len(),
        LeafKind::Symlink(_) => 0,
    }
}

/// The version of the tree's kernel; empty when it has none (a tree of which nothing boots).
fn kernel(tree: &Tree) -> &str {
    let modules = TreePath::parse("/usr/lib/modules").ok().and_then(|path| tree.directory(&path));
    let has_kernel = |node: &Node| matches!(node, Node::Directory(inner) if inner.children.contains_key("vmlinuz"));
    modules
        .and_then(|directory| directory.children.iter().find(|(_, node)| has_kernel(node)))
        .map_or("", |(name, _)| name.as_str())
}

struct Writer<'a> {
    repository: &'a Repository,
    known: Known,
    metadata: BTreeMap<Digest, MetadataObject>,
    files: BTreeMap<TreePath, Digest>,
    /// The objects that were not there.
    new: Vec<PathBuf>,
}

impl Writer<'_> {
    /// Files and links whose object is not known or not there, with their keys. The others go into `files`.
    fn missing<'t>(&mut self, tree: &'t Tree) -> Vec<(TreePath, &'t Leaf, Digest)> {
        let mut missing = Vec::new();
        for (path, node) in tree.walk() {
            let Node::Leaf(leaf) = node else { continue };
            let key = known::key(leaf);
            match self.known.get(&key).filter(|object| self.repository.has_file(object)) {
                Some(object) => {
                    self.files.insert(path, object);
                }
                None => missing.push((path, leaf.as_ref(), key)),
            }
        }
        missing
    }

    fn write_files(&mut self, missing: &[(TreePath, &Leaf, Digest)], stage: &mut Stage) -> Result<()> {
        let mut written: HashMap<Digest, Digest> = HashMap::new();
        for (path, leaf, key) in missing {
            interrupt::check()?;
            let object = match written.get(key) {
                Some(object) => *object,
                None => {
                    let object = self.repository.write_leaf(leaf).with_context(|| format!("{path}: cannot be committed"))?;
                    self.new.push(self.repository.file(&object));
                    self.known.add(*key, object);
                    written.insert(*key, object);
                    object
                }
            };
            self.files.insert(path.clone(), object);
            stage.advance(length(leaf));
        }
        Ok(())
    }

    /// Writes a folder and all below it. Answers the checksums of its names, and of its owner and mode.
    fn write_directory(&mut self, directory: &Directory) -> Result<(Digest, Digest)> {
        self.write_names(directory, &TreePath::root())
    }

    fn write_names(&mut self, directory: &Directory, at: &TreePath) -> Result<(Digest, Digest)> {
        let mut names = Names::default();
        for (name, node) in &directory.children {
            let path = at.join(name);
            match node {
                Node::Directory(inner) => {
                    let (tree, meta) = self.write_names(inner, &path)?;
                    names.folders.push((name.clone(), tree, meta));
                }
                Node::Leaf(_) => {
                    let object = self.files.get(&path).with_context(|| format!("{path}: has no object"))?;
                    names.files.push((name.clone(), *object));
                }
            }
        }
        let meta = self.write_metadata(ObjectKind::DirMeta, &object::dirmeta(&directory.meta))?;
        let names = self.write_metadata(ObjectKind::DirTree, &object::dirtree(&names))?;
        Ok((names, meta))
    }

    fn write_metadata(&mut self, kind: ObjectKind, variant: &ostree::glib::Variant) -> Result<Digest> {
        let object = MetadataObject::new(kind, variant);
        let checksum = object.checksum();
        if self.metadata.contains_key(&checksum) {
            return Ok(checksum);
        }
        if !self.repository.has(&object) {
            self.repository.write_metadata(&object, variant)?;
            self.new.push(self.repository.metadata(&object));
        }
        self.metadata.insert(checksum, object);
        Ok(checksum)
    }
}
