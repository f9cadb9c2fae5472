//! FAT32, the filesystem that firmware reads: a tree becomes a volume.
//!
//! A writer of our own: `fatfs` 0.3.6 leaves FSInfo unset, points `..` at the wrong cluster below the root and knows one time for
//! all entries (`fsck.fat` objects to the first two), and all contents would have to go through memory. Here every file and folder
//! is one run of clusters, in the order of the tree, so a content stays a reference until the disk is written.
//!
//! The format has no owners, modes, xattrs or links: what a [`Tree`] says of the first three is dropped, a hard link becomes a
//! second file, a symbolic link is refused. [`read`] is the way back, also for volumes that others made.

mod geometry;
mod name;
pub mod read;
mod record;

use std::collections::BTreeMap;

use self::geometry::{BACKUP_SECTOR, FIRST_CLUSTER, FSINFO_SECTOR, Geometry, TABLES};
use self::name::{SHORT_LEN, ShortNames};
use self::record::{DosTime, ENTRY_LEN, Kind};
use super::extents::Extents;
use crate::tree::{Content, Directory, LeafKind, Node, Tree, TreePath};

/// Entries of a folder at most, by the specification: 2 MiB of them.
const FOLDER_LEN_MAX: u64 = 65_536 * ENTRY_LEN as u64;

/// What a volume is besides its files.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Bytes of the volume. What is beyond the last whole sector stays unused.
    pub size: u64,
    /// Bytes of a sector of the disk: 512 or 4096.
    pub sector_size: u32,
    /// 1 to 11 characters: upper-case ASCII letters, digits, `-` and `_`.
    pub label: &'a str,
    /// The number by which it is found, shown as `XXXX-XXXX`.
    pub volume_id: u32,
    /// Time of the label, in seconds since 1970.
    pub time: i64,
}

/// Why a tree cannot become a FAT32.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// The volume is smaller than the files or the format need.
    #[error("FAT32 volume: needed {needed} bytes, found {found}")]
    TooSmall {
        /// The smallest size, in bytes: whole MiB.
        needed: u64,
        /// The size that was asked for.
        found: u64,
    },
    /// No FAT32 can be that large, or hold that much.
    #[error("FAT32 volume: {size} bytes with sectors of {sector_size} are more than the format has numbers for")]
    TooLarge {
        /// Bytes wanted.
        size: u64,
        /// Bytes of a sector.
        sector_size: u32,
    },
    /// There are no symbolic links.
    #[error("{0}: FAT has no symbolic links")]
    Symlink(TreePath),
    /// The name cannot be written.
    #[error("{path}: FAT cannot have this name: {why}")]
    Name {
        /// Whose name.
        path: TreePath,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two names differ only in upper and lower case.
    #[error("{path}: FAT takes this name and {other:?} beside it for the same")]
    SameName {
        /// The second.
        path: TreePath,
        /// The first.
        other: String,
    },
    /// A file has 4 GiB or more, or a folder more than 65536 entries.
    #[error("{0}: too large for FAT")]
    Entry(TreePath),
    /// The label cannot be written.
    #[error("FAT label {0:?}: needed 1 to 11 of A-Z, 0-9, \"-\" and \"_\"")]
    Label(String),
    /// Another sector size.
    #[error("FAT32 volume: needed sectors of 512 or 4096 bytes, found {0}")]
    SectorSize(u32),
}

/// Lays out a volume with the files of `tree`. The same values give the same bytes.
pub fn layout(tree: &Tree, options: &Options<'_>) -> Result<Extents, FatError> {
    let label = label(options.label)?;
    let sector = sector(options.sector_size)?;
    let files = Files::of(tree)?;
    let shape = Geometry::of(options.size, sector).filter(|shape| files.clusters(shape) <= shape.clusters);
    let Some(shape) = shape else {
        let needed = files.smallest(options.sector_size)?;
        return Err(if options.size < needed {
            FatError::TooSmall { needed, found: options.size }
        } else {
            FatError::TooLarge { size: options.size, sector_size: options.sector_size }
        });
    };
    let mut writer = Writer { shape, table: record::TABLE_HEAD.to_vec(), out: Extents::new(options.size) };
    let label_entry = record::entry(&label, Kind::Label, DosTime::from_unix(options.time), 0, 0);
    writer.directory(&tree.root, None, label_entry.to_vec());
    writer.finish(options.volume_id, &label);
    Ok(writer.out)
}

/// The smallest volume that holds `tree`: whole MiB, in bytes. Never less than a FAT32 must have.
pub fn smallest(tree: &Tree, sector_size: u32) -> Result<u64, FatError> {
    sector(sector_size)?;
    Files::of(tree)?.smallest(sector_size)
}

fn sector(size: u32) -> Result<u64, FatError> {
    if matches!(size, 512 | 4096) { Ok(size.into()) } else { Err(FatError::SectorSize(size)) }
}

fn label(text: &str) -> Result<[u8; SHORT_LEN], FatError> {
    let good = text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'));
    if !good || text.is_empty() || text.len() > SHORT_LEN {
        return Err(FatError::Label(text.to_owned()));
    }
    let mut label = [b' '; SHORT_LEN];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

/// The length of everything that takes clusters, after a check of all names and sizes.
struct Files(Vec<u64>);

impl Files {
    fn of(tree: &Tree) -> Result<Self, FatError> {
        let mut lengths = vec![folder_len(&tree.root, 1, &TreePath::root())?];
        for (path, node) in tree.walk() {
            lengths.push(match node {
                Node::Directory(directory) => folder_len(directory, 2, &path)?,
                Node::Leaf(leaf) => match &leaf.kind {
                    LeafKind::Symlink(_) => return Err(FatError::Symlink(path)),
                    LeafKind::File(content) if content.len() > u64::from(u32::MAX) => return Err(FatError::Entry(path)),
                    LeafKind::File(content) => content.len(),
                },
            });
        }
        Ok(Self(lengths))
    }

    fn clusters(&self, shape: &Geometry) -> u64 {
        self.0.iter().map(|len| shape.clusters_of(*len)).sum()
    }

    fn smallest(&self, sector_size: u32) -> Result<u64, FatError> {
        geometry::smallest(sector_size.into(), |shape| self.clusters(shape) <= shape.clusters)
            .ok_or_else(|| FatError::TooLarge { size: self.0.iter().sum(), sector_size })
    }
}

/// Bytes of a folder's entries; `own` of them are not of its children. Checks the names.
fn folder_len(directory: &Directory, own: usize, path: &TreePath) -> Result<u64, FatError> {
    let mut short_names = ShortNames::default();
    let mut seen = BTreeMap::new();
    let mut entries = own;
    for name in directory.children.keys() {
        if let Some(why) = name::refusal(name) {
            return Err(FatError::Name { path: path.join(name), why });
        }
        if let Some(other) = seen.insert(name.to_uppercase(), name) {
            return Err(FatError::SameName { path: path.join(name), other: other.clone() });
        }
        let (_, with_long) = short_names.choose(name);
        entries += 1 + if with_long { name::long_entries(name) } else { 0 };
    }
    let len = (entries * ENTRY_LEN) as u64;
    if len > FOLDER_LEN_MAX { Err(FatError::Entry(path.clone())) } else { Ok(len) }
}

/// Takes clusters one after the other. [`Files`] has checked that there are enough.
struct Writer {
    shape: Geometry,
    /// Entries of the table so far: the next free cluster is its length.
    table: Vec<u32>,
    out: Extents,
}

impl Writer {
    /// Writes a folder that `parent` holds (the root has none), whose entries begin with `entries`. Gives back its first cluster.
    fn directory(&mut self, directory: &Directory, parent: Option<u32>, mut entries: Vec<u8>) -> u32 {
        let mut short_names = ShortNames::default();
        let names: Vec<_> = directory.children.iter().map(|(name, node)| (name, node, short_names.choose(name))).collect();
        let children: usize =
            names.iter().map(|(name, _, (_, with_long))| 1 + if *with_long { name::long_entries(name) } else { 0 }).sum();
        let own = entries.len() / ENTRY_LEN + if parent.is_some() { 2 } else { 0 };
        let first = self.take(((own + children) * ENTRY_LEN) as u64);
        if let Some(parent) = parent {
            let time = DosTime::from_unix(directory.meta.mtime);
            // The root is never named by its cluster.
            let above = if parent == FIRST_CLUSTER { 0 } else { parent };
            entries.extend_from_slice(&record::entry(b".          ", Kind::Directory, time, first, 0));
            entries.extend_from_slice(&record::entry(b"..         ", Kind::Directory, time, above, 0));
        }
        for (name, node, (short, with_long)) in names {
            if with_long {
                entries.extend_from_slice(&name::long(name, &short));
            }
            let time = DosTime::from_unix(node.meta().mtime);
            let (kind, cluster, len) = match node {
                Node::Directory(inner) => (Kind::Directory, self.directory(inner, Some(first), Vec::new()), 0),
                Node::Leaf(leaf) => match &leaf.kind {
                    LeafKind::File(content) => (Kind::File, self.file(content), content.len() as u32),
                    LeafKind::Symlink(_) => unreachable!("Files::of refuses symbolic links"),
                },
            };
            entries.extend_from_slice(&record::entry(&short, kind, time, cluster, len));
        }
        self.out.put_bytes(self.shape.cluster_at(first), entries);
        first
    }

    fn file(&mut self, content: &Content) -> u32 {
        if content.is_empty() {
            return 0;
        }
        let first = self.take(content.len());
        self.out.put_content(self.shape.cluster_at(first), content);
        first
    }

    /// Takes a run of clusters for `len` bytes, more than none.
    fn take(&mut self, len: u64) -> u32 {
        let first = self.table.len() as u32;
        let end = first + self.shape.clusters_of(len) as u32;
        self.table.extend(first + 1..end);
        self.table.push(record::END_OF_CHAIN);
        first
    }

    fn finish(&mut self, volume_id: u32, label: &[u8; SHORT_LEN]) {
        let used = self.table.len() as u32 - FIRST_CLUSTER;
        let free = self.shape.clusters as u32 - used;
        let next = if free == 0 { u32::MAX } else { self.table.len() as u32 };
        let boot = record::boot_sector(&self.shape, volume_id, label);
        let info = record::fs_info(free, next);
        for first in [0, u64::from(BACKUP_SECTOR)] {
            self.out.put_bytes(first * self.shape.sector, boot);
            self.out.put_bytes((first + u64::from(FSINFO_SECTOR)) * self.shape.sector, info);
        }
        let table: std::sync::Arc<[u8]> = self.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for copy in 0..TABLES {
            self.out.put_bytes(self.shape.tables_at() + copy * self.shape.table_len(), std::sync::Arc::clone(&table));
        }
    }
}

#[cfg(test)]
mod tests;
