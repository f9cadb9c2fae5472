//! A tar archive as an overlay. What a folder does not keep for sure is taken over as the archive has it: owners, modes, extended
//! attributes, hard links. Times are not, so that the same things packed on another day are the same layer.
//!
//! Refused are, beside what [`crate::tree::tar`] refuses (names and hard links that lead out, ways through links, devices), relative
//! links that climb above the root, private keys, and owners with the numbers of people: who packed the archive owns nothing on a node.

use std::io::{self, Read};
use std::path::Path;

use super::{Unfit, climbs_out};
use crate::recipe::{names, secrets};
use crate::tree::tar::{Devices, read_packed};
use crate::tree::{Content, LeafKind, Meta, Node, Pack, Tree, TreePath};

/// Numbers that Debian gives to people.
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59999;

/// How compressed archives begin, and what to do with them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
];

/// The tree of the archive at `path`. Its contents are read from that file.
pub(super) fn read(path: &Path) -> Result<Tree, Unfit> {
    let one = |why: String| Unfit { list: vec![why] };
    let pack = Pack::open(path).map_err(|error| one(format!("cannot be read: {error}")))?;
    let mut beginning = Vec::new();
    pack.file().take(512).read_to_end(&mut beginning).map_err(|error| one(format!("cannot be read: {error}")))?;
    if let Some((_, name, tool)) = COMPRESSED.iter().find(|(magic, ..)| beginning.starts_with(magic)) {
        return Err(one(format!("needed a folder or a plain tar archive, found one that {name} compressed; unpack it: {tool}")));
    }
    if beginning.get(257..262) != Some(b"ustar".as_slice()) {
        return Err(one("needed a folder or a tar archive, found another file".to_owned()));
    }
    let mut tree = read_packed(&pack, Devices::Refuse).map_err(|error| one(error.to_string()))?;
    let list = unfit(&tree);
    if !list.is_empty() {
        return Err(Unfit { list });
    }
    tree.change_meta(|meta| meta.mtime = 0);
    // Whoever packed `.` did not mean to say who owns the image's root.
    tree.root.meta = Meta::root(0o755);
    Ok(tree)
}

/// What an image cannot have although a tree can. Each kind is told once for its first path, with how many there are.
fn unfit(tree: &Tree) -> Vec<String> {
    let mut list = Vec::new();
    let mut of_people: Option<(TreePath, u32, usize)> = None;
    for (path, node) in tree.walk() {
        let meta = node.meta();
        if let Some(number) = [meta.uid, meta.gid].into_iter().find(|number| PEOPLE.contains(number)) {
            of_people.get_or_insert((path.clone(), number, 0)).2 += 1;
        }
        list.extend(meta.xattrs.keys().filter_map(|name| names::xattr(name).err()).map(|why| format!("{path}: {why}")));
        let Node::Leaf(leaf) = node else { continue };
        match &leaf.kind {
            LeafKind::Symlink(target) if climbs_out(&path, target) => {
                list.push(format!("{path} is a link to {target:?}, which climbs above the image's root"));
            }
            LeafKind::File(content) => match is_private_key(content) {
                Ok(false) => {}
                Ok(true) => list.push(format!("{path} is a private key; needed no secret; {}", secrets::HINT)),
                Err(error) => list.push(format!("{path}: cannot be read: {error}")),
            },
            LeafKind::Symlink(_) => {}
        }
    }
    if let Some((path, number, count)) = of_people {
        let others = match count - 1 {
            0 => " belongs".to_owned(),
            1 => " and 1 more belong".to_owned(),
            more => format!(" and {more} more belong"),
        };
        list.push(format!("{path}{others} to number {number}, a person's; pack it with: tar --owner=0 --group=0"));
    }
    list
}

fn is_private_key(content: &Content) -> io::Result<bool> {
    let mut beginning = vec![0; content.len().min(128) as usize];
    content.read_exact_at(&mut beginning, 0)?;
    Ok(secrets::begins_with_private_key(&beginning))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::host::cmd::Cmd;
    use crate::tree::dump;

    /// What GNU tar makes of a folder with `make`.
    fn packed(make: &str, options: &[&str]) -> Result<Tree, Unfit> {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("in");
        fs::create_dir(&inside).unwrap();
        Cmd::new("sh").args(["-ec", make]).folder(&inside).run().unwrap();
        let tar = folder.path().join("x.tar");
        Cmd::new("tar").arg("-cf").arg(&tar).args(options).arg(".").folder(&inside).run().unwrap();
        read(&tar)
    }

    const ROOTS: &[&str] = &["--owner=0", "--group=0"];

    #[test]
    fn what_git_would_lose_is_kept_and_times_are_not() {
        let make = "mkdir -p usr/bin; echo x >usr/bin/a; ln usr/bin/a usr/bin/b; chmod 4750 usr/bin/a; ln -s ../bin usr/bin/c";
        let tree = packed(make, &[ROOTS, &["--mtime=@1"]].concat()).unwrap();
        let path = |text| TreePath::parse(text).unwrap();
        let (Some(Node::Leaf(a)), Some(Node::Leaf(b))) = (tree.get(&path("/usr/bin/a")), tree.get(&path("/usr/bin/b"))) else {
            panic!("two leaves")
        };
        assert!(Arc::ptr_eq(a, b));
        assert_eq!((a.meta.mode, a.meta.uid, a.meta.mtime), (0o4750, 0, 0));
        let later = packed(make, &[ROOTS, &["--mtime=@2000000000"]].concat()).unwrap();
        assert_eq!(dump::digest(&tree), dump::digest(&later));
        let group = packed("mkdir etc; echo x >etc/x", &["--owner=0", "--group=42"]).unwrap();
        assert_eq!(group.get(&path("/etc/x")).unwrap().meta().gid, 42);
        assert_eq!(group.root.meta, Meta::root(0o755));
    }

    #[test]
    fn what_is_unfit_is_named() {
        let key = format!("mkdir etc; echo '-----BEGIN {} KEY-----' >etc/id", "PRIVATE");
        let table = [
            ("mkdir etc; ln -s ../../x etc/l", ROOTS, "/etc/l is a link to \"../../x\", which climbs above the image's root"),
            (&key, ROOTS, "/etc/id is a private key; needed no secret; "),
            ("mkfifo p", ROOTS, "member \"./p\": a named pipe, which has no place in an image"),
            (
                "mkdir etc; echo x >etc/a",
                &["--owner=1000", "--group=1000"],
                "/etc and 1 more belong to number 1000, a person's; pack it with: tar --owner=0 --group=0",
            ),
            (
                "echo x >a",
                &["--format=pax", "--pax-option=SCHILY.acl.access:=user::rw-"],
                "member \"./\": it has an access control list, which an image does not keep; pack it without --acls",
            ),
            (
                "echo x >a",
                &["--gzip"],
                "needed a folder or a plain tar archive, found one that gzip compressed; unpack it: gunzip",
            ),
        ];
        for (make, options, expected) in table {
            let unfit = packed(make, options).unwrap_err();
            assert_eq!(unfit.list.len(), 1, "{make}");
            assert!(unfit.list[0].starts_with(expected), "{make}: {unfit}");
        }
        let other = tempfile::NamedTempFile::new().unwrap();
        fs::write(other.path(), "hello").unwrap();
        assert_eq!(read(other.path()).unwrap_err().to_string(), "needed a folder or a tar archive, found another file");
    }
}
