//! crc32c as ext4 uses it: without the inversions at start and end, so that a sum can be continued and is a seed for others.

use crc32c::crc32c_append;

/// A sum so far. The one over the filesystem's UUID is the seed of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum(u32);

impl Checksum {
    /// Over nothing.
    pub(super) const START: Self = Self(u32::MAX);

    /// Continued with `bytes`.
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        Self(!crc32c_append(!self.0, bytes))
    }

    /// Continued with an inode's number and its generation, which is always 0: the seed of what belongs to the inode.
    pub(super) fn with_inode(self, number: u32) -> Self {
        self.with(&number.to_le_bytes()).with(&[0; 4])
    }

    /// The number that is written.
    pub(super) const fn value(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sum_and_continuation() {
        assert_eq!(!Checksum::START.with(b"123456789").value(), 0xe306_9283);
        assert_eq!(Checksum::START.with(b"1234").with(b"56789"), Checksum::START.with(b"123456789"));
    }
}
