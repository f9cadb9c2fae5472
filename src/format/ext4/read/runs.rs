//! Where the bytes of a file lie: its extent tree, from the first leaf to the last.

use super::super::layout::inode;
use super::node::{Inode, InodeKind};
use super::{BadExt4, Filesystem, Record, damaged};

/// Bytes of a header and of an entry.
const RECORD_LEN: usize = 12;
const MAGIC: u16 = 0xf30a;
/// Trees are no deeper.
const DEPTH_MAX: u16 = 5;
/// A run of more blocks is one that is not written yet, of this many less.
const WRITTEN_MAX: u16 = 32_768;

/// A part of a file that lies in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first byte in the file.
    pub from: u64,
    /// Its first byte in the filesystem.
    pub at: u64,
    /// How many bytes. The last run may reach beyond the end of the file.
    pub len: u64,
}

/// The runs of `inode`, in order. Holes and parts that are not written are left out.
pub(super) fn runs(filesystem: &Filesystem, inode: &Inode) -> Result<Vec<Run>, BadExt4> {
    if inode.size == 0 || inode.kind == InodeKind::Special {
        return Ok(Vec::new());
    }
    if inode.flags & inode::EXTENTS == 0 {
        return Err(BadExt4::Unknown(format!("inode {} has a block map of ext2", inode.number)));
    }
    let mut walk = Walk { filesystem, inode, runs: Vec::new(), end: 0, nodes: 0 };
    walk.node(&inode.map, None)?;
    Ok(walk.runs)
}

struct Walk<'a> {
    filesystem: &'a Filesystem,
    inode: &'a Inode,
    runs: Vec<Run>,
    /// The block of the file behind the last run.
    end: u64,
    nodes: u64,
}

impl Walk<'_> {
    /// Reads a node; `depth` is what it must say, where a node above says so.
    fn node(&mut self, bytes: &[u8], depth: Option<u16>) -> Result<(), BadExt4> {
        let what = || format!("the extents of inode {}", self.inode.number);
        let head = Record(bytes);
        let (magic, count, found) = (head.u16(0), head.u16(2), head.u16(6));
        let room = bytes.len() / RECORD_LEN - 1;
        if magic != MAGIC || usize::from(count) > room || found > DEPTH_MAX || depth.is_some_and(|depth| depth != found) {
            let needed = format!("the number {MAGIC:04x}, {room} entries at most and depth {}", depth.unwrap_or(DEPTH_MAX));
            return Err(damaged(what(), needed, format!("{magic:04x}, {count} and {found}")));
        }
        // As many nodes as blocks: a tree that leads back to itself ends here.
        self.nodes += 1;
        if self.nodes > self.filesystem.blocks {
            return Err(damaged(what(), "fewer nodes than blocks", self.nodes));
        }
        for entry in bytes[RECORD_LEN..].chunks_exact(RECORD_LEN).take(usize::from(count)) {
            let entry = Record(entry);
            if found == 0 {
                self.leaf(entry)?;
            } else {
                let block = u64::from(entry.u32(4)) | u64::from(entry.u16(8)) << 32;
                let at = self.filesystem.place(block, &what())?;
                let below = self.filesystem.bytes.read_at(at, self.filesystem.block)?;
                self.node(&below, Some(found - 1))?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, entry: Record<'_>) -> Result<(), BadExt4> {
        let what = || format!("the extents of inode {}", self.inode.number);
        let (first, len) = (u64::from(entry.u32(0)), entry.u16(4));
        let start = u64::from(entry.u32(8)) | u64::from(entry.u16(6)) << 32;
        let written = len <= WRITTEN_MAX;
        let len = u64::from(if written { len } else { len - WRITTEN_MAX });
        if first < self.end || len == 0 {
            return Err(damaged(what(), format!("a run from block {} on", self.end), format!("{len} blocks from {first} on")));
        }
        self.end = first + len;
        let block = self.filesystem.block;
        self.filesystem.place(start + len - 1, &what())?;
        if written {
            self.runs.push(Run { from: first * block, at: start * block, len: len * block });
        }
        Ok(())
    }
}
