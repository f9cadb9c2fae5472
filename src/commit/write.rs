//! Hands a tree to libostree: only files that the repository does not have are read.
//!
//! First what decides the commit's checksum, then what is left to write and look after: a build goes on meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ostree::glib::Variant;

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
/// `named` is told which commit it is as soon as that is known. The store has it when this returns without an error: what needs
/// only its names can begin before.
///
/// # Errors
/// When the cache cannot be written, or a content cannot be read.
pub fn write(tree: &Tree, info: &CommitInfo, store: &Store, progress: &dyn Sink, named: impl FnOnce(Arc<Commit>)) -> Result<()> {
    let _lock = store.lock("ostree")?;
    let repository = Repository::open(store)?;
    let known = Known::load(&store.root().join("ostree/known"))?;
    let mut writer = Writer { repository: &repository, known, new: Vec::new(), written: HashMap::new() };
    let (mut files, unknown) = writer.known_files(tree);
    let bytes = unknown.iter().map(|(_, leaf)| length(leaf)).sum();
    let mut stage = Stage::start(progress, "commit", info.branch.clone(), Some(bytes), Unit::Bytes);
    let transaction = repository.begin()?;
    for (path, leaf) in unknown {
        let object = writer.write_file(&path, leaf)?;
        stage.advance(length(leaf));
        files.insert(path, object);
    }
    let mut metadata = Metadata { files: &files, objects: BTreeMap::new() };
    let (names, meta) = metadata.directory(&tree.root, &TreePath::root())?;
    let checksum = metadata.add(ObjectKind::Commit, object::commit(info, kernel(tree), names, meta));
    let (objects, variants): (Vec<_>, Vec<_>) = metadata.objects.into_values().unzip();
    let path = repository.path().to_owned();
    let commit = Arc::new(Commit { checksum, info: info.clone(), repository: path, metadata: objects, files });
    named(Arc::clone(&commit));

    writer.complete(tree, &commit, &variants)?;
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
    Ok(())
}

/// A file `known` that speaks of another repository.
const LOST_HINT: &str = "remove the folder `ostree` of the cache to have it made again";

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

/// Writes what the repository does not have.
struct Writer<'a> {
    repository: &'a Repository,
    known: Known,
    /// The objects that were not there.
    new: Vec<PathBuf>,
    /// Those of files and links among them, by their keys: they have no place until the transaction is committed.
    written: HashMap<Digest, Digest>,
}

impl Writer<'_> {
    /// The objects of files and links as far as they are known, and the others.
    fn known_files<'t>(&self, tree: &'t Tree) -> (BTreeMap<TreePath, Digest>, Vec<(TreePath, &'t Leaf)>) {
        let (mut files, mut unknown) = (BTreeMap::new(), Vec::new());
        for (path, node) in tree.walk() {
            let Node::Leaf(leaf) = node else { continue };
            match self.known.get(&known::key(leaf)) {
                Some(object) => {
                    files.insert(path, object);
                }
                None => unknown.push((path, leaf.as_ref())),
            }
        }
        (files, unknown)
    }

    /// Writes a file or link, unless this transaction has it.
    fn write_file(&mut self, path: &TreePath, leaf: &Leaf) -> Result<Digest> {
        interrupt::check()?;
        let key = known::key(leaf);
        if let Some(object) = self.written.get(&key) {
            return Ok(*object);
        }
        let object = self.repository.write_leaf(leaf).with_context(|| format!("{path}: cannot be committed"))?;
        self.new.push(self.repository.file(&object));
        self.known.add(key, object);
        self.written.insert(key, object);
        Ok(object)
    }

    /// Writes every object of `commit` that is not there: folders that changed, and what the repository has lost. `variants` are those
    /// of its metadata.
    fn complete(&mut self, tree: &Tree, commit: &Commit, variants: &[Variant]) -> Result<()> {
        let mut looked = HashSet::new();
        for (path, node) in tree.walk() {
            let Node::Leaf(leaf) = node else { continue };
            let object = commit.files.get(&path).with_context(|| format!("{path}: has no object"))?;
            if looked.insert(*object) && !self.repository.has_file(object) {
                let found = self.write_file(&path, leaf)?;
                ensure!(found == *object, "{path}: needed object {object}, found {found}: {LOST_HINT}");
            }
        }
        for (object, variant) in commit.metadata.iter().zip(variants) {
            if !self.repository.has(object) {
                self.repository.write_metadata(object, variant)?;
                self.new.push(self.repository.metadata(object));
            }
        }
        Ok(())
    }
}

/// Makes the objects of folders, and of the commit itself.
struct Metadata<'a> {
    files: &'a BTreeMap<TreePath, Digest>,
    objects: BTreeMap<Digest, (MetadataObject, Variant)>,
}

impl Metadata<'_> {
    /// Of the folder that stands `at`, and all below it. Answers the checksums of its names, and of its owner and mode.
    fn directory(&mut self, directory: &Directory, at: &TreePath) -> Result<(Digest, Digest)> {
        let mut names = Names::default();
        for (name, node) in &directory.children {
            let path = at.join(name);
            match node {
                Node::Directory(inner) => {
                    let (tree, meta) = self.directory(inner, &path)?;
                    names.folders.push((name.clone(), tree, meta));
                }
                Node::Leaf(_) => {
                    let object = self.files.get(&path).with_context(|| format!("{path}: has no object"))?;
                    names.files.push((name.clone(), *object));
                }
            }
        }
        let meta = self.add(ObjectKind::DirMeta, object::dirmeta(&directory.meta));
        Ok((self.add(ObjectKind::DirTree, object::dirtree(&names)), meta))
    }

    fn add(&mut self, kind: ObjectKind, variant: Variant) -> Digest {
        let object = MetadataObject::new(kind, &variant);
        let checksum = object.checksum();
        self.objects.entry(checksum).or_insert((object, variant));
        checksum
    }
}
