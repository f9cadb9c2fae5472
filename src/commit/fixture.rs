//! A small base that has everything a bootable image needs, owned by whoever runs the tests, so that libostree can deploy it.

use std::collections::HashMap;
use std::sync::Arc;

use basalt_contract::KernelArgument;
use basalt_contract::kernel_arguments::Source;

use crate::architecture::Architecture;
use crate::commit::{Commit, CommitInfo, Image, write};
use crate::digest::Digest;
use crate::layer::Layer;
use crate::progress::Quiet;
use crate::store::Store;
use crate::tree::{Content, Directory, Leaf, Meta, Node, Tree, TreePath};

/// The fixture's kernel.
pub const KERNEL: &str = "6.12.1-test";

/// The commit of `tree`, when the store has it.
pub fn written(tree: &Tree, info: &CommitInfo, store: &Store) -> Commit {
    let mut named = None;
    write(tree, info, store, &Quiet, |commit| named = Some(commit)).unwrap();
    Arc::into_inner(named.unwrap()).unwrap()
}

pub fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// A tree whose owner is the one who runs the tests.
pub fn own_tree() -> Tree {
    Tree { root: Directory::new(own(0o755)) }
}

pub fn own(mode: u16) -> Meta {
    Meta { uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw(), mtime: 1_700_000_000, ..Meta::root(mode) }
}

/// Puts a file with its folders, all owned by who runs the tests.
pub fn put(tree: &mut Tree, at: &str, node: Node) {
    let at = path(at);
    let (mut folder, _) = at.split_last().unwrap();
    let mut folders = Vec::new();
    while let Some((parent, _)) = folder.split_last() {
        folders.push(folder);
        folder = parent;
    }
    for folder in folders.into_iter().rev() {
        if tree.get(&folder).is_none() {
            tree.put(&folder, Node::Directory(Directory::new(own(0o755)))).unwrap();
        }
    }
    tree.put(&at, node).unwrap();
}

pub fn file(bytes: impl AsRef<[u8]>) -> Node {
    Node::file(own(0o644), Content::from_bytes(bytes.as_ref()))
}

/// The start of an EFI program for `machine`.
pub fn efi(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes[64..68].copy_from_slice(b"PE\0\0");
    bytes[68..70].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// The start of an ELF program for `machine`.
pub fn elf(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// As Debian's packages leave it: the kernel in `/boot`, things in `/var`, `/opt` and `/root`.
pub fn base() -> Tree {
    let mut tree = own_tree();
    for (at, bytes) in [
        (format!("/boot/vmlinuz-{KERNEL}"), efi(0x8664)),
        (format!("/boot/initrd.img-{KERNEL}"), b"initramfs".to_vec()),
        (format!("/boot/System.map-{KERNEL}"), b"dropped".to_vec()),
        (format!("/usr/lib/modules/{KERNEL}/modules.dep"), b"".to_vec()),
        ("/usr/lib/systemd/systemd".into(), elf(62)),
        ("/usr/lib/os-release".into(), b"PRETTY_NAME=\"Test OS\"\nID=test\n".to_vec()),
        ("/usr/lib/shim/shimx64.efi.signed".into(), b"shim".to_vec()),
        ("/usr/lib/shim/mmx64.efi.signed".into(), b"mm".to_vec()),
        ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed".into(), b"grub".to_vec()),
        ("/usr/bin/bash".into(), b"#!".to_vec()),
        ("/etc/passwd".into(), b"root:x:0:0::/root:/bin/bash\nsshd:x:101:65534::/:/bin/false\n".to_vec()),
        ("/etc/group".into(), b"root:x:0:\nsudo:x:27:\n".to_vec()),
        ("/etc/ssh/sshd_config".into(), b"Include\n".to_vec()),
        ("/etc/empty".into(), b"".to_vec()),
        ("/root/.bashrc".into(), b"alias\n".to_vec()),
        ("/run/left".into(), b"".to_vec()),
    ] {
        put(&mut tree, &at, file(bytes));
    }
    for (at, target) in [
        ("/bin", "usr/bin"),
        ("/lib", "usr/lib"),
        ("/etc/os-release", "../usr/lib/os-release"),
        ("/usr/lib/link", "os-release"),
        ("/vmlinuz", "boot/vmlinuz"),
        ("/var/lib/dpkg", "../../usr/lib/sysimage/dpkg"),
    ] {
        put(&mut tree, at, Node::symlink(target));
    }
    for (at, mode) in [("/var/cache/private", 0o700), ("/home", 0o755), ("/opt/empty", 0o755), ("/dev/pts", 0o755)] {
        put(&mut tree, at, Node::Directory(Directory::new(own(mode))));
    }
    let xattrs = [("user.test".to_owned(), b"a\0b".to_vec())].into();
    let linked = Node::file(Meta { xattrs, ..own(0o4755) }, Content::from_bytes(*b"linked twice"));
    put(&mut tree, "/usr/bin/one", linked.clone());
    put(&mut tree, "/usr/bin/two", linked);
    tree
}

pub fn layer(name: &str, tree: Tree) -> Layer {
    Layer::new(name, vec![], tree)
}

/// A layer of text files.
pub fn overlay(name: &str, files: &[(&str, &str)]) -> Layer {
    let mut tree = own_tree();
    tree.root.meta = Meta::root(0o755);
    for (at, text) in files {
        tree.put_file(&path(at), own(0o644), Content::from_bytes(text.as_bytes())).unwrap();
    }
    layer(name, tree)
}

pub fn image() -> Image {
    Image {
        name: "node".into(),
        version: "1.2".into(),
        plan_id: Digest::of(b"plan"),
        architecture: Architecture::Amd64,
        time: 1_780_000_000,
    }
}

pub fn info() -> CommitInfo {
    let kernel_arguments = vec![KernelArgument { text: "quiet".into(), asked_by: vec![Source::new("recipe")] }];
    let layers = vec![("base".into(), Digest::of(b"base"))];
    CommitInfo { image: image(), branch: "basalt/node/amd64".into(), layers, kernel_arguments }
}

/// Makes every owner the one who runs the tests: the builder's own files belong to root, which libostree could not write here. Hard
/// links stay.
pub fn owned(tree: &Tree) -> Tree {
    Tree { root: owned_directory(&tree.root, &mut HashMap::new()) }
}

fn owned_directory(directory: &Directory, seen: &mut HashMap<*const Leaf, Arc<Leaf>>) -> Directory {
    let mine = |meta: &Meta| Meta { uid: own(0).uid, gid: own(0).gid, ..meta.clone() };
    let mut copy = Directory::new(mine(&directory.meta));
    for (name, node) in &directory.children {
        let node = match node {
            Node::Directory(inner) => Node::Directory(owned_directory(inner, seen)),
            Node::Leaf(leaf) => {
                let make = || Arc::new(Leaf { meta: mine(&leaf.meta), kind: leaf.kind.clone() });
                Node::Leaf(Arc::clone(seen.entry(Arc::as_ptr(leaf)).or_insert_with(make)))
            }
        };
        copy.children.insert(name.clone(), node);
    }
    copy
}
