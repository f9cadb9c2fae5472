//! How a layer lies in the store: an entry with `index` (the tree's dump with places), `pack` (the bytes of all its files) and
//! `digest` (the tree's own).

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::digest::{Digest, Digesting};
use crate::host::interrupt;
use crate::tree::{Content, Directory, Leaf, LeafKind, Node, Pack, Tree, dump};

/// The file that spares a big tree from being hashed in every build.
const DIGEST: &str = "digest";

/// Writes `tree` into the entry folder `folder`: all contents are copied into one pack, each checked against its digest.
pub fn write(folder: &Path, tree: &Tree) -> Result<()> {
    let path = folder.join("pack");
    let mut packer = Packer {
        out: BufWriter::with_capacity(1 << 20, File::create_new(&path)?),
        offset: 0,
        places: Vec::new(),
        seen: Default::default(),
    };
    for (at, node) in tree.walk() {
        if let Node::Leaf(leaf) = node
            && let LeafKind::File(content) = &leaf.kind
        {
            packer.add(leaf, content).with_context(|| format!("{at}: cannot be stored"))?;
        }
    }
    packer.out.flush()?;
    let pack = Pack::open(&path)?;
    let moved = packer.moved(&pack);
    let mut packed = tree.clone();
    repoint(&mut packed.root, &moved);
    write_index(folder, &packed)
}

/// Writes the index of a tree whose contents lie in `folder`'s pack already.
pub fn write_index(folder: &Path, tree: &Tree) -> Result<()> {
    let index = File::create_new(folder.join("index"))?;
    dump::write_index(tree, &index)?;
    fs::write(folder.join(DIGEST), dump::digest(tree).to_hex())?;
    Ok(())
}

/// Moves contents from memory to the end of `pack`, behind the archive's end mark; `file` is the pack, open to append.
pub fn move_into_pack(directory: &mut Directory, pack: &Arc<Pack>, file: &mut File) -> Result<()> {
    for node in directory.children.values_mut() {
        match node {
            Node::Directory(inner) => move_into_pack(inner, pack, file)?,
            Node::Leaf(leaf) => {
                let LeafKind::File(content) = &leaf.kind else { continue };
                if content.packed_at().is_none() {
                    let offset = file.seek(SeekFrom::End(0))?;
                    file.write_all(&content.bytes()?)?;
                    let content = Content::packed(Arc::clone(pack), offset, content.len(), content.digest());
                    *node = Node::file(leaf.meta.clone(), content);
                }
            }
        }
    }
    Ok(())
}

/// The digest of the tree of the entry folder `folder`, which is `tree`.
pub fn digest(folder: &Path, tree: &Tree) -> Digest {
    let known = fs::read_to_string(folder.join(DIGEST)).ok().and_then(|text| text.parse().ok());
    known.unwrap_or_else(|| dump::digest(tree))
}

/// Reads the tree of the entry folder `folder`.
pub fn read(folder: &Path) -> Result<Tree> {
    let path = folder.join("index");
    let text = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let pack = Pack::open(&folder.join("pack"))?;
    dump::read_index(&text, &pack)
        .with_context(|| format!("{}: damaged; remove this folder to have it made again", path.display()))
}

/// The old leaf and its new self, by the old one's address.
type Moved = std::collections::HashMap<*const Leaf, Arc<Leaf>>;

struct Packer<'a> {
    out: BufWriter<File>,
    offset: u64,
    places: Vec<(&'a Arc<Leaf>, u64)>,
    seen: std::collections::HashSet<*const Leaf>,
}

impl<'a> Packer<'a> {
    fn add(&mut self, leaf: &'a Arc<Leaf>, content: &Content) -> Result<()> {
        if !self.seen.insert(Arc::as_ptr(leaf)) {
            return Ok(());
        }
        interrupt::check()?;
        let mut digesting = Digesting::new(&mut self.out);
        io::copy(&mut content.reader(), &mut digesting)?;
        let (found, copied, _) = digesting.finish();
        anyhow::ensure!(found == content.digest(), "needed content {}, found {found}", content.digest());
        self.places.push((leaf, self.offset));
        self.offset += copied;
        Ok(())
    }

    fn moved(&self, pack: &Arc<Pack>) -> Moved {
        let mut moved = Moved::new();
        for (leaf, offset) in &self.places {
            let LeafKind::File(content) = &leaf.kind else { continue };
            let content = Content::packed(Arc::clone(pack), *offset, content.len(), content.digest());
            let leaf_in_pack = Arc::new(Leaf { meta: leaf.meta.clone(), kind: LeafKind::File(content) });
            moved.entry(Arc::as_ptr(leaf)).or_insert(leaf_in_pack);
        }
        moved
    }
}

fn repoint(directory: &mut Directory, moved: &Moved) {
    for node in directory.children.values_mut() {
        match node {
            Node::Directory(inner) => repoint(inner, moved),
            Node::Leaf(leaf) => {
                if let Some(new) = moved.get(&Arc::as_ptr(leaf)) {
                    *leaf = Arc::clone(new);
                }
            }
        }
    }
}

/// Whether every content of `tree` still has its digest: for `verify`, and after a suspicion.
pub fn verify(tree: &Tree) -> Result<()> {
    for (path, node) in tree.walk() {
        if let Node::Leaf(leaf) = node
            && let LeafKind::File(content) = &leaf.kind
        {
            let (found, _) = Digest::of_reader(content.reader())?;
            anyhow::ensure!(found == content.digest(), "{path}: needed {}, found {found}", content.digest());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::tree::{Meta, TreePath};

    #[test]
    fn a_layer_is_stored_and_read_back() {
        let mut tree = Tree::new();
        let path = |text| TreePath::parse(text).unwrap();
        let node = Node::file(Meta::root(0o644), Content::from_bytes(*b"hello"));
        tree.put(&path("/a"), node.clone()).unwrap();
        tree.put(&path("/b"), node).unwrap();
        tree.put_file(&path("/c/d"), Meta::root(0o600), Content::from_bytes(*b"")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &tree).unwrap();
        let back = read(folder.path()).unwrap();
        assert_eq!(dump::digest(&back), dump::digest(&tree));
        assert_eq!(back.file(&path("/b")).unwrap().bytes().unwrap(), b"hello");
        verify(&back).unwrap();
        File::options().write(true).open(folder.path().join("pack")).unwrap().write_all_at(b"J", 0).unwrap();
        assert!(verify(&back).unwrap_err().to_string().starts_with("/a: needed"));
    }
}
