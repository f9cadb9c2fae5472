//! What no base keeps, whoever made it: what chance or the machine that made it left, and what is the node's own. Pure.

use anyhow::{Context, Result};

use crate::tree::{Content, Directory, Meta, Node, Tree, TreePath};

/// What is taken out, and why: see [`remove`].
const REMOVED: &[(&str, &str)] = &[
    ("dev/*", "made at boot"),
    ("proc/*", "made at boot"),
    ("sys/*", "made at boot"),
    ("run/*", "made at boot"),
    ("tmp/*", "left over from the build"),
    ("etc/hostname", "the building machine's"),
    ("var/lib/dbus/machine-id", "random; each node makes its own"),
    ("etc/ssh/ssh_host_*", "random and secret; each node makes its own at its first boot"),
    ("etc/.pwd.lock", "left over from a change of passwords"),
    ("etc/passwd-", "a backup: depends on which user was made last"),
    ("etc/group-", "a backup: depends on which group was made last"),
    ("etc/shadow-", "a backup: depends on which user was made last"),
    ("etc/gshadow-", "a backup: depends on which group was made last"),
    ("etc/subuid-", "a backup"),
    ("etc/subgid-", "a backup"),
    ("var/log/*", "has times; folders come from tmpfiles"),
    ("var/cache/*", "can be made again; ldconfig's and debconf's depend on the machine and the order"),
    ("var/backups/*", "backups of the package database"),
    ("var/lib/apt", "apt's lists and states, as its version on the building machine has them"),
    ("var/lib/selinux", "what SELinux's policy in /etc was built from: only of use to build another, which an image never does"),
    ("var/lib/systemd/catalog/database", "made again at boot"),
];

/// What of dpkg's database stays: all that `dpkg -l`, `-L`, `-S`, `-V` and an SBOM read.
const DATABASE: [&str; 5] = ["status", "info", "alternatives", "diversions", "statoverride"];

/// Takes out what no base keeps; `time` is the image's, in seconds since 1970.
pub fn settle(tree: &mut Tree, time: i64) -> Result<()> {
    for (pattern, _) in REMOVED {
        remove(tree, pattern)?;
    }
    // systemd fills it in at the first boot, which it recognises by this word: machine-id(5).
    let id = Content::from_bytes(*b"uninitialized\n");
    tree.put_file(&TreePath::parse("etc/machine-id")?, Meta { mtime: time, ..Meta::root(0o444) }, id)?;
    Ok(())
}

/// Takes out one path. A last part with `*` means all names in the folder that begin and end so.
pub fn remove(tree: &mut Tree, pattern: &str) -> Result<()> {
    let (folder, name) =
        TreePath::parse(pattern)?.split_last().map(|(folder, name)| (folder, name.to_owned())).context("a pattern")?;
    let Some(directory) = tree.directory_mut(&folder) else { return Ok(()) };
    match name.split_once('*') {
        Some((start, end)) => directory.children.retain(|child, _| !(child.starts_with(start) && child.ends_with(end))),
        None => drop(directory.children.remove(&name)),
    }
    Ok(())
}

/// Moves dpkg's database below `/usr`: an image's `/var` is the node's own. tmpfiles makes the link on the node. False when there is none.
pub fn move_database(tree: &mut Tree) -> Result<bool> {
    let Some(Node::Directory(mut database)) = tree.remove(&TreePath::parse("var/lib/dpkg")?) else { return Ok(false) };
    database.children.retain(|name, _| DATABASE.contains(&name.as_str()));
    // dpkg wants to find the folder, be it empty.
    database.children.insert("updates".into(), Node::Directory(Directory::new(Meta::root(0o755))));
    tree.make_directory(&TreePath::parse("usr/lib/sysimage")?)?.children.insert("dpkg".into(), Node::Directory(database));
    let line = "# The package database of this image.\nL /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\n";
    tree.put_file(
        &TreePath::parse("usr/lib/tmpfiles.d/basalt-dpkg.conf")?,
        Meta::root(0o644),
        Content::from_bytes(line.as_bytes()),
    )?;
    Ok(true)
}
