//! What lies together in one layer of the image.
//!
//! A component that is large, or belongs to the recipe, has a layer of its own. The others share a fixed number of layers, which one by its name's digest: so
//! a component that grows, comes or goes changes no layer but its own, and nothing has to be remembered from build to build.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::Subject;
use super::component::Components;
use crate::digest::Digest;
use crate::tree::{Leaf, LeafKind, Node, TreePath};

/// From so many bytes on a component has a layer of its own ...
const LARGE: u64 = 4 << 20;
/// ... while there are not more than so many; else the limit is doubled.
const MOST: usize = 40;
/// A recipe with more layers of its own than this shares those, too.
const LIVELY: usize = 20;
/// How many layers the others share.
const SHARED: usize = 12;

/// What one layer of the image holds.
#[derive(Debug, Default)]
pub struct Chunk {
    /// For people.
    pub name: String,
    /// What is in it, sorted.
    pub components: Vec<String>,
    /// Objects by their checksum.
    pub objects: BTreeMap<Digest, Object>,
}

/// A file or link, and where it stands.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub leaf: Arc<Leaf>,
    /// In the commit, sorted.
    pub paths: Vec<TreePath>,
}

/// Every file of the commit, in exactly one chunk. Sorted by name; none is empty.
pub fn pack(subject: &Subject<'_>, components: &Components) -> Result<Vec<Chunk>> {
    let mut by_component: BTreeMap<&str, BTreeMap<Digest, Object>> = BTreeMap::new();
    let mut owners: BTreeMap<Digest, &str> = BTreeMap::new();
    for (path, node) in subject.tree.walk() {
        let Node::Leaf(leaf) = node else { continue };
        let object = subject.commit.files.get(&path).with_context(|| format!("{path}: has no object"))?;
        // The same file in two components is one object: that of the first path.
        let owner = *owners.entry(*object).or_insert_with(|| components.of_path(&path));
        let objects = by_component.entry(owner).or_default();
        objects.entry(*object).or_insert_with(|| Object { leaf: Arc::clone(leaf), paths: Vec::new() }).paths.push(path);
    }
    let sizes: Vec<_> = by_component.iter().map(|(name, objects)| (*name, size(objects))).collect();
    let limit = limit(&sizes);
    let few = by_component.keys().filter(|name| components.is_lively(name)).count() <= LIVELY;
    let mut chunks: BTreeMap<String, Chunk> = BTreeMap::new();
    for ((component, objects), (_, size)) in by_component.into_iter().zip(&sizes) {
        let own = *size >= limit || (few && components.is_lively(component));
        let name = if own { component.to_owned() } else { shared(component) };
        let chunk = chunks.entry(name.clone()).or_insert_with(|| Chunk { name, ..Chunk::default() });
        chunk.components.push(component.to_owned());
        chunk.objects.extend(objects);
    }
    Ok(chunks.into_values().collect())
}

fn size(objects: &BTreeMap<Digest, Object>) -> u64 {
    let length = |object: &Object| match &object.leaf.kind {
        LeafKind::File(content) => content.len(),
        LeafKind::Symlink(_) => 0,
    };
    objects.values().map(length).sum()
}

/// From so many bytes on a component has a layer of its own.
fn limit(sizes: &[(&str, u64)]) -> u64 {
    let mut limit = LARGE;
    while sizes.iter().filter(|(_, size)| *size >= limit).count() > MOST {
        limit *= 2;
    }
    limit
}

/// The layer that a small component is in.
fn shared(component: &str) -> String {
    let digest = Digest::of(component.as_bytes());
    format!("others {:02}", usize::from(digest.as_bytes()[0]) % SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_too_many_layers() {
        let sizes: Vec<_> = (0..100).map(|n| ("x", n << 20)).collect();
        let limit = limit(&sizes);
        assert!(limit > LARGE && sizes.iter().filter(|(_, size)| *size >= limit).count() <= MOST);
        assert_eq!(super::limit(&sizes[..20]), LARGE);
        let names: std::collections::BTreeSet<_> = (0..1000).map(|n| shared(&n.to_string())).collect();
        assert_eq!(names.len(), SHARED);
    }
}
