//! The resize inode: it owns the blocks reserved behind the group descriptors, so that the kernel can grow the filesystem while
//! it is mounted. One block points to every reserved block; each of these points to its copies in other groups.

use super::geometry::Geometry;
use super::layout::{BLOCK, BLOCK_LEN, Fields, GROUP_BLOCKS, POINTERS_PER_BLOCK, inode};

/// The size that the inode claims: all that twelve direct, one indirect and one doubly indirect block could map.
pub(super) const SIZE: u64 = (POINTERS_PER_BLOCK * POINTERS_PER_BLOCK + POINTERS_PER_BLOCK + 12) * BLOCK;
/// Where the doubly indirect block stands in the map.
const DOUBLY_INDIRECT: usize = 13 * 4;

/// The inode's map.
pub(super) fn map(pointers: u64) -> [u8; inode::MAP_LEN] {
    let mut map = [0; inode::MAP_LEN];
    Fields(&mut map).u32(DOUBLY_INDIRECT, pointers as u32);
    map
}

/// How many blocks the inode owns.
pub(super) fn blocks(geometry: &Geometry) -> u64 {
    1 + geometry.reserved_descriptor_blocks * geometry.superblock_groups().count() as u64
}

/// The block at `pointers` and the reserved ones of group 0, with their places.
pub(super) fn encode(pointers: u64, geometry: &Geometry) -> Vec<(u64, Vec<u8>)> {
    let mut blocks = vec![(pointers, vec![0; BLOCK_LEN])];
    for index in 0..geometry.reserved_descriptor_blocks {
        let number = geometry.descriptor_blocks + index;
        let place = 1 + number;
        Fields(&mut blocks[0].1).u32((number % POINTERS_PER_BLOCK) as usize * 4, place as u32);
        let mut copies = vec![0; BLOCK_LEN];
        for (slot, group) in geometry.superblock_groups().skip(1).enumerate() {
            Fields(&mut copies).u32(slot * 4, (group * GROUP_BLOCKS + place) as u32);
        }
        blocks.push((place, copies));
    }
    blocks
}
