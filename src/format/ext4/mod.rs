//! ext4, written from a tree: no loop device, no mount, no program of the machine, and the same bytes for the same tree.
//!
//! Two passes. The first counts and places: [`inventory`] numbers the inodes and encodes folders, [`geometry`] places the tables of
//! a filesystem of the wanted size, [`allocation`] gives every block of a file a place, from front to back. The second
//! ([`write`](mod@write)) encodes what is not zero. File contents stay where they are: an [`Extents`] refers to them.
//!
//! What is written is what mke2fs of e2fsprogs 1.47 writes with its defaults and 4096-byte blocks, plus `metadata_csum_seed` (the
//! UUID can be changed while mounted), less `orphan_file`; `verity` where wanted. Inode tables count as zeroed, as holes are.
//! [`read`] is the way back, also for filesystems that others made. Not here: changing, other block sizes, attribute values in inodes of their own, encryption, quotas.
//!
//! Architecture invariant: pure. No clock, no random number, no file: [`Options`] brings all identifiers and times.

mod acl;
mod allocation;
mod checksum;
mod dir;
mod extent_tree;
mod geometry;
mod groups;
mod hash;
mod inode;
mod inventory;
mod journal;
mod layout;
pub mod read;
mod resize;
mod space;
mod superblock;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

pub use xattr::XattrProblem;

use allocation::Allocation;
use geometry::{Geometry, Misfit};
use inventory::Inventory;
use layout::{BLOCK, BLOCKS_MAX, GROUP_BLOCKS, TIME_MAX, TIME_MIN};

use super::extents::Extents;
use crate::tree::{Directory, Meta, Node, Tree, TreePath};

/// How large the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// As mke2fs chooses it: none below 8 MiB, 16 MiB up to 1 GiB, 1 GiB from 128 GiB on.
    BySize,
    /// This many bytes: 0 for none, else a multiple of 4096 and 4 MiB at least. For a filesystem that is small only until it grows.
    Bytes(u64),
}

/// What a filesystem is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the device: a multiple of 4096, 16 TiB at most.
    pub size: u64,
    /// The name by which it is found: 16 bytes at most.
    pub label: String,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Seed of the hashes that sort names in large folders.
    pub hash_seed: [u8; 16],
    /// When it was made, in seconds since 1970; also each inode's time of access, change and creation.
    pub time: i64,
    /// Percent of the blocks that only root may use; more than 50 counts as 50.
    pub reserved_percent: u8,
    /// Bytes to which the kernel can grow it while mounted: room is kept for the descriptors. 8 TiB at most have an effect.
    pub grow_to: u64,
    /// Whether files may get fs-verity: sets the feature, nothing else.
    pub verity: bool,
    /// Bytes for each of which there is an inode. A tree with more inodes gets half as many again as it has.
    pub bytes_per_inode: u64,
    /// How large the journal is.
    pub journal: Journal,
}

impl Options {
    /// Without a label and verity; inodes, reserved blocks and journal as mke2fs has them; can grow to 1 TiB.
    pub fn new(size: u64, uuid: [u8; 16], hash_seed: [u8; 16], time: i64) -> Self {
        Self {
            size,
            label: String::new(),
            uuid,
            hash_seed,
            time,
            reserved_percent: 5,
            grow_to: 1 << 40,
            verity: false,
            bytes_per_inode: 16 << 10,
            journal: Journal::BySize,
        }
    }
}

/// Why a tree cannot become such a filesystem.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ext4Error {
    /// The tree does not fit.
    #[error("an ext4 filesystem with this tree needs {needed} bytes, found {found}")]
    TooSmall {
        /// Bytes that are enough.
        needed: u64,
        /// Bytes that were given.
        found: u64,
    },
    /// More than 16 TiB are given or needed.
    #[error("an ext4 filesystem of ours has at most {} bytes, needed {needed}", BLOCKS_MAX * BLOCK)]
    TooLarge {
        /// Bytes.
        needed: u64,
    },
    /// The size is not whole blocks.
    #[error("the size of an ext4 filesystem must be a multiple of 4096 bytes, found {0}")]
    Unaligned(u64),
    /// The tree has more inodes than a filesystem of this size can have.
    #[error("the tree needs {needed} inodes, an ext4 filesystem of this size has {found} at most")]
    Inodes {
        /// Inodes of the tree.
        needed: u64,
        /// Inodes at most.
        found: u64,
    },
    /// The label does not fit its field.
    #[error("the label of an ext4 filesystem has at most 16 bytes and no NUL, found {0:?}")]
    Label(String),
    /// The journal's size is none that the kernel takes.
    #[error("a journal needs 0 bytes or a multiple of 4096 from 4 MiB up to 4 GiB, found {0}")]
    Journal(u64),
    /// A name that cannot stand in a folder.
    #[error("{path}: the name {why}")]
    Name {
        /// Where.
        path: TreePath,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A symbolic link's target is empty, too long or has a NUL.
    #[error("{path}: the target of a symbolic link needs 1 to 4095 bytes without NUL, found {found} bytes")]
    Target {
        /// Where.
        path: TreePath,
        /// Its length.
        found: usize,
    },
    /// A time before 1901 or after 2446.
    #[error("{what}: an ext4 time lies between {} and {} seconds since 1970, found {found}", TIME_MIN, TIME_MAX)]
    Time {
        /// Whose.
        what: String,
        /// Seconds since 1970.
        found: i64,
    },
    /// Too many hard links of one file.
    #[error("{path}: a file can have 65000 hard links, found {found}")]
    Links {
        /// Where: the first of them.
        path: TreePath,
        /// How many.
        found: u32,
    },
    /// An extended attribute that cannot be written.
    #[error("{path}: {problem}")]
    Xattr {
        /// Where.
        path: TreePath,
        /// What is wrong.
        problem: XattrProblem,
    },
}

/// Lays `tree` out as an ext4 filesystem. `lost+found` (root, 0700) is added where the tree has none.
pub fn layout(tree: &Tree, options: &Options) -> Result<Extents, Ext4Error> {
    check(options)?;
    if !options.size.is_multiple_of(BLOCK) {
        return Err(Ext4Error::Unaligned(options.size));
    }
    let lost_found = lost_found(options);
    lay_out(&Inventory::of(tree, &lost_found, options)?, options)
}

/// As [`layout()`], with the size of [`size_for`] rounded up to a multiple of `unit` (itself one of 4096): `options.size` does not matter.
pub fn layout_with(tree: &Tree, options: &Options, free: u64, unit: u64) -> Result<Extents, Ext4Error> {
    check(options)?;
    let lost_found = lost_found(options);
    let inventory = Inventory::of(tree, &lost_found, options)?;
    let size = smallest(&inventory, options, free)?.next_multiple_of(unit);
    lay_out(&inventory, &Options { size, ..options.clone() })
}

fn lay_out(inventory: &Inventory<'_>, options: &Options) -> Result<Extents, Ext4Error> {
    if options.size / BLOCK > BLOCKS_MAX {
        return Err(Ext4Error::TooLarge { needed: options.size });
    }
    let too_small = || match smallest(inventory, options, 0) {
        Ok(needed) => Ext4Error::TooSmall { needed, found: options.size },
        Err(error) => error,
    };
    let geometry = match Geometry::new(options.size / BLOCK, u64::from(inventory.last_inode()), options) {
        Ok(geometry) => geometry,
        Err(Misfit::Blocks) => return Err(too_small()),
        Err(Misfit::Inodes(found)) => return Err(Ext4Error::Inodes { needed: u64::from(inventory.last_inode()), found }),
    };
    let allocation = Allocation::new(inventory, &geometry).ok_or_else(too_small)?;
    Ok(write::Writer::write(inventory, &geometry, &allocation, options))
}

/// The size in bytes, a multiple of 4096, with which [`layout()`] of this tree leaves at least `free` bytes for further files (those
/// reserved for root included). `options.size` does not matter.
pub fn size_for(tree: &Tree, options: &Options, free: u64) -> Result<u64, Ext4Error> {
    check(options)?;
    let lost_found = lost_found(options);
    smallest(&Inventory::of(tree, &lost_found, options)?, options, free)
}

fn check(options: &Options) -> Result<(), Ext4Error> {
    if options.label.len() > layout::superblock::LABEL_LEN || options.label.contains('\0') {
        return Err(Ext4Error::Label(options.label.clone()));
    }
    if !(0..=TIME_MAX).contains(&options.time) {
        return Err(Ext4Error::Time { what: "the filesystem".to_owned(), found: options.time });
    }
    match options.journal {
        Journal::Bytes(bytes)
            if bytes != 0
                && (!bytes.is_multiple_of(BLOCK) || !(journal::MIN_BLOCKS..=journal::MAX_BLOCKS).contains(&(bytes / BLOCK))) =>
        {
            Err(Ext4Error::Journal(bytes))
        }
        _ => Ok(()),
    }
}

fn lost_found(options: &Options) -> Node {
    Node::Directory(Directory::new(Meta { mtime: options.time, ..Meta::root(0o700) }))
}

/// Bytes with which `free` bytes stay free. Tables grow with the size, so it is approached from below.
fn smallest(inventory: &Inventory<'_>, options: &Options, free: u64) -> Result<u64, Ext4Error> {
    let free = free.div_ceil(BLOCK);
    let inodes = u64::from(inventory.last_inode());
    let mut blocks = inventory.blocks().saturating_add(free);
    while blocks <= BLOCKS_MAX {
        let more = match Geometry::new(blocks, inodes, options) {
            Err(Misfit::Inodes(_)) => GROUP_BLOCKS,
            Err(Misfit::Blocks) => 16,
            Ok(geometry) => match Allocation::new(inventory, &geometry) {
                Some(allocation) if allocation.free_blocks() >= free => return Ok(blocks * BLOCK),
                Some(allocation) => free - allocation.free_blocks(),
                None => (inventory.blocks() + geometry.journal_blocks + free).saturating_sub(geometry.free_blocks()).max(1),
            },
        };
        blocks += more;
    }
    Err(Ext4Error::TooLarge { needed: blocks.saturating_mul(BLOCK) })
}
