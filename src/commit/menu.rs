//! The boot menu's makers. On the node libostree runs grub-mkconfig with each deployment, and that runs every executable file of
//! `/etc/grub.d`: what makes other entries than those of deployments, or asks for what the signed GRUB does not have, stays out.

use anyhow::Result;

use crate::tree::{Leaf, LeafKind, Meta, Node, Tree, TreePath};

const FOLDER: &str = "/usr/etc/grub.d";
/// Of GRUB's own package, and of tuned's. Each with the reason.
const OTHERS: [&str; 6] = [
    "00_tuned",         // kernel arguments beside those of boot entries; tuned only asks whether the file is there
    "10_linux",         // kernels in /boot that no deployment has
    "20_linux_xen",     // the same, below Xen
    "25_bli",           // loads a module that the signed GRUB lacks: an error at each boot
    "30_os-prober",     // systems on other disks
    "30_uefi-firmware", // `systemctl reboot --firmware-setup` leads there
];

/// Leaves one entry per deployment: the others' makers are not executable.
pub fn settle(tree: &mut Tree) -> Result<()> {
    for name in OTHERS {
        let path = TreePath::parse(FOLDER)?.join(name);
        let Some(Node::Leaf(leaf)) = tree.get(&path) else { continue };
        if matches!(leaf.kind, LeafKind::Symlink(_)) {
            continue; // somebody's own way to take it out or to put another in its place
        }
        let meta = Meta { mode: leaf.meta.mode & !0o111, ..leaf.meta.clone() };
        let leaf = Leaf { meta, kind: leaf.kind.clone() };
        tree.put(&path, Node::Leaf(leaf.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    #[test]
    fn only_what_makes_other_entries_is_not_run() {
        let mut tree = Tree::new();
        let at = |name: &str| TreePath::parse(FOLDER).unwrap().join(name);
        let script = || Node::file(Meta::root(0o755), Content::from_bytes(*b"#!/bin/sh\n"));
        for name in ["00_header", "10_linux", "30_uefi-firmware", "40_custom"] {
            tree.make_directory(&TreePath::parse(FOLDER).unwrap()).unwrap();
            tree.put(&at(name), script()).unwrap();
        }
        tree.put(&at("15_ostree"), Node::symlink("/usr/libexec/libostree/grub2-15_ostree")).unwrap();
        tree.put(&at("30_os-prober"), Node::symlink("/dev/null")).unwrap();
        let before = tree.clone();
        settle(&mut tree).unwrap();
        for (name, mode) in [("00_header", 0o755), ("10_linux", 0o644), ("30_uefi-firmware", 0o644), ("40_custom", 0o755)] {
            assert_eq!(tree.get(&at(name)).unwrap().meta().mode, mode, "{name}");
            assert_eq!(tree.file(&at(name)), before.file(&at(name)), "{name}");
        }
        for name in ["15_ostree", "30_os-prober"] {
            assert_eq!(tree.get(&at(name)), before.get(&at(name)), "{name}");
        }
    }
}
