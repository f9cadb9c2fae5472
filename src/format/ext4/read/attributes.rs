//! Extended attributes: those in the inode, then those in its block.

use std::collections::BTreeMap;

use super::super::acl;
use super::super::layout::xattr;
use super::node::Inode;
use super::{BadExt4, Filesystem, Record, damaged};

/// What each index stands for.
const PREFIXES: [(u8, &str); 6] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
];

/// The attributes of `inode`.
pub(super) fn xattrs(filesystem: &Filesystem, inode: &Inode) -> Result<BTreeMap<String, Vec<u8>>, BadExt4> {
    let mut xattrs = BTreeMap::new();
    if Record(&inode.rest).u32(0) == xattr::MAGIC {
        entries(inode, &inode.rest[4..], 0, &mut xattrs)?;
    }
    if inode.xattr_block != 0 {
        let what = format!("the attributes of inode {}", inode.number);
        let at = filesystem.place(inode.xattr_block, &what)?;
        let block = filesystem.bytes.read_at(at, filesystem.block)?;
        let magic = Record(&block).u32(0);
        if magic != xattr::MAGIC {
            return Err(damaged(what, format!("the number {:08x}", xattr::MAGIC), format!("{magic:08x}")));
        }
        entries(inode, &block[xattr::HEADER_LEN..], xattr::HEADER_LEN, &mut xattrs)?;
    }
    Ok(xattrs)
}

/// Reads the entries that begin `region`; offsets of values count from `base` bytes before it.
fn entries(inode: &Inode, region: &[u8], base: usize, into: &mut BTreeMap<String, Vec<u8>>) -> Result<(), BadExt4> {
    let what = || format!("the attributes of inode {}", inode.number);
    let mut at = 0;
    // Four zeros end the list; so does the end of the region.
    while at + 4 <= region.len() && Record(&region[at..]).u32(0) != 0 {
        let entry = Record(&region[at..]);
        let (name_len, index, offset) = (usize::from(entry.u8(0)), entry.u8(1), usize::from(entry.u16(2)));
        let (elsewhere, len) = (entry.u32(4), entry.u32(8) as usize);
        if elsewhere != 0 {
            return Err(BadExt4::Unknown(format!("inode {} has an attribute in an inode of its own", inode.number)));
        }
        let name = region.get(at + xattr::ENTRY_LEN..at + xattr::ENTRY_LEN + name_len);
        let start = offset.checked_sub(base).or((len == 0).then_some(0));
        let value = start.and_then(|start| region.get(start..start.checked_add(len)?));
        let (Some(name), Some(value)) = (name, value) else {
            return Err(damaged(what(), format!("an entry within {} bytes", region.len()), format!("{len} bytes at {offset}")));
        };
        let prefix = PREFIXES.iter().find(|(number, _)| *number == index).map(|(_, prefix)| *prefix);
        let prefix =
            prefix.ok_or_else(|| BadExt4::Unknown(format!("inode {} has an attribute of kind {index}", inode.number)))?;
        let name = std::str::from_utf8(name).map_err(|_| damaged(what(), "a name in UTF-8", String::from_utf8_lossy(name)))?;
        let value = if matches!(index, 2 | 3) {
            acl::from_disk(value).ok_or_else(|| damaged(what(), "an access control list", hex::encode(value)))?
        } else {
            value.to_vec()
        };
        into.insert(format!("{prefix}{name}"), value);
        at += xattr::ENTRY_LEN + name_len.next_multiple_of(4);
    }
    Ok(())
}
