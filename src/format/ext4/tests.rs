//! What the real tools say to our filesystems: e2fsck, resize2fs, tune2fs and dumpe2fs.

mod random;
mod readback;
mod reader;

use std::path::Path;
use std::sync::Arc;

use super::{Ext4Error, Journal, Options, XattrProblem, layout, size_for};
use crate::digest::Digest;
use crate::format::extents::{Data, Extents};
use crate::host::cmd::Cmd;
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Pack, Tree, TreePath};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn options(size: u64) -> Options {
    Options { label: "basalt-test".to_owned(), verity: true, ..Options::new(size, [0x5a; 16], [0xc3; 16], 1_700_000_000) }
}

fn text(text: &str) -> Content {
    Content::from_bytes(text.as_bytes())
}

fn directory(children: impl IntoIterator<Item = (String, Node)>) -> Node {
    Node::Directory(Directory { meta: Meta::root(0o755), children: children.into_iter().collect() })
}

/// What an image in a file has of the extents.
enum What {
    All,
    /// No file contents: for those that are too large to write in a test.
    Tables,
}

fn image(extents: &Extents, what: What) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(extents.len()).unwrap();
    match what {
        What::All => extents.write_to(image.as_file(), 0, |_| Ok(())).unwrap(),
        What::Tables => {
            let mut tables = Extents::new(extents.len());
            for piece in extents.pieces() {
                if let Data::Bytes(bytes) = &piece.data {
                    tables.put_bytes(piece.at, Arc::clone(bytes));
                }
            }
            tables.write_to(image.as_file(), 0, |_| Ok(())).unwrap();
        }
    }
    image
}

/// Runs a program of e2fsprogs; what it prints becomes part of the failure.
fn tool(program: &str, args: &[&str], image: &Path) -> String {
    let script = "output=$(\"$@\" 2>&1); code=$?; [ $code = 0 ] || exec >&2; printf '%s' \"$output\"; exit $code";
    let command = Cmd::new("sh").args(["-c", script, "sh", program]).args(args).arg(image);
    // Else debugfs starts a pager for each answer.
    match command.env("DEBUGFS_PAGER", "__none__").run() {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        Err(failure) => panic!("{program} {args:?}: {failure}"),
    }
}

fn fsck(image: &Path) {
    tool("e2fsck", &["-f", "-n"], image);
}

fn checked(tree: &Tree, options: &Options) -> tempfile::NamedTempFile {
    let image = image(&layout(tree, options).unwrap(), What::All);
    fsck(image.path());
    image
}

#[test]
fn an_empty_tree_in_many_sizes() {
    for size in [
        MIB,
        8 * MIB,
        64 * MIB,
        100 * MIB + 4096,
        128 * MIB,
        130 * MIB,
        136 * MIB,
        GIB,
        2 * GIB + 77 * 4096,
        20 * GIB,
        20 * GIB + 3 * 4096,
        400 * GIB,
    ] {
        let extents = layout(&Tree::new(), &options(size)).unwrap();
        assert_eq!(extents.len(), size);
        let image = image(&extents, What::All);
        fsck(image.path());
    }
}

#[test]
fn features_and_names_as_dumpe2fs_shows_them() {
    let image = checked(&Tree::new(), &options(GIB));
    let shown = tool("dumpe2fs", &["-h"], image.path());
    for expected in [
        "Filesystem volume name:   basalt-test",
        "Filesystem UUID:          5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a",
        "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg metadata_csum_seed sparse_super large_file \
         huge_file dir_nlink extra_isize metadata_csum verity",
        "unsigned_directory_hash",
        "Filesystem state:         clean",
        "Reserved GDT blocks:      127",
        "Reserved block count:     13107",
        "Total journal size:       32M",
        "Filesystem created:       Tue Nov 14 22:13:20 2023",
        "Inode count:              65536",
        "Checksum type:            crc32c",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in\n{shown}");
    }
}

#[test]
fn it_grows_and_its_uuid_can_be_changed() {
    let mut tree = Tree::new();
    let meta = Meta { xattrs: [("user.large".to_owned(), vec![1; 500])].into(), ..Meta::root(0o644) };
    tree.put_file(&path("/a/b/file"), meta, text("content")).unwrap();
    let image = checked(&tree, &options(300 * MIB));
    tool("tune2fs", &["-U", "random"], image.path());
    fsck(image.path());
    image.as_file().set_len(40 * GIB).unwrap();
    tool("resize2fs", &[], image.path());
    fsck(image.path());
    let shown = tool("dumpe2fs", &["-h"], image.path());
    assert!(shown.contains("Block count:              10485760"), "{shown}");
    assert!(shown.contains("resize_inode") && !shown.contains("meta_bg"), "{shown}");
}

#[test]
fn large_folders() {
    let mut tree = Tree::new();
    let entries = (0..5_000).map(|n| (format!("a-file-in-a-large-folder-{n}"), Node::file(Meta::root(0o644), text("x"))));
    tree.put(&path("/many"), directory(entries)).unwrap();
    let names = (0..1_000).map(|n| (format!("{n:03}{}", "n".repeat(252 - usize::from(n > 999))), Node::symlink("t")));
    tree.put(&path("/long"), directory(names)).unwrap();
    let mut deep = String::new();
    for level in 0..200 {
        deep.push_str(&format!("/level-{level}"));
    }
    tree.put_file(&path(&deep), Meta::root(0o600), text("deep")).unwrap();
    checked(&tree, &options(128 * MIB));
}

#[test]
fn more_folders_in_a_folder_than_it_can_count_links() {
    let mut tree = Tree::new();
    let inner = (0..65_010).map(|n| (format!("{n}"), directory([])));
    tree.put(&path("/many"), directory(inner)).unwrap();
    let options = options(GIB);
    let image = image(&layout(&tree, &options).unwrap(), What::All);
    fsck(image.path());
    let shown = tool("debugfs", &["-R", "stat /many"], image.path());
    assert!(shown.contains("Links: 1 "), "{shown}");
}

#[test]
fn a_file_beyond_four_gigabytes_needs_a_tree_of_extents() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("pack");
    std::fs::File::create(&place).unwrap().set_len(6 * GIB).unwrap();
    let pack = Pack::open(&place).unwrap();
    let mut tree = Tree::new();
    let digest = Digest::of(b"not compared");
    for (name, offset, len) in [("/huge", 0, 5 * GIB + 1), ("/after", 5 * GIB, 300 * MIB)] {
        tree.put_file(&path(name), Meta::root(0o644), Content::packed(Arc::clone(&pack), offset, len, digest)).unwrap();
    }
    let extents = layout(&tree, &options(8 * GIB)).unwrap();
    let written: u64 =
        extents.pieces().iter().filter(|piece| matches!(piece.data, Data::Content { .. })).map(|p| p.data.len()).sum();
    assert_eq!(written, 5 * GIB + 1 + 300 * MIB);
    let image = image(&extents, What::Tables);
    fsck(image.path());
    let shown = tool("debugfs", &["-R", "stat /huge"], image.path());
    assert!(shown.contains(&format!("Size: {}", 5 * GIB + 1)) && shown.contains("(ETB0)"), "{shown}");
}

#[test]
fn the_same_tree_gives_the_same_bytes_wherever_contents_lie() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("pack");
    std::fs::write(&place, "firstsecond").unwrap();
    let pack = Pack::open(&place).unwrap();
    let packed = |offset, len, text: &str| Content::packed(Arc::clone(&pack), offset, len, Digest::of(text.as_bytes()));
    let tree = |b: Content, a: Content| {
        let mut tree = Tree::new();
        tree.put_file(&path("/a"), Meta::root(0o644), a).unwrap();
        tree.put_file(&path("/b"), Meta::root(0o644), b).unwrap();
        layout(&tree, &options(16 * MIB)).unwrap().digest().unwrap()
    };
    assert_eq!(tree(text("first"), text("second")), tree(packed(0, 5, "first"), packed(5, 6, "second")));
}

#[test]
fn the_smallest_size_is_enough_and_a_block_less_is_not() {
    let mut tree = Tree::new();
    for n in 0..300 {
        tree.put_file(&path(&format!("/folder-{}/{n}", n % 7)), Meta::root(0o644), Content::from_bytes(vec![n as u8; n * 400]))
            .unwrap();
    }
    for free in [0, MIB, 300 * MIB] {
        let needed = size_for(&tree, &options(0), free).unwrap();
        let image = checked(&tree, &options(needed));
        let shown = tool("dumpe2fs", &["-h"], image.path());
        let blocks: u64 = shown.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap().trim().parse().unwrap();
        assert!((free..free + MIB).contains(&(blocks * 4096)), "{blocks} blocks free, wanted {free} bytes");
    }
    let needed = size_for(&tree, &options(0), 0).unwrap();
    let error = layout(&tree, &Options { size: needed - 4096, ..options(needed) }).unwrap_err();
    assert_eq!(error, Ext4Error::TooSmall { needed, found: needed - 4096 });
    assert!(matches!(layout(&tree, &options(4096)), Err(Ext4Error::TooSmall { found: 4096, .. })));
}

#[test]
fn journals_of_a_wanted_size() {
    for (bytes, shown) in [(0, "Filesystem features:      ext_attr"), (1 << 30, "Total journal size:       1024M")] {
        let options = Options { journal: Journal::Bytes(bytes), ..options(2 * GIB) };
        let image = image(&layout(&Tree::new(), &options).unwrap(), What::All);
        fsck(image.path());
        let found = tool("dumpe2fs", &["-h"], image.path());
        assert!(found.contains(shown), "{found}");
    }
}

#[test]
fn what_is_refused() {
    let one = |name: &str, node: Node| {
        let mut tree = Tree::new();
        tree.root.children.insert(name.to_owned(), node);
        tree
    };
    let file = |meta: Meta| Node::file(meta, text(""));
    let xattr = |name: &str, len| Meta { xattrs: [(name.to_owned(), vec![0; len])].into(), ..Meta::root(0o644) };
    let long = "x".repeat(256);
    let linked = {
        let leaf = Arc::new(Leaf { meta: Meta::root(0o644), kind: LeafKind::File(text("")) });
        directory((0..65_001).map(|n| (n.to_string(), Node::Leaf(Arc::clone(&leaf)))))
    };
    let size = 64 * MIB;
    for (tree, options, expected) in [
        (Tree::new(), options(4097), "must be a multiple of 4096 bytes, found 4097"),
        (Tree::new(), options(17 << 40), "has at most 17592186044416 bytes, needed 18691697672192"),
        (Tree::new(), Options { label: "seventeen-letters".into(), ..options(size) }, "at most 16 bytes"),
        (Tree::new(), Options { time: -1, ..options(size) }, "the filesystem: an ext4 time lies"),
        (Tree::new(), Options { journal: Journal::Bytes(4096), ..options(size) }, "from 4 MiB up to 4 GiB, found 4096"),
        (one(&long, file(Meta::root(0o644))), options(size), "the name is longer than 255 bytes"),
        (one("a/b", file(Meta::root(0o644))), options(size), "/a/b: the name has a '/' or NUL"),
        (one("..", file(Meta::root(0o644))), options(size), "the name is reserved"),
        (one("lost+found", file(Meta::root(0o644))), options(size), "/lost+found: the name must be a directory"),
        (one("l", Node::symlink("")), options(size), "/l: the target of a symbolic link needs 1 to 4095 bytes"),
        (one("l", Node::symlink("x".repeat(4096))), options(size), "found 4096 bytes"),
        (one("f", file(Meta { mtime: 1 << 40, ..Meta::root(0o644) })), options(size), "/f: an ext4 time lies"),
        (one("f", file(xattr("user.x", 5000))), options(size), "/f: extended attributes need 5024 bytes in one block"),
        (one("d", linked), options(size), "/d/0: a file can have 65000 hard links, found 65001"),
        (one("d", directory((0..33_000).map(|n| (n.to_string(), file(Meta::root(0o644)))))), options(size), "needs 33012 inodes"),
    ] {
        let error = layout(&tree, &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
    let error = layout(&one("f", file(xattr("system.data", 1))), &options(size)).unwrap_err();
    assert_eq!(error, Ext4Error::Xattr { path: path("/f"), problem: XattrProblem::Unknown("system.data".to_owned()) });
}
