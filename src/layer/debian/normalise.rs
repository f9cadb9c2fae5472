//! From what mmdebstrap made to a base: nothing of the host or of chance stays, kernel and package database lie where OSTree can
//! keep them. Pure but for reading files of the tree.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::accounts;
use crate::failure::{Failure, Kind};
use crate::layer::residue;
use crate::tree::{Meta, Node, Tree, TreePath};

/// What of Debian's is taken out beside what no base keeps, and why: see [`residue::remove`].
const REMOVED: &[(&str, &str)] = &[
    ("etc/resolv.conf", "the building machine's"),
    ("etc/fstab", "mmdebstrap's: a comment"),
    ("etc/apt/sources.list", "mmdebstrap's: names a folder of the building machine"),
    ("etc/apt/apt.conf.d/99mmdebstrap", "mmdebstrap's, as its version has it"),
    ("etc/dpkg/dpkg.cfg.d/99mmdebstrap", "mmdebstrap's, as its version has it"),
    ("etc/xml/*.old", "a backup: depends on the order of configuration"),
    ("etc/sgml/catalog", "a link to a catalogue below /var"),
    ("var/lib/pam", "only of use to configure packages, which an image never does"),
    ("var/lib/ucf", "the same"),
    ("var/lib/sgml-base", "the same"),
    ("var/lib/xml-core", "the same"),
    ("var/lib/python", "the same"),
    ("var/lib/shells.state", "the same"),
    ("var/lib/systemd/deb-systemd-helper-enabled", "the same"),
    ("var/lib/systemd/deb-systemd-helper-masked", "the same"),
    ("var/lib/systemd/deb-systemd-user-helper-enabled", "the same"),
    ("var/lib/systemd/deb-systemd-user-helper-masked", "the same"),
];

/// The only extended attributes that packages set; any other (SELinux, ACLs) is the building machine's filesystem's.
const XATTRS: [&str; 1] = ["security.capability"];

/// Puts `tree` in order; no file is newer than `time` then. Answers users and groups that have no fixed number.
///
/// # Errors
/// [`Kind::Invalid`] when there is not exactly one kernel, or no initramfs that knows OSTree.
pub fn normalise(
    tree: &mut Tree,
    users: &BTreeMap<String, u32>,
    groups: &BTreeMap<String, u32>,
    time: i64,
) -> Result<Vec<String>> {
    let strangers = accounts::settle(tree, users, groups, time)?;
    move_kernel(tree)?;
    remove_apt_folders(tree)?;
    for (pattern, _) in REMOVED {
        residue::remove(tree, pattern)?;
    }
    residue::settle(tree, time)?;
    anyhow::ensure!(residue::move_database(tree)?, "the base has no package database: /var/lib/dpkg is missing");
    tree.change_meta(|meta| clean(meta, time));
    Ok(strangers)
}

/// Takes out the folders that mmdebstrap makes for apt, which differ between its versions, unless apt itself is installed.
fn remove_apt_folders(tree: &mut Tree) -> Result<()> {
    if tree.file(&TreePath::parse("var/lib/dpkg/info/apt.list")?).is_some() {
        return Ok(());
    }
    if let Some(folder) = tree.directory_mut(&TreePath::parse("etc/apt")?) {
        folder.children.retain(|_, node| !matches!(node, Node::Directory(directory) if directory.children.is_empty()));
    }
    Ok(())
}

/// Moves the kernel and what belongs to it from `/boot` to its modules, where OSTree looks for it.
fn move_kernel(tree: &mut Tree) -> Result<()> {
    let boot = tree.directory(&TreePath::parse("boot")?).context("the base has no /boot")?;
    let kernels: Vec<String> = boot.children.keys().filter_map(|name| name.strip_prefix("vmlinuz-")).map(str::to_owned).collect();
    let modules = TreePath::parse("usr/lib/modules")?;
    let with_modules: Vec<&str> =
        tree.directory(&modules).into_iter().flat_map(|folder| folder.children.keys()).map(String::as_str).collect();
    let invalid = |what: String, next: &str| Err(Failure::new(Kind::Invalid, what).hint(next).into());
    let release = match (&kernels[..], &with_modules[..]) {
        ([release], [modules]) if release == modules => release.clone(),
        ([], _) => {
            return invalid(
                "the base has no kernel: there is no /boot/vmlinuz-*".into(),
                "add linux-image-amd64 to its packages",
            );
        }
        (found, _) if found.len() > 1 => {
            return invalid(
                format!("the base has {} kernels: {}; needed exactly one", found.len(), found.join(", ")),
                "leave all but one linux-image package out of the recipe",
            );
        }
        (found, modules) => {
            return invalid(
                format!("the kernel is {}, but the modules are for {}", found.join(", "), modules.join(", ")),
                "leave packages with modules for other kernels out of the recipe",
            );
        }
    };
    let folder = modules.join(&release);
    if tree.file(&folder.join("initramfs.img")).is_none() {
        return invalid(
            "the base has no initramfs: there is no dracut in it".into(),
            "add dracut, ostree and ostree-boot to its packages",
        );
    }
    let dracut = tree.directory(&TreePath::parse("usr/lib/dracut/modules.d")?);
    if !dracut.is_some_and(|folder| folder.children.keys().any(|name| name.ends_with("ostree"))) {
        return invalid(
            "the base's initramfs does not know OSTree: dracut has no module for it".into(),
            "add ostree-boot to its packages",
        );
    }
    for name in ["vmlinuz", "config", "System.map"] {
        if let Some(node) = tree.remove(&TreePath::parse(&format!("boot/{name}-{release}"))?) {
            tree.insert(&folder.join(name), node)?;
        }
    }
    for name in ["vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"] {
        // Links that Debian's kernel packages make.
        tree.remove(&TreePath::parse(name)?);
        tree.remove(&TreePath::parse("boot")?.join(name));
    }
    Ok(())
}

fn clean(meta: &mut Meta, time: i64) {
    meta.mtime = meta.mtime.min(time);
    meta.xattrs.retain(|name, _| XATTRS.contains(&name.as_str()));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tree::Content;

    const TIME: i64 = 1000;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    fn file(tree: &mut Tree, at: &str, text: &str) {
        let meta = Meta { mtime: 2 * TIME, ..Meta::root(0o644) };
        tree.put_file(&path(at), meta, Content::from_bytes(text.as_bytes())).unwrap();
    }

    /// As small as a root can be that is a base.
    fn sample() -> Tree {
        let mut tree = Tree::new();
        for name in ["passwd", "group"] {
            file(&mut tree, &format!("etc/{name}"), "root:x:0:\n");
            file(&mut tree, &format!("usr/share/base-passwd/{name}.master"), "root:*:0:\n");
        }
        file(&mut tree, "boot/vmlinuz-6.1", "kernel");
        file(&mut tree, "boot/config-6.1", "config");
        file(&mut tree, "usr/lib/modules/6.1/initramfs.img", "initramfs");
        file(&mut tree, "usr/lib/dracut/modules.d/50ostree/module-setup.sh", "");
        file(&mut tree, "var/lib/dpkg/status", "Package: a\n");
        file(&mut tree, "var/lib/dpkg/status-old", "");
        file(&mut tree, "var/lib/dpkg/info/a.list", "/.\n");
        tree
    }

    fn normalised(tree: &mut Tree) -> Result<Vec<String>> {
        normalise(tree, &BTreeMap::new(), &BTreeMap::new(), TIME)
    }

    #[test]
    fn what_the_host_and_chance_left_goes() {
        let mut tree = sample();
        tree.make_directory(&path("etc/apt/preferences.d")).unwrap();
        let gone = [
            "etc/apt/preferences.d",
            "etc/hostname",
            "etc/ssh/ssh_host_rsa_key",
            "var/log/apt/term.log",
            "var/cache/ldconfig/aux-cache",
            "dev/fd",
        ];
        for at in gone.into_iter().skip(1).chain(["etc/ssh/sshd_config", "etc/machine-id"]) {
            file(&mut tree, at, "x");
        }
        normalised(&mut tree).unwrap();
        for at in gone {
            assert!(tree.get(&path(at)).is_none(), "{at}");
        }
        assert!(tree.directory(&path("dev")).unwrap().children.is_empty());
        assert!(tree.file(&path("etc/ssh/sshd_config")).is_some());
        assert_eq!(tree.file(&path("etc/machine-id")).unwrap().bytes().unwrap(), b"uninitialized\n");
        assert!(tree.walk().all(|(_, node)| node.meta().mtime <= TIME));
    }

    #[test]
    fn kernel_and_database_move() {
        let mut tree = sample();
        normalised(&mut tree).unwrap();
        assert_eq!(tree.file(&path("usr/lib/modules/6.1/vmlinuz")).unwrap().bytes().unwrap(), b"kernel");
        assert!(tree.directory(&path("boot")).unwrap().children.is_empty());
        let database = tree.directory(&path("usr/lib/sysimage/dpkg")).unwrap();
        assert_eq!(database.children.keys().collect::<Vec<_>>(), ["info", "status", "updates"]);
        assert!(tree.get(&path("var/lib/dpkg")).is_none());
        assert!(tree.file(&path("usr/lib/tmpfiles.d/basalt-dpkg.conf")).is_some());
    }

    #[test]
    fn what_makes_no_base_is_invalid() {
        type Change = fn(&mut Tree);
        let cases: [(Change, &str); 5] = [
            (|tree| drop(tree.remove(&path("boot/vmlinuz-6.1"))), "the base has no kernel: there is no /boot/vmlinuz-*"),
            (|tree| file(tree, "boot/vmlinuz-6.2", "k"), "the base has 2 kernels: 6.1, 6.2; needed exactly one"),
            (|tree| file(tree, "usr/lib/modules/6.2/a.ko", "m"), "the kernel is 6.1, but the modules are for 6.1, 6.2"),
            (
                |tree| drop(tree.remove(&path("usr/lib/modules/6.1/initramfs.img"))),
                "the base has no initramfs: there is no dracut in it",
            ),
            (
                |tree| drop(tree.remove(&path("usr/lib/dracut/modules.d/50ostree"))),
                "the base's initramfs does not know OSTree: dracut has no module for it",
            ),
        ];
        for (change, message) in cases {
            let mut tree = sample();
            file(&mut tree, "usr/lib/modules/6.1/a.ko", "m");
            change(&mut tree);
            let error = normalised(&mut tree).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(crate::failure::kind_of(&error), Kind::Invalid);
        }
    }

    #[test]
    fn hard_links_and_capabilities_stay_and_other_xattrs_go() {
        let mut tree = sample();
        let mut meta = Meta { mtime: 2 * TIME, ..Meta::root(0o755) };
        meta.xattrs.insert("security.capability".into(), vec![1]);
        meta.xattrs.insert("security.selinux".into(), vec![2]);
        let node = Node::file(meta, Content::from_bytes(*b"x"));
        tree.put(&path("usr/bin/a"), node.clone()).unwrap();
        tree.put(&path("usr/sbin/b"), node.clone()).unwrap();
        drop(node);
        normalised(&mut tree).unwrap();
        let (Some(Node::Leaf(a)), Some(Node::Leaf(b))) = (tree.get(&path("usr/bin/a")), tree.get(&path("usr/sbin/b"))) else {
            panic!("two leaves")
        };
        assert!(Arc::ptr_eq(a, b));
        assert_eq!(a.meta.xattrs.keys().collect::<Vec<_>>(), ["security.capability"]);
    }
}
