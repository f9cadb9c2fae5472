//! Merges layers into one tree that OSTree can deploy. Pure.

use anyhow::Result;

use super::{Image, identity, kernel, label, layout, menu, shadow, var};
use crate::failure::{Failure, Kind};
use crate::layer::Layer;
use crate::tree::{Conflict, Leaf, LeafKind, Node, Tree, TreePath, merge};

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
    kernel::settle(&mut tree, image.architecture, layers)?;
    move_etc(&mut tree)?;
    layout::settle(&mut tree)?;
    menu::settle(&mut tree)?;
    shadow::settle(&mut tree)?;
    identity::write(&mut tree, image)?;
    var::settle(&mut tree)?;
    // Last: every file that there will be has a label.
    label::settle(&mut tree)?;
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
    let usr_etc = TreePath::parse("usr/etc").ok().filter(|path| layer.tree.directory(path).is_some());
    if let Some(path) = usr_etc {
        return Err(refused(layer, &path, "/usr/etc is made from /etc").hint("put it below /etc"));
    }
    if !is_base {
        if let Some((path, _)) = MADE_AT_BOOT.iter().find_map(|folder| leaves(&layer.tree, folder).next()) {
            return Err(refused(layer, &path, "this folder is made anew at each boot")
                .hint("let a file in /usr/lib/tmpfiles.d make it at boot"));
        }
        if let Some((path, _)) = leaves(&layer.tree, "boot").next() {
            return Err(refused(layer, &path, "/boot is a filesystem of its own, which libostree fills")
                .hint("a kernel belongs in /usr/lib/modules/<version>/vmlinuz, its initramfs beside it"));
        }
    }
    let of_the_node = IN_VAR.iter().filter(|folder| !(is_base && **folder == "root")).chain(&["var"]);
    // Another's system has files there: they are copied to the node when it has none.
    if layer.finished {
        return Ok(());
    }
    for (path, leaf) in of_the_node.flat_map(|folder| leaves(&layer.tree, folder)) {
        if matches!(leaf.kind, LeafKind::File(_)) {
            return Err(refused(layer, &path, "this folder belongs to the node: an update never touches it").hint(
                "put the file below /usr, or below /usr/share/factory with a line `C` in a file in /usr/lib/tmpfiles.d that copies it",
            ));
        }
    }
    Ok(())
}

/// Files and links below `folder`, which is given without the leading `/`.
fn leaves<'t>(tree: &'t Tree, folder: &str) -> impl Iterator<Item = (TreePath, &'t Leaf)> {
    let at = TreePath::parse(folder).ok();
    let below = at.and_then(|at| Some(tree.directory(&at)?.walk(at)));
    below.into_iter().flatten().filter_map(|(path, node)| match node {
        Node::Leaf(leaf) => Some((path, leaf.as_ref())),
        Node::Directory(_) => None,
    })
}

fn refused(layer: &Layer, path: &TreePath, why: &str) -> Failure {
    about(layer, path, Failure::new(Kind::Invalid, format!("layer {}: {path} cannot be part of an image: {why}", layer.name)))
}

/// `failure`, about what of the recipe brings `path` of `layer`.
pub(super) fn about(layer: &Layer, path: &TreePath, failure: Failure) -> Failure {
    match (layer.name.strip_prefix("overlay "), layer.name.as_str()) {
        (Some(overlay), _) => failure.about("overlay", overlay),
        (None, "files") => failure.about("file", path.to_string()),
        (None, "agent") => failure.about("agent.path", ""),
        _ => failure,
    }
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
    let hint = match link_below(below, above, &path) {
        Some(target) => format!("{path} leads to {target} there: put what {} has below it into {target}", above.name),
        // A [[file]] is one path, an [[overlay]] has many.
        None if above.name == "files" => "if it is meant to win, say so in the recipe: replaces = true".to_owned(),
        None => format!("if {} is meant to win, say so in the recipe: replaces = [\"{path}\"]", above.name),
    };
    let failure = Failure::new(Kind::Invalid, format!("two layers disagree:\n  {}", lines.join("\n  "))).hint(hint);
    about(above, &path, failure)
}

/// Where `path` leads in the layers `below`, when `above` has a folder there: nothing is ever written through a link.
fn link_below<'a>(below: &'a [Layer], above: &Layer, path: &TreePath) -> Option<&'a str> {
    above.tree.directory(path)?;
    match below.iter().rev().find_map(|layer| layer.tree.get(path))? {
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::Symlink(target) => Some(target),
            LeafKind::File(_) => None,
        },
        Node::Directory(_) => None,
    }
}

/// `/etc` is the node's copy of `/usr/etc`.
fn move_etc(tree: &mut Tree) -> Result<()> {
    let etc = TreePath::parse("/etc")?;
    if let Some(node) = tree.remove(&etc) {
        tree.put(&TreePath::parse("/usr/etc")?, node)?;
    }
    Ok(())
}
