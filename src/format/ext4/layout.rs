//! The numbers of the format and nothing else: sizes, flags, and where each field stands in its record.
//!
//! Source: `Documentation/filesystems/ext4/` of Linux 6.12. All fields are little-endian; those of the journal are big-endian.

/// Bytes of a block. The only size that we write.
pub(super) const BLOCK: u64 = 4096;
/// The same as a length in memory.
pub(super) const BLOCK_LEN: usize = BLOCK as usize;
/// Blocks of a group: as many as one block of bitmap describes.
pub(super) const GROUP_BLOCKS: u64 = BLOCK * 8;
/// Inodes of a group at most, for the same reason.
pub(super) const GROUP_INODES_MAX: u64 = BLOCK * 8;
/// Bytes of an inode.
pub(super) const INODE_LEN: usize = 256;
/// Inodes in a block.
pub(super) const INODES_PER_BLOCK: u64 = BLOCK / INODE_LEN as u64;
/// Bytes of a group descriptor with the `64bit` feature.
pub(super) const DESCRIPTOR_LEN: usize = 64;
/// Descriptors in a block.
pub(super) const DESCRIPTORS_PER_BLOCK: u64 = BLOCK / DESCRIPTOR_LEN as u64;
/// Block numbers in a block of the old, indirect kind: how many descriptor blocks can be reserved.
pub(super) const POINTERS_PER_BLOCK: u64 = BLOCK / 4;
/// Groups whose bitmaps and inode tables stand together, as a power of two.
pub(super) const LOG_GROUPS_PER_FLEX: u8 = 4;
/// Blocks at most: so that every block number fits 32 bits, as the resize inode needs. 16 TiB.
pub(super) const BLOCKS_MAX: u64 = 1 << 32;
/// What a last, shorter group must have beyond its own tables to be worth having (as mke2fs decides).
pub(super) const LAST_GROUP_SPARE: u64 = 50;

/// The root folder's inode.
pub(super) const ROOT_INODE: u32 = 2;
/// The inode that owns the reserved descriptor blocks.
pub(super) const RESIZE_INODE: u32 = 7;
/// The journal's inode.
pub(super) const JOURNAL_INODE: u32 = 8;
/// The first inode that is not reserved.
pub(super) const FIRST_INODE: u32 = 11;

/// Names of a folder are this long at most.
pub(super) const NAME_MAX: usize = 255;
/// Targets that are shorter stand in the inode.
pub(super) const FAST_SYMLINK: usize = 60;
/// Targets are this long at most: a block less the NUL after it.
pub(super) const SYMLINK_MAX: usize = BLOCK_LEN - 1;
/// Links of one inode at most; a folder with more says 1.
pub(super) const LINKS_MAX: u32 = 65_000;
/// First second that an inode's time can say: 1901.
pub(super) const TIME_MIN: i64 = -(1 << 31);
/// Last second: 2446.
pub(super) const TIME_MAX: i64 = (1 << 34) - (1 << 31) - 1;

/// `s_feature_compat`.
pub(super) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const EXT_ATTR: u32 = 0x8;
    pub const RESIZE_INODE: u32 = 0x10;
    pub const DIR_INDEX: u32 = 0x20;
}

/// `s_feature_incompat`.
pub(super) mod incompat {
    pub const FILETYPE: u32 = 0x2;
    pub const EXTENTS: u32 = 0x40;
    pub const BITS_64: u32 = 0x80;
    pub const FLEX_BG: u32 = 0x200;
    pub const CSUM_SEED: u32 = 0x2000;
}

/// `s_feature_ro_compat`.
pub(super) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const HUGE_FILE: u32 = 0x8;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const METADATA_CSUM: u32 = 0x400;
    pub const VERITY: u32 = 0x8000;
}

/// The superblock.
pub(super) mod superblock {
    pub const LEN: usize = 1024;
    /// Where the first one stands in block 0; copies stand at the start of their group.
    pub const AT: u64 = 1024;
    pub const MAGIC: u16 = 0xef53;

    pub const INODES_COUNT: usize = 0x00;
    pub const BLOCKS_COUNT: usize = 0x04;
    pub const RESERVED_BLOCKS: usize = 0x08;
    pub const FREE_BLOCKS: usize = 0x0c;
    pub const FREE_INODES: usize = 0x10;
    pub const LOG_BLOCK_SIZE: usize = 0x18;
    pub const LOG_CLUSTER_SIZE: usize = 0x1c;
    pub const BLOCKS_PER_GROUP: usize = 0x20;
    pub const CLUSTERS_PER_GROUP: usize = 0x24;
    pub const INODES_PER_GROUP: usize = 0x28;
    pub const WRITE_TIME: usize = 0x30;
    pub const MAX_MOUNTS: usize = 0x36;
    pub const MAGIC_AT: usize = 0x38;
    pub const STATE: usize = 0x3a;
    pub const ERRORS: usize = 0x3c;
    pub const LAST_CHECK: usize = 0x40;
    pub const REVISION: usize = 0x4c;
    pub const FIRST_INODE: usize = 0x54;
    pub const INODE_SIZE: usize = 0x58;
    pub const THIS_GROUP: usize = 0x5a;
    pub const COMPAT: usize = 0x5c;
    pub const INCOMPAT: usize = 0x60;
    pub const RO_COMPAT: usize = 0x64;
    pub const UUID: usize = 0x68;
    pub const LABEL: usize = 0x78;
    pub const LABEL_LEN: usize = 16;
    pub const RESERVED_GDT: usize = 0xce;
    pub const JOURNAL_INODE: usize = 0xe0;
    pub const HASH_SEED: usize = 0xec;
    pub const HASH_VERSION: usize = 0xfc;
    pub const JOURNAL_BACKUP: usize = 0xfd;
    pub const DESCRIPTOR_SIZE: usize = 0xfe;
    pub const MOUNT_OPTIONS: usize = 0x100;
    pub const MADE_TIME: usize = 0x108;
    pub const JOURNAL_BLOCKS: usize = 0x10c;
    pub const BLOCKS_COUNT_HIGH: usize = 0x150;
    pub const MIN_EXTRA_ISIZE: usize = 0x15c;
    pub const WANT_EXTRA_ISIZE: usize = 0x15e;
    pub const FLAGS: usize = 0x160;
    pub const LOG_FLEX: usize = 0x174;
    pub const CHECKSUM_TYPE: usize = 0x175;
    pub const CHECKSUM_SEED: usize = 0x270;
    pub const WRITE_TIME_HIGH: usize = 0x274;
    pub const MADE_TIME_HIGH: usize = 0x276;
    pub const LAST_CHECK_HIGH: usize = 0x277;
    pub const CHECKSUM: usize = 0x3fc;

    /// Unmounted cleanly.
    pub const STATE_CLEAN: u16 = 1;
    /// Go on after an error, unless the mount options say otherwise.
    pub const ERRORS_CONTINUE: u16 = 1;
    /// Never check by number of mounts.
    pub const NO_MOUNT_LIMIT: u16 = 0xffff;
    /// `user_xattr` and `acl`, as mke2fs sets them.
    pub const DEFAULT_MOUNT_OPTIONS: u32 = 0xc;
    /// Folder hashes take bytes as unsigned, on every processor.
    pub const UNSIGNED_HASH: u32 = 0x2;
    /// crc32c.
    pub const CRC32C: u8 = 1;
    /// The journal's inode is copied into the superblock.
    pub const JOURNAL_BACKED_UP: u8 = 1;
}

/// A group descriptor. Block numbers fit 32 bits and counts 16, so that high halves but those of checksums stay 0.
pub(super) mod descriptor {
    pub const BLOCK_BITMAP: usize = 0x00;
    pub const INODE_BITMAP: usize = 0x04;
    pub const INODE_TABLE: usize = 0x08;
    pub const FREE_BLOCKS: usize = 0x0c;
    pub const FREE_INODES: usize = 0x0e;
    pub const USED_DIRECTORIES: usize = 0x10;
    pub const FLAGS: usize = 0x12;
    pub const BLOCK_BITMAP_CHECKSUM: usize = 0x18;
    pub const INODE_BITMAP_CHECKSUM: usize = 0x1a;
    pub const UNUSED_INODES: usize = 0x1c;
    pub const CHECKSUM: usize = 0x1e;
    pub const BLOCK_BITMAP_CHECKSUM_HIGH: usize = 0x38;
    pub const INODE_BITMAP_CHECKSUM_HIGH: usize = 0x3a;

    /// The inode bitmap and table are not in use yet.
    pub const INODE_UNINIT: u16 = 0x1;
    /// The block bitmap is not written: it follows from the group's own tables.
    pub const BLOCK_UNINIT: u16 = 0x2;
    /// The rest of the inode table is zero.
    pub const TABLE_ZEROED: u16 = 0x4;
}

/// An inode.
pub(super) mod inode {
    pub const MODE: usize = 0x00;
    pub const UID: usize = 0x02;
    pub const SIZE: usize = 0x04;
    pub const ATIME: usize = 0x08;
    pub const CTIME: usize = 0x0c;
    pub const MTIME: usize = 0x10;
    pub const GID: usize = 0x18;
    pub const LINKS: usize = 0x1a;
    pub const SECTORS: usize = 0x1c;
    pub const FLAGS: usize = 0x20;
    pub const MAP: usize = 0x28;
    /// Bytes of the map: extents, block numbers or a short link's target.
    pub const MAP_LEN: usize = 60;
    pub const XATTR_BLOCK: usize = 0x68;
    pub const SIZE_HIGH: usize = 0x6c;
    pub const SECTORS_HIGH: usize = 0x74;
    pub const UID_HIGH: usize = 0x78;
    pub const GID_HIGH: usize = 0x7a;
    pub const CHECKSUM: usize = 0x7c;
    pub const EXTRA_ISIZE: usize = 0x80;
    pub const CHECKSUM_HIGH: usize = 0x82;
    pub const CTIME_EXTRA: usize = 0x84;
    pub const MTIME_EXTRA: usize = 0x88;
    pub const ATIME_EXTRA: usize = 0x8c;
    pub const CREATED: usize = 0x90;
    pub const CREATED_EXTRA: usize = 0x94;
    /// Where extended attributes begin.
    pub const XATTRS: usize = 0x80 + EXTRA_LEN as usize;
    /// How far the fields reach beyond the first 128 bytes.
    pub const EXTRA_LEN: u16 = 32;

    /// The map holds extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// The folder has a hash index.
    pub const INDEX: u32 = 0x1000;

    pub const REGULAR: u16 = 0o100_000;
    pub const DIRECTORY: u16 = 0o040_000;
    pub const SYMLINK: u16 = 0o120_000;
}

/// The header of extended attributes, in an inode (its magic alone) and in a block.
pub(super) mod xattr {
    pub const MAGIC: u32 = 0xea02_0000;
    pub const REFERENCES: usize = 0x04;
    pub const BLOCKS: usize = 0x08;
    pub const HASH: usize = 0x0c;
    pub const CHECKSUM: usize = 0x10;
    /// Bytes of a block's header.
    pub const HEADER_LEN: usize = 32;
    /// Bytes of an entry before its name.
    pub const ENTRY_LEN: usize = 16;
    /// Inodes that may share a block.
    pub const REFERENCES_MAX: u32 = 1024;
}

/// The journal's superblock (big-endian).
pub(super) mod journal {
    pub const LEN: usize = 1024;
    pub const MAGIC: u32 = 0xc03b_3998;
    /// A superblock of version 2.
    pub const SUPERBLOCK_V2: u32 = 4;
    pub const BLOCK_TYPE: usize = 0x04;
    pub const BLOCK_SIZE: usize = 0x0c;
    pub const BLOCKS: usize = 0x10;
    pub const FIRST: usize = 0x14;
    pub const SEQUENCE: usize = 0x18;
    pub const UUID: usize = 0x30;
    pub const USERS: usize = 0x40;
}

/// Writes numbers into a record at their places.
pub(super) struct Fields<'a>(pub(super) &'a mut [u8]);

impl Fields<'_> {
    /// One byte.
    pub(super) fn u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    /// Two bytes.
    pub(super) fn u16(&mut self, at: usize, value: u16) {
        self.bytes(at, &value.to_le_bytes());
    }

    /// Four bytes.
    pub(super) fn u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    /// Four bytes of the journal.
    pub(super) fn big_u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_be_bytes());
    }

    /// Two bytes of the low half of `value` at `low`, two of the high half at `high`.
    pub(super) fn halves(&mut self, low: usize, high: usize, value: u32) {
        self.u16(low, value as u16);
        self.u16(high, (value >> 16) as u16);
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
