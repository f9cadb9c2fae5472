//! One inode: what it is, whose, and where its bytes lie.

use super::super::layout::{FAST_SYMLINK, inode};
use super::{BadExt4, Record};

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InodeKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Counted from 1.
    pub number: u32,
    /// What it is.
    pub kind: InodeKind,
    /// Permissions, with set-user-ID, set-group-ID and sticky.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// How many names it has.
    pub links: u16,
    /// When its content was changed, in seconds since 1970.
    pub mtime: i64,
    pub(super) flags: u32,
    pub(super) map: [u8; inode::MAP_LEN],
    /// 0 for none.
    pub(super) xattr_block: u64,
    /// What stands in the inode behind its fields: attributes.
    pub(super) rest: Vec<u8>,
}

/// The target stands in the map when no block belongs to the link.
const INLINE_DATA: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;

impl Inode {
    /// Of the bytes of its record.
    pub(super) fn parse(number: u32, bytes: &[u8]) -> Result<Self, BadExt4> {
        let record = Record(bytes);
        let mode = record.u16(inode::MODE);
        let kind = match mode & 0o170_000 {
            inode::REGULAR => InodeKind::File,
            inode::DIRECTORY => InodeKind::Directory,
            inode::SYMLINK => InodeKind::Symlink,
            0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => InodeKind::Special,
            _ => return Err(super::damaged(format!("inode {number}"), "a kind of file", format!("mode {mode:o}"))),
        };
        let flags = record.u32(inode::FLAGS);
        for (flag, what) in [(INLINE_DATA, "inline data"), (ENCRYPTED, "an encrypted file")] {
            if flags & flag != 0 {
                return Err(BadExt4::Unknown(format!("inode {number} has {what}")));
            }
        }
        // Fields beyond the first 128 bytes are there as far as the inode says.
        let extra = usize::from(record.u16(inode::EXTRA_ISIZE));
        let end = (0x80 + extra).min(bytes.len());
        let fields = Record(&bytes[..end.max(0x80).min(bytes.len())]);
        let low = i64::from(fields.u32(inode::MTIME).cast_signed());
        Ok(Self {
            number,
            kind,
            mode: mode & 0o7777,
            uid: u32::from(record.u16(inode::UID)) | u32::from(record.u16(inode::UID_HIGH)) << 16,
            gid: u32::from(record.u16(inode::GID)) | u32::from(record.u16(inode::GID_HIGH)) << 16,
            size: record.halves(inode::SIZE, inode::SIZE_HIGH),
            links: record.u16(inode::LINKS),
            mtime: low + (i64::from(fields.u32(inode::MTIME_EXTRA) & 3) << 32),
            flags,
            map: record.array(inode::MAP),
            xattr_block: u64::from(record.u32(inode::XATTR_BLOCK)) | u64::from(record.u16(0x76)) << 32,
            rest: bytes.get(end..).unwrap_or_default().to_vec(),
        })
    }

    /// A link's target when it stands in the inode.
    pub(super) fn short_target(&self) -> Option<&[u8]> {
        let short = self.kind == InodeKind::Symlink && self.size < FAST_SYMLINK as u64 && self.flags & inode::EXTENTS == 0;
        short.then(|| &self.map[..self.size as usize])
    }
}
