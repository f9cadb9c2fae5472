//! `/ostree/repo`: a repository of mode `bare` that holds just the one commit, and whose files are those of the deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;

use super::Layout;
use crate::digest::Digest;
use crate::tree::{Content, Leaf, Node, Tree, TreePath};

/// `bootloader` is left out: libostree finds GRUB by its grub.cfg, and rewrites the menu.
const CONFIG: &str = "[core]\nrepo_version=1\nmode=bare\n\n[sysroot]\nreadonly=true\n";

/// Puts the repository with these objects of files and links into the root filesystem.
pub fn put(root: &mut Tree, layout: &Layout, objects: &BTreeMap<Digest, Arc<Leaf>>) -> Result<()> {
    let repo = TreePath::parse("/ostree/repo")?;
    for folder in ["extensions", "objects", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp/cache"] {
        root.make_directory(&TreePath::parse(&format!("{repo}/{folder}"))?)?;
    }
    root.put(&repo.join("config"), layout.text(CONFIG))?;
    root.put(&repo.join(".lock"), Node::file(layout.meta(0o640), Content::from_bytes([])))?;
    for (checksum, leaf) in objects {
        root.put(&object(&repo, checksum, "file")?, Node::Leaf(Arc::clone(leaf)))?;
    }
    for metadata in &layout.commit.metadata {
        let node = Node::file(layout.meta(0o644), metadata.content.clone());
        root.put(&object(&repo, &metadata.checksum(), metadata.kind.extension())?, node)?;
    }
    // The second is the deployment's own: it keeps the commit from being pruned.
    for name in [layout.commit.info.branch.as_str(), "ostree/1/1/0"] {
        root.put(&TreePath::parse(&format!("{repo}/refs/heads/{name}"))?, layout.text(format!("{}\n", layout.commit.checksum)))?;
    }
    Ok(())
}

fn object(repo: &TreePath, checksum: &Digest, extension: &str) -> Result<TreePath> {
    let hex = checksum.to_hex();
    let (folder, name) = hex.split_at(2);
    Ok(TreePath::parse(&format!("{repo}/objects/{folder}/{name}.{extension}"))?)
}
