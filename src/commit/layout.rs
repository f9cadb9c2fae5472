//! The top of the tree as OSTree needs it: mount points, and links into `/var` for what belongs to the node.

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::tree::{Directory, LeafKind, Meta, Node, Tree, TreePath};

/// Folders that only something else fills, with their modes.
const MOUNT_POINTS: [(&str, u16); 7] =
    [("boot", 0o755), ("dev", 0o755), ("proc", 0o755), ("run", 0o755), ("sys", 0o755), ("sysroot", 0o755), ("tmp", 0o1777)];

/// Path, the link's target, and the folder below `/var` with the mode that it has when the base does not say.
const LINKS: [(&str, &str, &str, u16); 6] = [
    ("home", "var/home", "var/home", 0o755),
    ("root", "var/roothome", "var/roothome", 0o700),
    ("opt", "var/opt", "var/opt", 0o755),
    ("srv", "var/srv", "var/srv", 0o755),
    ("mnt", "var/mnt", "var/mnt", 0o755),
    ("usr/local", "../var/usrlocal", "var/usrlocal", 0o755),
];

/// What `/opt` holds is part of the image and lies here; `/var/opt` has a link to each.
const OPT: &str = "/usr/lib/opt";

/// Makes mount points and links. What lay in a folder that becomes a link is moved to where the link leads.
///
/// # Errors
/// [`Kind::Invalid`]: `/bin`, `/sbin` or `/lib*` is a folder of its own, or a link leads elsewhere.
pub fn settle(tree: &mut Tree) -> Result<()> {
    check_merged_usr(tree)?;
    for (name, mode) in MOUNT_POINTS {
        tree.put(&TreePath::parse(name)?, Node::Directory(Directory::new(Meta::root(mode))))?;
    }
    tree.make_directory(&TreePath::parse("/var")?)?;
    move_opt(tree)?;
    for (from, target, to, mode) in LINKS {
        let from = TreePath::parse(from)?;
        let directory = match tree.remove(&from) {
            Some(Node::Directory(directory)) => directory,
            None => Directory::new(Meta::root(mode)),
            Some(Node::Leaf(leaf)) => match &leaf.kind {
                LeafKind::Symlink(found) if found.trim_start_matches('/') == target => Directory::new(Meta::root(mode)),
                _ => return Err(not_ours(&from, target).into()),
            },
        };
        adopt(tree, &TreePath::parse(to)?, directory)?;
        tree.put(&from, Node::symlink(target))?;
    }
    for (name, target) in [("media", "run/media"), ("ostree", "sysroot/ostree")] {
        tree.put(&TreePath::parse(name)?, Node::symlink(target))?;
    }
    Ok(())
}

/// Adds `directory` at `to`; what is there already stays.
fn adopt(tree: &mut Tree, to: &TreePath, directory: Directory) -> Result<()> {
    if tree.get(to).is_none() {
        tree.put(to, Node::Directory(directory))?;
        return Ok(());
    }
    let there = tree.make_directory(to)?;
    for (name, node) in directory.children {
        there.children.entry(name).or_insert(node);
    }
    Ok(())
}

/// Everything in `/opt` that is not an empty folder moves to [`OPT`].
fn move_opt(tree: &mut Tree) -> Result<()> {
    let opt = TreePath::parse("/opt")?;
    let Some(directory) = tree.directory_mut(&opt) else { return Ok(()) };
    let full: Vec<_> = directory.children.iter().filter(|(_, node)| has_leaf(node)).map(|(name, _)| name.clone()).collect();
    for name in full {
        let Some(node) = tree.remove(&opt.join(&name)) else { continue };
        tree.put(&TreePath::parse(OPT)?.join(&name), node)?;
        tree.put(&opt.join(&name), Node::symlink(format!("../../usr/lib/opt/{name}")))?;
    }
    Ok(())
}

fn has_leaf(node: &Node) -> bool {
    match node {
        Node::Leaf(_) => true,
        Node::Directory(directory) => directory.children.values().any(has_leaf),
    }
}

fn check_merged_usr(tree: &Tree) -> Result<(), Failure> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Some(Node::Directory(_)) = tree.root.children.get(name) {
            return Err(Failure::new(Kind::Invalid, format!("/{name}: needed a link to usr/{name}, found a directory"))
                .hint(format!("put the files below /usr/{name}; the base needs the package usrmerge or usr-is-merged")));
        }
    }
    Ok(())
}

fn not_ours(path: &TreePath, target: &str) -> Failure {
    Failure::new(Kind::Invalid, format!("{path}: needed a directory or a link to {target}, found something else"))
        .hint("leave it out of the layer that brings it")
}
