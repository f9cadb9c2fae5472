//! `/ostree/repo`: a repository of mode `bare` that holds just the one commit, and whose files are those of the deployment. It knows
//! which layers of an image in a registry it holds that way, so that the first update moves only what has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{HeldLayer, Layout};
use crate::commit::{self, MetadataObject};
use crate::digest::Digest;
use crate::sign::metadata;
use crate::tree::{Content, Directory, Leaf, Node, Tree, TreePath};

/// `bootloader` is left out: libostree finds GRUB by its grub.cfg, and rewrites the menu.
const CONFIG: &str = "[core]\nrepo_version=1\nmode=bare\n\n[sysroot]\nreadonly=true\n";
/// What comes after it where GRUB reads boot entries itself: libostree writes those, and nothing else.
const ENTRIES_ONLY: &str = "bootloader=none\n";

/// Puts the repository with these objects of files and links, and with these layers of theirs, into the root filesystem.
pub fn put(root: &mut Tree, layout: &Layout, objects: &BTreeMap<Digest, Arc<Leaf>>, layers: &[HeldLayer]) -> Result<()> {
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
    let mut put_metadata = |metadata: &MetadataObject| {
        let (checksum, node) = (metadata.checksum(), Node::file(layout.meta(0o644), metadata.content.clone()));
        put(&checksum, metadata.kind.extension(), node);
        checksum
    };
    for metadata in &layout.commit.metadata {
        put_metadata(metadata);
    }
    let mut refs = vec![
        (layout.commit.info.branch.clone(), layout.commit.checksum),
        // The deployment's own: it keeps the commit from being pruned.
        ("ostree/1/1/0".to_owned(), layout.commit.checksum),
    ];
    // As ostree-ext notes that it has pulled a layer. With the first image that it pulls it drops those that this one has not.
    for layer in layers {
        let [.., commit] = commit::object_set(&layer.objects).map(|object| put_metadata(&object));
        refs.push((format!("ostree/container/blob/sha256_3A_{}", layer.sha256), commit));
    }
    if layout.options.trust.as_ref().is_some_and(|trust| trust.commit.is_some()) {
        let unsigned = metadata::with(&[]).context("the metadata of an unsigned commit")?;
        put(&layout.commit.checksum, metadata::EXTENSION, Node::file(layout.meta(0o644), Content::from_bytes(unsigned)));
    }
    let folders = folders.into_iter().map(|(name, folder)| (name, Node::Directory(folder)));
    root.make_directory(&repo.join("objects"))?.children.extend(folders);
    for (name, commit) in refs {
        root.put(&TreePath::parse(&format!("{repo}/refs/heads/{name}"))?, layout.text(format!("{commit}\n")))?;
    }
    Ok(())
}
