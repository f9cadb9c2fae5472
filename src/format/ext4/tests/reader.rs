//! The reader finds what a tree says in our filesystems, and what a folder says in those of mke2fs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::{MIB, checked, directory, options, text, tool};
use crate::format::bytes::{Bytes, Opened};
use crate::format::ext4::read::{BadExt4, Filesystem, Inode, InodeKind};
use crate::tree::{LeafKind, Meta, Node, Tree};

fn open(image: &Path) -> Filesystem {
    Filesystem::open(Arc::new(Opened::new(File::open(image).unwrap()).unwrap())).unwrap()
}

/// Fails where the reader finds something else in `image` than `tree`. Hard links are equal numbers.
pub(super) fn compare(tree: &Tree, image: &Path) {
    let filesystem = open(image);
    let mut numbers = BTreeMap::new();
    let root = filesystem.root().unwrap();
    folder(&filesystem, &root, &tree.root.children.iter().map(|(name, node)| (name.as_str(), node)).collect(), &mut numbers);
    assert_eq!(meta(&filesystem, &root), tree.root.meta);
}

fn meta(filesystem: &Filesystem, inode: &Inode) -> Meta {
    let xattrs = filesystem.xattrs(inode).unwrap();
    Meta { uid: inode.uid, gid: inode.gid, mode: inode.mode, mtime: inode.mtime, xattrs }
}

fn folder(filesystem: &Filesystem, inode: &Inode, children: &BTreeMap<&str, &Node>, numbers: &mut BTreeMap<usize, u32>) {
    let mut names: Vec<_> = filesystem.names(inode).unwrap().into_iter().filter(|name| name.name != b"lost+found").collect();
    names.sort_by(|one, other| one.name.cmp(&other.name));
    let expected: Vec<_> = children.keys().filter(|name| **name != "lost+found").map(|name| name.as_bytes()).collect();
    assert_eq!(names.iter().map(|name| name.name.as_slice()).collect::<Vec<_>>(), expected);
    for name in names {
        let (node, found) = (children[std::str::from_utf8(&name.name).unwrap()], filesystem.inode(name.inode).unwrap());
        assert_eq!(meta(filesystem, &found), *node.meta(), "{name:?}");
        match node {
            Node::Directory(inner) => {
                assert_eq!(found.kind, InodeKind::Directory);
                let inner = inner.children.iter().map(|(name, node)| (name.as_str(), node)).collect();
                folder(filesystem, &found, &inner, numbers);
            }
            Node::Leaf(leaf) => {
                let first = *numbers.entry(Arc::as_ptr(leaf) as usize).or_insert(name.inode);
                assert_eq!(first, name.inode, "{name:?}: another inode than its link");
                let (kind, bytes) = match &leaf.kind {
                    LeafKind::File(content) => (InodeKind::File, content.bytes().unwrap()),
                    LeafKind::Symlink(target) => (InodeKind::Symlink, target.clone().into_bytes()),
                };
                assert_eq!((found.kind, found.size), (kind, bytes.len() as u64), "{name:?}");
                assert!(filesystem.small(&found).unwrap() == bytes, "{name:?}");
            }
        }
    }
}

#[test]
fn label_and_identifier_of_ours() {
    let mut tree = Tree::new();
    let many = (0..3000).map(|number| (format!("a name that fills blocks {number}"), Node::file(Meta::root(0o644), text("x"))));
    tree.root.children.insert("many".into(), directory(many));
    let image = checked(&tree, &options(64 * MIB));
    compare(&tree, image.path());
    let filesystem = open(image.path());
    assert_eq!((filesystem.label(), filesystem.uuid(), filesystem.size()), ("basalt-test", [0x5a; 16], 64 * MIB));
    assert!(!filesystem.needs_recovery());
    let root = filesystem.root().unwrap();
    assert!(filesystem.find(&root, "nothing").unwrap().is_none());
    assert_eq!(filesystem.find(&root, "many").unwrap().unwrap().kind, InodeKind::Directory);
}

#[test]
fn what_mke2fs_makes_of_a_folder() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    for number in 0..500 {
        fs::write(at(&format!("folder/a rather long name to fill more than a block {number}")), number.to_string()).unwrap();
    }
    fs::write(at("empty"), "").unwrap();
    fs::write(at("large"), vec![7; 5 << 20]).unwrap();
    // Data, a hole, data.
    let holes = File::create(at("holes")).unwrap();
    for place in [0, 1 << 20, 9 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&holes, &[1; 5000], place).unwrap();
    }
    fs::set_permissions(at("large"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(at("large"), at("linked")).unwrap();
    symlink("folder", at("short")).unwrap();
    symlink("x/".repeat(100), at("long")).unwrap();
    for options in [
        &["-b", "4096"][..],
        &["-b", "1024"],
        &["-b", "2048", "-O", "^64bit,^metadata_csum"],
        &["-b", "1024", "-O", "^has_journal,^flex_bg", "-I", "128"],
        &["-b", "4096", "-O", "^dir_index", "-I", "512"],
    ] {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(40 * MIB).unwrap();
        let folder = source.path().to_str().unwrap();
        let arguments = [&["-t", "ext4", "-q", "-F", "-L", "made", "-d", folder][..], options].concat();
        tool("mke2fs", &arguments, image.path());
        let filesystem = open(image.path());
        assert_eq!(filesystem.label(), "made", "{options:?}");
        same_as_folder(&filesystem, &filesystem.root().unwrap(), source.path());
    }
}

fn same_as_folder(filesystem: &Filesystem, inode: &Inode, folder: &Path) {
    let mut found: Vec<_> = filesystem.names(inode).unwrap().into_iter().filter(|name| name.name != b"lost+found").collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let mut expected: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect();
    expected.sort();
    assert_eq!(found.iter().map(|name| &name.name).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    for name in found {
        let path = folder.join(String::from_utf8(name.name).unwrap());
        let (inode, meta) = (filesystem.inode(name.inode).unwrap(), fs::symlink_metadata(&path).unwrap());
        assert_eq!((u32::from(inode.mode), inode.uid, inode.mtime), (meta.mode() & 0o7777, meta.uid(), meta.mtime()), "{path:?}");
        match inode.kind {
            InodeKind::Directory => same_as_folder(filesystem, &inode, &path),
            InodeKind::Symlink => {
                assert_eq!(
                    filesystem.small(&inode).unwrap(),
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                );
            }
            InodeKind::File => {
                assert!(filesystem.small(&inode).unwrap() == fs::read(&path).unwrap(), "{path:?}");
                assert_eq!(u64::from(inode.links), meta.nlink(), "{path:?}");
            }
            InodeKind::Special => panic!("{path:?}"),
        }
    }
}

#[test]
fn what_is_no_filesystem_says_so() {
    let bytes = |bytes: Vec<u8>| Filesystem::open(Arc::new(bytes) as Arc<dyn Bytes>).err().unwrap();
    assert!(matches!(bytes(vec![0; 4096]), BadExt4::Magic(0)));
    assert!(matches!(bytes(vec![0; 100]), BadExt4::Io(_)));
    let image = checked(&Tree::new(), &options(8 * MIB));
    let whole = fs::read(image.path()).unwrap();
    let cut = bytes(whole[..4 << 20].to_vec());
    assert_eq!(cut.to_string(), "ext4: superblock: needed 2048 blocks of 4096 bytes, found 4194304 bytes");
    let mut unknown = whole;
    unknown[1024 + 0x60] |= 0x10;
    assert_eq!(bytes(unknown).to_string(), "ext4: incompatible features 0x10, which Basalt does not read");
}
