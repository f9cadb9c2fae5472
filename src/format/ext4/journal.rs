//! The journal: an empty one, so nothing but the first block is written.

use super::layout::{BLOCK, Fields, journal};

/// Blocks that the kernel takes for a journal at least.
pub(super) const MIN_BLOCKS: u64 = 1024;
/// Blocks that we make at most: 4 GiB, four times what mke2fs chooses for the largest filesystem.
pub(super) const MAX_BLOCKS: u64 = 1 << 20;

/// The first block of a journal of `blocks` blocks: clean, for one filesystem.
pub(super) fn head(blocks: u64, uuid: &[u8; 16]) -> Vec<u8> {
    let mut head = vec![0; journal::LEN];
    let mut fields = Fields(&mut head);
    fields.big_u32(0, journal::MAGIC);
    fields.big_u32(journal::BLOCK_TYPE, journal::SUPERBLOCK_V2);
    fields.big_u32(journal::BLOCK_SIZE, BLOCK as u32);
    fields.big_u32(journal::BLOCKS, blocks as u32);
    fields.big_u32(journal::FIRST, 1);
    fields.big_u32(journal::SEQUENCE, 1);
    fields.bytes(journal::UUID, uuid);
    fields.big_u32(journal::USERS, 1);
    head
}
