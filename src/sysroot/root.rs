//! The root filesystem: a repository in mode `bare` that holds one commit, and the deployment whose files are the same inodes.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::commit::Commit;
use crate::digest::Digest;
use crate::tree::{Content, Directory, Leaf, Meta, Node, Tree, TreePath};

/// The node's repository: objects as plain files with their owners, `/sysroot` mounted read-only. No boot loader is named, so that
/// libostree finds GRUB by its menu.
const CONFIG: &str = "[core]\nrepo_version=1\nmode=bare\n\n[sysroot]\nreadonly=true\n";

/// The kernel argument that names a deployment: libostree's first one has boot version 1.
pub(super) fn boot_link(name: &str, checksum: &Digest) -> String {
    format!("/ostree/boot.1/{name}/{checksum}/0")
}

/// The filesystem's tree.
pub(super) fn tree(commit: &Commit, image: &Tree, boot_checksum: &Digest, update: Option<&str>) -> Result<Tree> {
    let name = &commit.info.image.name;
    let mut root = Tree::new();
    for path in ["boot", "ostree/repo/extensions", "ostree/repo/state", "ostree/repo/tmp/cache", "ostree/repo/refs/mirrors"] {
        root.make_directory(&TreePath::parse(path)?)?;
    }
    root.make_directory(&TreePath::parse("ostree/repo/refs/remotes")?)?;
    let leaves = repository(commit, image, &mut root)?;
    deployment(commit, image, &leaves, update, &mut root)?;

    let text = |text: String| Content::from_bytes(text.into_bytes());
    let var = format!("ostree/deploy/{name}/var/.ostree-selabeled");
    root.put_file(&TreePath::parse(&var)?, Meta::root(0o644), text(String::new()))?;
    root.put(&TreePath::parse("ostree/boot.1")?, Node::symlink("boot.1.1"))?;
    let link = format!("ostree/boot.1.1/{name}/{boot_checksum}/0");
    let target = format!("../../../deploy/{name}/deploy/{}.0", commit.checksum);
    root.put(&TreePath::parse(&link)?, Node::symlink(target))?;
    set_times(&mut root.root, 0);
    Ok(root)
}

/// Writes the repository. Answers the inode of each object.
fn repository(commit: &Commit, image: &Tree, root: &mut Tree) -> Result<HashMap<Digest, Arc<Leaf>>> {
    let text = |text: &str| Content::from_bytes(text.as_bytes());
    root.put_file(&TreePath::parse("ostree/repo/config")?, Meta::root(0o644), text(CONFIG))?;
    root.put_file(&TreePath::parse("ostree/repo/.lock")?, Meta::root(0o640), text(""))?;
    let line = format!("{}\n", commit.checksum);
    for reference in [commit.info.branch.as_str(), "ostree/1/1/0"] {
        let path = TreePath::parse(&format!("ostree/repo/refs/heads/{reference}"))?;
        root.put_file(&path, Meta::root(0o644), text(&line))?;
    }
    let mut leaves: HashMap<Digest, Arc<Leaf>> = HashMap::new();
    for (path, node) in image.walk() {
        let Node::Leaf(leaf) = node else { continue };
        let object = commit.files.get(&path).with_context(|| format!("{path} is not in commit {}", commit.checksum))?;
        if leaves.contains_key(object) {
            continue;
        }
        let inode = Arc::new(Leaf { meta: Meta { mtime: 0, ..leaf.meta.clone() }, kind: leaf.kind.clone() });
        root.put(&object_path(object, "file")?, Node::Leaf(Arc::clone(&inode)))?;
        leaves.insert(*object, inode);
    }
    for object in &commit.metadata {
        root.put_file(&object_path(&object.checksum(), object.kind.extension())?, Meta::root(0o644), object.content.clone())?;
    }
    Ok(leaves)
}

fn object_path(checksum: &Digest, extension: &str) -> Result<TreePath> {
    let hex = checksum.to_hex();
    let (folder, name) = hex.split_at(2);
    Ok(TreePath::parse(&format!("ostree/repo/objects/{folder}/{name}.{extension}"))?)
}

/// Writes the deployment: the commit's files as the inodes of their objects, and `/etc` as a copy of `/usr/etc` that the node owns.
fn deployment(
    commit: &Commit,
    image: &Tree,
    leaves: &HashMap<Digest, Arc<Leaf>>,
    update: Option<&str>,
    root: &mut Tree,
) -> Result<()> {
    let checksum = &commit.checksum;
    let stateroot = TreePath::parse("ostree/deploy")?.join(&commit.info.image.name);
    let mut files = linked(&image.root, &TreePath::root(), commit, leaves)?;
    if let Some(defaults) = image.directory(&TreePath::parse("/usr/etc")?) {
        files.children.insert("etc".into(), Node::Directory(copied(defaults)));
    }
    let deploy = stateroot.join("deploy");
    root.put(&deploy.join(&format!("{checksum}.0")), Node::Directory(files))?;
    let origin = match update {
        Some(image) => format!("[origin]\ncontainer-image-reference=ostree-unverified-registry:{image}\n"),
        None => format!("[origin]\nrefspec={}\n", commit.info.branch),
    };
    let origin = Content::from_bytes(origin.into_bytes());
    root.put_file(&deploy.join(&format!("{checksum}.0.origin")), Meta::root(0o644), origin)?;
    let private = |children| Node::Directory(Directory { meta: Meta::root(0o700), children });
    let transient = [("root-transient".to_owned(), private([].into()))];
    let backing = private([(format!("{checksum}.0"), private(transient.into()))].into());
    root.put(&stateroot.join("backing"), backing)?;
    Ok(())
}

fn linked(from: &Directory, at: &TreePath, commit: &Commit, leaves: &HashMap<Digest, Arc<Leaf>>) -> Result<Directory> {
    let mut to = Directory::new(from.meta.clone());
    for (name, node) in &from.children {
        let path = at.join(name);
        let node = match node {
            Node::Directory(inner) => Node::Directory(linked(inner, &path, commit, leaves)?),
            Node::Leaf(_) => {
                let leaf = commit.files.get(&path).and_then(|object| leaves.get(object));
                Node::Leaf(Arc::clone(leaf.with_context(|| format!("{path} has no object"))?))
            }
        };
        to.children.insert(name.clone(), node);
    }
    Ok(to)
}

/// A copy with inodes of its own: what changes there must not change the repository.
fn copied(from: &Directory) -> Directory {
    let mut to = Directory::new(from.meta.clone());
    for (name, node) in &from.children {
        let node = match node {
            Node::Directory(inner) => Node::Directory(copied(inner)),
            Node::Leaf(leaf) => Node::Leaf(Arc::new(Leaf::clone(leaf))),
        };
        to.children.insert(name.clone(), node);
    }
    to
}

/// Gives everything below `directory` the time `time`. Hard links stay hard links.
pub(super) fn set_times(directory: &mut Directory, time: i64) {
    set_times_within(directory, time, &mut HashMap::new());
}

fn set_times_within(directory: &mut Directory, time: i64, moved: &mut HashMap<*const Leaf, (Arc<Leaf>, Arc<Leaf>)>) {
    directory.meta.mtime = time;
    for node in directory.children.values_mut() {
        match node {
            Node::Directory(inner) => set_times_within(inner, time, moved),
            Node::Leaf(leaf) if leaf.meta.mtime == time => {}
            Node::Leaf(leaf) => {
                // The old inode is kept beside the new one, so that its address cannot come back as another's.
                let (_, new) = moved.entry(Arc::as_ptr(leaf)).or_insert_with(|| {
                    let new = Leaf { meta: Meta { mtime: time, ..leaf.meta.clone() }, kind: leaf.kind.clone() };
                    (Arc::clone(leaf), Arc::new(new))
                });
                *leaf = Arc::clone(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::LeafKind;

    #[test]
    fn times_are_set_and_hard_links_stay() {
        let mut tree = Tree::new();
        let node = Node::file(Meta { mtime: 5, ..Meta::root(0o644) }, Content::from_bytes(*b"x"));
        for path in ["a", "b/c"] {
            tree.put(&TreePath::parse(path).unwrap(), node.clone()).unwrap();
        }
        set_times(&mut tree.root, 9);
        let leaf = |path| match tree.get(&TreePath::parse(path).unwrap()) {
            Some(Node::Leaf(leaf)) => Arc::clone(leaf),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&leaf("a"), &leaf("b/c")) && leaf("a").meta.mtime == 9);
        assert!(matches!(leaf("a").kind, LeafKind::File(_)));
    }
}
