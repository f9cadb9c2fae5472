//! Lays one tree over another, and finds where they disagree.
//!
//! Pure. A path is disputed when both trees have a leaf there, or one a folder and the other a leaf, or two folders with different
//! owner, mode or xattrs where the upper one is not just a way to something deeper. Identical leaves are no dispute.

use super::{Directory, Leaf, Meta, Node, Tree, TreePath};

/// Both trees have something at a path, it is not the same, and nobody said which wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: TreePath,
    /// What the lower tree has there.
    pub below: &'static str,
    /// What the upper tree has there.
    pub above: &'static str,
}

/// Lays `above` over `below`. Where they disagree, `may_replace` says whether the upper one wins; if not, it is a conflict, and all
/// conflicts are answered together. Folders that the upper tree merely passes through (root, 0755, no xattrs) take the lower
/// tree's owner and mode.
pub fn merge(below: &mut Tree, above: &Tree, may_replace: impl Fn(&TreePath) -> bool) -> Result<(), Vec<Conflict>> {
    let mut conflicts = Vec::new();
    merge_directory(&mut below.root, &above.root, &TreePath::root(), &may_replace, &mut conflicts);
    if conflicts.is_empty() { Ok(()) } else { Err(conflicts) }
}

fn merge_directory(
    below: &mut Directory,
    above: &Directory,
    at: &TreePath,
    may_replace: &impl Fn(&TreePath) -> bool,
    conflicts: &mut Vec<Conflict>,
) {
    if !is_passage(&above.meta) && !same_but_time(&above.meta, &below.meta) {
        if may_replace(at) {
            below.meta = above.meta.clone();
        } else {
            conflicts.push(Conflict { path: at.clone(), below: "directory", above: "directory with another owner or mode" });
        }
    }
    for (name, node) in &above.children {
        let path = at.join(name);
        match (below.children.get_mut(name), node) {
            (None, _) => {
                below.children.insert(name.clone(), node.clone());
            }
            (Some(Node::Directory(lower)), Node::Directory(upper)) => {
                merge_directory(lower, upper, &path, may_replace, conflicts);
            }
            (Some(lower), upper) => {
                if same_leaf(lower, upper) {
                    continue;
                }
                if may_replace(&path) {
                    *lower = upper.clone();
                } else {
                    conflicts.push(Conflict { path, below: word(lower), above: word(upper) });
                }
            }
        }
    }
}

/// Such a folder says nothing but "there is something below".
fn is_passage(meta: &Meta) -> bool {
    same_but_time(meta, &Meta::root(0o755))
}

fn same_but_time(a: &Meta, b: &Meta) -> bool {
    (a.uid, a.gid, a.mode, &a.xattrs) == (b.uid, b.gid, b.mode, &b.xattrs)
}

fn same_leaf(a: &Node, b: &Node) -> bool {
    let same = |a: &Leaf, b: &Leaf| a.kind == b.kind && same_but_time(&a.meta, &b.meta);
    matches!((a, b), (Node::Leaf(a), Node::Leaf(b)) if same(a, b))
}

fn word(node: &Node) -> &'static str {
    match node {
        Node::Directory(_) => "directory",
        Node::Leaf(leaf) => match leaf.kind {
            super::LeafKind::File(_) => "file",
            super::LeafKind::Symlink(_) => "symbolic link",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::from_bytes(text.as_bytes());
            tree.put_file(&TreePath::parse(path).unwrap(), Meta::root(0o644), content).unwrap();
        }
        tree
    }

    #[test]
    fn what_is_the_same_or_new_is_no_dispute() {
        let mut below = tree(&[("/etc/a", "1"), ("/etc/b", "2")]);
        merge(&mut below, &tree(&[("/etc/b", "2"), ("/usr/c", "3")]), |_| false).unwrap();
        assert_eq!(below, tree(&[("/etc/a", "1"), ("/etc/b", "2"), ("/usr/c", "3")]));
    }

    #[test]
    fn a_dispute_names_every_path() {
        let mut below = tree(&[("/etc/a", "1"), ("/etc/b/c", "2")]);
        let conflicts = merge(&mut below, &tree(&[("/etc/a", "9"), ("/etc/b", "9")]), |_| false).unwrap_err();
        let seen: Vec<_> = conflicts.iter().map(|c| format!("{} {} {}", c.path, c.below, c.above)).collect();
        assert_eq!(seen, ["/etc/a file file", "/etc/b directory file"]);
    }

    #[test]
    fn the_recipe_may_say_who_wins() {
        let mut below = tree(&[("/etc/a", "1")]);
        merge(&mut below, &tree(&[("/etc/a", "9")]), |path| path.relative() == "etc/a").unwrap();
        assert_eq!(below, tree(&[("/etc/a", "9")]));
    }
}
