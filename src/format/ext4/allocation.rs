//! The first pass, its second half: a place for every block of an inventory, in the order in which the disk is then written.
//!
//! What names and describes files (folders, long links, attributes) comes first and together, then the journal, then contents.

use super::extent_tree;
use super::geometry::Geometry;
use super::inventory::{Body, Inventory};
use super::space::{Run, Space};
use std::ops::Range;

/// The blocks of one inode.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Its content.
    pub(super) runs: Vec<Run>,
    /// Its extent tree's blocks outside the inode.
    pub(super) tree: Vec<u64>,
}

impl Placed {
    fn take(space: &mut Space<'_>, blocks: u64) -> Option<Self> {
        let runs = space.take(blocks)?;
        let tree = (0..extent_tree::blocks_for(runs.len())).map(|_| space.take_one()).collect::<Option<_>>()?;
        Some(Self { runs, tree })
    }
}

/// The blocks of everything in an inventory.
#[derive(Debug)]
pub(super) struct Allocation {
    /// Of each item, in the inventory's order.
    pub(super) items: Vec<Placed>,
    pub(super) xattr_blocks: Vec<u64>,
    pub(super) journal: Placed,
    /// The resize inode's doubly indirect block, if descriptor blocks are reserved.
    pub(super) resize: Option<u64>,
    /// What stays free, by place.
    pub(super) free: Vec<Range<u64>>,
}

impl Allocation {
    /// None when there are too few blocks.
    pub(super) fn new(inventory: &Inventory<'_>, geometry: &Geometry) -> Option<Self> {
        let mut space = Space::new(&geometry.free);
        let resize = if geometry.reserved_descriptor_blocks > 0 { Some(space.take_one()?) } else { None };
        let mut items: Vec<_> = inventory.items.iter().map(|_| Placed::default()).collect();
        let is_content = |body: &Body<'_>| matches!(body, Body::File(_));
        for (item, placed) in inventory.items.iter().zip(&mut items).filter(|(item, _)| !is_content(&item.body)) {
            *placed = Placed::take(&mut space, item.blocks())?;
        }
        let xattr_blocks = inventory.xattr_blocks.iter().map(|_| space.take_one()).collect::<Option<_>>()?;
        let journal = Placed::take(&mut space, geometry.journal_blocks)?;
        for (item, placed) in inventory.items.iter().zip(&mut items).filter(|(item, _)| is_content(&item.body)) {
            *placed = Placed::take(&mut space, item.blocks())?;
        }
        Some(Self { items, xattr_blocks, journal, resize, free: space.ranges_left().collect() })
    }

    /// How many blocks stay free.
    pub(super) fn free_blocks(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }
}
