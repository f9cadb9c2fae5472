//! Which blocks hold a file: the extent tree. Up to four runs stand in the inode; more stand in blocks of their own.

use super::checksum::Checksum;
use super::layout::{BLOCK_LEN, Fields, inode};
use super::space::Run;

/// Bytes of a header and of an entry.
const HEADER_LEN: usize = 12;
const ENTRY_LEN: usize = 12;
const MAGIC: u16 = 0xf30a;
/// Entries in an inode.
const IN_INODE: usize = (inode::MAP_LEN - HEADER_LEN) / ENTRY_LEN;
/// Entries in a block; four bytes of checksum follow.
const IN_BLOCK: usize = (BLOCK_LEN - HEADER_LEN - 4) / ENTRY_LEN;

/// How many blocks the tree over this many runs needs.
pub(super) fn blocks_for(runs: usize) -> usize {
    let mut entries = runs;
    let mut blocks = 0;
    while entries > IN_INODE {
        entries = entries.div_ceil(IN_BLOCK);
        blocks += entries;
    }
    blocks
}

/// An encoded tree.
pub(super) struct Encoded {
    /// The inode's map.
    pub(super) map: [u8; inode::MAP_LEN],
    /// Where each further block stands, and its bytes.
    pub(super) blocks: Vec<(u64, Vec<u8>)>,
}

/// The tree over `runs`, whose further blocks stand at `places` (as many as [`blocks_for`] says). `seed` is the inode's.
pub(super) fn encode(runs: &[Run], places: &[u64], seed: Checksum) -> Encoded {
    let mut logical = 0u64;
    let mut entries: Vec<(u32, [u8; ENTRY_LEN])> = runs
        .iter()
        .map(|run| {
            let entry = leaf_entry(logical, run);
            let first = logical as u32;
            logical += run.len;
            (first, entry)
        })
        .collect();
    let mut places = places.iter();
    let mut blocks = Vec::new();
    let mut depth = 0;
    while entries.len() > IN_INODE {
        let mut above = Vec::new();
        for chunk in entries.chunks(IN_BLOCK) {
            let &place = places.next().expect("blocks_for counted the blocks");
            let mut block = vec![0; BLOCK_LEN];
            fill(&mut block, chunk, IN_BLOCK, depth);
            let sum = seed.with(&block[..HEADER_LEN + IN_BLOCK * ENTRY_LEN]).value();
            Fields(&mut block).u32(HEADER_LEN + IN_BLOCK * ENTRY_LEN, sum);
            blocks.push((place, block));
            above.push((chunk[0].0, index_entry(chunk[0].0, place)));
        }
        entries = above;
        depth += 1;
    }
    let mut map = [0; inode::MAP_LEN];
    fill(&mut map, &entries, IN_INODE, depth);
    Encoded { map, blocks }
}

fn fill(node: &mut [u8], entries: &[(u32, [u8; ENTRY_LEN])], capacity: usize, depth: u16) {
    let mut fields = Fields(node);
    fields.u16(0, MAGIC);
    fields.u16(2, entries.len() as u16);
    fields.u16(4, capacity as u16);
    fields.u16(6, depth);
    for (index, (_, entry)) in entries.iter().enumerate() {
        fields.bytes(HEADER_LEN + index * ENTRY_LEN, entry);
    }
}

fn leaf_entry(logical: u64, run: &Run) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    let mut fields = Fields(&mut entry);
    fields.u32(0, logical as u32);
    fields.u16(4, run.len as u16);
    fields.u16(6, (run.start >> 32) as u16);
    fields.u32(8, run.start as u32);
    entry
}

fn index_entry(logical: u32, place: u64) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    let mut fields = Fields(&mut entry);
    fields.u32(0, logical);
    fields.u32(4, place as u32);
    fields.u16(8, (place >> 32) as u16);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_blocks() {
        let cases = [(0, 0), (4, 0), (5, 1), (340, 1), (341, 2), (1360, 4), (1361, 5 + 1)];
        for (runs, blocks) in cases {
            assert_eq!(blocks_for(runs), blocks, "{runs} runs");
        }
    }

    #[test]
    fn a_tree_of_two_levels() {
        let runs: Vec<_> = (0..1361).map(|n| Run { start: n * 10, len: 2 }).collect();
        let places: Vec<_> = (0..6).map(|n| 100_000 + n).collect();
        let tree = encode(&runs, &places, Checksum::START);
        assert_eq!(tree.map[..8], [0x0a, 0xf3, 1, 0, 4, 0, 2, 0], "one entry of four, depth 2");
        assert_eq!(tree.blocks.len(), 6);
        assert_eq!(tree.blocks[5].1[..8], [0x0a, 0xf3, 5, 0, 0x54, 1, 1, 0], "five entries of 340, depth 1");
        assert_eq!(tree.blocks[5].1[24..28], 680u32.to_le_bytes(), "the second leaf begins at block 680 of the file");
    }
}
