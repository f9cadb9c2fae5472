//! The tree: files in memory as an image has them, never a staged directory. So owner, mode, xattrs and hard links need no
//! privilege of the machine that builds.
//!
//! A leaf (a file or a symbolic link) is an [`Arc`]: the same `Arc` at two places is a hard link.
//!
//! Architecture invariant: nothing here knows recipes, plans or the store. Reading and writing formats (tar, dump) takes
//! readers and writers.

mod content;
pub mod dump;
mod merge;
mod path;
pub mod tar;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use content::{Content, ContentReader, Pack};
pub use merge::{Conflict, merge};
pub use path::{BadPath, TreePath};

/// Owner, permissions, time and extended attributes of a file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meta {
    /// Owner, as a number of the target.
    pub uid: u32,
    /// Group, as a number of the target.
    pub gid: u32,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Name with its prefix (`security.capability`) to value.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Owned by root, at time 0, without xattrs.
    pub fn root(mode: u16) -> Self {
        Self { mode, ..Self::default() }
    }
}

/// What is not a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Owner and so on.
    pub meta: Meta,
    /// File or link.
    pub kind: LeafKind,
}

/// The two kinds of leaves. Devices, sockets and named pipes have no place in an image: `/dev` and `/run` are made at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, as written.
    Symlink(String),
}

/// A folder: names in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Owner and so on.
    pub meta: Meta,
    /// Name to what it is.
    pub children: BTreeMap<String, Node>,
}

impl Directory {
    /// An empty one.
    pub fn new(meta: Meta) -> Self {
        Self { meta, children: BTreeMap::new() }
    }

    /// Everything in this folder, which stands at `at`, in the order of [`Tree::walk`].
    pub fn walk(&self, at: TreePath) -> Walk<'_> {
        Walk { stack: vec![(at, self.children.iter())] }
    }
}

/// A folder or a leaf. Leaves that are one `Arc` are hard links of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Directory(Directory),
    /// A file or link.
    Leaf(Arc<Leaf>),
}

impl Node {
    /// Owner and so on, of either kind.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Directory(directory) => &directory.meta,
            Self::Leaf(leaf) => &leaf.meta,
        }
    }

    /// A regular file of its own.
    pub fn file(meta: Meta, content: Content) -> Self {
        Self::Leaf(Arc::new(Leaf { meta, kind: LeafKind::File(content) }))
    }

    /// A symbolic link, mode 0777 as Linux has it.
    pub fn symlink(target: impl Into<String>) -> Self {
        Self::Leaf(Arc::new(Leaf { meta: Meta::root(0o777), kind: LeafKind::Symlink(target.into()) }))
    }
}

/// Something stands where a folder or leaf should go.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A part of the path is a file or link.
    #[error("{path}: {at} is not a directory")]
    NotADirectory {
        /// What was wanted.
        path: TreePath,
        /// What stands in the way.
        at: TreePath,
    },
    /// The parent folder does not exist.
    #[error("{0}: its directory does not exist")]
    NoParent(TreePath),
    /// The root is always a folder.
    #[error("the root of a tree must be a directory")]
    Root,
}

/// A file tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The folder `/`.
    pub root: Directory,
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: Directory::new(Meta::root(0o755)) }
    }
}

impl Tree {
    /// An empty tree: `/` owned by root with mode 0755.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands at `path`; symbolic links are not followed. The root is not a [`Node`]: see [`Tree::directory`].
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        let (parent, name) = path.split_last()?;
        self.directory(&parent)?.children.get(name)
    }

    /// The folder at `path`, if it is one.
    pub fn directory(&self, path: &TreePath) -> Option<&Directory> {
        path.parts().try_fold(&self.root, |directory, part| match directory.children.get(part) {
            Some(Node::Directory(inner)) => Some(inner),
            _ => None,
        })
    }

    /// The folder at `path`, to change it.
    pub fn directory_mut(&mut self, path: &TreePath) -> Option<&mut Directory> {
        path.parts().try_fold(&mut self.root, |directory, part| match directory.children.get_mut(part) {
            Some(Node::Directory(inner)) => Some(inner),
            _ => None,
        })
    }

    /// The regular file at `path`; symbolic links are not followed.
    pub fn file(&self, path: &TreePath) -> Option<&Content> {
        match self.get(path)? {
            Node::Leaf(leaf) => match &leaf.kind {
                LeafKind::File(content) => Some(content),
                LeafKind::Symlink(_) => None,
            },
            Node::Directory(_) => None,
        }
    }

    /// Puts `node` at `path`, whose folder must exist. Gives back what stood there.
    pub fn insert(&mut self, path: &TreePath, node: Node) -> Result<Option<Node>, TreeError> {
        let (parent, name) = path.split_last().ok_or(TreeError::Root)?;
        let name = name.to_owned();
        let directory = self.directory_mut(&parent).ok_or_else(|| TreeError::NoParent(path.clone()))?;
        Ok(directory.children.insert(name, node))
    }

    /// The folder at `path`; it and its parents are made (root, 0755) where they do not exist.
    pub fn make_directory(&mut self, path: &TreePath) -> Result<&mut Directory, TreeError> {
        let mut directory = &mut self.root;
        let mut at = TreePath::root();
        for part in path.parts() {
            at = at.join(part);
            let node =
                directory.children.entry(part.to_owned()).or_insert_with(|| Node::Directory(Directory::new(Meta::root(0o755))));
            directory = match node {
                Node::Directory(inner) => inner,
                Node::Leaf(_) => return Err(TreeError::NotADirectory { path: path.clone(), at }),
            };
        }
        Ok(directory)
    }

    /// Puts a regular file there, making the folders that are missing. Gives back what stood there.
    pub fn put_file(&mut self, path: &TreePath, meta: Meta, content: Content) -> Result<Option<Node>, TreeError> {
        self.put(path, Node::file(meta, content))
    }

    /// Puts `node` there, making the folders that are missing. Gives back what stood there.
    pub fn put(&mut self, path: &TreePath, node: Node) -> Result<Option<Node>, TreeError> {
        let (parent, name) = path.split_last().ok_or(TreeError::Root)?;
        let name = name.to_owned();
        Ok(self.make_directory(&parent)?.children.insert(name, node))
    }

    /// Takes away what stands at `path`, with all below it.
    pub fn remove(&mut self, path: &TreePath) -> Option<Node> {
        let (parent, name) = path.split_last()?;
        let name = name.to_owned();
        self.directory_mut(&parent)?.children.remove(&name)
    }

    /// Changes owner, mode and so on of everything, the root too. Hard links stay one leaf, which is changed once.
    pub fn change_meta(&mut self, mut change: impl FnMut(&mut Meta)) {
        change(&mut self.root.meta);
        change_below(&mut self.root, &mut change, &mut HashMap::new());
    }

    /// Everything below the root, each folder before what it holds, names in byte order.
    pub fn walk(&self) -> Walk<'_> {
        self.root.walk(TreePath::root())
    }
}

/// The leaf that was, and the one that it became, by the first one's address; it is kept, so that no other gets that address.
type Changed = HashMap<*const Leaf, (Arc<Leaf>, Arc<Leaf>)>;

fn change_below(directory: &mut Directory, change: &mut impl FnMut(&mut Meta), done: &mut Changed) {
    for node in directory.children.values_mut() {
        match node {
            Node::Directory(inner) => {
                change(&mut inner.meta);
                change_below(inner, change, done);
            }
            Node::Leaf(leaf) => {
                let (_, new) = done.entry(Arc::as_ptr(leaf)).or_insert_with(|| {
                    let mut new = Leaf::clone(leaf);
                    change(&mut new.meta);
                    (Arc::clone(leaf), Arc::new(new))
                });
                *leaf = Arc::clone(new);
            }
        }
    }
}

/// Iterates over a tree: see [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    stack: Vec<(TreePath, std::collections::btree_map::Iter<'a, String, Node>)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (TreePath, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (folder, children) = self.stack.last_mut()?;
            let Some((name, node)) = children.next() else {
                self.stack.pop();
                continue;
            };
            let path = folder.join(name);
            if let Node::Directory(directory) = node {
                self.stack.push((path.clone(), directory.children.iter()));
            }
            return Some((path, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn a_tree_is_built_and_walked_in_order() {
        let mut tree = Tree::new();
        tree.put_file(&path("/usr/lib/b"), Meta::root(0o644), Content::from_bytes(*b"b")).unwrap();
        tree.put(&path("/usr/lib/a"), Node::symlink("b")).unwrap();
        tree.make_directory(&path("/etc")).unwrap();
        let paths: Vec<_> = tree.walk().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/etc", "/usr", "/usr/lib", "/usr/lib/a", "/usr/lib/b"]);
        assert_eq!(tree.file(&path("/usr/lib/b")).unwrap().bytes().unwrap(), b"b");
        assert!(tree.file(&path("/usr/lib/a")).is_none());
    }

    #[test]
    fn a_file_is_no_folder() {
        let mut tree = Tree::new();
        tree.put_file(&path("/etc"), Meta::root(0o644), Content::from_bytes(*b"")).unwrap();
        let error = tree.make_directory(&path("/etc/x/y")).unwrap_err();
        assert_eq!(error.to_string(), "/etc/x/y: /etc is not a directory");
        assert_eq!(tree.insert(&path("/a/b"), Node::symlink("x")), Err(TreeError::NoParent(path("/a/b"))));
        assert_eq!(tree.insert(&TreePath::root(), Node::symlink("x")), Err(TreeError::Root));
    }
}
