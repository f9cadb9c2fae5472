//! Layers of container images: an archive that adds to what lies under it, replaces it, and takes it away by members named `.wh.NAME`
//! (one name) and `.wh..wh..opq` (all that lower layers have in a folder).
//!
//! Source: <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md>.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::sync::Arc;

use super::read::{End, Problem, TarError, read_upper};
use crate::tree::{Directory, Node, Pack, Tree, TreePath};

const PREFIX: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Other names that begin so are for the program that made the layer.
const RESERVED: &str = ".wh..wh.";

/// What a layer takes away from those under it, wherever in the archive it says so.
#[derive(Debug, Default)]
pub(super) struct Whiteouts {
    gone: BTreeSet<TreePath>,
    opaque: BTreeSet<TreePath>,
}

impl Whiteouts {
    /// Whether the member at `path` is one; it is noted then.
    pub(super) fn take(&mut self, path: &TreePath) -> Result<bool, Problem> {
        let Some((parent, name)) = path.split_last() else { return Ok(false) };
        if name == OPAQUE {
            self.opaque.insert(parent);
        } else if let Some(hidden) = name.strip_prefix(PREFIX).filter(|_| !name.starts_with(RESERVED)) {
            if ["", ".", ".."].contains(&hidden) {
                return Err(Problem::Whiteout);
            }
            self.gone.insert(parent.join(hidden));
        } else {
            return Ok(name.starts_with(RESERVED));
        }
        Ok(true)
    }

    fn apply(&self, tree: &mut Tree) -> Result<(), TarError> {
        for path in self.opaque.iter().chain(&self.gone) {
            // What is taken away may be a link itself; what a folder hides must be in a folder.
            let mut way = path.way().filter(|way| way != path || self.opaque.contains(path));
            if let Some(way) = way.find(|way| matches!(tree.get(way), Some(Node::Leaf(_)))) {
                return Err(TarError::Member { member: format!("whiteout of {path}"), problem: Problem::Through(way) });
            }
        }
        for path in &self.opaque {
            if let Some(directory) = tree.directory_mut(path) {
                directory.children.clear();
            }
        }
        for path in &self.gone {
            tree.remove(path);
        }
        Ok(())
    }
}

/// Lays the layer that `input` gives over `tree`; `input` gives the bytes of `pack` from `offset` on, and is read to its end. Devices and
/// pipes in folders that are made at boot are left out. After a failure `tree` is as it was.
///
/// # Errors
/// A member that no image can have, or that would go through a link or file of a lower layer.
pub fn read_layer(tree: &mut Tree, input: impl Read, pack: &Arc<Pack>, offset: u64, end: End) -> Result<(), TarError> {
    let upper = read_upper(input, pack, offset, end, tree)?;
    let mut below = tree.clone();
    upper.whiteouts.apply(&mut below)?;
    if upper.given.contains(&TreePath::root()) {
        below.root.meta = upper.tree.root.meta.clone();
    }
    lay(&mut below.root, upper.tree.root, &TreePath::root(), &upper.given)?;
    *tree = below;
    Ok(())
}

/// Lays the children of `over`, which stands at `at`, over those of `under`.
fn lay(under: &mut Directory, over: Directory, at: &TreePath, given: &HashSet<TreePath>) -> Result<(), TarError> {
    for (name, node) in over.children {
        let path = at.join(&name);
        let Node::Directory(over) = node else {
            under.children.insert(name, node);
            continue;
        };
        match under.children.get_mut(&name) {
            Some(Node::Directory(under)) => {
                if given.contains(&path) {
                    under.meta = over.meta.clone();
                }
                lay(under, over, &path, given)?;
            }
            Some(Node::Leaf(_)) if !given.contains(&path) => {
                let member = over.walk(path.clone()).next().map_or_else(|| path.to_string(), |(inner, _)| inner.to_string());
                return Err(TarError::Member { member, problem: Problem::Through(path) });
            }
            Some(Node::Leaf(_)) | None => {
                under.children.insert(name, Node::Directory(over));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{member, write};
    use super::*;
    use crate::tree::{Content, Meta};

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    /// A layer with these members: folders end with `/`, links are `NAME -> TARGET`, hard links `NAME = TARGET`.
    fn archive(members: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in members {
            let meta = Meta::root(0o644);
            if let Some((name, target)) = text.split_once(" -> ") {
                member::header(&mut out, name, tar::EntryType::Symlink, &meta, target, 0).unwrap();
            } else if let Some((name, target)) = text.split_once(" = ") {
                member::header(&mut out, name, tar::EntryType::Link, &meta, target, 0).unwrap();
            } else if let Some(name) = text.strip_prefix("device ") {
                member::header(&mut out, name, tar::EntryType::Char, &meta, "", 0).unwrap();
            } else if text.ends_with('/') {
                member::header(&mut out, text, tar::EntryType::Directory, &Meta::root(0o700), "", 0).unwrap();
            } else {
                member::header(&mut out, text, tar::EntryType::Regular, &meta, "", 0).unwrap();
            }
        }
        member::end(&mut out).unwrap();
        out
    }

    fn lay_all(layers: &[&[&str]]) -> Result<Tree, TarError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tree = Tree::new();
        for members in layers {
            let bytes = archive(members);
            fs::write(file.path(), &bytes).unwrap();
            let pack = Pack::open(file.path()).unwrap();
            read_layer(&mut tree, &bytes[..], &pack, 0, End::Marked)?;
        }
        Ok(tree)
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.walk().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn files_go_and_folders_are_hidden_whatever_the_order() {
        let lower: &[&str] = &["a/", "a/x", "a/y", "b/", "b/x", "c"];
        for upper in [
            &["a/.wh.x", "a/z", "b/.wh..wh..opq", "b/new", ".wh.c"] as &[&str],
            &["b/new", "b/.wh..wh..opq", "a/z", ".wh.c", "a/.wh.x", ".wh..wh.plnk"],
        ] {
            assert_eq!(paths(&lay_all(&[lower, upper]).unwrap()), ["/a", "/a/y", "/a/z", "/b", "/b/new"]);
        }
        // What a layer has itself is not taken away by its own whiteout.
        assert_eq!(paths(&lay_all(&[lower, &["a/x", "a/.wh.x", ".wh.b", ".wh.c"]]).unwrap()), ["/a", "/a/x", "/a/y"]);
        for nothing in ["a/.wh.", "a/.wh..", "a/.wh..."] {
            assert!(matches!(lay_all(&[&[nothing]]), Err(TarError::Member { problem: Problem::Whiteout, .. })), "{nothing}");
        }
        assert_eq!(paths(&lay_all(&[&["/", "a"]]).unwrap()), ["/a"], "some programs name the root so");
    }

    #[test]
    fn a_layer_replaces_and_keeps_what_it_does_not_name() {
        let tree = lay_all(&[&["a/", "a/x", "l -> a"], &["a/y", "l/", "l/z", "a/x"]]).unwrap();
        assert_eq!(paths(&tree), ["/a", "/a/x", "/a/y", "/l", "/l/z"]);
        assert_eq!(tree.directory(&path("/a")).unwrap().meta.mode, 0o700, "the way to a member says nothing of a folder");
        assert_eq!(paths(&lay_all(&[&["a/", "a/x"], &["a"]]).unwrap()), ["/a"]);
        assert_eq!(paths(&lay_all(&[&["a/", "a/x", "a/x"]]).unwrap()), ["/a", "/a/x"]);
    }

    #[test]
    fn links_may_lead_to_a_lower_layer_and_nothing_goes_through_a_link() {
        let tree = lay_all(&[&["a"], &["b = a", ".wh.a"]]).unwrap();
        assert_eq!(paths(&tree), ["/b"]);
        let through = lay_all(&[&["usr/", "lib -> usr"], &["lib/x"]]).unwrap_err();
        assert_eq!(through.to_string(), "member \"/lib/x\": the way to it leads through /lib, which is not a directory");
        assert!(lay_all(&[&["b = a"]]).is_err());
        for upper in ["lib/.wh.x", "lib/.wh..wh..opq"] {
            assert!(lay_all(&[&["usr/", "usr/x", "lib -> usr"], &[upper]]).is_err());
        }
    }

    #[test]
    fn devices_are_left_out_where_they_are_made_at_boot() {
        assert_eq!(paths(&lay_all(&[&["device dev/null", "device run/x", "device tmp/y"]]).unwrap()), [""; 0]);
        assert!(lay_all(&[&["device etc/null"]]).is_err());
    }

    #[test]
    fn contents_lie_where_the_layer_begins() {
        let mut tree = Tree::new();
        tree.put_file(&path("/a"), Meta::root(0o644), Content::from_bytes(*b"hello")).unwrap();
        let mut bytes = vec![7; 1000];
        write(&tree, &mut bytes).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let mut back = Tree::new();
        read_layer(&mut back, &bytes[1000..], &Pack::open(file.path()).unwrap(), 1000, End::Marked).unwrap();
        assert_eq!(back.file(&path("/a")).unwrap().bytes().unwrap(), b"hello");
    }

    #[test]
    fn a_missing_end_is_for_a_digest_to_judge() {
        let bytes = archive(&["a", "b"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let pack = Pack::open(file.path()).unwrap();
        let read = |bytes: &[u8], end| read_layer(&mut Tree::new(), bytes, &pack, 0, end);
        read(&bytes[..1024], End::MayBeBare).unwrap();
        assert!(matches!(read(&bytes[..1024], End::Marked), Err(TarError::Truncated { .. })));
        assert!(matches!(read(&bytes[..700], End::MayBeBare), Err(TarError::Truncated { .. })));
    }
}
