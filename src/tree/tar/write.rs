//! Writes a tree as a pax archive: folders before what they hold, names in byte order.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use tar::EntryType;

use super::member::{end, header, pad};
use crate::host::interrupt;
use crate::tree::{Leaf, LeafKind, Node, Tree, TreePath};

/// Writes `tree` to `out`. Equal trees give equal bytes; user and group names are left out, numbers count.
pub fn write(tree: &Tree, mut out: impl Write) -> io::Result<()> {
    let mut first: HashMap<*const Leaf, TreePath> = HashMap::new();
    header(&mut out, "./", EntryType::Directory, &tree.root.meta, "", 0)?;
    for (path, node) in tree.walk() {
        interrupt::check_io()?;
        let name = format!("./{}", path.relative());
        match node {
            Node::Directory(directory) => header(&mut out, &format!("{name}/"), EntryType::Directory, &directory.meta, "", 0)?,
            Node::Leaf(leaf) => {
                if let Some(other) = first.get(&Arc::as_ptr(leaf)) {
                    header(&mut out, &name, EntryType::Link, &leaf.meta, &format!("./{}", other.relative()), 0)?;
                    continue;
                }
                first.insert(Arc::as_ptr(leaf), path);
                match &leaf.kind {
                    LeafKind::Symlink(target) => header(&mut out, &name, EntryType::Symlink, &leaf.meta, target, 0)?,
                    LeafKind::File(content) => {
                        header(&mut out, &name, EntryType::Regular, &leaf.meta, "", content.len())?;
                        io::copy(&mut content.reader(), &mut out)?;
                        pad(&mut out, content.len())?;
                    }
                }
            }
        }
    }
    end(&mut out)
}
