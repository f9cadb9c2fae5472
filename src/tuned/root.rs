//! The root of an image: where profiles are read from.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use crate::tree::{Directory, LeafKind, Node, Tree};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// Files by their paths, which begin with `/`. Links are followed, and none leads out.
pub trait Root {
    /// The bytes of a regular file; none where there is no such file.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The names in a folder, in byte order; none where there is no such folder.
    fn names(&self, folder: &str) -> Vec<String>;
}

impl Root for Tree {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match resolve(self, path) {
            Some(Place::File(content)) => content.bytes().map(Some),
            _ => Ok(None),
        }
    }

    fn names(&self, folder: &str) -> Vec<String> {
        match resolve(self, folder) {
            Some(Place::Folder(folder)) => folder.children.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }
}

/// Files that are given one by one, for tests.
impl Root for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.get(path).cloned())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let inside = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.split('/').next()?.to_owned());
        let mut names: Vec<_> = self.keys().filter_map(inside).collect();
        names.dedup();
        names
    }
}

enum Place<'a> {
    File(&'a crate::tree::Content),
    Folder(&'a Directory),
}

fn resolve<'a>(tree: &'a Tree, path: &str) -> Option<Place<'a>> {
    let mut parts: VecDeque<String> = split(path).collect();
    let mut way = vec![&tree.root];
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        if part == ".." {
            way.truncate((way.len() - 1).max(1));
            continue;
        }
        match way.last()?.children.get(&part)? {
            Node::Directory(folder) => way.push(folder),
            Node::Leaf(leaf) => match &leaf.kind {
                LeafKind::File(content) => return parts.is_empty().then_some(Place::File(content)),
                LeafKind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.starts_with('/') {
                        way.truncate(1);
                    }
                    for part in split(target).collect::<Vec<_>>().into_iter().rev() {
                        parts.push_front(part);
                    }
                }
            },
        }
    }
    way.pop().map(Place::Folder)
}

fn split(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Meta, TreePath};

    #[test]
    fn links_of_a_tree_are_followed() {
        let mut tree = Tree::new();
        let path = |text| TreePath::parse(text).unwrap();
        tree.put_file(&path("/usr/lib/tuned/profiles/a/tuned.conf"), Meta::root(0o644), Content::from_bytes(*b"x")).unwrap();
        for (at, to) in
            [("/lib", "usr/lib"), ("/etc/tuned/profiles/b", "/lib/tuned/profiles/a"), ("/loop", "loop"), ("/up", "../lib")]
        {
            tree.put(&path(at), Node::symlink(to)).unwrap();
        }
        for (at, found) in [
            ("/usr/lib/tuned/profiles/a/tuned.conf", true),
            ("/etc/tuned/profiles/b/tuned.conf", true),
            ("/up/tuned/profiles/a/tuned.conf", true),
            ("/usr/lib/tuned/profiles/a/tuned.conf/x", false),
            ("/usr/lib/tuned", false),
            ("/loop", false),
        ] {
            assert_eq!(tree.read(at).unwrap().is_some(), found, "{at}");
        }
        assert_eq!(Root::names(&tree, "/lib/tuned/profiles"), ["a"]);
    }
}
