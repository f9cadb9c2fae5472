//! `/ostree/repo`: a repository of mode `bare` that holds just the one commit, and whose files are those of the deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::Layout;
use crate::digest::Digest;
use crate::sign::metadata;
use crate::tree::{Content, Directory, Leaf, Node, Tree, TreePath};

/// `bootloader` is left out: libostree finds GRUB by its grub.cfg, and rewrites the menu.
const CONFIG: &str = "[core]\nrepo_version=1\nmode=bare\n\n[sysroot]\nreadonly=true\n";
/// What comes after it where GRUB reads boot entries itself: libostree writes those, and nothing else.
const ENTRIES_ONLY: &str = "bootloader=none\n";

/// Puts the repository with these objects of files and links into the root filesystem.
pub fn put(root: &mut Tree, layout: &Layout, objects: &BTreeMap<Digest, Arc<Leaf>>) -> Result<()> {
    let repo = TreePath::parse("/ostree/repo")?;
    for folder in ["extensions", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp/cache"] {
        root.make_directory(&TreePath::parse(&format!("{repo}/{folder}"))?)?;
    }
    let bootloader = if layout.bootupd.is_some() { ENTRIES_ONLY } else { "" };
    root.put(&repo.join("config"), layout.text(format!("{CONFIG}{bootloader}")))?;
    root.put(&repo.join(".lock"), Node::file(layout.meta(0o640), Content::from_bytes([])))?;
    let mut folders: BTreeMap<String, Directory> = BTreeMap::new();
    let mut put = |checksum: &Digest, extension: &str, node| {
        let hex = checksum.to_hex();
        let (folder, name) = hex.split_at(2);
        let folder = folders.entry(folder.to_owned()).or_insert_with(|| Directory::new(layout.meta(0o755)));
        folder.children.insert(format!("{name}.{extension}"), node);
    };
    for (checksum, leaf) in objects {
        put(checksum, "file", Node::Leaf(Arc::clone(leaf)));
    }
    for metadata in &layout.commit.metadata {
        let node = Node::file(layout.meta(0o644), metadata.content.clone());
        put(&metadata.checksum(), metadata.kind.extension(), node);
    }
    if layout.options.trust.as_ref().is_some_and(|trust| trust.commit.is_some()) {
        let unsigned = metadata::with(&[]).context("the metadata of an unsigned commit")?;
        put(&layout.commit.checksum, metadata::EXTENSION, Node::file(layout.meta(0o644), Content::from_bytes(unsigned)));
    }
    let folders = folders.into_iter().map(|(name, folder)| (name, Node::Directory(folder)));
    root.make_directory(&repo.join("objects"))?.children.extend(folders);
    // The second is the deployment's own: it keeps the commit from being pruned.
    for name in [layout.commit.info.branch.as_str(), "ostree/1/1/0"] {
        root.put(&TreePath::parse(&format!("{repo}/refs/heads/{name}"))?, layout.text(format!("{}\n", layout.commit.checksum)))?;
    }
    Ok(())
}
