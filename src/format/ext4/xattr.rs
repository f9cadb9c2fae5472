//! Extended attributes: as many as fit stand in the inode, the rest in one block, which inodes with the same rest share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::acl;
use super::checksum::Checksum;
use super::layout::{BLOCK_LEN, Fields, INODE_LEN, NAME_MAX, inode, xattr};

/// Bytes for entries and values in an inode, behind the magic.
const IN_INODE: usize = INODE_LEN - inode::XATTRS - 4;
/// Bytes for entries and values in a block.
const IN_BLOCK: usize = BLOCK_LEN - xattr::HEADER_LEN;
/// Zeros that end a list of entries.
const END_LEN: usize = 4;

/// Why attributes cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XattrProblem {
    /// ext4 knows the prefixes `user.`, `trusted.`, `security.` and two names in `system.`.
    #[error(
        "extended attribute {0:?} is of a kind that ext4 cannot hold (user.*, trusted.*, security.*, system.posix_acl_access and \
         system.posix_acl_default are known)"
    )]
    Unknown(String),
    /// The name behind the prefix is empty or longer than 255 bytes.
    #[error("the name of extended attribute {0:?} is empty or longer than 255 bytes")]
    Name(String),
    /// The value of an ACL is not one.
    #[error("extended attribute {0:?} does not hold an access control list of version 2")]
    Acl(String),
    /// Together they need more than an inode's rest and one block.
    #[error("extended attributes need {needed} bytes in one block, which holds {found}; largest: {largest:?}")]
    TooLarge {
        /// Bytes that do not fit the inode.
        needed: usize,
        /// Bytes of a block.
        found: usize,
        /// The attribute with the largest value.
        largest: String,
    },
}

/// An attribute as it is written.
struct Attribute<'a> {
    index: u8,
    /// Without what `index` stands for.
    name: &'a str,
    value: Cow<'a, [u8]>,
}

/// Encoded attributes of an inode.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Encoded {
    /// What stands in the inode, from [`inode::XATTRS`] on; empty for none.
    pub(super) inline: Vec<u8>,
    /// The block for the rest. References and checksum are not yet in it: [`seal`] adds them.
    pub(super) block: Option<Vec<u8>>,
}

/// Encodes attributes, names with their prefix.
pub(super) fn encode(xattrs: &BTreeMap<String, Vec<u8>>) -> Result<Encoded, XattrProblem> {
    if xattrs.is_empty() {
        return Ok(Encoded::default());
    }
    let mut attributes = xattrs.iter().map(|(name, value)| attribute(name, value)).collect::<Result<Vec<_>, _>>()?;
    // The kernel searches a block by this order.
    attributes.sort_by(|a, b| (a.index, a.name.len(), a.name).cmp(&(b.index, b.name.len(), b.name)));
    let mut left = IN_INODE - END_LEN;
    let (inline, rest): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|attribute| {
        let fits = attribute.len() <= left;
        if fits {
            left -= attribute.len();
        }
        fits
    });
    let mut encoded = Encoded::default();
    if !inline.is_empty() {
        encoded.inline = vec![0; 4 + IN_INODE];
        Fields(&mut encoded.inline).u32(0, xattr::MAGIC);
        fill(&mut encoded.inline[4..], &inline, 0);
    }
    if !rest.is_empty() {
        let needed = rest.iter().map(Attribute::len).sum::<usize>() + END_LEN;
        if needed > IN_BLOCK {
            let largest = xattrs.iter().max_by_key(|(_, value)| value.len()).map(|(name, _)| name.clone()).unwrap_or_default();
            return Err(XattrProblem::TooLarge { needed, found: IN_BLOCK, largest });
        }
        let mut block = vec![0; BLOCK_LEN];
        let hashes = fill(&mut block[xattr::HEADER_LEN..], &rest, xattr::HEADER_LEN);
        let mut fields = Fields(&mut block);
        fields.u32(0, xattr::MAGIC);
        fields.u32(xattr::BLOCKS, 1);
        fields.u32(xattr::HASH, block_hash(&hashes));
        encoded.block = Some(block);
    }
    Ok(encoded)
}

/// Adds to a block what is known last: how many inodes use it, and the checksum with its place.
pub(super) fn seal(block: &mut [u8], references: u32, place: u64, seed: Checksum) {
    Fields(block).u32(xattr::REFERENCES, references);
    let sum = seed.with(&place.to_le_bytes()).with(block).value();
    Fields(block).u32(xattr::CHECKSUM, sum);
}

fn attribute<'a>(full: &'a str, value: &'a [u8]) -> Result<Attribute<'a>, XattrProblem> {
    const PREFIXES: [(&str, u8); 3] = [("user.", 1), ("trusted.", 4), ("security.", 6)];
    const LISTS: [(&str, u8); 2] = [("system.posix_acl_access", 2), ("system.posix_acl_default", 3)];
    if let Some((_, index)) = LISTS.iter().find(|(name, _)| *name == full) {
        let value = acl::to_disk(value).ok_or_else(|| XattrProblem::Acl(full.to_owned()))?;
        return Ok(Attribute { index: *index, name: "", value: value.into() });
    }
    let (name, index) = PREFIXES
        .iter()
        .find_map(|(prefix, index)| Some((full.strip_prefix(prefix)?, *index)))
        .ok_or_else(|| XattrProblem::Unknown(full.to_owned()))?;
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        return Err(XattrProblem::Name(full.to_owned()));
    }
    Ok(Attribute { index, name, value: value.into() })
}

impl Attribute<'_> {
    /// Bytes of entry and value.
    fn len(&self) -> usize {
        xattr::ENTRY_LEN + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// The hash of name and value that the entry holds.
    fn hash(&self) -> u32 {
        let name = self.name.bytes().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Fills `region`: entries from the front, values from the back. Offsets count from `base` bytes before the region. Answers the
/// hashes.
fn fill(region: &mut [u8], attributes: &[Attribute<'_>], base: usize) -> Vec<u32> {
    let mut entry = 0;
    let mut end = region.len();
    let mut fields = Fields(region);
    attributes
        .iter()
        .map(|attribute| {
            let hash = attribute.hash();
            fields.u8(entry, attribute.name.len() as u8);
            fields.u8(entry + 1, attribute.index);
            if !attribute.value.is_empty() {
                end -= attribute.value.len().next_multiple_of(4);
                fields.u16(entry + 2, (base + end) as u16);
                fields.bytes(end, &attribute.value);
            }
            fields.u32(entry + 8, attribute.value.len() as u32);
            fields.u32(entry + 12, hash);
            fields.bytes(entry + xattr::ENTRY_LEN, attribute.name.as_bytes());
            entry += xattr::ENTRY_LEN + attribute.name.len().next_multiple_of(4);
            hash
        })
        .collect()
}

/// The hash of a block: 0 (not to be shared by the kernel) when one of its entries has none.
fn block_hash(hashes: &[u32]) -> u32 {
    if hashes.contains(&0) { 0 } else { hashes.iter().fold(0, |sum: u32, hash| sum.rotate_left(16) ^ hash) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(xattrs: &[(&str, usize)]) -> Result<Encoded, XattrProblem> {
        encode(&xattrs.iter().map(|(name, len)| ((*name).to_owned(), vec![7; *len])).collect())
    }

    #[test]
    fn where_attributes_go() {
        for (xattrs, inline, block) in [
            (&[][..], false, false),
            (&[("security.capability", 20)], true, false),
            (&[("security.capability", 20), ("user.note", 200)], true, true),
            (&[("user.note", 200)], false, true),
            (&[("user.n", 4096 - 32 - 4 - 20)], false, true),
        ] {
            let encoded = encoded(xattrs).unwrap();
            assert_eq!((!encoded.inline.is_empty(), encoded.block.is_some()), (inline, block), "{xattrs:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let name = "x".repeat(256);
        let long = format!("user.{name}");
        for (xattr, len, expected) in [
            ("system.data", 1, "of a kind that ext4 cannot hold"),
            ("plain", 1, "of a kind that ext4 cannot hold"),
            ("user.", 1, "is empty or longer"),
            (&long, 1, "is empty or longer"),
            ("system.posix_acl_access", 8, "does not hold an access control list"),
            ("user.big", 4096, "need 4120 bytes in one block, which holds 4064; largest: \"user.big\""),
        ] {
            let error = encoded(&[(xattr, len)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
