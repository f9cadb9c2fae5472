//! Reads an archive member by member. Contents are hashed in passing and stay where they are: a [`Content`] points into the pack.

use std::collections::HashSet;
use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::pax;
use super::whiteout::Whiteouts;
use crate::digest::{Digest, Hasher};
use crate::host::interrupt;
use crate::tree::{BadPath, Content, Directory, Leaf, LeafKind, Meta, Node, Pack, Tree, TreeError, TreePath};

const BLOCK: u64 = 512;
/// More than any name or set of xattrs that Linux allows on a file.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What to do with device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// An error, like every other thing that no image can have.
    Refuse,
    /// Left out below `/dev` (which is made at boot), an error elsewhere. For bases.
    SkipBelowDev,
    /// Left out, with pipes, below every folder that is made at boot, an error elsewhere. For bases that others made.
    SkipMadeAtBoot,
}

impl Devices {
    /// Whether such a thing below the folder `top` is left out.
    fn skips(self, kind: EntryType, top: Option<&str>) -> bool {
        match self {
            Self::Refuse => false,
            Self::SkipBelowDev => top == Some("dev") && kind != EntryType::Fifo,
            Self::SkipMadeAtBoot => top.is_some_and(|top| ["dev", "proc", "run", "sys", "tmp"].contains(&top)),
        }
    }
}

/// How an archive ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its end mark: else it is cut off.
    Marked,
    /// Also without, as some programs write layers: a digest says that they are whole.
    MayBeBare,
}

/// Why an archive is not a tree.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A member that no tree can have.
    #[error("member {member:?}: {problem}")]
    Member {
        /// Its name as written, what is not UTF-8 replaced.
        member: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A header cannot be read.
    #[error("the header at byte {at} is damaged: {why}")]
    Header {
        /// Where it begins.
        at: u64,
        /// Needed and found.
        why: String,
    },
    /// The archive ends before its end mark.
    #[error("the archive is cut off at byte {at}, after member {after:?}")]
    Truncated {
        /// How long it is.
        at: u64,
        /// The last member that was whole.
        after: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is wrong with a member.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name, link target or xattr name is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// The name begins with `/`.
    #[error("the name is absolute; needed a path relative to the root of the tree")]
    Absolute,
    /// The name has `..`, empty parts or is too long.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// The way to it leads through a file or symbolic link.
    #[error("the way to it leads through {0}, which is not a directory")]
    Through(TreePath),
    /// A hard link to something that is not an earlier file of this archive.
    #[error("a hard link to {0:?}, which is no file or link before it in the archive")]
    HardLink(String),
    /// A device, named pipe or socket.
    #[error("a {0}, which has no place in an image: /dev and /run are made at boot")]
    Special(&'static str),
    /// Only files whose bytes are written out can be read.
    #[error("a sparse file or other special form (type {0:?}); needed a plain archive, without --sparse")]
    Form(char),
    /// The same path a second time.
    #[error("a second member with this path")]
    Twice,
    /// The root is not a directory.
    #[error("the root of a tree must be a directory")]
    Root,
    /// A record of its pax header.
    #[error("its extended header has {0}")]
    Pax(String),
    /// A record that an image would lose without a word.
    #[error("{0}, which an image does not keep; pack it without {1}")]
    Unkept(&'static str, &'static str),
    /// `.wh.` and nothing, or `..`.
    #[error("a whiteout of nothing")]
    Whiteout,
    /// Owner or group does not fit.
    #[error("{0} is over 4294967295")]
    Number(&'static str),
}

/// Reads the archive that is `pack`.
pub fn read_packed(pack: &Arc<Pack>, devices: Devices) -> Result<Tree, TarError> {
    let mut file = pack.file();
    io::Seek::rewind(&mut file)?;
    read(file, pack, devices)
}

/// Reads an archive from `input`, which gives the bytes of `pack` from the first one on.
pub fn read(input: impl Read, pack: &Arc<Pack>, devices: Devices) -> Result<Tree, TarError> {
    let mut reader = Reader::new(input, pack, 0, devices, End::Marked, None);
    while reader.member()? {
        interrupt::check_io()?;
    }
    Ok(reader.tree)
}

/// One layer of an image, and what it takes away from those below.
#[derive(Debug)]
pub(super) struct Upper {
    /// Its own files.
    pub tree: Tree,
    /// Its folders that have a member of their own; others are only on the way to one.
    pub given: HashSet<TreePath>,
    /// What it takes away.
    pub whiteouts: Whiteouts,
}

/// Reads a layer over `below`. `input` gives the bytes of `pack` from `offset` on; it is read to its end.
pub(super) fn read_upper(input: impl Read, pack: &Arc<Pack>, offset: u64, end: End, below: &Tree) -> Result<Upper, TarError> {
    let mut reader = Reader::new(input, pack, offset, Devices::SkipMadeAtBoot, end, Some(below));
    while reader.member()? {
        interrupt::check_io()?;
    }
    io::copy(&mut reader.input, &mut io::sink())?;
    Ok(Upper { tree: reader.tree, given: reader.given, whiteouts: reader.whiteouts })
}

struct Reader<'a, R> {
    input: BufReader<R>,
    position: u64,
    /// The last member that was whole.
    last: String,
    pack: &'a Arc<Pack>,
    devices: Devices,
    tree: Tree,
    /// Folders that had a member of their own; others were only on the way to one.
    given: HashSet<TreePath>,
    /// Where the archive begins in the pack.
    offset: u64,
    end: End,
    /// What lies under it, when it is a layer of an image.
    below: Option<&'a Tree>,
    whiteouts: Whiteouts,
}

/// What the headers before a member's own say of it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: Vec<u8>,
}

impl<'a, R: Read> Reader<'a, R> {
    fn new(input: R, pack: &'a Arc<Pack>, offset: u64, devices: Devices, end: End, below: Option<&'a Tree>) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 18, input),
            position: 0,
            last: String::new(),
            pack,
            devices,
            tree: Tree::new(),
            given: HashSet::new(),
            offset,
            end,
            below,
            whiteouts: Whiteouts::default(),
        }
    }

    /// Reads one member with all its headers; whether there was one.
    fn member(&mut self) -> Result<bool, TarError> {
        let mut extension = Extension::default();
        loop {
            let at = self.position;
            let Some(header) = self.header()? else { return Ok(false) };
            let damaged = |why: io::Error| TarError::Header { at, why: why.to_string() };
            let size = header.entry_size().map_err(damaged)?;
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(without_nul(self.extension(at, size)?)),
                EntryType::GNULongLink => extension.target = Some(without_nul(self.extension(at, size)?)),
                EntryType::XHeader => extension.records = self.extension(at, size)?,
                EntryType::XGlobalHeader => drop(self.extension(at, size)?),
                _ => {
                    self.take(at, &header, &extension)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next header, checked. None at the end mark, a block of zeros.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let at = self.position;
        let mut header = Header::new_old();
        // Some programs end a layer without an end mark; that it is whole is for the layer's digest to say.
        if self.end == End::MayBeBare && self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.fill(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum: u32 = bytes.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) }).sum();
        let damaged = |why: String| TarError::Header { at, why };
        let written = header.cksum().map_err(|error| damaged(error.to_string()))?;
        if sum != written {
            return Err(damaged(format!("needed checksum {sum}, found {written}")));
        }
        Ok(Some(header))
    }

    /// Puts the member into the tree.
    fn take(&mut self, at: u64, header: &Header, extension: &Extension) -> Result<(), TarError> {
        let damaged = |why: io::Error| TarError::Header { at, why: why.to_string() };
        let records = pax::records(&extension.records);
        let path =
            extension.path.clone().or_else(|| record(&records, "path")).unwrap_or_else(|| header.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&path).into_owned();
        let wrong = |problem: Problem| TarError::Member { member: name.clone(), problem };
        let records = records.map_err(|why| wrong(Problem::Pax(why)))?;

        let mut meta = Meta { mode: (header.mode().map_err(damaged)? & 0o7777) as u16, ..Meta::default() };
        meta.mtime = header.mtime().map_err(damaged)?.cast_signed();
        let (mut uid, mut gid) = (header.uid().map_err(damaged)?, header.gid().map_err(damaged)?);
        let mut size = header.entry_size().map_err(damaged)?;
        let mut target = extension.target.clone();
        for (key, value) in records {
            let number = || {
                let text = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
                text.ok_or_else(|| wrong(Problem::Pax(format!("a {key} that is no number"))))
            };
            match key {
                "size" => size = number()?,
                "uid" => uid = number()?,
                "gid" => gid = number()?,
                "linkpath" => target = target.or_else(|| Some(value.to_vec())),
                "mtime" => {
                    let seconds = pax::seconds(value).ok_or_else(|| wrong(Problem::Pax("an mtime that is no time".into())));
                    meta.mtime = seconds?;
                }
                _ if key.starts_with("GNU.sparse.") => return Err(wrong(Problem::Form('S'))),
                _ if key.starts_with("SCHILY.acl.") => {
                    return Err(wrong(Problem::Unkept("it has an access control list", "--acls")));
                }
                _ => {
                    if let Some(xattr) = key.strip_prefix(pax::XATTR) {
                        meta.xattrs.insert(xattr.to_owned(), value.to_vec());
                    }
                }
            }
        }
        meta.uid = u32::try_from(uid).map_err(|_| wrong(Problem::Number("its owner")))?;
        meta.gid = u32::try_from(gid).map_err(|_| wrong(Problem::Number("its group")))?;
        let target = target.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned())).unwrap_or_default();
        let path = tree_path(path).map_err(wrong)?;
        if self.below.is_some() && self.whiteouts.take(&path).map_err(wrong)? {
            return self.skip_padding(size, &name);
        }
        let node = match self.node(&path, header.entry_type(), meta, target, size, &wrong)? {
            Some(node) => node,
            None => return self.skip_padding(size, &name),
        };
        self.put(&path, node).map_err(wrong)?;
        self.last = name;
        Ok(())
    }

    /// What the member is; its bytes are read. None when it is left out; its bytes are still to be skipped.
    fn node(
        &mut self,
        path: &TreePath,
        kind: EntryType,
        meta: Meta,
        target: Vec<u8>,
        size: u64,
        wrong: &impl Fn(Problem) -> TarError,
    ) -> Result<Option<Node>, TarError> {
        let special = match kind {
            EntryType::Char => Some("character device"),
            EntryType::Block => Some("block device"),
            EntryType::Fifo => Some("named pipe"),
            _ => None,
        };
        if let Some(word) = special {
            return if self.devices.skips(kind, path.parts().next()) { Ok(None) } else { Err(wrong(Problem::Special(word))) };
        }
        let target = String::from_utf8(target).map_err(|_| wrong(Problem::NotUtf8("the target")));
        let node = match kind {
            EntryType::Regular | EntryType::Continuous => {
                let offset = self.offset + self.position;
                let digest = self.body(size)?;
                self.pad(size)?;
                let content = Content::packed(Arc::clone(self.pack), offset, size, digest);
                return Ok(Some(Node::file(meta, content)));
            }
            EntryType::Directory => Node::Directory(Directory::new(meta)),
            EntryType::Symlink => Node::Leaf(Arc::new(Leaf { meta, kind: LeafKind::Symlink(target?) })),
            EntryType::Link => {
                let target = target?;
                // It may be a file of a lower layer.
                let found = |path| self.tree.get(&path).or_else(|| self.below?.get(&path));
                let leaf = tree_path(target.clone().into_bytes()).ok().and_then(|path| match found(path) {
                    Some(Node::Leaf(leaf)) => Some(Arc::clone(leaf)),
                    _ => None,
                });
                Node::Leaf(leaf.ok_or_else(|| wrong(Problem::HardLink(target)))?)
            }
            other => return Err(wrong(Problem::Form(char::from(other.as_byte())))),
        };
        self.skip(size)?;
        Ok(Some(node))
    }

    fn put(&mut self, path: &TreePath, node: Node) -> Result<(), Problem> {
        let Some((parent, name)) = path.split_last() else {
            let Node::Directory(directory) = node else { return Err(Problem::Root) };
            if !self.given.insert(path.clone()) && self.below.is_none() {
                return Err(Problem::Twice);
            }
            self.tree.root.meta = directory.meta;
            return Ok(());
        };
        let folder = self.tree.make_directory(&parent).map_err(|error| match error {
            TreeError::NotADirectory { at, .. } => Problem::Through(at),
            TreeError::NoParent(at) => Problem::Through(at),
            TreeError::Root => Problem::Root,
        })?;
        let is_directory = matches!(node, Node::Directory(_));
        match (folder.children.get_mut(name), node) {
            (None, node) => {
                folder.children.insert(name.to_owned(), node);
            }
            (Some(Node::Directory(there)), Node::Directory(new)) if self.below.is_some() || !self.given.contains(path) => {
                there.meta = new.meta;
            }
            // What builds images writes some members twice, and means the last.
            (Some(there @ Node::Leaf(_)), node @ Node::Leaf(_)) if self.below.is_some() => *there = node,
            _ => return Err(Problem::Twice),
        }
        if is_directory {
            self.given.insert(path.clone());
        }
        Ok(())
    }

    fn skip_padding(&mut self, size: u64, name: &str) -> Result<(), TarError> {
        self.skip(size)?;
        name.clone_into(&mut self.last);
        Ok(())
    }

    /// The bytes of an extension header.
    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_LIMIT {
            return Err(TarError::Header {
                at,
                why: format!("an extended header of {size} bytes; needed {EXTENSION_LIMIT} at most"),
            });
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.pad(size)?;
        Ok(bytes)
    }

    /// Reads `size` bytes and answers their digest.
    fn body(&mut self, size: u64) -> Result<Digest, TarError> {
        let mut hasher = Hasher::new();
        let copied = io::copy(&mut (&mut self.input).take(size), &mut hasher)?;
        self.position += copied;
        if copied < size { Err(self.truncated()) } else { Ok(hasher.finish()) }
    }

    /// Skips `size` bytes and the padding to the next block.
    fn skip(&mut self, size: u64) -> Result<(), TarError> {
        let copied = io::copy(&mut (&mut self.input).take(size), &mut io::sink())?;
        self.position += copied;
        if copied < size { Err(self.truncated()) } else { self.pad(size) }
    }

    fn pad(&mut self, size: u64) -> Result<(), TarError> {
        let mut padding = [0; BLOCK as usize];
        let length = (BLOCK - size % BLOCK) % BLOCK;
        if self.end == End::MayBeBare {
            // The last one may be missing, too.
            self.position += io::copy(&mut (&mut self.input).take(length), &mut io::sink())?;
            return Ok(());
        }
        self.fill(&mut padding[..length as usize])
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.position += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.truncated()),
            Err(error) => Err(error.into()),
        }
    }

    fn truncated(&self) -> TarError {
        TarError::Truncated { at: self.position, after: self.last.clone() }
    }
}

fn record(records: &Result<Vec<(&str, &[u8])>, String>, key: &str) -> Option<Vec<u8>> {
    let records = records.as_ref().ok()?;
    records.iter().rev().find(|(found, _)| *found == key).map(|(_, value)| value.to_vec())
}

/// GNU's long names end with a NUL.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn tree_path(bytes: Vec<u8>) -> Result<TreePath, Problem> {
    let text = String::from_utf8(bytes).map_err(|_| Problem::NotUtf8("the name"))?;
    // Some programs name the root so.
    if text == "/" {
        return Ok(TreePath::root());
    }
    if text.starts_with('/') {
        return Err(Problem::Absolute);
    }
    if text.is_empty() {
        return Err(Problem::Path(BadPath::NotCanonical(text)));
    }
    Ok(TreePath::parse(&text)?)
}
