//! The overlays that come with Basalt: the folders of `overlays/`, embedded by `overlays/embed.rs` when Basalt is compiled.
//!
//! So a recipe needs no path to them, and an installed Basalt no folder. To add one: a folder there.

use crate::tree::{Content, Meta, Node, Tree, TreeError, TreePath};

/// One path of an embedded overlay.
#[allow(dead_code, reason = "which kinds there are depends on the folders")]
enum Entry {
    Folder,
    Link(&'static str),
    File { executable: bool, bytes: &'static [u8] },
}

type Overlay = (&'static str, &'static [(&'static str, Entry)]);

static OVERLAYS: &[Overlay] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The names of all of them, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|(name, _)| *name)
}

/// The overlay `name`, by the rules of [`super::overlay::read`].
///
/// # Errors
/// Never for the folders that git keeps: a path that is a file and a folder at once cannot come from one.
pub fn tree(name: &str) -> Option<Result<Tree, TreeError>> {
    OVERLAYS.iter().find(|(known, _)| *known == name).map(|(_, entries)| build(entries))
}

fn build(entries: &[(&str, Entry)]) -> Result<Tree, TreeError> {
    let mut tree = Tree::new();
    for (path, entry) in entries {
        // The paths were joined from names of one folder level each: they are canonical.
        let path = TreePath::parse(path).map_err(|_| TreeError::Root)?;
        match entry {
            Entry::Folder => drop(tree.make_directory(&path)?),
            Entry::Link(target) => drop(tree.put(&path, Node::symlink(*target))?),
            Entry::File { executable, bytes } => {
                let meta = Meta::root(super::overlay::mode(*executable));
                tree.put_file(&path, meta, Content::from_bytes(*bytes))?;
            }
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlays_that_recipes_get_by_themselves_are_here() {
        for name in [crate::recipe::defaults::NODE_OVERLAY, crate::recipe::defaults::AGENT_OVERLAY] {
            assert!(names().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn entries_become_a_tree() {
        let entries =
            [("/usr", Entry::Folder), ("/usr/a", Entry::File { executable: true, bytes: b"x" }), ("/usr/b", Entry::Link("a"))];
        let tree = build(&entries).unwrap();
        let path = |text| TreePath::parse(text).unwrap();
        assert_eq!(tree.get(&path("/usr/a")).unwrap().meta().mode, 0o755);
        assert_eq!(tree.walk().count(), 3);
        assert!(super::tree("no-such-overlay").is_none());
    }

    #[test]
    fn what_is_embedded_is_what_lies_in_the_folder() {
        for name in names() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays").join(name);
            let spool = tempfile::tempdir().unwrap();
            let read = super::super::overlay::read(&folder, &Default::default(), spool.path()).unwrap();
            assert_eq!(tree(name).unwrap().unwrap(), read, "{name}");
        }
    }
}
