//! What of the filesystem a byte belongs to: for messages about two filesystems that differ.

use super::super::layout::{inode, superblock};
use super::Filesystem;

/// What a byte of a filesystem is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A field of the superblock.
    Superblock(&'static str),
    /// A field of an inode.
    Inode {
        /// Its number.
        number: u32,
        /// Which field.
        field: &'static str,
    },
    /// A block of something else: a file, a folder, attributes, the journal, tables, or nothing.
    Block(u64),
}

/// Where fields of the superblock begin; what follows is the rest up to the next one.
const SUPERBLOCK: [(usize, &str); 14] = [
    (0, "counts"),
    (superblock::WRITE_TIME, "time of the last write"),
    (superblock::MAX_MOUNTS, "state"),
    (superblock::LAST_CHECK, "time of the last check"),
    (superblock::REVISION, "revision"),
    (superblock::COMPAT, "features"),
    (superblock::UUID, "UUID"),
    (superblock::LABEL, "label"),
    (superblock::LABEL + superblock::LABEL_LEN, "last mount"),
    (superblock::RESERVED_GDT, "journal"),
    (superblock::HASH_SEED, "hash seed"),
    (superblock::HASH_VERSION, "options"),
    (superblock::MADE_TIME, "time of making"),
    (superblock::JOURNAL_BLOCKS, "rest"),
];

/// Where fields of an inode begin.
const INODE: [(usize, &str); 18] = [
    (inode::MODE, "mode"),
    (inode::UID, "owner"),
    (inode::SIZE, "size"),
    (inode::ATIME, "access time"),
    (inode::CTIME, "change time"),
    (inode::MTIME, "mtime"),
    (inode::MTIME + 4, "deletion time"),
    (inode::GID, "group"),
    (inode::LINKS, "links"),
    (inode::SECTORS, "size on disk"),
    (inode::FLAGS, "flags"),
    (inode::MAP, "places of its content"),
    (inode::XATTR_BLOCK, "extended attributes"),
    (inode::SIZE_HIGH, "size"),
    (inode::SECTORS_HIGH, "size on disk"),
    (inode::UID_HIGH, "owner"),
    (inode::CHECKSUM, "checksum"),
    (inode::EXTRA_ISIZE, "times"),
];

fn field(fields: &[(usize, &'static str)], at: usize) -> &'static str {
    fields.iter().rev().find(|(start, _)| *start <= at).map_or("first bytes", |(_, name)| name)
}

impl Filesystem {
    /// What the byte `at` belongs to.
    pub fn place_of(&self, at: u64) -> Place {
        if let Some(inside) = at.checked_sub(superblock::AT).filter(|inside| *inside < superblock::LEN as u64) {
            return Place::Superblock(field(&SUPERBLOCK, inside as usize));
        }
        let per_group = u64::from(self.inodes_per_group);
        let table = self.tables.iter().enumerate().find_map(|(group, table)| {
            let inside = at.checked_sub(*table).filter(|inside| *inside < per_group * self.inode_len)?;
            Some((group as u64 * per_group + inside / self.inode_len + 1, inside % self.inode_len))
        });
        match table {
            Some((number, inside)) if number <= u64::from(self.inodes) => {
                let attributes = inside >= (inode::XATTRS as u64);
                let field = if attributes { "extended attributes" } else { field(&INODE, inside as usize) };
                Place::Inode { number: number as u32, field }
            }
            _ => Place::Block(at / self.block),
        }
    }

    /// The block that holds attributes of `inode`; none when they all stand in the inode.
    pub fn xattr_block(&self, inode: &super::Inode) -> Option<u64> {
        Some(inode.xattr_block).filter(|block| *block != 0)
    }
}
