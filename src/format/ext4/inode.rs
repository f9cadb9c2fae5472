//! One inode: 256 bytes.

use super::checksum::Checksum;
use super::layout::{Fields, INODE_LEN, inode};

/// What an inode says.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    pub(super) number: u32,
    /// Kind and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Bytes of content.
    pub(super) size: u64,
    pub(super) links: u16,
    /// All blocks that belong to it, those of tree and attributes included.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    /// Extents, block numbers or a short link's target.
    pub(super) map: [u8; inode::MAP_LEN],
    /// 0 for none.
    pub(super) xattr_block: u64,
    pub(super) mtime: i64,
    /// Access, change and creation.
    pub(super) time: i64,
    /// Attributes in the inode.
    pub(super) xattrs: &'a [u8],
}

/// Low 32 bits of a time, and the two bits that carry it beyond 2038.
fn seconds(time: i64) -> (u32, u32) {
    let low = time as i32;
    (low as u32, (((time - i64::from(low)) >> 32) & 3) as u32)
}

impl Inode<'_> {
    /// The bytes; `seed` is the filesystem's.
    pub(super) fn encode(&self, seed: Checksum) -> [u8; INODE_LEN] {
        let mut bytes = [0; INODE_LEN];
        let mut fields = Fields(&mut bytes);
        let sectors = self.blocks * 8;
        fields.u16(inode::MODE, self.mode);
        fields.halves(inode::UID, inode::UID_HIGH, self.uid);
        fields.halves(inode::GID, inode::GID_HIGH, self.gid);
        fields.u32(inode::SIZE, self.size as u32);
        fields.u32(inode::SIZE_HIGH, (self.size >> 32) as u32);
        fields.u16(inode::LINKS, self.links);
        fields.u32(inode::SECTORS, sectors as u32);
        fields.u16(inode::SECTORS_HIGH, (sectors >> 32) as u16);
        fields.u32(inode::FLAGS, self.flags);
        fields.bytes(inode::MAP, &self.map);
        fields.u32(inode::XATTR_BLOCK, self.xattr_block as u32);
        fields.u16(inode::EXTRA_ISIZE, inode::EXTRA_LEN);
        for (at, extra, time) in [
            (inode::ATIME, inode::ATIME_EXTRA, self.time),
            (inode::CTIME, inode::CTIME_EXTRA, self.time),
            (inode::CREATED, inode::CREATED_EXTRA, self.time),
            (inode::MTIME, inode::MTIME_EXTRA, self.mtime),
        ] {
            let (low, high) = seconds(time);
            fields.u32(at, low);
            fields.u32(extra, high);
        }
        fields.bytes(inode::XATTRS, self.xattrs);
        let sum = seed.with_inode(self.number).with(&bytes).value();
        Fields(&mut bytes).halves(inode::CHECKSUM, inode::CHECKSUM_HIGH, sum);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{TIME_MAX, TIME_MIN};
    use super::*;

    #[test]
    fn times_beyond_32_bits() {
        for (time, low, high) in [
            (0, 0, 0),
            (TIME_MIN, 0x8000_0000, 0),
            (-1, 0xffff_ffff, 0),
            (0x7fff_ffff, 0x7fff_ffff, 0),
            (0x8000_0000, 0x8000_0000, 1),
            (1 << 32, 0, 1),
            (TIME_MAX, 0x7fff_ffff, 3),
        ] {
            assert_eq!(seconds(time), (low, high), "{time}");
        }
    }
}
