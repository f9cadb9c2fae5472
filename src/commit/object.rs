//! OSTree's metadata objects as GVariants: folders, their owners and modes, commits; and the checksums of files and links. The format
//! is that of `ostree-core.h`; numbers are big-endian. libostree writes the objects, and its checksums are compared with these.

use std::io;

use ostree::glib::variant::{DictEntry, ToVariant};
use ostree::glib::{Variant, VariantTy};

use super::CommitInfo;
use crate::digest::{Digest, Hasher};
use crate::tree::{Content, Leaf, LeafKind, Meta};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// Fixed: what a commit is lies in its metadata.
const SUBJECT: &str = "Built by basalt";

/// The kinds of metadata objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// Owner, mode and extended attributes of folders.
    DirMeta,
    /// The names in a folder.
    DirTree,
}

impl ObjectKind {
    /// The end of its file's name in a repository.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::DirMeta => "dirmeta",
            Self::DirTree => "dirtree",
        }
    }

    /// libostree's word for it.
    pub(super) const fn libostree(self) -> ostree::ObjectType {
        match self {
            Self::Commit => ostree::ObjectType::Commit,
            Self::DirMeta => ostree::ObjectType::DirMeta,
            Self::DirTree => ostree::ObjectType::DirTree,
        }
    }
}

/// A metadata object. Its checksum is the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataObject {
    /// Which kind.
    pub kind: ObjectKind,
    /// The bytes, as they lie in a repository.
    pub content: Content,
}

impl MetadataObject {
    pub(super) fn new(kind: ObjectKind, variant: &Variant) -> Self {
        Self { kind, content: Content::from_bytes(variant.data()) }
    }

    /// Its name.
    pub fn checksum(&self) -> Digest {
        self.content.digest()
    }
}

/// Names in a folder: files with their checksum, folders with that of their names and that of their owner and mode.
#[derive(Debug, Default)]
pub struct Names {
    /// In byte order.
    pub files: Vec<(String, Digest)>,
    /// In byte order.
    pub folders: Vec<(String, Digest, Digest)>,
}

/// `(a(say)a(sayay))`.
pub fn dirtree(names: &Names) -> Variant {
    let files = names.files.iter().map(|(name, sum)| Variant::tuple_from_iter([name.to_variant(), bytes(sum.as_bytes())]));
    let folders = names
        .folders
        .iter()
        .map(|(name, tree, meta)| Variant::tuple_from_iter([name.to_variant(), bytes(tree.as_bytes()), bytes(meta.as_bytes())]));
    Variant::tuple_from_iter([array("(say)", files), array("(sayay)", folders)])
}

/// `(uuua(ayay))`.
pub fn dirmeta(meta: &Meta) -> Variant {
    let mode = S_IFDIR | u32::from(meta.mode);
    let numbers = [meta.uid, meta.gid, mode].map(|number| number.to_be().to_variant());
    Variant::tuple_from_iter(numbers.into_iter().chain([xattrs(meta)]))
}

/// The mode of the object of a file or link, its type included. A link has always the same.
pub fn mode(leaf: &Leaf) -> u32 {
    match &leaf.kind {
        LeafKind::File(_) => S_IFREG | u32::from(leaf.meta.mode),
        LeafKind::Symlink(_) => S_IFLNK | 0o777,
    }
}

/// The checksum of the object of a file or link: of a header `(uuuusa(ayay))` (owner, group, mode, device, a link's target, xattrs), with
/// its length and four zeros before it, then the file's bytes.
///
/// # Errors
/// The file cannot be read.
pub fn leaf_checksum(leaf: &Leaf) -> io::Result<Digest> {
    let target = match &leaf.kind {
        LeafKind::File(_) => "",
        LeafKind::Symlink(target) => target,
    };
    let numbers = [leaf.meta.uid, leaf.meta.gid, mode(leaf), 0].map(|number| number.to_be().to_variant());
    let header = Variant::tuple_from_iter(numbers.into_iter().chain([target.to_variant(), xattrs(&leaf.meta)]));
    let length = u32::try_from(header.size()).map_err(io::Error::other)?;
    let mut hasher = Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(&[0; 4]);
    hasher.update(header.data());
    if let LeafKind::File(content) = &leaf.kind {
        io::copy(&mut io::BufReader::with_capacity(1 << 18, content.reader()), &mut hasher)?;
    }
    Ok(hasher.finish())
}

/// The extended attributes of a file as the bytes of `a(ayay)`: nothing where there are none.
pub fn xattrs_bytes(meta: &Meta) -> Vec<u8> {
    xattrs(meta).data().to_vec()
}

/// `a(ayay)`: names end with a NUL, and are sorted.
pub fn xattrs(meta: &Meta) -> Variant {
    let pair = |(name, value): (&String, &Vec<u8>)| {
        let name: Vec<u8> = name.bytes().chain([0]).collect();
        Variant::tuple_from_iter([bytes(&name), bytes(value)])
    };
    array("(ayay)", meta.xattrs.iter().map(pair))
}

/// `(a{sv}aya(say)sstayay)`: metadata, parent, related objects, subject, body, time, and the root folder's two checksums.
pub fn commit(info: &CommitInfo, kernel: &str, tree: Digest, meta: Digest) -> Variant {
    let image = &info.image;
    let arguments = info.kernel_arguments.iter().map(|argument| {
        let sources: Vec<_> = argument.asked_by.iter().map(ToString::to_string).collect();
        (argument.text.as_str(), sources).to_variant()
    });
    let layers = info.layers.iter().map(|(name, digest)| (name.as_str(), digest.to_hex()).to_variant());
    let mut metadata = vec![
        ("basalt.architecture", image.architecture.to_string().to_variant()),
        ("basalt.image", image.name.to_variant()),
        ("basalt.kernel-arguments", array("(sas)", arguments)),
        ("basalt.layers", array("(ss)", layers)),
        ("basalt.plan-id", image.plan_id.to_hex().to_variant()),
        ("ostree.bootable", true.to_variant()),
        ("ostree.linux", kernel.to_variant()),
        ("ostree.ref-binding", array("s", [info.branch.to_variant()])),
        ("version", image.version.to_variant()),
    ];
    metadata.sort_by_key(|(key, _)| *key);
    let entries = metadata.into_iter().map(|(key, value)| DictEntry::new(key, value).to_variant());
    // Times before 1970 were refused when the tree was assembled.
    let time = u64::try_from(image.time).unwrap_or_default();
    commit_of(entries, SUBJECT, time, tree, meta)
}

fn commit_of(metadata: impl IntoIterator<Item = Variant>, subject: &str, time: u64, tree: Digest, meta: Digest) -> Variant {
    Variant::tuple_from_iter([
        array("{sv}", metadata),
        bytes(&[]),
        array("(say)", []),
        subject.to_variant(),
        "".to_variant(),
        time.to_be().to_variant(),
        bytes(tree.as_bytes()),
        bytes(meta.as_bytes()),
    ])
}

/// A commit that does nothing but hold objects: one folder, in which each has its checksum for a name. ostree-ext makes one of each
/// layer that it takes out of an image (`finish_import_object_set`), and finds by a ref to it that it has the layer. The commit is the
/// last; none says when or by whom it was made, so that the same objects have the same commit everywhere.
pub fn object_set<'a>(objects: impl IntoIterator<Item = &'a Digest>) -> [MetadataObject; 3] {
    let mut files: Vec<_> = objects.into_iter().map(|object| (object.to_hex(), *object)).collect();
    files.sort();
    let tree = MetadataObject::new(ObjectKind::DirTree, &dirtree(&Names { files, folders: Vec::new() }));
    let meta = MetadataObject::new(ObjectKind::DirMeta, &dirmeta(&Meta::root(0o755)));
    let commit = commit_of([], "", 0, tree.checksum(), meta.checksum());
    [tree, meta, MetadataObject::new(ObjectKind::Commit, &commit)]
}

fn bytes(bytes: &[u8]) -> Variant {
    Variant::array_from_fixed_array(bytes)
}

fn array(of: &'static str, items: impl IntoIterator<Item = Variant>) -> Variant {
    let of = VariantTy::new(of).expect("a type of ours is well-formed");
    Variant::array_from_iter_with_type(of, items)
}
