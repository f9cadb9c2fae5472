//! What a source of modules holds, as a tree: modules and firmware, and nothing else of a container image or package. What was unpacked
//! once is kept in the store.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::{deb, source};
use crate::digest::Digest;
use crate::format::module;
use crate::layer::foreign::{image, spool::Spool};
use crate::layer::{cache, overlay};
use crate::lock::LockedImage;
use crate::plan::{ModuleSet, ModuleSource};
use crate::store::Store;
use crate::tree::{LeafKind, Meta, Node, Tree, TreePath};

/// Changes whenever the same source would give another tree.
const RULES: u32 = 1;
/// The store's word for its entries.
const KIND: &str = "kernel-modules";

#[derive(Serialize)]
struct Key<'a> {
    rules: u32,
    source: Vec<Digest>,
    dir: &'a Option<TreePath>,
    firmware: &'a Option<TreePath>,
}

/// The tree of `source`, one of `set`'s.
///
/// # Errors
/// [`crate::failure::Kind::Input`]: the store does not have it; [`crate::failure::Kind::Invalid`]: it is no image or package.
pub fn tree(set: &ModuleSet, source: &ModuleSource, store: &Store) -> Result<Tree> {
    let name = format!("kernel module {}", set.name);
    let unpack = || -> Result<Tree> {
        match source {
            ModuleSource::Tree(digest) => overlay::produce(&name, digest, store),
            ModuleSource::Image(image) => of_image(image, store),
            ModuleSource::Deb(package) => deb::tree(&name, &store.blob_path(&package.sha256), store),
            ModuleSource::Packages(packages) => {
                deb::trees(packages.iter().map(|package| (package.name.as_str(), store.blob_path(&package.sha256))), store)
            }
        }
    };
    if source.tree().is_some() {
        return unpack();
    }
    let source = match source {
        ModuleSource::Image(image) => vec![image.manifest.sha256],
        other => other.blobs(),
    };
    let key = Digest::of_value(&Key { rules: RULES, source, dir: &set.dir, firmware: &set.firmware });
    let fill = |folder: &Path| cache::write(folder, &kept(&unpack()?, set)?);
    cache::read(&store.entry_or_make(KIND, &key, fill)?.path)
}

fn of_image(image: &LockedImage, store: &Store) -> Result<Tree> {
    let mut spool = Spool::nameless(&store.root().join("tmp"))?;
    let (tree, _) = image::unpacked(image, &mut spool, store, &mut |_| ())?;
    spool.finish()?;
    Ok(tree)
}

/// Modules where a source keeps them by release, and its firmware.
fn kept(whole: &Tree, set: &ModuleSet) -> Result<Tree> {
    let places = source::places(set)?;
    let mut tree = Tree::new();
    for (path, node) in whole.walk() {
        let Node::Leaf(leaf) = node else { continue };
        let LeafKind::File(content) = &leaf.kind else { continue };
        let is_module = module::name_of(path.relative()).is_some() && places.iter().any(|place| path.is_within(place));
        if is_module || set.firmware.as_ref().is_some_and(|folder| path.is_within(folder)) {
            tree.put_file(&path, Meta::root(0o644), content.clone())?;
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::fixture::overlay;

    #[test]
    fn modules_and_firmware_stay_and_the_system_goes() {
        let whole = overlay(
            "image",
            &[
                ("/opt/lib/modules/6.12.1-amd64/a.ko", "a"),
                ("/opt/lib/modules/6.12.1-amd64/modules.dep", "a.ko:\n"),
                ("/usr/lib/modules/6.12.1-amd64/b.ko.xz", "b"),
                ("/firmware/x/a.bin", "f"),
                ("/usr/bin/modprobe", "m"),
                ("/c.ko", "c"),
            ],
        );
        let paths = |set: &ModuleSet| -> Vec<String> {
            let kept = kept(&whole.tree, set).unwrap();
            kept.walk().filter(|(_, node)| matches!(node, Node::Leaf(_))).map(|(path, _)| path.to_string()).collect()
        };
        let firmware = TreePath::parse("/firmware").ok();
        let all = ["/firmware/x/a.bin", "/opt/lib/modules/6.12.1-amd64/a.ko", "/usr/lib/modules/6.12.1-amd64/b.ko.xz"];
        assert_eq!(paths(&ModuleSet { firmware, ..Default::default() }), all);
        assert_eq!(paths(&ModuleSet { dir: TreePath::parse("/opt").ok(), ..Default::default() }), all[1..2]);
    }
}
