//! The first pass: every inode of a tree with what it needs, before anything has a place.
//!
//! Inodes are numbered folder by folder, in the order of the tree: the order depends on names alone, never on where contents lie.

use std::collections::HashMap;
use std::sync::Arc;

use super::checksum::Checksum;
use super::dir::{self, Entry, EntryKind, Folder};
use super::layout::{
    BLOCK, FAST_SYMLINK, FIRST_INODE, LINKS_MAX, NAME_MAX, ROOT_INODE, SYMLINK_MAX, TIME_MAX, TIME_MIN, inode, xattr,
};
use super::xattr as attributes;
use super::{Ext4Error, Options};
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// Where e2fsck puts what it found.
pub(super) const LOST_FOUND: &str = "lost+found";
/// Blocks of that folder, so that it has room when it is needed.
const LOST_FOUND_BLOCKS: usize = 4;

/// What an inode holds.
pub(super) enum Body<'a> {
    /// A folder's blocks.
    Directory(dir::Encoded),
    File(&'a Content),
    Symlink(&'a str),
}

/// An inode that will be written.
pub(super) struct Item<'a> {
    pub(super) number: u32,
    pub(super) meta: &'a Meta,
    pub(super) body: Body<'a>,
    pub(super) links: u32,
    /// Attributes in the inode.
    pub(super) xattrs: Vec<u8>,
    /// Which of [`Inventory::xattr_blocks`] holds the other attributes.
    pub(super) xattr_block: Option<usize>,
    /// Index of the folder, and the name in it: the first one found. For messages.
    parent: usize,
    name: &'a str,
}

/// A block of attributes and how many inodes use it.
pub(super) struct XattrBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) references: u32,
}

/// All inodes of a tree, by number: the root, then the others without a gap.
pub(super) struct Inventory<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) xattr_blocks: Vec<XattrBlock>,
    /// Attribute blocks that can still be shared.
    shared: HashMap<Vec<u8>, usize>,
    /// Hard links: a leaf's address to its index. Only looked up, so that its order does not matter.
    leaves: HashMap<*const Leaf, usize>,
    seed: Checksum,
    options: &'a Options,
}

/// A folder whose entries are not yet numbered.
struct Open<'a> {
    index: usize,
    directory: &'a Directory,
}

impl<'a> Inventory<'a> {
    /// Of `tree`, and of `lost_found` where the tree has none.
    pub(super) fn of(tree: &'a Tree, lost_found: &'a Node, options: &'a Options) -> Result<Self, Ext4Error> {
        let mut inventory = Self {
            items: Vec::new(),
            xattr_blocks: Vec::new(),
            shared: HashMap::new(),
            leaves: HashMap::new(),
            seed: Checksum::START.with(&options.uuid),
            options,
        };
        inventory.add(&tree.root.meta, Body::Symlink(""), 0, "")?;
        let mut open = vec![Open { index: 0, directory: &tree.root }];
        while let Some(next) = open.pop() {
            let mut children: Vec<(&str, &Node)> =
                next.directory.children.iter().map(|(name, node)| (name.as_str(), node)).collect();
            if next.index == 0
                && let Err(place) = children.binary_search_by_key(&LOST_FOUND, |(name, _)| name)
            {
                children.insert(place, (LOST_FOUND, lost_found));
            }
            let inner = inventory.add_folder(next.index, &children)?;
            open.extend(inner.into_iter().rev());
        }
        let linked = inventory.items.iter().position(|item| !item.is_directory() && item.links > LINKS_MAX);
        match linked {
            Some(index) => Err(Ext4Error::Links { path: inventory.path(index), found: inventory.items[index].links }),
            None => Ok(inventory),
        }
    }

    /// Number of the last inode.
    pub(super) fn last_inode(&self) -> u32 {
        self.items.last().map_or(FIRST_INODE, |item| item.number.max(FIRST_INODE))
    }

    /// Blocks of everything but extent trees.
    pub(super) fn blocks(&self) -> u64 {
        self.items.iter().map(Item::blocks).sum::<u64>() + self.xattr_blocks.len() as u64
    }

    /// Numbers the children of a folder and encodes it. Answers the folders in it.
    fn add_folder(&mut self, index: usize, children: &[(&'a str, &'a Node)]) -> Result<Vec<Open<'a>>, Ext4Error> {
        let mut inner = Vec::new();
        let mut entries = Vec::with_capacity(children.len());
        for &(name, node) in children {
            let bad_name = |why| Ext4Error::Name { path: self.path(index).join(name), why };
            match name {
                "" | "." | ".." => return Err(bad_name("is reserved")),
                _ if name.len() > NAME_MAX => return Err(bad_name("is longer than 255 bytes")),
                _ if name.contains(['/', '\0']) => return Err(bad_name("has a '/' or NUL")),
                LOST_FOUND if index == 0 && matches!(node, Node::Leaf(_)) => {
                    return Err(bad_name("must be a directory, as e2fsck needs it"));
                }
                _ => {}
            }
            let (child, kind) = match node {
                Node::Directory(directory) => {
                    let child = self.add(&directory.meta, Body::Symlink(""), index, name)?;
                    inner.push(Open { index: child, directory });
                    (child, EntryKind::Directory)
                }
                Node::Leaf(leaf) => self.add_leaf(leaf, index, name)?,
            };
            entries.push(Entry { name, inode: self.items[child].number, kind });
        }
        let item = &self.items[index];
        let folder = Folder {
            inode: item.number,
            parent: self.items[item.parent].number,
            seed: self.seed.with_inode(item.number),
            hash_seed: &self.options.hash_seed,
            min_blocks: if item.parent == 0 && item.name == LOST_FOUND { LOST_FOUND_BLOCKS } else { 1 },
        };
        let encoded = dir::encode(folder, &entries);
        let links = 2 + inner.len() as u32;
        let item = &mut self.items[index];
        item.body = Body::Directory(encoded);
        item.links = if links > LINKS_MAX { 1 } else { links };
        Ok(inner)
    }

    /// Adds a leaf, or one more link to it.
    fn add_leaf(&mut self, leaf: &'a Arc<Leaf>, parent: usize, name: &'a str) -> Result<(usize, EntryKind), Ext4Error> {
        let kind = match leaf.kind {
            LeafKind::File(_) => EntryKind::File,
            LeafKind::Symlink(_) => EntryKind::Symlink,
        };
        if let Some(&index) = self.leaves.get(&Arc::as_ptr(leaf)) {
            self.items[index].links += 1;
            return Ok((index, kind));
        }
        let body = match &leaf.kind {
            LeafKind::File(content) => Body::File(content),
            LeafKind::Symlink(target) if target.is_empty() || target.len() > SYMLINK_MAX || target.contains('\0') => {
                return Err(Ext4Error::Target { path: self.path(parent).join(name), found: target.len() });
            }
            LeafKind::Symlink(target) => Body::Symlink(target),
        };
        let index = self.add(&leaf.meta, body, parent, name)?;
        self.leaves.insert(Arc::as_ptr(leaf), index);
        Ok((index, kind))
    }

    fn add(&mut self, meta: &'a Meta, body: Body<'a>, parent: usize, name: &'a str) -> Result<usize, Ext4Error> {
        let index = self.items.len();
        let path = |inventory: &Self| if name.is_empty() { TreePath::root() } else { inventory.path(parent).join(name) };
        if !(TIME_MIN..=TIME_MAX).contains(&meta.mtime) {
            return Err(Ext4Error::Time { what: path(self).to_string(), found: meta.mtime });
        }
        let encoded = attributes::encode(&meta.xattrs).map_err(|problem| Ext4Error::Xattr { path: path(self), problem })?;
        let number = match index {
            0 => ROOT_INODE,
            _ => u32::try_from(index)
                .ok()
                .and_then(|index| index.checked_add(FIRST_INODE - 1))
                .ok_or(Ext4Error::Inodes { needed: index as u64, found: u64::from(u32::MAX - FIRST_INODE) })?,
        };
        let xattr_block = encoded.block.map(|block| self.share(block));
        self.items.push(Item { number, meta, body, links: 1, xattrs: encoded.inline, xattr_block, parent, name });
        Ok(index)
    }

    /// The index of an attribute block with these bytes that may have one more user.
    fn share(&mut self, bytes: Vec<u8>) -> usize {
        if let Some(&index) = self.shared.get(&bytes)
            && self.xattr_blocks[index].references < xattr::REFERENCES_MAX
        {
            self.xattr_blocks[index].references += 1;
            return index;
        }
        let index = self.xattr_blocks.len();
        self.xattr_blocks.push(XattrBlock { bytes: bytes.clone(), references: 1 });
        self.shared.insert(bytes, index);
        index
    }

    /// Where an inode stands in the tree.
    fn path(&self, index: usize) -> TreePath {
        let mut names = Vec::new();
        let mut at = index;
        while at != 0 {
            names.push(self.items[at].name);
            at = self.items[at].parent;
        }
        names.iter().rev().fold(TreePath::root(), |path, name| path.join(name))
    }
}

impl Item<'_> {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// Blocks of its content.
    pub(super) fn blocks(&self) -> u64 {
        match &self.body {
            Body::Directory(encoded) => encoded.bytes.len() as u64 / BLOCK,
            Body::File(content) => content.len().div_ceil(BLOCK),
            Body::Symlink(target) => u64::from(target.len() >= FAST_SYMLINK),
        }
    }

    /// Bytes of its content.
    pub(super) fn size(&self) -> u64 {
        match &self.body {
            Body::Directory(encoded) => encoded.bytes.len() as u64,
            Body::File(content) => content.len(),
            Body::Symlink(target) => target.len() as u64,
        }
    }

    /// Kind and permissions.
    pub(super) fn mode(&self) -> u16 {
        let kind = match &self.body {
            Body::Directory(_) => inode::DIRECTORY,
            Body::File(_) => inode::REGULAR,
            Body::Symlink(_) => inode::SYMLINK,
        };
        kind | self.meta.mode & 0o7777
    }
}
