//! Profiles come into the folder that the image's tuned looks into.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Produced;
use crate::tree::{Directory, Node, Tree, TreePath};
use crate::tuned::Folders;

/// Where the profiles lie in a tree that begins at the image's `/`: as today's tuned has them.
const ROOTED: &str = "/usr/lib/tuned/profiles";
const FILE: &str = "tuned.conf";

/// The names of the profiles among the paths of a tree: `NAME/tuned.conf`, or those in the folder of a tree that begins at `/`.
pub fn profile_names(paths: &BTreeSet<TreePath>) -> Vec<String> {
    let name = |path: &TreePath| {
        let (folder, file) = path.split_last()?;
        let (place, name) = folder.split_last()?;
        let is_profile = file == FILE && (place == TreePath::root() || place.to_string() == ROOTED);
        is_profile.then(|| name.to_owned())
    };
    paths.iter().filter_map(name).collect()
}

/// Lays the profiles of `source` into the first of `folders`, the package's; one of the same name below goes. What else a tree that
/// begins at `/` has comes along, unless the layers below have something there: theirs was said for this image.
pub fn lay(source: &Tree, folders: &Folders, below: &Tree, produced: &mut Produced) -> Result<()> {
    let rooted = TreePath::parse(ROOTED)?;
    let profiles = source.directory(&rooted);
    let to = TreePath::parse(folders.0.first().map_or(ROOTED, String::as_str))?;
    for (name, node) in &profiles.unwrap_or(&source.root).children {
        if !matches!(node, Node::Directory(Directory { children, .. }) if children.contains_key(FILE)) {
            continue;
        }
        let path = to.join(name);
        if below.get(&path).is_some() {
            produced.removals.push(path.clone());
        }
        produced.tree.put(&path, node.clone())?;
    }
    if profiles.is_some() {
        for (path, node) in source.walk().filter(|(path, node)| matches!(node, Node::Leaf(_)) && !path.is_within(&rooted)) {
            if below.get(&path).is_none() {
                produced.tree.put(&path, node.clone())?;
            }
        }
    }
    Ok(())
}
