//! Merges layers into one tree that OSTree can deploy. Pure.

use anyhow::Result;

use super::{Image, identity, kernel, layout, shadow, var};
use crate::failure::{Failure, Kind};
use crate::layer::Layer;
use crate::tree::{Conflict, LeafKind, Node, Tree, TreePath, merge};

/// Filled by the kernel and by systemd at boot: nothing of an image can be seen there.
const MADE_AT_BOOT: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
/// Folders that become links into `/var`, which an image does not fill.
const IN_VAR: [&str; 6] = ["home", "root", "srv", "mnt", "media", "usr/local"];
/// How many disputed paths an error shows.
const SHOWN: usize = 10;

/// Merges `layers`, lowest first, and applies OSTree's rules.
///
/// # Errors
/// [`Kind::Invalid`]: layers that disagree (all paths, both layers), a file where an image cannot have one (layer and path), not
/// exactly one kernel, programs for another architecture.
pub fn assemble(layers: &[Layer], image: &Image) -> Result<Tree> {
    let mut tree = merged(layers)?;
    kernel::settle(&mut tree, image.architecture)?;
    move_etc(&mut tree)?;
    layout::settle(&mut tree)?;
    shadow::settle(&mut tree)?;
    identity::write(&mut tree, image)?;
    var::settle(&mut tree)?;
    Ok(tree)
}

/// Lays `layers` over one another, lowest first, as they are: what a layer of settings looks at.
///
/// # Errors
/// [`Kind::Invalid`]: layers that disagree, a file where an image cannot have one.
pub fn merged(layers: &[Layer]) -> Result<Tree> {
    for (index, layer) in layers.iter().enumerate() {
        check(layer, index == 0)?;
    }
    let mut tree = Tree::new();
    for (index, layer) in layers.iter().enumerate() {
        for path in &layer.removals {
            tree.remove(path);
        }
        if index == 0 {
            tree = layer.tree.clone();
            continue;
        }
        let wins = |path: &TreePath| layer.replaces.iter().any(|replaced| path.is_within(replaced));
        merge(&mut tree, &layer.tree, wins).map_err(|conflicts| disagreement(&layers[..index], layer, &conflicts))?;
    }
    Ok(tree)
}

/// Whether a layer has only what can be part of an image. The base may have more, which is dropped: it comes as Debian makes it.
fn check(layer: &Layer, is_base: bool) -> Result<(), Failure> {
    for (path, node) in layer.tree.walk() {
        let below = |folder: &str| path.relative().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let Node::Leaf(leaf) = node else {
            if below("usr/etc") || path.relative() == "usr/etc" {
                return Err(refused(layer, &path, "/usr/etc is made from /etc").hint("put it below /etc"));
            }
            continue;
        };
        if MADE_AT_BOOT.iter().any(|folder| below(folder)) && !is_base {
            return Err(refused(layer, &path, "this folder is made anew at each boot")
                .hint("let a file in /usr/lib/tmpfiles.d make it at boot"));
        }
        if below("boot") && !is_base {
            return Err(refused(layer, &path, "/boot is a filesystem of its own, which libostree fills")
                .hint("a kernel belongs in /usr/lib/modules/<version>/vmlinuz, its initramfs beside it"));
        }
        let in_var = below("var") || IN_VAR.iter().any(|folder| below(folder) && !(is_base && *folder == "root"));
        if in_var && matches!(leaf.kind, LeafKind::File(_)) {
            return Err(refused(layer, &path, "this folder belongs to the node: an update never touches it").hint(
                "put the file below /usr, or below /usr/share/factory with a line `C` in a file in /usr/lib/tmpfiles.d that copies it",
            ));
        }
    }
    Ok(())
}

fn refused(layer: &Layer, path: &TreePath, why: &str) -> Failure {
    Failure::new(Kind::Invalid, format!("layer {}: {path} cannot be part of an image: {why}", layer.name))
}

fn disagreement(below: &[Layer], above: &Layer, conflicts: &[Conflict]) -> Failure {
    let owner =
        |path: &TreePath| below.iter().rev().find(|layer| layer.tree.get(path).is_some()).map_or("base", |layer| &layer.name);
    let mut lines: Vec<_> = conflicts
        .iter()
        .take(SHOWN)
        .map(|conflict| {
            let Conflict { path, below, above: over } = conflict;
            format!("{path}: a {below} of layer {}, a {over} of layer {}", owner(path), above.name)
        })
        .collect();
    if conflicts.len() > SHOWN {
        lines.push(format!("and {} more", conflicts.len() - SHOWN));
    }
    let path = conflicts.first().map_or_else(TreePath::root, |conflict| conflict.path.clone());
    // A [[file]] is one path, an [[overlay]] has many.
    let replaces = if above.name == "files" { "true".to_owned() } else { format!("[\"{path}\"]") };
    Failure::new(Kind::Invalid, format!("two layers disagree:\n  {}", lines.join("\n  ")))
        .hint(format!("if {} is meant to win, say so in the recipe: replaces = {replaces}", above.name))
}

/// `/etc` is the node's copy of `/usr/etc`.
fn move_etc(tree: &mut Tree) -> Result<()> {
    let etc = TreePath::parse("/etc")?;
    if let Some(node) = tree.remove(&etc) {
        tree.put(&TreePath::parse("/usr/etc")?, node)?;
    }
    Ok(())
}
