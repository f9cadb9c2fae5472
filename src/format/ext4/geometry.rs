//! Where the tables of a filesystem of some size stand: superblock copies, descriptors, bitmaps, inode tables. What is left
//! between them is for files. Follows mke2fs: sixteen groups (a flex group) keep their bitmaps and tables together in the first.

use std::ops::Range;

use super::layout::{
    BLOCK, BLOCKS_MAX, DESCRIPTORS_PER_BLOCK, FIRST_INODE, GROUP_BLOCKS, GROUP_INODES_MAX, INODES_PER_BLOCK, LAST_GROUP_SPARE,
    LOG_GROUPS_PER_FLEX, POINTERS_PER_BLOCK,
};
use super::{Journal, Options};

/// Where one group's own tables stand, by block.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

/// The places of all tables.
#[derive(Debug)]
pub(super) struct Geometry {
    /// Blocks of the filesystem. Can be less than the size allows: a last group too small for its tables is not used.
    pub(super) blocks: u64,
    pub(super) groups: Vec<Group>,
    pub(super) inodes_per_group: u64,
    /// Blocks of the group descriptors.
    pub(super) descriptor_blocks: u64,
    /// Blocks kept behind them, for the descriptors of a larger filesystem.
    pub(super) reserved_descriptor_blocks: u64,
    /// Blocks of the journal; 0 for none.
    pub(super) journal_blocks: u64,
    /// Superblock copies with their descriptors, and tables: by place, adjacent ones joined.
    pub(super) tables: Vec<Range<u64>>,
    /// What is left for files, by place.
    pub(super) free: Vec<Range<u64>>,
}

/// Why there is no geometry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Not even the tables fit.
    Blocks,
    /// The tables would have this many inodes at most.
    Inodes(u64),
}

/// Whether a group has a copy of the superblock and the descriptors: 0, 1 and powers of 3, 5 and 7.
pub(super) fn has_superblock(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

/// The journal that mke2fs would choose for a filesystem of this many blocks.
fn usual_journal(blocks: u64) -> u64 {
    const TABLE: [(u64, u64); 8] = [
        (2048, 0),
        (32_768, 1024),
        (256 << 10, 4096),
        (512 << 10, 8192),
        (4096 << 10, 16_384),
        (8192 << 10, 32_768),
        (16_384 << 10, 65_536),
        (32_768 << 10, 131_072),
    ];
    TABLE.iter().find(|(below, _)| blocks < *below).map_or(262_144, |(_, journal)| *journal)
}

impl Geometry {
    /// For a device of `blocks` blocks and a tree whose last inode is `last_inode`.
    pub(super) fn new(blocks: u64, last_inode: u64, options: &Options) -> Result<Self, Misfit> {
        let mut geometry = Self::counted(blocks, last_inode, options)?;
        let rest = geometry.blocks % GROUP_BLOCKS;
        let last = geometry.group_count() - 1;
        if rest != 0 && rest < geometry.superblock_len(last) + 2 + geometry.table_blocks() + LAST_GROUP_SPARE {
            if last == 0 {
                return Err(Misfit::Blocks);
            }
            geometry = Self::counted(blocks - rest, last_inode, options)?;
        }
        geometry.place()?;
        Ok(geometry)
    }

    /// The counts, without places.
    fn counted(blocks: u64, last_inode: u64, options: &Options) -> Result<Self, Misfit> {
        if blocks == 0 || blocks > BLOCKS_MAX {
            return Err(Misfit::Blocks);
        }
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let most = GROUP_INODES_MAX.min(u64::from(u32::MAX) / groups / INODES_PER_BLOCK * INODES_PER_BLOCK);
        let by_ratio = blocks * BLOCK / options.bytes_per_inode.max(BLOCK);
        let wanted = by_ratio.max(last_inode + last_inode / 2).max(u64::from(FIRST_INODE) + 1);
        let inodes_per_group = wanted.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK).min(most);
        if inodes_per_group * groups < last_inode {
            return Err(Misfit::Inodes(inodes_per_group * groups));
        }
        let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let grown_blocks = (options.grow_to / BLOCK).min(BLOCKS_MAX);
        let grown = grown_blocks.div_ceil(GROUP_BLOCKS).div_ceil(DESCRIPTORS_PER_BLOCK);
        let journal_blocks = match options.journal {
            Journal::BySize => usual_journal(blocks),
            Journal::Bytes(bytes) => bytes / BLOCK,
        };
        Ok(Self {
            blocks,
            groups: Vec::new(),
            inodes_per_group,
            descriptor_blocks,
            reserved_descriptor_blocks: grown.saturating_sub(descriptor_blocks).min(POINTERS_PER_BLOCK),
            journal_blocks,
            tables: Vec::new(),
            free: Vec::new(),
        })
    }

    /// Gives every table its place.
    fn place(&mut self) -> Result<(), Misfit> {
        let count = self.group_count();
        let copies: Vec<_> = (0..count)
            .filter(|group| has_superblock(*group))
            .map(|group| group * GROUP_BLOCKS..group * GROUP_BLOCKS + self.superblock_len(group))
            .collect();
        if copies.last().is_some_and(|copy| copy.end > self.blocks) {
            return Err(Misfit::Blocks);
        }
        let table_blocks = self.table_blocks();
        let mut used = copies.clone();
        let mut placer = Placer { copies: &copies, at: 0, end: self.blocks };
        let mut first = 0;
        while first < count {
            let flex = first..count.min(first + (1 << LOG_GROUPS_PER_FLEX));
            let groups = flex.end - first;
            placer.at = placer.at.max(first * GROUP_BLOCKS);
            let block_bitmaps = placer.place(groups)?;
            let inode_bitmaps = placer.place(groups)?;
            used.extend([block_bitmaps..block_bitmaps + groups, inode_bitmaps..inode_bitmaps + groups]);
            for index in 0..groups {
                let inode_table = placer.place(table_blocks)?;
                used.push(inode_table..inode_table + table_blocks);
                self.groups.push(Group { block_bitmap: block_bitmaps + index, inode_bitmap: inode_bitmaps + index, inode_table });
            }
            first = flex.end;
        }
        used.sort_unstable_by_key(|range| range.start);
        self.tables = joined(&used);
        self.free = between(&self.tables, self.blocks);
        Ok(())
    }

    pub(super) fn group_count(&self) -> u64 {
        self.blocks.div_ceil(GROUP_BLOCKS)
    }

    /// The blocks of a group.
    pub(super) fn group_range(&self, group: u64) -> Range<u64> {
        group * GROUP_BLOCKS..self.blocks.min((group + 1) * GROUP_BLOCKS)
    }

    /// Blocks of a group's inode table.
    pub(super) fn table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Inodes of the filesystem, free ones included.
    pub(super) fn inodes(&self) -> u64 {
        self.inodes_per_group * self.group_count()
    }

    /// The groups that have a copy of the superblock, 0 first.
    pub(super) fn superblock_groups(&self) -> impl Iterator<Item = u64> {
        (0..self.group_count()).filter(|group| has_superblock(*group))
    }

    /// Blocks of a group that its superblock copy and all descriptors take, the reserved ones included.
    pub(super) fn superblock_len(&self, group: u64) -> u64 {
        if has_superblock(group) { 1 + self.descriptor_blocks + self.reserved_descriptor_blocks } else { 0 }
    }

    /// Blocks left for files and the journal.
    pub(super) fn free_blocks(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }
}

/// Finds room between superblock copies.
struct Placer<'a> {
    copies: &'a [Range<u64>],
    at: u64,
    end: u64,
}

impl Placer<'_> {
    /// The next place for `blocks` blocks, one after the other.
    fn place(&mut self, blocks: u64) -> Result<u64, Misfit> {
        while let Some(copy) = self.copies.first() {
            if copy.end <= self.at {
                self.copies = &self.copies[1..];
            } else if self.at + blocks > copy.start {
                self.at = copy.end;
            } else {
                break;
            }
        }
        let place = self.at;
        self.at += blocks;
        if self.at <= self.end { Ok(place) } else { Err(Misfit::Blocks) }
    }
}

/// Sorted ranges, adjacent ones joined.
pub(super) fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut result: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match result.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => result.push(range.clone()),
        }
    }
    result
}

/// What sorted ranges leave of `0..end`.
pub(super) fn between(ranges: &[Range<u64>], end: u64) -> Vec<Range<u64>> {
    let mut result = Vec::new();
    let mut at = 0;
    for range in ranges {
        if at < range.start {
            result.push(at..range.start);
        }
        at = range.end;
    }
    if at < end {
        result.push(at..end);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn geometry(size: u64, inodes: u64, grow_to: u64) -> Result<Geometry, Misfit> {
        let options = Options { grow_to, ..Options::new(size, [1; 16], [2; 16], 0) };
        Geometry::new(size / BLOCK, inodes, &options)
    }

    #[test]
    fn copies_of_the_superblock() {
        let groups: Vec<_> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn sizes_as_mke2fs_has_them() {
        let one = geometry(GIB, 100, 0).unwrap();
        assert_eq!((one.group_count(), one.inodes_per_group, one.journal_blocks), (8, 8192, 8192));
        assert_eq!((one.groups[0].block_bitmap, one.groups[0].inode_bitmap, one.groups[0].inode_table), (2, 10, 18));
        let grows = geometry(GIB, 100, 1 << 40).unwrap();
        assert_eq!((grows.descriptor_blocks, grows.reserved_descriptor_blocks), (1, 127));
    }

    #[test]
    fn a_short_last_group_is_left_out() {
        let short = geometry(128 << 20 | (2 << 20), 100, 0).unwrap();
        assert_eq!((short.blocks, short.group_count()), (32_768, 1));
        let long = geometry((128 << 20) + (8 << 20), 100, 0).unwrap();
        assert_eq!((long.blocks, long.group_count()), (32_768 + 2048, 2));
    }

    #[test]
    fn what_does_not_fit() {
        assert_eq!(geometry(64 << 10, 12, 0).unwrap_err(), Misfit::Blocks);
        assert_eq!(geometry(128 << 20, 40_000, 0).unwrap_err(), Misfit::Inodes(32_768));
    }

    #[test]
    fn tables_and_free_space_make_the_whole() {
        for (size, inodes) in [(GIB, 20), (20 * GIB, 300_000), (20 * GIB, 5_000_000), (40 << 20, 8_000)] {
            let geometry = geometry(size, inodes, 64 * size).unwrap();
            let tables: u64 = geometry.tables.iter().map(|range| range.end - range.start).sum();
            assert_eq!(tables + geometry.free_blocks(), geometry.blocks, "{size} {inodes}");
            assert!(geometry.tables.is_sorted_by(|a, b| a.end < b.start), "{size} {inodes}");
        }
    }
}
