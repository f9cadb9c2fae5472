//! The names in a folder. The nodes of its index look like unused entries, so that reading from front to back finds every name.

use super::node::Inode;
use super::{BadExt4, Record, damaged};

/// Bytes of an entry before its name.
const HEADER_LEN: usize = 8;

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// The inode's number.
    pub inode: u32,
}

/// The names in the blocks of a folder, without `.` and `..`.
pub(super) fn names(inode: &Inode, bytes: &[u8], block: u64) -> Result<Vec<Name>, BadExt4> {
    let mut names = Vec::new();
    for block in bytes.chunks(usize::try_from(block).unwrap_or(usize::MAX)) {
        let mut at = 0;
        while at < block.len() {
            let entry = Record(&block[at..]);
            let (number, len, name_len) = (entry.u32(0), usize::from(entry.u16(4)), usize::from(entry.u8(6)));
            // Blocks of 64 KiB have entries whose length does not fit the field.
            let len = if len == usize::from(u16::MAX) || len == 0 && block.len() > 65_535 { block.len() - at } else { len };
            if len < HEADER_LEN || len > block.len() - at || HEADER_LEN + name_len > len && number != 0 {
                let what = format!("the entry at byte {at} of a block of folder {}", inode.number);
                return Err(damaged(
                    what,
                    format!("{HEADER_LEN} to {} bytes", block.len() - at),
                    format!("{len}, a name of {name_len}"),
                ));
            }
            let name = block.get(at + HEADER_LEN..at + HEADER_LEN + name_len).unwrap_or_default();
            if number != 0 && !matches!(name, b"" | b"." | b"..") {
                if name.contains(&b'/') || name.contains(&0) {
                    return Err(damaged(format!("folder {}", inode.number), "a name", String::from_utf8_lossy(name)));
                }
                names.push(Name { name: name.to_vec(), inode: number });
            }
            at += len;
        }
    }
    Ok(names)
}
