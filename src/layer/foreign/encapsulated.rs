//! A container image with an OSTree commit in it, as ostree-ext, rpm-ostree and Basalt make them: the layers hold the objects of a
//! repository (`bare-split-xattrs`), and the files of the system as hard links to them.
//!
//! The tree is that of the commit, each object checked against its name. In an image that was derived from such a one, the layers
//! above have the last word: there the files are taken as they lie, with the attributes that their objects had.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::commit::{self, read};
use crate::digest::Digest;
use crate::format::oci::Config;
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Tree, TreePath};

const OBJECTS: &str = "sysroot/ostree/repo/objects";
/// The commit's checksum: a label of the image.
const COMMIT: &str = "ostree.commit";
/// The label with the last layer that is the commit's; others were added.
const LAST: &str = "ostree.final-diffid";

/// The tree of the commit in `found`, which is that of all layers; `found` itself when there is none.
///
/// # Errors
/// An object is missing, or has not the checksum that is its name.
pub(super) fn tree(found: Tree, config: &Config) -> Result<Tree> {
    let Some(objects) = found.directory(&TreePath::parse(OBJECTS)?) else { return Ok(found) };
    let objects = Objects { folder: objects };
    let labels = &config.config.labels;
    let derived = labels.get(LAST).is_some_and(|last| config.rootfs.diff_ids.last() != Some(last));
    let Some(label) = labels.get(COMMIT).filter(|_| !derived) else { return with_attributes(&found, &objects) };
    let checksum: Digest = label.parse().with_context(|| format!("label {COMMIT}"))?;
    let (names, meta) = read::commit(&objects.metadata(&checksum, "commit")?).with_context(|| format!("commit {checksum}"))?;
    Ok(Tree { root: objects.folder(&names, &meta, 0)? })
}

/// Folders are not deeper than this: paths are limited, and so is the stack.
const DEPTH: usize = 256;

/// The objects of a repository.
struct Objects<'t> {
    folder: &'t Directory,
}

impl Objects<'_> {
    fn leaf(&self, checksum: &Digest, extension: &str) -> Result<&Arc<Leaf>> {
        let hex = checksum.to_hex();
        let (folder, name) = hex.split_at(2);
        let name = format!("{name}.{extension}");
        let node = match self.folder.children.get(folder) {
            Some(Node::Directory(folder)) => folder.children.get(&name),
            _ => None,
        };
        match node {
            Some(Node::Leaf(leaf)) => Ok(leaf),
            _ => bail!("object {checksum}.{extension} is missing"),
        }
    }

    fn content(&self, checksum: &Digest, extension: &str) -> Result<&Content> {
        match &self.leaf(checksum, extension)?.kind {
            LeafKind::File(content) => Ok(content),
            LeafKind::Symlink(_) => bail!("object {checksum}.{extension}: needed a file, found a link"),
        }
    }

    /// The bytes of an object whose checksum is their digest.
    fn metadata(&self, checksum: &Digest, extension: &str) -> Result<Vec<u8>> {
        let content = self.content(checksum, extension)?;
        ensure!(content.digest() == *checksum, "object {checksum}.{extension} was altered: found {}", content.digest());
        Ok(content.bytes()?)
    }

    fn folder(&self, names: &Digest, meta: &Digest, depth: usize) -> Result<Directory> {
        ensure!(depth < DEPTH, "needed folders not deeper than {DEPTH}, found more");
        let meta = read::dirmeta(&self.metadata(meta, "dirmeta")?).with_context(|| format!("object {meta}.dirmeta"))?;
        let list = read::dirtree(&self.metadata(names, "dirtree")?).with_context(|| format!("object {names}.dirtree"))?;
        let mut directory = Directory::new(meta);
        for (name, checksum) in list.files {
            directory.children.insert(name, Node::Leaf(self.file(&checksum)?));
        }
        for (name, names, meta) in list.folders {
            directory.children.insert(name, Node::Directory(self.folder(&names, &meta, depth + 1)?));
        }
        Ok(directory)
    }

    fn file(&self, checksum: &Digest) -> Result<Arc<Leaf>> {
        let mut leaf = Leaf::clone(self.leaf(checksum, "file")?);
        leaf.meta = Meta { mtime: 0, xattrs: self.xattrs(checksum)?, ..leaf.meta };
        if matches!(leaf.kind, LeafKind::Symlink(_)) {
            leaf.meta.mode = 0o777;
        }
        let found = commit::leaf_checksum(&leaf)?;
        ensure!(found == *checksum, "object {checksum}.file was altered: found {found}");
        Ok(Arc::new(leaf))
    }

    /// What a file's attributes are: an object of their own.
    fn xattrs(&self, checksum: &Digest) -> Result<std::collections::BTreeMap<String, Vec<u8>>> {
        let bytes = self.content(checksum, "file-xattrs-link")?.bytes()?;
        read::xattrs(&bytes).with_context(|| format!("attributes of object {checksum}"))
    }
}

/// The files as they lie, without the repository; those that are links to its objects get their attributes.
fn with_attributes(found: &Tree, objects: &Objects<'_>) -> Result<Tree> {
    let mut attributes = HashMap::new();
    for (first, folder) in &objects.folder.children {
        let Node::Directory(folder) = folder else { continue };
        for (name, node) in &folder.children {
            let (Some(rest), Node::Leaf(leaf)) = (name.strip_suffix(".file"), node) else { continue };
            let checksum: Digest = format!("{first}{rest}").parse()?;
            let xattrs = objects.xattrs(&checksum)?;
            if !xattrs.is_empty() {
                attributes.insert(
                    Arc::as_ptr(leaf),
                    Arc::new(Leaf { meta: Meta { xattrs, ..leaf.meta.clone() }, ..Leaf::clone(leaf) }),
                );
            }
        }
    }
    let mut tree = found.clone();
    tree.remove(&TreePath::parse("sysroot/ostree")?);
    attach(&mut tree.root, &attributes);
    Ok(tree)
}

fn attach(directory: &mut Directory, attributes: &HashMap<*const Leaf, Arc<Leaf>>) {
    for node in directory.children.values_mut() {
        match node {
            Node::Directory(inner) => attach(inner, attributes),
            Node::Leaf(leaf) => {
                if let Some(new) = attributes.get(&Arc::as_ptr(leaf)) {
                    *leaf = Arc::clone(new);
                }
            }
        }
    }
}
