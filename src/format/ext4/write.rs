//! The second pass: every block that is not zero, as pieces with their places.

use std::sync::Arc;

use super::Options;
use super::allocation::{Allocation, Placed};
use super::checksum::Checksum;
use super::geometry::Geometry;
use super::inode::Inode;
use super::inventory::{Body, Inventory, Item};
use super::layout::{BLOCK, FAST_SYMLINK, Fields, INODE_LEN, JOURNAL_INODE, RESIZE_INODE, inode, superblock as superblock_at};
use super::space::Run;
use super::superblock::Totals;
use super::{dir, extent_tree, groups, journal, resize, superblock, xattr};
use crate::format::extents::{Data, Extent, Extents};

/// `len` bytes of `bytes` from `from` on; not copied when they are all.
fn part(bytes: &Arc<[u8]>, from: u64, len: u64) -> Data {
    let range = from as usize..(from + len) as usize;
    Data::Bytes(if range == (0..bytes.len()) { Arc::clone(bytes) } else { bytes[range].into() })
}

/// What the second pass works from.
pub(super) struct Writer<'a> {
    inventory: &'a Inventory<'a>,
    geometry: &'a Geometry,
    allocation: &'a Allocation,
    options: &'a Options,
    seed: Checksum,
    pieces: Vec<Extent>,
    /// All inodes up to the last one used, by number.
    table: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes all.
    pub(super) fn write(
        inventory: &'a Inventory<'a>,
        geometry: &'a Geometry,
        allocation: &'a Allocation,
        options: &'a Options,
    ) -> Extents {
        let mut writer = Self {
            inventory,
            geometry,
            allocation,
            options,
            seed: Checksum::START.with(&options.uuid),
            pieces: Vec::new(),
            table: vec![0; inventory.last_inode() as usize * INODE_LEN],
        };
        for (item, placed) in inventory.items.iter().zip(&allocation.items) {
            writer.item(item, placed);
        }
        writer.xattr_blocks();
        writer.resize_inode();
        let journal = writer.journal();
        writer.inode_table();
        writer.superblocks(journal.as_ref());
        let mut pieces = writer.pieces;
        pieces.sort_unstable_by_key(|piece| piece.at);
        let mut extents = Extents::new(options.size);
        for piece in pieces {
            extents.put(piece.at, piece.data);
        }
        extents
    }

    fn block(&mut self, block: u64, bytes: Vec<u8>) {
        self.pieces.push(Extent { at: block * BLOCK, data: Data::Bytes(bytes.into()) });
    }

    /// Cuts `len` bytes into the runs; `data` answers a part by its first byte and length.
    fn runs(&mut self, runs: &[Run], len: u64, data: impl Fn(u64, u64) -> Data) {
        let mut from = 0;
        for run in runs {
            let part = (run.len * BLOCK).min(len - from);
            self.pieces.push(Extent { at: run.start * BLOCK, data: data(from, part) });
            from += part;
        }
    }

    /// The map over placed blocks; writes the tree's blocks.
    fn extents(&mut self, number: u32, placed: &Placed) -> [u8; inode::MAP_LEN] {
        let tree = extent_tree::encode(&placed.runs, &placed.tree, self.seed.with_inode(number));
        for (block, bytes) in tree.blocks {
            self.block(block, bytes);
        }
        tree.map
    }

    fn item(&mut self, item: &Item<'_>, placed: &Placed) {
        let mut flags = inode::EXTENTS;
        let mut map = None;
        match &item.body {
            Body::Directory(dir::Encoded { bytes, indexed }) => {
                flags |= if *indexed { inode::INDEX } else { 0 };
                self.runs(&placed.runs, item.size(), |from, len| part(bytes, from, len));
            }
            Body::File(content) => {
                self.runs(&placed.runs, item.size(), |from, len| Data::Content { content: (*content).clone(), from, len });
            }
            Body::Symlink(target) if target.len() < FAST_SYMLINK => {
                flags = 0;
                let mut short = [0; inode::MAP_LEN];
                Fields(&mut short).bytes(0, target.as_bytes());
                map = Some(short);
            }
            Body::Symlink(target) => {
                let bytes: Arc<[u8]> = target.as_bytes().into();
                self.runs(&placed.runs, item.size(), |from, len| part(&bytes, from, len));
            }
        }
        let map = match map {
            Some(map) => map,
            None => self.extents(item.number, placed),
        };
        let xattr_block = item.xattr_block.map_or(0, |index| self.allocation.xattr_blocks[index]);
        self.inode(&Inode {
            number: item.number,
            mode: item.mode(),
            uid: item.meta.uid,
            gid: item.meta.gid,
            size: item.size(),
            links: item.links as u16,
            blocks: item.blocks() + placed.tree.len() as u64 + u64::from(xattr_block != 0),
            flags,
            map,
            xattr_block,
            mtime: item.meta.mtime,
            time: self.options.time,
            xattrs: &item.xattrs,
        });
    }

    fn inode(&mut self, inode: &Inode<'_>) {
        let at = (inode.number as usize - 1) * INODE_LEN;
        self.table[at..at + INODE_LEN].copy_from_slice(&inode.encode(self.seed));
    }

    /// An inode of the filesystem's own.
    fn own_inode(&mut self, number: u32, size: u64, blocks: u64, flags: u32, map: [u8; inode::MAP_LEN]) {
        let time = self.options.time;
        self.inode(&Inode {
            number,
            mode: inode::REGULAR | 0o600,
            uid: 0,
            gid: 0,
            size,
            links: 1,
            blocks,
            flags,
            map,
            xattr_block: 0,
            mtime: time,
            time,
            xattrs: &[],
        });
    }

    fn xattr_blocks(&mut self) {
        for (shared, &place) in self.inventory.xattr_blocks.iter().zip(&self.allocation.xattr_blocks) {
            let mut bytes = shared.bytes.clone();
            xattr::seal(&mut bytes, shared.references, place, self.seed);
            self.block(place, bytes);
        }
    }

    fn resize_inode(&mut self) {
        let Some(pointers) = self.allocation.resize else { return };
        for (block, bytes) in resize::encode(pointers, self.geometry) {
            self.block(block, bytes);
        }
        self.own_inode(RESIZE_INODE, resize::SIZE, resize::blocks(self.geometry), 0, resize::map(pointers));
    }

    /// The journal's inode and first block. Answers map and size.
    fn journal(&mut self) -> Option<([u8; inode::MAP_LEN], u64)> {
        let placed = &self.allocation.journal;
        let first = placed.runs.first()?.start;
        let blocks = self.geometry.journal_blocks;
        let map = self.extents(JOURNAL_INODE, placed);
        self.block(first, journal::head(blocks, &self.options.uuid));
        self.own_inode(JOURNAL_INODE, blocks * BLOCK, blocks + placed.tree.len() as u64, inode::EXTENTS, map);
        Some((map, blocks * BLOCK))
    }

    fn inode_table(&mut self) {
        let table = std::mem::take(&mut self.table);
        let per_group = self.geometry.inodes_per_group as usize * INODE_LEN;
        for (group, part) in self.geometry.groups.iter().zip(table.chunks(per_group)) {
            self.pieces.push(Extent { at: group.inode_table * BLOCK, data: Data::Bytes(part.into()) });
        }
    }

    /// Descriptors, bitmaps and superblocks with their copies.
    fn superblocks(&mut self, journal: Option<&([u8; inode::MAP_LEN], u64)>) {
        let groups = groups::encode(self.inventory, self.geometry, self.allocation, self.seed);
        for (block, bytes) in groups.bitmaps {
            self.block(block, bytes);
        }
        let totals = Totals {
            free_blocks: self.allocation.free_blocks(),
            free_inodes: groups::free_inodes(self.inventory, self.geometry),
            journal: journal.map(|(map, size)| (map, *size)),
        };
        let first = superblock::encode(self.options, self.geometry, &totals, self.seed);
        let descriptors: Arc<[u8]> = groups.descriptors.into();
        for group in self.geometry.superblock_groups() {
            let start = self.geometry.group_range(group).start * BLOCK;
            let at = if group == 0 { superblock_at::AT } else { start };
            self.pieces.push(Extent { at, data: Data::Bytes(superblock::copy(&first, group).into()) });
            self.pieces.push(Extent { at: start + BLOCK, data: Data::Bytes(Arc::clone(&descriptors)) });
        }
    }
}
