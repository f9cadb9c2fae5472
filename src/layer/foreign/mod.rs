//! Bases that others made: a container image ([`image`]), plain or with an OSTree commit in it ([`encapsulated`]), or the files of a
//! system ([`rootfs`]).
//!
//! What makes them an image's base is the same: what is the building machine's or the node's own goes ([`super::residue`]), times are
//! no part of them, and of extended attributes only those stay that mean the same on every machine. Users, units and packages stay as
//! they are; the kernel may lie in `/usr/lib/modules/<version>/vmlinuz` or in `/boot`: see `commit`.

mod encapsulated;
pub mod image;
pub mod rootfs;
pub(super) mod spool;

use anyhow::Result;

use super::residue;
use crate::tree::{Meta, Tree, TreePath};

/// Taken out beside what no base keeps: what programs that make or run containers leave, and partitions that
/// are another disk's. A resolver's link stays.
const REMOVED: [&str; 5] = [".dockerenv", "etc/fstab", "var/tmp/*", "sysroot/*", "boot/efi/*"];

/// Puts the tree of a system in order; `time` is the image's.
fn normalise(tree: &mut Tree, time: i64) -> Result<()> {
    for pattern in REMOVED {
        residue::remove(tree, pattern)?;
    }
    let resolver = TreePath::parse("etc/resolv.conf")?;
    if tree.file(&resolver).is_some() {
        tree.remove(&resolver);
    }
    move_etc_back(tree)?;
    residue::settle(tree, time)?;
    residue::move_database(tree)?;
    tree.change_meta(clean);
    Ok(())
}

/// A commit keeps `/etc` as `/usr/etc`; layers over it say `/etc`.
fn move_etc_back(tree: &mut Tree) -> Result<()> {
    let etc = TreePath::parse("etc")?;
    if tree.directory(&etc).is_some_and(|folder| !folder.children.is_empty()) {
        return Ok(());
    }
    if let Some(node) = tree.remove(&TreePath::parse("usr/etc")?) {
        tree.put(&etc, node)?;
    }
    Ok(())
}

fn clean(meta: &mut Meta) {
    meta.mtime = 0;
    meta.xattrs.retain(|name, _| stays(name));
}

/// Labels and access lists are the machine's that made the base; capabilities and what people attach belong to the file.
fn stays(xattr: &str) -> bool {
    xattr == "security.capability" || xattr.starts_with("user.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tree::{Content, Node};

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn what_is_the_machines_goes_and_the_rest_stays() {
        let mut tree = Tree::new();
        let mut meta = Meta { mtime: 9, ..Meta::root(0o755) };
        meta.xattrs.insert("security.selinux".into(), vec![1]);
        meta.xattrs.insert("security.capability".into(), vec![2]);
        let node = Node::file(meta, Content::from_bytes(*b"x"));
        tree.put(&path("/usr/bin/a"), node.clone()).unwrap();
        tree.put(&path("/usr/bin/b"), node).unwrap();
        for at in ["/run/x", "/.dockerenv", "/etc/resolv.conf", "/etc/ssh/ssh_host_rsa_key", "/var/lib/dpkg/status", "/usr/etc/x"]
        {
            tree.put_file(&path(at), Meta::root(0o644), Content::from_bytes(*b"")).unwrap();
        }
        normalise(&mut tree, 5).unwrap();
        for gone in ["/run/x", "/.dockerenv", "/etc/resolv.conf", "/etc/ssh/ssh_host_rsa_key", "/var/lib/dpkg"] {
            assert!(tree.get(&path(gone)).is_none(), "{gone}");
        }
        assert!(tree.file(&path("/usr/lib/sysimage/dpkg/status")).is_some());
        assert!(tree.get(&path("/usr/etc")).is_some(), "it is refused later: there is an /etc, too");
        let (Some(Node::Leaf(a)), Some(Node::Leaf(b))) = (tree.get(&path("/usr/bin/a")), tree.get(&path("/usr/bin/b"))) else {
            panic!("two leaves")
        };
        assert!(Arc::ptr_eq(a, b));
        assert!(a.meta.mtime == 0 && a.meta.xattrs.keys().eq(["security.capability"]), "{:?}", a.meta);
    }

    #[test]
    fn a_commits_etc_goes_where_layers_look() {
        let mut tree = Tree::new();
        tree.put_file(&path("/usr/etc/x"), Meta::root(0o644), Content::from_bytes(*b"")).unwrap();
        tree.make_directory(&path("/etc")).unwrap();
        normalise(&mut tree, 0).unwrap();
        assert!(tree.file(&path("/etc/x")).is_some() && tree.get(&path("/usr/etc")).is_none());
    }
}
