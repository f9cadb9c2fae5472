//! Reads an ext4 filesystem where it lies: ours, and what mke2fs and a kernel made of it. Nothing is mounted, nothing is written.
//!
//! Block sizes from 1 to 64 KiB, descriptors of 32 and 64 bytes, extents, folders with and without an index, attributes in the
//! inode and in a block. Not here: what only old or unusual filesystems have (block maps of ext2, inline data, encrypted names,
//! meta block groups) is an error that says so. A journal is not replayed: [`Filesystem::needs_recovery`] tells when it would have to be.
//!
//! Errors are fine, panics and endless work are not: every number of the disk is checked against what there is.

mod attributes;
mod folder;
mod node;
mod place;
mod runs;

pub use folder::Name;
pub use node::{Inode, InodeKind};
pub use place::Place;
pub use runs::Run;

use std::io;
use std::sync::Arc;

use super::layout::{ROOT_INODE, incompat, superblock};
use crate::format::bytes::Bytes;

/// The journal has changes that the filesystem lacks.
const RECOVER: u32 = 0x4;
/// Incompatible features that do not matter to a reader, or for which it looks inode by inode: protection against two mounts, values
/// of attributes in inodes of their own, large folders, inline data, encryption, folders without regard to case.
const OTHERS: u32 = 0x100 | 0x400 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
/// Incompatible features of filesystems that can be read.
const READABLE: u32 =
    incompat::FILETYPE | incompat::EXTENTS | incompat::BITS_64 | incompat::FLEX_BG | incompat::CSUM_SEED | RECOVER | OTHERS;
/// What an inode has at least.
const INODE_LEN_MIN: u64 = 128;
/// The most that is read into memory at once: a folder, a link's target.
const IN_MEMORY_MAX: u64 = 256 << 20;

/// Why bytes cannot be read as an ext4 filesystem.
#[derive(Debug, thiserror::Error)]
pub enum BadExt4 {
    /// No superblock.
    #[error("no ext4 filesystem: needed the number ef53 at byte 1080, found {0:04x}")]
    Magic(u16),
    /// Something of the format that this reader does not know.
    #[error("ext4: {0}, which Basalt does not read")]
    Unknown(String),
    /// The filesystem contradicts itself.
    #[error("ext4: {what}: needed {needed}, found {found}")]
    Damaged {
        /// Where.
        what: String,
        /// What there should be.
        needed: String,
        /// What there is.
        found: String,
    },
    /// The bytes cannot be read.
    #[error("ext4: {0}")]
    Io(#[from] io::Error),
}

fn damaged(what: impl Into<String>, needed: impl ToString, found: impl ToString) -> BadExt4 {
    BadExt4::Damaged { what: what.into(), needed: needed.to_string(), found: found.to_string() }
}

/// A filesystem.
pub struct Filesystem {
    bytes: Arc<dyn Bytes>,
    /// Bytes of a block.
    block: u64,
    blocks: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_len: u64,
    /// Where each group's inode table begins, in bytes.
    tables: Vec<u64>,
    label: String,
    uuid: [u8; 16],
    needs_recovery: bool,
}

/// Numbers of a record of the format. What lies beyond its end is 0: fields that an older version did not have.
#[derive(Clone, Copy)]
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let found = at.checked_add(N).and_then(|end| self.0.get(at..end));
        found.and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn u8(self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    /// Low and high half of a number.
    fn halves(self, low: usize, high: usize) -> u64 {
        u64::from(self.u32(low)) | u64::from(self.u32(high)) << 32
    }
}

impl Filesystem {
    /// Of all `bytes`: a partition, not a disk.
    ///
    /// # Errors
    /// See [`BadExt4`].
    pub fn open(bytes: Arc<dyn Bytes>) -> Result<Self, BadExt4> {
        let head = bytes.read_at(superblock::AT, superblock::LEN as u64)?;
        let head = Record(&head);
        let magic = head.u16(superblock::MAGIC_AT);
        if magic != superblock::MAGIC {
            return Err(BadExt4::Magic(magic));
        }
        let features = head.u32(superblock::INCOMPAT);
        if features & !READABLE != 0 {
            return Err(BadExt4::Unknown(format!("incompatible features {:#x}", features & !READABLE)));
        }
        let log = head.u32(superblock::LOG_BLOCK_SIZE);
        if log > 6 {
            return Err(damaged("superblock", "blocks of 1 to 64 KiB", format!("the exponent {log}")));
        }
        let wide = features & incompat::BITS_64 != 0;
        let high = |at: usize| if wide { at } else { usize::MAX };
        let block = 1024 << log;
        let blocks = head.halves(superblock::BLOCKS_COUNT, high(superblock::BLOCKS_COUNT_HIGH));
        match blocks.checked_mul(block) {
            Some(len) if len <= bytes.len() => {}
            _ => {
                return Err(damaged("superblock", format!("{blocks} blocks of {block} bytes"), format!("{} bytes", bytes.len())));
            }
        }
        let label = head.array::<{ superblock::LABEL_LEN }>(superblock::LABEL);
        let label = label.split(|&byte| byte == 0).next().unwrap_or_default();
        let mut filesystem = Self {
            block,
            blocks,
            inodes: head.u32(superblock::INODES_COUNT),
            inodes_per_group: head.u32(superblock::INODES_PER_GROUP),
            inode_len: if head.u32(superblock::REVISION) == 0 {
                INODE_LEN_MIN
            } else {
                u64::from(head.u16(superblock::INODE_SIZE))
            },
            tables: Vec::new(),
            label: String::from_utf8_lossy(label).into_owned(),
            uuid: head.array(superblock::UUID),
            needs_recovery: features & RECOVER != 0,
            bytes,
        };
        filesystem.tables = filesystem.groups(&head, wide)?;
        Ok(filesystem)
    }

    /// Where the inode table of each group begins.
    fn groups(&self, head: &Record<'_>, wide: bool) -> Result<Vec<u64>, BadExt4> {
        let per_group = u64::from(head.u32(superblock::BLOCKS_PER_GROUP));
        let inode_len = self.inode_len;
        if per_group == 0 || self.inodes_per_group == 0 || !(INODE_LEN_MIN..=self.block).contains(&inode_len) {
            let found = format!("{per_group}, {} and {inode_len}", self.inodes_per_group);
            return Err(damaged("superblock", "blocks and inodes of a group and the length of an inode", found));
        }
        // A block of 1 KiB holds the superblock alone; larger ones hold it and more.
        let first = u64::from(self.block == 1024);
        let count = self.blocks.saturating_sub(first).div_ceil(per_group);
        let len = if wide { u64::from(head.u16(superblock::DESCRIPTOR_SIZE)) } else { 32 };
        if len < if wide { 64 } else { 32 } || u64::from(self.inodes) > count * u64::from(self.inodes_per_group) {
            return Err(damaged(
                "superblock",
                format!("{} inodes in {count} groups", self.inodes),
                format!("descriptors of {len} bytes"),
            ));
        }
        // 0x04 to 0x28: of each descriptor only the place of the inode table is needed.
        let descriptors = self.bytes.read_at((first + 1) * self.block, count * len)?;
        let table = |bytes: &[u8]| Record(bytes).halves(0x08, if wide { 0x28 } else { usize::MAX });
        descriptors
            .chunks_exact(usize::try_from(len).unwrap_or(usize::MAX))
            .map(|bytes| self.place(table(bytes), "an inode table"))
            .collect()
    }

    /// The first byte of a block.
    fn place(&self, block: u64, what: &str) -> Result<u64, BadExt4> {
        if block >= self.blocks {
            return Err(damaged(what, format!("a block below {}", self.blocks), block));
        }
        Ok(block * self.block)
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u64 {
        self.block
    }

    /// Bytes of the filesystem; the partition may have more.
    pub fn size(&self) -> u64 {
        self.blocks * self.block
    }

    /// Its name, without trailing zeros.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// Whether it was not unmounted: the newest changes may still stand in the journal alone.
    pub fn needs_recovery(&self) -> bool {
        self.needs_recovery
    }

    /// The folder `/`.
    pub fn root(&self) -> Result<Inode, BadExt4> {
        self.inode(ROOT_INODE)
    }

    /// The inode with this number, counted from 1.
    pub fn inode(&self, number: u32) -> Result<Inode, BadExt4> {
        let Some(index) = number.checked_sub(1).filter(|_| number <= self.inodes) else {
            return Err(damaged("the number of an inode", format!("1 to {}", self.inodes), number));
        };
        let table = self.tables.get((index / self.inodes_per_group) as usize).copied().unwrap_or_default();
        let at = table + u64::from(index % self.inodes_per_group) * self.inode_len;
        let bytes = self.bytes.read_at(at, self.inode_len)?;
        Inode::parse(number, &bytes)
    }

    /// The names in the folder `inode`, without `.` and `..`, in the order of the disk.
    pub fn names(&self, inode: &Inode) -> Result<Vec<Name>, BadExt4> {
        folder::names(inode, &self.small(inode)?, self.block)
    }

    /// The inode that `name` in the folder `inode` stands for.
    pub fn find(&self, inode: &Inode, name: &str) -> Result<Option<Inode>, BadExt4> {
        let found = self.names(inode)?.into_iter().find(|entry| entry.name == name.as_bytes());
        found.map(|entry| self.inode(entry.inode)).transpose()
    }

    /// Where the bytes of a file lie, from its first on; what is between is zeros.
    pub fn runs(&self, inode: &Inode) -> Result<Vec<Run>, BadExt4> {
        runs::runs(self, inode)
    }

    /// Fills `buffer` with the bytes of a file from `at` on, whose runs are `runs`. The range must lie within the file.
    pub fn read(&self, runs: &[Run], buffer: &mut [u8], at: u64) -> Result<(), BadExt4> {
        buffer.fill(0);
        let end = at + buffer.len() as u64;
        let first = runs.partition_point(|run| run.from + run.len <= at);
        for run in runs[first..].iter().take_while(|run| run.from < end) {
            let (from, to) = (run.from.max(at), (run.from + run.len).min(end));
            let into = &mut buffer[(from - at) as usize..(to - at) as usize];
            self.bytes.read_exact_at(into, run.at + (from - run.from))?;
        }
        Ok(())
    }

    /// All bytes of a file that is known to be small.
    pub fn small(&self, inode: &Inode) -> Result<Vec<u8>, BadExt4> {
        if let Some(target) = inode.short_target() {
            return Ok(target.to_vec());
        }
        if inode.size > IN_MEMORY_MAX.min(self.size()) {
            return Err(damaged(format!("inode {}", inode.number), format!("{IN_MEMORY_MAX} bytes at most"), inode.size));
        }
        let runs = self.runs(inode)?;
        let mut bytes = vec![0; usize::try_from(inode.size).map_err(io::Error::other)?];
        self.read(&runs, &mut bytes, 0)?;
        Ok(bytes)
    }

    /// The extended attributes of an inode, with access control lists as programs see them.
    pub fn xattrs(&self, inode: &Inode) -> Result<std::collections::BTreeMap<String, Vec<u8>>, BadExt4> {
        attributes::xattrs(self, inode)
    }
}
