//! Folders: entries in blocks, each with a checksum at its end. A folder of more than one block gets a hash index (`dir_index`),
//! so that the kernel finds a name, and adds one, without reading all.

use std::sync::Arc;

use super::checksum::Checksum;
use super::hash::{HALF_MD4, NameHash, name_hash};
use super::layout::{BLOCK_LEN, Fields};

/// Bytes of an entry before its name.
const HEADER_LEN: usize = 8;
/// Bytes at the end of a block that look like an unused entry and hold the checksum.
const TAIL_LEN: usize = 12;
const TAIL_KIND: u8 = 0xde;
/// Where entries end.
const END: usize = BLOCK_LEN - TAIL_LEN;
/// Where the limit and count of the index stand in its root (behind `.`, `..` and eight bytes about the index), and in a node.
const ROOT_INDEX: usize = 32;
const NODE_INDEX: usize = 8;
/// Entries of the index in the root and in a node; eight bytes with the checksum follow.
const ROOT_ENTRIES: usize = (BLOCK_LEN - ROOT_INDEX) / 8 - 1;
const NODE_ENTRIES: usize = (BLOCK_LEN - NODE_INDEX) / 8 - 1;

/// What an entry names, as the number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EntryKind {
    File = 1,
    Directory = 2,
    Symlink = 7,
}

/// A name in a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) inode: u32,
    pub(super) kind: EntryKind,
}

/// The numbers that a folder's blocks depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    pub(super) inode: u32,
    pub(super) parent: u32,
    /// The checksum seed of the folder's inode.
    pub(super) seed: Checksum,
    /// The superblock's seed of name hashes.
    pub(super) hash_seed: &'a [u8; 16],
    /// Blocks to have at least: `lost+found` has room before it is needed.
    pub(super) min_blocks: usize,
}

/// The blocks of a folder.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Arc<[u8]>,
    /// Whether there is a hash index.
    pub(super) indexed: bool,
}

/// The blocks of `folder` with `entries`, each name once.
pub(super) fn encode(folder: Folder<'_>, entries: &[Entry<'_>]) -> Encoded {
    let dots = [
        Entry { name: ".", inode: folder.inode, kind: EntryKind::Directory },
        Entry { name: "..", inode: folder.parent, kind: EntryKind::Directory },
    ];
    let len = |entries: &[Entry<'_>]| entries.iter().map(Entry::len).sum::<usize>();
    if len(&dots) + len(entries) > END {
        return Encoded { bytes: indexed(folder, &dots, entries).into(), indexed: true };
    }
    let mut block = Block::new();
    dots.iter().chain(entries).for_each(|entry| block.push(entry));
    let mut bytes = block.finish(folder.seed);
    for _ in 1..folder.min_blocks {
        bytes.extend(Block::new().finish(folder.seed));
    }
    Encoded { bytes: bytes.into(), indexed: false }
}

impl Entry<'_> {
    /// Bytes on disk.
    fn len(&self) -> usize {
        HEADER_LEN + self.name.len().next_multiple_of(4)
    }

    fn write(&self, at: usize, len: usize, block: &mut [u8]) {
        let mut fields = Fields(block);
        fields.u32(at, self.inode);
        fields.u16(at + 4, len as u16);
        fields.u8(at + 6, self.name.len() as u8);
        fields.u8(at + 7, self.kind as u8);
        fields.bytes(at + HEADER_LEN, self.name.as_bytes());
    }
}

/// A block that is being filled with entries.
struct Block {
    bytes: Vec<u8>,
    last: usize,
    used: usize,
}

impl Block {
    fn new() -> Self {
        Self { bytes: vec![0; BLOCK_LEN], last: 0, used: 0 }
    }

    fn fits(&self, entry: &Entry<'_>) -> bool {
        self.used + entry.len() <= END
    }

    fn push(&mut self, entry: &Entry<'_>) {
        entry.write(self.used, entry.len(), &mut self.bytes);
        self.last = self.used;
        self.used += entry.len();
    }

    /// The last entry (or an unused one) reaches up to the checksum.
    fn finish(mut self, seed: Checksum) -> Vec<u8> {
        let mut fields = Fields(&mut self.bytes);
        fields.u16(self.last + 4, (END - self.last) as u16);
        fields.u16(END + 4, TAIL_LEN as u16);
        fields.u8(END + 7, TAIL_KIND);
        let sum = seed.with(&self.bytes[..END]).value();
        Fields(&mut self.bytes).u32(END + 8, sum);
        self.bytes
    }
}

/// A leaf of the index, or a node above leaves: the first hash in it and its bytes.
type Hashed = (u32, Vec<u8>);

fn indexed(folder: Folder<'_>, dots: &[Entry<'_>; 2], entries: &[Entry<'_>]) -> Vec<u8> {
    let leaves = leaves(folder, entries);
    let with_nodes = leaves.len() > ROOT_ENTRIES;
    let nodes = if with_nodes { leaves.len().div_ceil(NODE_ENTRIES) } else { 0 };
    let numbered = |from: usize, blocks: &[Hashed]| -> Vec<(u32, u32)> {
        blocks.iter().enumerate().map(|(index, (hash, _))| (*hash, (from + index) as u32)).collect()
    };
    let leaf_numbers = numbered(1 + nodes, &leaves);
    let nodes: Vec<Hashed> = if with_nodes {
        leaf_numbers.chunks(NODE_ENTRIES).map(|chunk| (chunk[0].0, node(folder.seed, chunk))).collect()
    } else {
        Vec::new()
    };
    let mut bytes = root(folder.seed, dots, if with_nodes { &[] } else { &leaf_numbers }, &numbered(1, &nodes));
    for (_, block) in nodes.iter().chain(&leaves) {
        bytes.extend_from_slice(block);
    }
    bytes
}

/// The entries in blocks, by hash.
fn leaves(folder: Folder<'_>, entries: &[Entry<'_>]) -> Vec<Hashed> {
    let mut sorted: Vec<(NameHash, &Entry<'_>)> =
        entries.iter().map(|entry| (name_hash(entry.name.as_bytes(), folder.hash_seed), entry)).collect();
    sorted.sort_unstable_by_key(|(hash, entry)| (*hash, entry.name));
    let mut leaves = Vec::new();
    let mut block = Block::new();
    let mut first = 0;
    let mut before = None;
    for (hash, entry) in sorted {
        if !block.fits(entry) {
            leaves.push((first, std::mem::replace(&mut block, Block::new()).finish(folder.seed)));
            // The lowest bit says that names with this hash begin in the block before.
            first = hash.major | u32::from(before == Some(hash.major));
        }
        block.push(entry);
        before = Some(hash.major);
    }
    leaves.push((first, block.finish(folder.seed)));
    leaves
}

/// The first block: `.` and `..`, and behind them the index over leaves, or over nodes.
fn root(seed: Checksum, dots: &[Entry<'_>; 2], leaves: &[(u32, u32)], nodes: &[(u32, u32)]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_LEN];
    dots[0].write(0, dots[0].len(), &mut block);
    dots[1].write(dots[0].len(), BLOCK_LEN - dots[0].len(), &mut block);
    let mut fields = Fields(&mut block);
    fields.u8(ROOT_INDEX - 4, HALF_MD4);
    fields.u8(ROOT_INDEX - 3, 8);
    fields.u8(ROOT_INDEX - 2, u8::from(!nodes.is_empty()));
    index(&mut block, ROOT_INDEX, ROOT_ENTRIES, if nodes.is_empty() { leaves } else { nodes }, seed);
    block
}

/// A block of index between root and leaves. To who reads entries alone it is one unused entry.
fn node(seed: Checksum, leaves: &[(u32, u32)]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_LEN];
    Fields(&mut block).u16(4, BLOCK_LEN as u16);
    index(&mut block, NODE_INDEX, NODE_ENTRIES, leaves, seed);
    block
}

/// Hash and block of each entry; limit and count stand where the first one's hash would (it is implied).
fn index(block: &mut [u8], at: usize, limit: usize, entries: &[(u32, u32)], seed: Checksum) {
    let mut fields = Fields(block);
    for (index, (hash, number)) in entries.iter().enumerate() {
        fields.u32(at + index * 8, *hash);
        fields.u32(at + index * 8 + 4, *number);
    }
    fields.u16(at, limit as u16);
    fields.u16(at + 2, entries.len() as u16);
    let sum = seed.with(&block[..at + entries.len() * 8]).with(&[0; 8]).value();
    Fields(block).u32(at + limit * 8 + 4, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_then_an_index_then_nodes() {
        let seed = Checksum::START;
        let folder = Folder { inode: 12, parent: 2, seed, hash_seed: &[3; 16], min_blocks: 1 };
        for (count, blocks, is_indexed) in [(0, 1, false), (100, 1, false), (400, 5, true), (60_000, 590, true)] {
            let names: Vec<_> = (0..count).map(|n| format!("a-name-that-is-a-bit-long-{n:06}")).collect();
            let entries: Vec<_> = names.iter().map(|name| Entry { name, inode: 13, kind: EntryKind::File }).collect();
            let encoded = encode(folder, &entries);
            assert_eq!((encoded.bytes.len() / BLOCK_LEN, encoded.indexed), (blocks, is_indexed), "{count} names");
        }
    }
}
