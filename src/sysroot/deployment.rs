//! `/ostree/deploy`: the checked out commit, its `/etc`, its origin and the empty `/var`; and the link that `ostree=` names.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::Layout;
use crate::digest::Digest;
use crate::layer::trust;
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// The checked out commit.
pub struct CheckedOut {
    /// The deployment's folder.
    pub deployed: Directory,
    /// The objects of its files and links, which are hard links of them.
    pub objects: BTreeMap<Digest, Arc<Leaf>>,
}

/// Checks the commit out, and makes its `/etc`.
pub fn check_out(layout: &Layout) -> Result<CheckedOut> {
    let mut checkout = Checkout { files: &layout.commit.files, objects: BTreeMap::new() };
    let mut deployed = checkout.directory(&layout.tree.root, &TreePath::root())?;
    deployed.meta.mtime = layout.time();
    if let Some(Node::Directory(usr)) = deployed.children.get("usr")
        && let Some(Node::Directory(etc)) = usr.children.get("etc")
    {
        let mut etc = own_copy(etc, layout.time());
        // Not as in /usr/etc: the policy may substitute folders of it, and a path is substituted once.
        if let Some(labels) = &layout.labels {
            labels.put(&mut etc, "/etc", &|path| Some(path.to_owned()));
        }
        deployed.children.insert("etc".into(), Node::Directory(etc));
    }
    Ok(CheckedOut { deployed, objects: checkout.objects })
}

/// Puts what is around the deployment into the root filesystem.
pub fn put_surroundings(root: &mut Tree, layout: &Layout) -> Result<()> {
    let stateroot = layout.stateroot()?;
    let deployment = layout.deployment_name();
    root.put(&stateroot.join("deploy").join(&format!("{deployment}.origin")), layout.text(origin(layout)))?;
    // The node's libostree leaves this mark once it has labelled /var; it has no labels.
    let mark = Node::file(layout.meta(0o644), Content::from_bytes([]));
    root.put(&stateroot.join("var").join(".ostree-selabeled"), mark)?;
    let backing = format!("{stateroot}/backing");
    let scratch = format!("{backing}/{deployment}/root-transient");
    let own = format!("{backing}/{deployment}");
    let work = format!("{scratch}/work");
    for folder in [&backing, &own, &scratch, &work] {
        root.put(&TreePath::parse(folder)?, Node::Directory(Directory::new(layout.meta(0o700))))?;
    }
    root.make_directory(&TreePath::parse(&format!("{scratch}/upper"))?)?;

    let name = layout.name();
    let link = format!("/ostree/boot.1.1/{name}/{}/0", layout.kernel.checksum);
    let target = format!("../../../deploy/{name}/deploy/{deployment}");
    root.put(&TreePath::parse(&link)?, Node::symlink(target))?;
    root.put(&TreePath::parse("/ostree/boot.1")?, Node::symlink("boot.1.1"))?;
    Ok(())
}

/// Where updates come from. An image in a registry is what `ostree container` and bootc read.
fn origin(layout: &Layout) -> String {
    match &layout.options.update {
        None => format!("[origin]\nrefspec={}\n", layout.commit.info.branch),
        Some(image) if image.starts_with("ostree-") => format!("[origin]\ncontainer-image-reference={image}\n"),
        Some(image) => {
            let reference = trust::reference(image, layout.options.trust.as_ref());
            format!("[origin]\ncontainer-image-reference={reference}\n")
        }
    }
}

struct Checkout<'a> {
    files: &'a BTreeMap<TreePath, Digest>,
    objects: BTreeMap<Digest, Arc<Leaf>>,
}

impl Checkout<'_> {
    fn directory(&mut self, directory: &Directory, at: &TreePath) -> Result<Directory> {
        let mut copy = Directory::new(undated(&directory.meta));
        for (name, node) in &directory.children {
            let path = at.join(name);
            let node = match node {
                Node::Directory(inner) => Node::Directory(self.directory(inner, &path)?),
                Node::Leaf(leaf) => Node::Leaf(self.leaf(leaf, &path)?),
            };
            copy.children.insert(name.clone(), node);
        }
        Ok(copy)
    }

    /// A hard link of the object; libostree copies empty files instead, so that they do not reach the filesystem's limit of links.
    fn leaf(&mut self, leaf: &Leaf, path: &TreePath) -> Result<Arc<Leaf>> {
        let checksum = self.files.get(path).with_context(|| format!("{path}: the commit does not have it"))?;
        let make = || Arc::new(Leaf { meta: undated(&leaf.meta), kind: leaf.kind.clone() });
        let object = self.objects.entry(*checksum).or_insert_with(make);
        let is_empty = matches!(&leaf.kind, LeafKind::File(content) if content.is_empty());
        Ok(if is_empty { make() } else { Arc::clone(object) })
    }
}

/// Objects have no time.
fn undated(meta: &Meta) -> Meta {
    Meta { mtime: 0, ..meta.clone() }
}

/// The node changes `/etc`: no file of it may be a link of an object.
fn own_copy(directory: &Directory, time: i64) -> Directory {
    let mut copy = Directory::new(Meta { mtime: time, ..directory.meta.clone() });
    for (name, node) in &directory.children {
        let node = match node {
            Node::Directory(inner) => Node::Directory(own_copy(inner, time)),
            Node::Leaf(leaf) => {
                let meta = Meta { mtime: time, ..leaf.meta.clone() };
                Node::Leaf(Arc::new(Leaf { meta, kind: leaf.kind.clone() }))
            }
        };
        copy.children.insert(name.clone(), node);
    }
    copy
}
