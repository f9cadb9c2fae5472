//! The superblock: what the filesystem is as a whole.

use super::Options;
use super::checksum::Checksum;
use super::geometry::Geometry;
use super::hash::HALF_MD4;
use super::layout::{
    DESCRIPTOR_LEN, FIRST_INODE, Fields, GROUP_BLOCKS, INODE_LEN, JOURNAL_INODE, LOG_GROUPS_PER_FLEX, compat, incompat, inode,
    ro_compat, superblock as at,
};

/// What only the allocation knows.
pub(super) struct Totals<'a> {
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u64,
    /// The journal inode's map and size, for who finds the inode broken.
    pub(super) journal: Option<(&'a [u8; inode::MAP_LEN], u64)>,
}

/// The superblock as it stands in group 0; [`copy`] makes those of others.
pub(super) fn encode(options: &Options, geometry: &Geometry, totals: &Totals<'_>, seed: Checksum) -> Vec<u8> {
    let mut bytes = vec![0; at::LEN];
    let mut fields = Fields(&mut bytes);
    let reserved = geometry.blocks / 100 * u64::from(options.reserved_percent.min(50));
    fields.u32(at::INODES_COUNT, geometry.inodes() as u32);
    fields.u32(at::BLOCKS_COUNT, geometry.blocks as u32);
    fields.u32(at::BLOCKS_COUNT_HIGH, (geometry.blocks >> 32) as u32);
    fields.u32(at::RESERVED_BLOCKS, reserved as u32);
    fields.u32(at::FREE_BLOCKS, totals.free_blocks as u32);
    fields.u32(at::FREE_INODES, totals.free_inodes as u32);
    // 1024 << 2 is the size of a block, and of a cluster: there are no larger ones.
    fields.u32(at::LOG_BLOCK_SIZE, 2);
    fields.u32(at::LOG_CLUSTER_SIZE, 2);
    fields.u32(at::BLOCKS_PER_GROUP, GROUP_BLOCKS as u32);
    fields.u32(at::CLUSTERS_PER_GROUP, GROUP_BLOCKS as u32);
    fields.u32(at::INODES_PER_GROUP, geometry.inodes_per_group as u32);
    fields.u16(at::MAX_MOUNTS, at::NO_MOUNT_LIMIT);
    fields.u16(at::MAGIC_AT, at::MAGIC);
    fields.u16(at::STATE, at::STATE_CLEAN);
    fields.u16(at::ERRORS, at::ERRORS_CONTINUE);
    fields.u32(at::REVISION, 1);
    fields.u32(at::FIRST_INODE, FIRST_INODE);
    fields.u16(at::INODE_SIZE, INODE_LEN as u16);
    fields.bytes(at::UUID, &options.uuid);
    fields.bytes(at::LABEL, options.label.as_bytes());
    fields.u16(at::RESERVED_GDT, geometry.reserved_descriptor_blocks as u16);
    fields.bytes(at::HASH_SEED, &options.hash_seed);
    fields.u8(at::HASH_VERSION, HALF_MD4);
    fields.u16(at::DESCRIPTOR_SIZE, DESCRIPTOR_LEN as u16);
    fields.u32(at::MOUNT_OPTIONS, at::DEFAULT_MOUNT_OPTIONS);
    fields.u16(at::MIN_EXTRA_ISIZE, inode::EXTRA_LEN);
    fields.u16(at::WANT_EXTRA_ISIZE, inode::EXTRA_LEN);
    fields.u32(at::FLAGS, at::UNSIGNED_HASH);
    fields.u8(at::LOG_FLEX, LOG_GROUPS_PER_FLEX);
    fields.u8(at::CHECKSUM_TYPE, at::CRC32C);
    fields.u32(at::CHECKSUM_SEED, seed.value());
    for (low, high) in
        [(at::MADE_TIME, at::MADE_TIME_HIGH), (at::WRITE_TIME, at::WRITE_TIME_HIGH), (at::LAST_CHECK, at::LAST_CHECK_HIGH)]
    {
        fields.u32(low, options.time as u32);
        fields.u8(high, (options.time >> 32) as u8);
    }
    features(&mut fields, options, geometry);
    if let Some((map, size)) = totals.journal {
        fields.u32(at::JOURNAL_INODE, JOURNAL_INODE);
        fields.u8(at::JOURNAL_BACKUP, at::JOURNAL_BACKED_UP);
        fields.bytes(at::JOURNAL_BLOCKS, map);
        fields.u32(at::JOURNAL_BLOCKS + inode::MAP_LEN, (size >> 32) as u32);
        fields.u32(at::JOURNAL_BLOCKS + inode::MAP_LEN + 4, size as u32);
    }
    seal(&mut bytes);
    bytes
}

/// The copy that stands in `group`.
pub(super) fn copy(superblock: &[u8], group: u64) -> Vec<u8> {
    let mut bytes = superblock.to_vec();
    // Only 16 bits are kept for it.
    Fields(&mut bytes).u16(at::THIS_GROUP, group as u16);
    seal(&mut bytes);
    bytes
}

fn features(fields: &mut Fields<'_>, options: &Options, geometry: &Geometry) {
    let when = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
    fields.u32(
        at::COMPAT,
        compat::EXT_ATTR
            | compat::DIR_INDEX
            | when(geometry.journal_blocks > 0, compat::HAS_JOURNAL)
            | when(geometry.reserved_descriptor_blocks > 0, compat::RESIZE_INODE),
    );
    fields
        .u32(at::INCOMPAT, incompat::FILETYPE | incompat::EXTENTS | incompat::BITS_64 | incompat::FLEX_BG | incompat::CSUM_SEED);
    fields.u32(
        at::RO_COMPAT,
        ro_compat::SPARSE_SUPER
            | ro_compat::LARGE_FILE
            | ro_compat::HUGE_FILE
            | ro_compat::DIR_NLINK
            | ro_compat::EXTRA_ISIZE
            | ro_compat::METADATA_CSUM
            | when(options.verity, ro_compat::VERITY),
    );
}

fn seal(bytes: &mut [u8]) {
    let sum = Checksum::START.with(&bytes[..at::CHECKSUM]).value();
    Fields(bytes).u32(at::CHECKSUM, sum);
}
