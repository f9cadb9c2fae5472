//! Everything that a tree says is read back with debugfs: owner, mode, time, links, attributes, targets, contents.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{GIB, MIB, checked, directory, options, path, text, tool};
use crate::tree::{Content, Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// Fails where the filesystem in `image` differs from `tree`.
pub(super) fn compare(tree: &Tree, image: &Path) {
    let out = tempfile::tempdir().unwrap();
    let mut script = String::new();
    let nodes: Vec<(TreePath, &Node)> = tree.walk().collect();
    for (index, (path, node)) in nodes.iter().enumerate() {
        writeln!(script, "stat \"{path}\"").unwrap();
        for (number, name) in node.meta().xattrs.keys().enumerate() {
            writeln!(script, "ea_get -f {}/{index}-{number} \"{path}\" {name}", out.path().display()).unwrap();
        }
        if matches!(node, Node::Leaf(_)) {
            writeln!(script, "dump \"{path}\" {}/{index}", out.path().display()).unwrap();
        }
        writeln!(script, "ea_list \"{path}\"").unwrap();
    }
    let commands = out.path().join("commands");
    fs::write(&commands, script).unwrap();
    let shown = tool("debugfs", &["-f", commands.to_str().unwrap()], image);
    let mut links: HashMap<*const Leaf, u32> = HashMap::new();
    for (_, node) in &nodes {
        if let Node::Leaf(leaf) = node {
            *links.entry(Arc::as_ptr(leaf)).or_default() += 1;
        }
    }
    let mut numbers: HashMap<*const Leaf, &str> = HashMap::new();
    let mut answers = shown.split("debugfs: stat ").skip(1);
    for (index, (path, node)) in nodes.iter().enumerate() {
        let answer = answers.next().unwrap_or_else(|| panic!("{path}: no answer in\n{shown}"));
        compare_meta(path, node.meta(), answer);
        let listed = answer.split("debugfs: ea_list").nth(1).unwrap().lines().skip(1);
        let listed = listed.filter(|line| line.contains(" = ") || line.contains(") =")).count();
        assert!(!node.meta().xattrs.is_empty() || listed == 0, "{path}: {answer}");
        for (number, (name, value)) in node.meta().xattrs.iter().enumerate() {
            let found =
                fs::read(out.path().join(format!("{index}-{number}"))).unwrap_or_else(|_| panic!("{path}: {name}: {answer}"));
            assert_eq!(&found, value, "{path}: {name}");
        }
        let links = match node {
            Node::Directory(inner) => {
                2 + inner.children.values().filter(|child| matches!(child, Node::Directory(_))).count() as u32
            }
            Node::Leaf(leaf) => {
                let number = field(answer, "Inode:");
                assert_eq!(*numbers.entry(Arc::as_ptr(leaf)).or_insert(number), number, "{path}: another inode than its link");
                compare_content(path, leaf, answer, &out.path().join(index.to_string()));
                links[&Arc::as_ptr(leaf)]
            }
        };
        assert_eq!(field(answer, "Links:"), links.to_string(), "{path}");
    }
    assert!(answers.next().is_none());
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    answer.split(name).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| panic!("no {name} in\n{answer}"))
}

fn compare_meta(path: &TreePath, meta: &Meta, answer: &str) {
    assert_eq!(field(answer, "Mode:"), format!("{:04o}", meta.mode), "{path}");
    assert_eq!(field(answer, "User:"), meta.uid.to_string(), "{path}");
    assert_eq!(field(answer, "Group:"), meta.gid.to_string(), "{path}");
    // `0x` low half `:` nanoseconds shifted by two, and the epoch.
    let (low, extra) = field(answer, "mtime:").trim_start_matches("0x").split_once(':').unwrap();
    let low = i64::from(u32::from_str_radix(low, 16).unwrap() as i32);
    let epoch = i64::from(u32::from_str_radix(extra, 16).unwrap() & 3);
    assert_eq!(low + (epoch << 32), meta.mtime, "{path}");
}

fn compare_content(path: &TreePath, leaf: &Leaf, answer: &str, dumped: &Path) {
    match &leaf.kind {
        LeafKind::File(content) => {
            assert!(answer.contains("Type: regular"), "{path}: {answer}");
            assert!(fs::read(dumped).unwrap() == content.bytes().unwrap(), "{path}: another content");
        }
        LeafKind::Symlink(target) if target.len() < 60 => {
            assert!(answer.contains(&format!("Fast link dest: \"{target}\"")), "{path}: {answer}");
        }
        LeafKind::Symlink(target) => {
            assert!(answer.contains("Type: symlink"), "{path}: {answer}");
            assert_eq!(fs::read_to_string(dumped).unwrap(), *target, "{path}");
        }
    }
}

fn with(xattrs: &[(&str, &[u8])]) -> Meta {
    let xattrs: BTreeMap<_, _> = xattrs.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    Meta { xattrs, ..Meta::root(0o755) }
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn every_kind_of_everything() {
    let list: Vec<u8> = [
        &[2, 0, 0, 0][..],
        &[1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255],
        &[8, 0, 5, 0, 0xe9, 3, 0, 0, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255],
    ]
    .concat();
    let large = vec![0xab; 3_000];
    let mut tree = Tree::new();
    for (name, meta, content) in [
        ("/usr/bin/ping", with(&[("security.capability", &CAPABILITY)]), text("ping")),
        ("/usr/bin/both", with(&[("security.capability", &CAPABILITY), ("user.large", &large)]), text("")),
        ("/usr/bin/same-block", with(&[("security.capability", &CAPABILITY), ("user.large", &large)]), text("")),
        ("/usr/bin/set-uid", Meta { mode: 0o4755, ..Meta::default() }, text("x")),
        (
            "/x/many",
            with(&[
                ("security.selinux", b"system_u:object_r:bin_t:s0\0"),
                ("trusted.overlay.opaque", b"y"),
                ("user.a", b"1"),
                ("user.bbbbbbbb", b"22"),
                ("user.empty", b""),
                ("security.ima", &[3; 70]),
            ]),
            text("many"),
        ),
        ("/x/acl", with(&[("system.posix_acl_access", &list)]), text("acl")),
        ("/x/owner", Meta { uid: 70_000, gid: 4_000_000_000, mtime: 5_000_000_000, ..Meta::root(0) }, text("high")),
        ("/x/before", Meta { mtime: -86_400, ..Meta::root(0o1777) }, text("1969")),
        ("/x/block", Meta::root(0o644), Content::from_bytes(vec![1; 4096])),
        ("/x/block-and-one", Meta::root(0o644), Content::from_bytes(vec![2; 4097])),
        ("/x/megabytes", Meta::root(0o644), Content::from_bytes((0..5_000_000u32).map(|n| (n / 7) as u8).collect::<Vec<_>>())),
        ("/x/with space and ü", Meta::root(0o644), text("name")),
    ] {
        tree.put_file(&path(name), meta, content).unwrap();
    }
    tree.directory_mut(&path("/x")).unwrap().meta = with(&[("system.posix_acl_default", &list), ("user.folder", b"yes")]);
    tree.root.meta = Meta { uid: 5, gid: 6, mode: 0o711, mtime: 7, ..with(&[("security.selinux", b"root_t\0")]) };
    for (name, length) in [("short", 1), ("fast", 59), ("slow", 60), ("longest", 4095)] {
        tree.put(&path(&format!("/links/{name}")), Node::symlink("t".repeat(length))).unwrap();
    }
    let link = Leaf { meta: with(&[("security.selinux", &[b'l'; 80])]), kind: LeafKind::Symlink("with-attribute".into()) };
    tree.put(&path("/links/attribute"), Node::Leaf(Arc::new(link))).unwrap();
    let leaf = Arc::new(Leaf { meta: Meta::root(0o600), kind: LeafKind::File(text("one file, many names")) });
    tree.put(&path("/hard"), directory((0..100).map(|n| (format!("link-{n}"), Node::Leaf(Arc::clone(&leaf)))))).unwrap();
    tree.put(&path("/other/place"), Node::Leaf(leaf)).unwrap();
    tree.put(&path("/lost+found"), directory([])).unwrap();
    for size in [64 * MIB, 3 * GIB] {
        let image = checked(&tree, &options(size));
        compare(&tree, image.path());
    }
}

#[test]
fn contents_that_run_over_many_groups_and_superblock_copies() {
    let mut tree = Tree::new();
    for n in 0..40u32 {
        let content: Vec<u8> = (0..4_300_000u32 + n).map(|byte| (byte ^ byte >> 9 ^ n) as u8).collect();
        tree.put_file(&path(&format!("/file-{n}")), Meta::root(0o644), Content::from_bytes(content)).unwrap();
    }
    let image = checked(&tree, &options(260 * MIB));
    compare(&tree, image.path());
}
