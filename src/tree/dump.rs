//! A tree as text, one line an entry, in the format of composefs-dump(5): for snapshots, digests and the store's index of a layer.
//!
//! `PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [XATTR=VALUE]...`, `-` for nothing, `\xHH` for bytes that would
//! break a field. The payload of a regular file names its content: its SHA-256, in an index followed by `@` and the offset in the
//! layer's pack. A hard link is a mode that begins with `@` and the path of the first name as payload.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use super::{Content, Directory, Leaf, LeafKind, Meta, Node, Pack, Tree, TreePath};
use crate::digest::{Digest, Hasher};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// A line of an index is not what [`write_index`] writes.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the tree's dump: {why}")]
pub struct BadDump {
    /// Counted from 1.
    pub line: usize,
    /// Needed and found.
    pub why: String,
}

/// Writes `tree`, contents by their digest.
pub fn write(tree: &Tree, out: impl Write) -> io::Result<()> {
    write_lines(tree, out, |content| content.digest().to_hex())
}

/// The digest of a tree: of its dump. Every byte, owner, mode, time, xattr and hard link counts.
pub fn digest(tree: &Tree) -> Digest {
    let mut hasher = Hasher::new();
    write(tree, &mut hasher).expect("a hasher takes everything");
    hasher.finish()
}

/// Writes `tree` with the places of its contents in the one pack that holds them all. Contents in memory cannot be written so.
pub fn write_index(tree: &Tree, out: impl Write) -> io::Result<()> {
    for (path, node) in tree.walk() {
        if let Node::Leaf(leaf) = node
            && let LeafKind::File(content) = &leaf.kind
            && content.packed_at().is_none()
        {
            return Err(io::Error::other(format!("{path}: its content is not in a pack")));
        }
    }
    write_lines(tree, out, |content| {
        let offset = content.packed_at().map_or(0, |(_, offset)| offset);
        format!("{}@{offset}", content.digest())
    })
}

fn write_lines(tree: &Tree, out: impl Write, payload: impl Fn(&Content) -> String) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    let mut links: HashMap<*const Leaf, u32> = HashMap::new();
    for (_, node) in tree.walk() {
        if let Node::Leaf(leaf) = node {
            *links.entry(Arc::as_ptr(leaf)).or_default() += 1;
        }
    }
    let mut first: HashMap<*const Leaf, TreePath> = HashMap::new();
    let mut line = String::new();
    directory_line(&mut line, &TreePath::root(), &tree.root);
    out.write_all(line.as_bytes())?;
    for (path, node) in tree.walk() {
        line.clear();
        match node {
            Node::Directory(directory) => directory_line(&mut line, &path, directory),
            Node::Leaf(leaf) => {
                let count = links[&Arc::as_ptr(leaf)];
                if count > 1
                    && let Some(other) = first.get(&Arc::as_ptr(leaf))
                {
                    push(&mut line, path.to_string().as_bytes(), false);
                    line.push_str(" 0 @120777 - - - - 0.0 ");
                    push(&mut line, other.to_string().as_bytes(), false);
                    line.push_str(" - -\n");
                } else {
                    leaf_line(&mut line, &path, leaf, count, &payload);
                    first.insert(Arc::as_ptr(leaf), path);
                }
            }
        }
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn directory_line(line: &mut String, path: &TreePath, directory: &Directory) {
    push(line, path.to_string().as_bytes(), false);
    let meta = &directory.meta;
    let _ = write!(line, " 0 {:o} 1 {} {} 0 {}.0 - - -", DIRECTORY | u32::from(meta.mode), meta.uid, meta.gid, meta.mtime);
    push_xattrs(line, meta);
}

fn leaf_line(line: &mut String, path: &TreePath, leaf: &Leaf, links: u32, payload: &impl Fn(&Content) -> String) {
    let (size, kind, payload) = match &leaf.kind {
        LeafKind::File(content) => (content.len(), FILE, payload(content)),
        LeafKind::Symlink(target) => {
            let mut text = String::new();
            push(&mut text, target.as_bytes(), false);
            (target.len() as u64, SYMLINK, text)
        }
    };
    push(line, path.to_string().as_bytes(), false);
    let meta = &leaf.meta;
    let mode = kind | u32::from(meta.mode);
    let _ = write!(line, " {size} {mode:o} {links} {} {} 0 {}.0 {payload} - -", meta.uid, meta.gid, meta.mtime);
    push_xattrs(line, meta);
}

fn push_xattrs(line: &mut String, meta: &Meta) {
    for (name, value) in &meta.xattrs {
        line.push(' ');
        push(line, name.as_bytes(), true);
        line.push('=');
        push(line, value, true);
    }
    line.push('\n');
}

/// Adds `bytes` with everything escaped that is not printable ASCII, a space, a backslash, or (within xattrs) `=`; nothing is `-`.
fn push(line: &mut String, bytes: &[u8], in_xattr: bool) {
    if bytes.is_empty() || bytes == b"-" {
        line.push_str(if bytes.is_empty() { if in_xattr { "" } else { "-" } } else { "\\x2d" });
        return;
    }
    for &byte in bytes {
        match byte {
            b'\\' => line.push_str("\\\\"),
            b'=' if in_xattr => line.push_str("\\x3d"),
            0x21..=0x7e => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// Reads what [`write_index`] wrote; the contents lie in `pack`.
pub fn read_index(text: &str, pack: &Arc<Pack>) -> Result<Tree, BadDump> {
    // A thread reads the lines, this one puts together what stands in them: each takes about as long.
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::sync_channel(AHEAD);
        scope.spawn(move || {
            let lines: Vec<_> = text.lines().collect();
            // Nobody listens after the first bad line.
            let _ = lines.chunks(BATCH).try_for_each(|lines| tell.send(lines.iter().map(|line| read_line(line, pack)).collect()));
        });
        let mut tree = Tree::new();
        let mut leaves = HashMap::new();
        let entries = told.into_iter().flat_map(|batch: Vec<_>| batch);
        for (index, entry) in entries.enumerate() {
            let put = entry.and_then(|entry| put_entry(&mut tree, &mut leaves, entry));
            put.map_err(|why| BadDump { line: index + 1, why })?;
        }
        Ok(tree)
    })
}

/// How many lines are handed over at once, and how many such batches may wait.
const BATCH: usize = 512;
const AHEAD: usize = 16;

/// What a line says.
enum Entry {
    Root(Meta),
    Node(TreePath, Node),
    /// A file with further names.
    Linked(TreePath, Arc<Leaf>),
    /// A further name, and the first one.
    Link(TreePath, String),
}

fn put_entry(tree: &mut Tree, leaves: &mut HashMap<TreePath, Arc<Leaf>>, entry: Entry) -> Result<(), String> {
    match entry {
        Entry::Root(meta) => tree.root.meta = meta,
        Entry::Node(path, node) => put(tree, &path, node)?,
        Entry::Linked(path, leaf) => {
            put(tree, &path, Node::Leaf(Arc::clone(&leaf)))?;
            leaves.insert(path, leaf);
        }
        Entry::Link(path, target) => {
            let first = TreePath::parse(&target).ok().and_then(|first| leaves.get(&first));
            let leaf = first.ok_or_else(|| format!("a hard link to {target}, which is not before it"))?;
            put(tree, &path, Node::Leaf(Arc::clone(leaf)))?;
        }
    }
    Ok(())
}

fn read_line(line: &str, pack: &Arc<Pack>) -> Result<Entry, String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [path, size, mode, links, uid, gid, _, mtime, payload, _, _, xattrs @ ..] = fields.as_slice() else {
        return Err(format!("needed 11 fields, found {}", fields.len()));
    };
    let path = TreePath::parse(&unescape_text(path)?).map_err(|error| error.to_string())?;
    if mode.starts_with('@') {
        return Ok(Entry::Link(path, unescape_text(payload)?));
    }
    let number = |text: &str, radix| u64::from_str_radix(text, radix).map_err(|_| format!("needed a number, found {text:?}"));
    let narrow = |text: &str| number(text, 10).and_then(|n| u32::try_from(n).map_err(|error| error.to_string()));
    let mode = u32::try_from(number(mode, 8)?).map_err(|error| error.to_string())?;
    let seconds = mtime.split('.').next().unwrap_or_default();
    let meta = Meta {
        uid: narrow(uid)?,
        gid: narrow(gid)?,
        mode: (mode & 0o7777) as u16,
        mtime: seconds.parse().map_err(|_| format!("needed a time, found {mtime:?}"))?,
        xattrs: xattrs.iter().map(|field| read_xattr(field)).collect::<Result<_, _>>()?,
    };
    let kind = match mode & 0o170_000 {
        DIRECTORY if path == TreePath::root() => return Ok(Entry::Root(meta)),
        DIRECTORY => return Ok(Entry::Node(path, Node::Directory(Directory::new(meta)))),
        SYMLINK => LeafKind::Symlink(unescape_text(payload)?),
        FILE => {
            let (digest, offset) = payload.split_once('@').ok_or_else(|| format!("needed digest@offset, found {payload:?}"))?;
            let digest = digest.parse().map_err(|error: crate::digest::NotADigest| error.to_string())?;
            let (offset, size) = (number(offset, 10)?, number(size, 10)?);
            offset.checked_add(size).ok_or_else(|| format!("{size} bytes from {offset} on, where no file can have any"))?;
            LeafKind::File(Content::packed(Arc::clone(pack), offset, size, digest))
        }
        other => return Err(format!("a file type {other:o} that no tree has")),
    };
    let leaf = Arc::new(Leaf { meta, kind });
    Ok(if *links == "1" { Entry::Node(path, Node::Leaf(leaf)) } else { Entry::Linked(path, leaf) })
}

fn put(tree: &mut Tree, path: &TreePath, node: Node) -> Result<(), String> {
    match tree.insert(path, node) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(format!("{path} a second time")),
        Err(error) => Err(error.to_string()),
    }
}

fn read_xattr(field: &str) -> Result<(String, Vec<u8>), String> {
    let (name, value) = field.split_once('=').ok_or_else(|| format!("needed name=value, found {field:?}"))?;
    Ok((unescape_text(name)?, unescape(value)?))
}

fn unescape_text(field: &str) -> Result<String, String> {
    if field == "-" {
        return Ok(String::new());
    }
    String::from_utf8(unescape(field)?).map_err(|_| format!("{field:?} is not UTF-8"))
}

fn unescape(field: &str) -> Result<Vec<u8>, String> {
    if !field.contains('\\') {
        return Ok(field.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digit = |d: &u8| char::from(*d).to_digit(16).ok_or_else(|| format!("a bad escape in {field:?}"));
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                tail
            }
            (b'\\', _) => return Err(format!("a bad escape in {field:?}")),
            _ => {
                bytes.push(byte);
                tail
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    fn sample() -> Tree {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"..hello").unwrap();
        let pack = Pack::open(file.path()).unwrap();
        let mut tree = Tree::new();
        let mut meta = Meta { uid: 7, gid: 8, mode: 0o4755, mtime: -1, ..Meta::default() };
        meta.xattrs.insert("security.capability".into(), vec![1, 0, b'=', b' ', b'-']);
        meta.xattrs.insert("user.empty".into(), vec![]);
        let content = Content::packed(pack, 2, 5, Digest::of(b"hello"));
        let node = Node::file(meta, content);
        tree.put(&path("/usr/bin/a b\\é"), node.clone()).unwrap();
        tree.put(&path("/usr/bin/link"), node).unwrap();
        tree.put(&path("/usr/-"), Node::symlink("-")).unwrap();
        tree
    }

    #[test]
    fn the_lines_are_those_of_composefs() {
        let mut out = Vec::new();
        write(&sample(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "/ 0 40755 1 0 0 0 0.0 - - -");
        assert_eq!(lines[2], "/usr/- 1 120777 1 0 0 0 0.0 \\x2d - -");
        let hello = Digest::of(b"hello");
        assert_eq!(
            lines[4],
            format!(
                "/usr/bin/a\\x20b\\\\\\xc3\\xa9 5 104755 2 7 8 0 -1.0 {hello} - - \
                 security.capability=\\x01\\x00\\x3d\\x20- user.empty="
            )
        );
        assert_eq!(lines[5], "/usr/bin/link 0 @120777 - - - - 0.0 /usr/bin/a\\x20b\\\\\\xc3\\xa9 - -");
    }

    #[test]
    fn an_index_is_read_back_whole() {
        let tree = sample();
        let mut out = Vec::new();
        write_index(&tree, &mut out).unwrap();
        let Some(Node::Leaf(leaf)) = tree.get(&path("/usr/bin/link")) else { panic!("a leaf") };
        let LeafKind::File(content) = &leaf.kind else { panic!("a file") };
        let (pack, _) = content.packed_at().unwrap();
        let back = read_index(std::str::from_utf8(&out).unwrap(), pack).unwrap();
        assert_eq!(back, tree);
        assert_eq!(digest(&back), digest(&tree), "hard links are kept");
    }

    #[test]
    fn damage_is_named_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pack = Pack::open(file.path()).unwrap();
        for (text, why) in [
            ("/ 0 40755", "line 1 of the tree's dump: needed 11 fields, found 3"),
            ("/a/b 0 40755 1 0 0 0 0.0 - - -", "line 1 of the tree's dump: /a/b: its directory does not exist"),
            ("/a 0 20755 1 0 0 0 0.0 - - -", "line 1 of the tree's dump: a file type 20000 that no tree has"),
            ("/a 0 @100755 - - - - 0.0 /b - -", "line 1 of the tree's dump: a hard link to /b, which is not before it"),
            (
                "/a 2 100644 1 0 0 0 0.0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855@18446744073709551615 - -",
                "line 1 of the tree's dump: 2 bytes from 18446744073709551615 on, where no file can have any",
            ),
            (
                "/../a 0 40755 1 0 0 0 0.0 - - -",
                "line 1 of the tree's dump: path \"/../a\" has a part \"..\": a path must not leave the tree",
            ),
        ] {
            assert_eq!(read_index(text, &pack).unwrap_err().to_string(), why);
        }
    }
}
