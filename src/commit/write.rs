//! Hands a tree to libostree: only files that the repository does not have are read.
//!
//! First what decides the commit's checksum, then what is left to write and look after: a build goes on meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use ostree::glib::Variant;

use super::known::{self, Known};
use super::object::{self, MetadataObject, Names, ObjectKind};
use super::repository::Repository;
use super::{Commit, CommitInfo, kernel_version};
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
    let mut writer = Writer { repository: &repository, known, new: Vec::new() };
    let (mut files, unknown) = writer.known_files(tree);
    let bytes = unknown.iter().map(|(_, leaf)| length(leaf)).sum();
    let mut stage = Stage::start(progress, "commit", info.branch.clone(), Some(bytes), Unit::Bytes);
    for (path, leaf) in unknown {
        let object = writer.name(&path, leaf)?;
        files.insert(path, object);
    }
    let mut metadata = Metadata { files: &files, objects: BTreeMap::new() };
    let (names, meta) = metadata.directory(&tree.root, &TreePath::root())?;
    let checksum = metadata.add(ObjectKind::Commit, object::commit(info, kernel_version(tree).unwrap_or_default(), names, meta));
    let (objects, variants): (Vec<_>, Vec<_>) = metadata.objects.into_values().unzip();
    let path = repository.path().to_owned();
    let commit = Arc::new(Commit { checksum, info: info.clone(), repository: path, metadata: objects, files });
    named(Arc::clone(&commit));

    let transaction = repository.begin()?;
    writer.complete(tree, &commit, &variants, &mut stage)?;
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

/// Names objects, and writes those that the repository does not have.
struct Writer<'a> {
    repository: &'a Repository,
    /// Saved when all that it names is on the disk.
    known: Known,
    /// The objects that were not there.
    new: Vec<PathBuf>,
}

impl Writer<'_> {
    /// The objects of files and links as far as they are known, and the others.
    fn known_files<'t>(&self, tree: &'t Tree) -> (BTreeMap<TreePath, Digest>, Vec<(TreePath, &'t Leaf)>) {
        let leaf = |(path, node): (TreePath, &'t Node)| match node {
            Node::Directory(_) => None,
            Node::Leaf(leaf) => Some((path, leaf.as_ref())),
        };
        let leaves: Vec<_> = tree.walk().filter_map(leaf).collect();
        let known = &self.known;
        let ask =
            |leaves: &[(TreePath, &Leaf)]| -> Vec<_> { leaves.iter().map(|(_, leaf)| known.get(&known::key(leaf))).collect() };
        let (one, other) = leaves.split_at(leaves.len() / 2);
        let known = thread::scope(|scope| {
            let one = scope.spawn(|| ask(one));
            let other = ask(other);
            let mut known = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            known.extend(other);
            known
        });
        let (mut files, mut unknown) = (BTreeMap::new(), Vec::new());
        for ((path, leaf), object) in leaves.into_iter().zip(known) {
            match object {
                Some(object) => drop(files.insert(path, object)),
                None => unknown.push((path, leaf)),
            }
        }
        (files, unknown)
    }

    /// The object that a file or link will be.
    fn name(&mut self, path: &TreePath, leaf: &Leaf) -> Result<Digest> {
        interrupt::check()?;
        let key = known::key(leaf);
        // A hard link, or the same file at another path.
        if let Some(object) = self.known.get(&key) {
            return Ok(object);
        }
        let object = object::leaf_checksum(leaf).with_context(|| format!("{path}: cannot be committed"))?;
        self.known.add(key, object);
        Ok(object)
    }

    /// Writes every object of `commit` that is not there: what is new, and what the repository has lost. `variants` are those of its
    /// metadata.
    fn complete(&mut self, tree: &Tree, commit: &Commit, variants: &[Variant], stage: &mut Stage) -> Result<()> {
        let mut looked = HashSet::new();
        for (path, node) in tree.walk() {
            let Node::Leaf(leaf) = node else { continue };
            let object = commit.files.get(&path).with_context(|| format!("{path}: has no object"))?;
            if looked.insert(*object) && !self.repository.has_file(object) {
                interrupt::check()?;
                let found = self.repository.write_leaf(leaf).with_context(|| format!("{path}: cannot be committed"))?;
                ensure!(found == *object, "{path}: needed object {object}, found {found}: {LOST_HINT}");
                self.new.push(self.repository.file(object));
                stage.advance(length(leaf));
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
