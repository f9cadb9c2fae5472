//! Archives against GNU tar, both ways, and every kind of member that is refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tar::{EntryType, Header};

use super::*;
use crate::host::cmd::Cmd;
use crate::tree::{Content, Meta, Node, Pack, Tree, TreePath, dump};

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn pack(bytes: &[u8]) -> Arc<Pack> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    Pack::open(file.path()).unwrap()
}

fn bytes_of(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    write(tree, &mut out).unwrap();
    out
}

fn back(bytes: &[u8]) -> Result<Tree, TarError> {
    read_packed(&pack(bytes), Devices::Refuse)
}

/// A tree with everything that a tree can have.
fn sample(uid: u32, gid: u32) -> Tree {
    let mut tree = Tree::new();
    let meta = |mode, mtime| Meta { uid, gid, mode, mtime, ..Meta::default() };
    tree.root.meta = meta(0o755, 1);
    let mut rich = meta(0o750, 1_700_000_000);
    rich.xattrs.insert("user.lines".into(), b"a\nb=c\n".to_vec());
    rich.xattrs.insert("user.empty".into(), vec![]);
    let shared = Node::file(rich, Content::from_bytes(vec![7; 1300]));
    let long = "n".repeat(120);
    for text in ["usr", "usr/bin", "etc", &format!("etc/{long}"), &format!("etc/{long}/{long}")] {
        tree.make_directory(&path(text)).unwrap().meta = meta(0o755, 2);
    }
    tree.insert(&path("usr/bin/a"), shared.clone()).unwrap();
    tree.insert(&path("usr/bin/b"), shared).unwrap();
    tree.insert(&path(&format!("etc/{long}/{long}/{long}")), Node::file(meta(0o600, 3), Content::from_bytes(*b"deep"))).unwrap();
    tree.insert(&path("etc/grün"), Node::file(meta(0o644, 4), Content::from_bytes(*b""))).unwrap();
    let link = |target: String| {
        Node::Leaf(Arc::new(crate::tree::Leaf { meta: meta(0o777, 5), kind: crate::tree::LeafKind::Symlink(target) }))
    };
    tree.insert(&path("etc/short"), link("../usr".into())).unwrap();
    tree.insert(&path("etc/far"), link(format!("/{long}/{long}"))).unwrap();
    tree
}

#[test]
fn written_and_read_back() {
    let mut tree = sample(3_000_000, 70_000);
    tree.insert(&path("old"), Node::file(Meta { mtime: -5, ..Meta::root(0o4755) }, Content::from_bytes(*b"x"))).unwrap();
    let bytes = bytes_of(&tree);
    let again = back(&bytes).unwrap();
    assert_eq!(again, tree);
    assert_eq!(dump::digest(&again), dump::digest(&tree), "hard links are kept");
    assert_eq!(bytes_of(&again), bytes, "one tree, one archive");
    assert_eq!(again.file(&path("usr/bin/b")).unwrap().bytes().unwrap(), vec![7; 1300]);
}

fn tar_in(folder: &Path, args: &[&str]) -> String {
    String::from_utf8(Cmd::new("tar").folder(folder).args(args).run().unwrap().stdout).unwrap()
}

#[test]
fn gnu_tar_reads_what_we_write_and_we_read_what_it_writes() {
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let tree = sample(uid, gid);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = folder.path();
    fs::write(at.join("ours.tar"), bytes_of(&tree)).unwrap();
    let listing = tar_in(at, &["--xattrs", "--numeric-owner", "-tvvf", "ours.tar"]);
    assert!(listing.contains("./usr/bin/b link to ./usr/bin/a"), "{listing}");
    assert!(listing.lines().any(|line| line.starts_with("-rwxr-x---*") && line.contains("./usr/bin/a")), "{listing}");
    fs::create_dir(at.join("out")).unwrap();
    tar_in(at, &["--xattrs", "--xattrs-include=*", "-xpf", "ours.tar", "-C", "out"]);
    for (format, keeps_xattrs) in [("pax", true), ("gnu", false)] {
        let name = format!("{format}.tar");
        let format = format!("--format={format}");
        let mut args = vec!["-cf", &name, &format, "--sort=name", "-C", "out", "."];
        if keeps_xattrs {
            args.splice(0..0, ["--xattrs", "--xattrs-include=user.*"]);
        }
        tar_in(at, &args);
        let mut found = read_packed(&Pack::open(&at.join(&name)).unwrap(), Devices::Refuse).unwrap();
        // tar sets the time of a link where the system can; that of the root folder is when we made it.
        found.root.meta = tree.root.meta.clone();
        let mut needed = tree.clone();
        if !keeps_xattrs {
            needed = back(&bytes_without_xattrs(&tree)).unwrap();
        }
        assert_eq!(lines(&found), lines(&needed), "{format}");
    }
}

fn bytes_without_xattrs(tree: &Tree) -> Vec<u8> {
    let mut plain = tree.clone();
    let Some(Node::Leaf(leaf)) = tree.get(&path("usr/bin/a")) else { panic!("a file") };
    let mut leaf = crate::tree::Leaf::clone(leaf);
    leaf.meta.xattrs.clear();
    let node = Node::Leaf(Arc::new(leaf));
    plain.insert(&path("usr/bin/a"), node.clone()).unwrap();
    plain.insert(&path("usr/bin/b"), node).unwrap();
    bytes_of(&plain)
}

fn lines(tree: &Tree) -> String {
    let mut out = Vec::new();
    dump::write(tree, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// One member without a body.
fn member(name: &[u8], kind: u8, target: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let ustar = header.as_ustar_mut().unwrap();
    ustar.name[..name.len()].copy_from_slice(name);
    ustar.linkname[..target.len()].copy_from_slice(target);
    header.set_entry_type(EntryType::new(kind));
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn archive(members: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(|(name, kind, target)| member(name, *kind, target)).collect();
    bytes.extend([0; 1024]);
    bytes
}

/// Name, type and target of a member, and the message that refuses the archive.
type Refused<'a> = (&'a [(&'a [u8], u8, &'a [u8])], &'a str);

#[test]
fn what_is_refused_is_named() {
    let cases: [Refused; 13] = [
        (&[(b"a/../../x", b'0', b"")], r#"member "a/../../x": path "a/../../x" has a part "..": a path must not leave the tree"#),
        (&[(b"/etc/x", b'0', b"")], r#"member "/etc/x": the name is absolute; needed a path relative to the root of the tree"#),
        (
            &[(b"a", b'2', b"/etc"), (b"a/passwd", b'0', b"")],
            r#"member "a/passwd": the way to it leads through /a, which is not a directory"#,
        ),
        (
            &[(b"a", b'1', b"../../etc/passwd")],
            r#"member "a": a hard link to "../../etc/passwd", which is no file or link before it in the archive"#,
        ),
        (
            &[(b"a", b'1', b"/etc/passwd")],
            r#"member "a": a hard link to "/etc/passwd", which is no file or link before it in the archive"#,
        ),
        (&[(b"a", b'1', b"b")], r#"member "a": a hard link to "b", which is no file or link before it in the archive"#),
        (
            &[(b"sda", b'4', b"")],
            r#"member "sda": a block device, which has no place in an image: /dev and /run are made at boot"#,
        ),
        (
            &[(b"dev/null", b'3', b"")],
            r#"member "dev/null": a character device, which has no place in an image: /dev and /run are made at boot"#,
        ),
        (&[(b"p", b'6', b"")], r#"member "p": a named pipe, which has no place in an image: /dev and /run are made at boot"#),
        (&[(b"a\xff", b'0', b"")], "member \"a\u{fffd}\": the name is not UTF-8"),
        (&[(b"a", b'0', b""), (b"./a", b'0', b"")], r#"member "./a": a second member with this path"#),
        (&[(b"a/", b'5', b""), (b"a", b'2', b"x")], r#"member "a": a second member with this path"#),
        (
            &[(b"a", b'S', b"")],
            r#"member "a": a sparse file or other special form (type 'S'); needed a plain archive, without --sparse"#,
        ),
    ];
    for (members, message) in cases {
        assert_eq!(back(&archive(members)).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_base_may_have_devices_below_dev() {
    let read = |bytes: &[u8]| read_packed(&pack(bytes), Devices::SkipBelowDev);
    let tree = read(&archive(&[(b"./dev/null", b'3', b""), (b"./dev/fd", b'2', b"/proc/self/fd")])).unwrap();
    assert!(tree.get(&path("dev/null")).is_none() && tree.get(&path("dev/fd")).is_some());
    assert!(read(&archive(&[(b"./etc/null", b'3', b"")])).is_err());
}

#[test]
fn cut_off_and_damaged_archives() {
    let whole = bytes_of(&sample(0, 0));
    for length in (0..whole.len() - 1023).step_by(97).chain((0..whole.len() - 1023).step_by(512)) {
        let error = back(&whole[..length]).unwrap_err();
        assert!(matches!(error, TarError::Truncated { .. }), "{length} bytes: {error}");
    }
    let mut damaged = whole.clone();
    damaged[0] ^= 1;
    assert!(back(&damaged).unwrap_err().to_string().starts_with("the header at byte 0 is damaged: needed checksum"));
    let mut huge = Header::new_gnu();
    huge.set_entry_type(EntryType::XHeader);
    huge.set_size(u64::MAX);
    huge.set_cksum();
    let error = back(huge.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("needed 1048576 at most"), "{error}");
}
