//! Group descriptors and bitmaps: what is free in each group.

use std::ops::Range;

use super::allocation::Allocation;
use super::checksum::Checksum;
use super::geometry::{Geometry, between};
use super::inventory::Inventory;
use super::layout::{BLOCK, BLOCK_LEN, DESCRIPTOR_LEN, Fields, GROUP_BLOCKS, descriptor};

/// The descriptors, and the bitmaps that are not implied by them.
pub(super) struct Encoded {
    /// One after the other.
    pub(super) descriptors: Vec<u8>,
    /// Block and bytes.
    pub(super) bitmaps: Vec<(u64, Vec<u8>)>,
}

/// Describes all groups.
pub(super) fn encode(inventory: &Inventory<'_>, geometry: &Geometry, allocation: &Allocation, seed: Checksum) -> Encoded {
    let used = between(&allocation.free, geometry.blocks);
    let mut used = used.as_slice();
    let folders = folders_by_group(inventory, geometry);
    let mut encoded = Encoded { descriptors: Vec::new(), bitmaps: Vec::new() };
    for (number, group) in geometry.groups.iter().enumerate() {
        let index = number as u64;
        let range = geometry.group_range(index);
        let here = within(&mut used, &range);
        let free_blocks = (range.end - range.start) - here.iter().map(|part| part.end - part.start).sum::<u64>();
        let mut bytes = [0; DESCRIPTOR_LEN];
        let mut fields = Fields(&mut bytes);
        let mut flags = descriptor::TABLE_ZEROED;
        fields.u32(descriptor::BLOCK_BITMAP, group.block_bitmap as u32);
        fields.u32(descriptor::INODE_BITMAP, group.inode_bitmap as u32);
        fields.u32(descriptor::INODE_TABLE, group.inode_table as u32);
        fields.u16(descriptor::FREE_BLOCKS, free_blocks as u16);
        fields.u16(descriptor::USED_DIRECTORIES, folders[number]);

        let superblock = geometry.superblock_len(index);
        let implied = here.iter().map(|part| part.end - part.start).sum::<u64>() == superblock
            && here.iter().all(|part| *part == (0..superblock));
        if implied && index + 1 < geometry.group_count() {
            flags |= descriptor::BLOCK_UNINIT;
        } else {
            let bitmap = bitmap(&here, range.end - range.start);
            let sum = seed.with(&bitmap[..(GROUP_BLOCKS / 8) as usize]).value();
            fields.halves(descriptor::BLOCK_BITMAP_CHECKSUM, descriptor::BLOCK_BITMAP_CHECKSUM_HIGH, sum);
            encoded.bitmaps.push((group.block_bitmap, bitmap));
        }

        // Inodes are numbered from 1 without a gap.
        let inodes = geometry.inodes_per_group;
        let used_inodes = u64::from(inventory.last_inode()).saturating_sub(index * inodes).min(inodes);
        fields.u16(descriptor::FREE_INODES, (inodes - used_inodes) as u16);
        fields.u16(descriptor::UNUSED_INODES, (inodes - used_inodes) as u16);
        if used_inodes == 0 {
            flags |= descriptor::INODE_UNINIT;
        } else {
            let bitmap = bitmap(std::slice::from_ref(&(0..used_inodes)), inodes);
            let sum = seed.with(&bitmap[..(inodes / 8) as usize]).value();
            fields.halves(descriptor::INODE_BITMAP_CHECKSUM, descriptor::INODE_BITMAP_CHECKSUM_HIGH, sum);
            encoded.bitmaps.push((group.inode_bitmap, bitmap));
        }

        fields.u16(descriptor::FLAGS, flags);
        let sum = seed.with(&(index as u32).to_le_bytes()).with(&bytes).value();
        Fields(&mut bytes).u16(descriptor::CHECKSUM, sum as u16);
        encoded.descriptors.extend_from_slice(&bytes);
    }
    encoded
}

/// How many inodes are free.
pub(super) fn free_inodes(inventory: &Inventory<'_>, geometry: &Geometry) -> u64 {
    geometry.inodes() - u64::from(inventory.last_inode())
}

fn folders_by_group(inventory: &Inventory<'_>, geometry: &Geometry) -> Vec<u16> {
    let mut folders = vec![0u16; geometry.groups.len()];
    for item in inventory.items.iter().filter(|item| item.is_directory()) {
        folders[(u64::from(item.number - 1) / geometry.inodes_per_group) as usize] += 1;
    }
    folders
}

/// The parts of sorted `ranges` in `range`, counted from its start. Those that end before the range's end are taken off the list.
fn within(ranges: &mut &[Range<u64>], range: &Range<u64>) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    while let Some(first) = ranges.first().filter(|first| first.start < range.end) {
        let (start, end) = (first.start.max(range.start), first.end.min(range.end));
        parts.push(start - range.start..end - range.start);
        if first.end > range.end {
            break;
        }
        *ranges = &ranges[1..];
    }
    parts
}

/// A block with the bits of `ranges` set, and all from `len` on: they stand for nothing.
fn bitmap(ranges: &[Range<u64>], len: u64) -> Vec<u8> {
    let mut bitmap = vec![0; BLOCK_LEN];
    for range in ranges.iter().chain([&(len..BLOCK * 8)]) {
        let mut bit = range.start as usize;
        let end = range.end as usize;
        while bit < end {
            if bit.is_multiple_of(8) && bit + 8 <= end {
                let bytes = (end - bit) / 8;
                bitmap[bit / 8..bit / 8 + bytes].fill(0xff);
                bit += bytes * 8;
            } else {
                bitmap[bit / 8] |= 1 << (bit % 8);
                bit += 1;
            }
        }
    }
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits() {
        let map = bitmap(&[1..2, 7..26], 32_760);
        assert_eq!(map[..5], [0b1000_0010, 0xff, 0xff, 0b11, 0]);
        assert_eq!(map[4094..], [0, 0xff]);
    }

    #[test]
    fn parts_of_ranges() {
        let ranges = [0..3, 5..12, 14..25, 30..31];
        let mut rest = &ranges[..];
        assert_eq!(within(&mut rest, &(0..10)), [0..3, 5..10]);
        assert_eq!(within(&mut rest, &(10..20)), [0..2, 4..10]);
        assert_eq!(within(&mut rest, &(20..40)), [0..5, 10..11]);
    }
}
