//! The records of the format as bytes: boot sector, FSInfo, folder entries, times.
//!
//! Source: Microsoft's "FAT32 File System Specification" 1.03. All numbers are little-endian.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::geometry::{BACKUP_SECTOR, FIRST_CLUSTER, FSINFO_SECTOR, Geometry, RESERVED_SECTORS, TABLES};
use super::name::SHORT_LEN;

/// Bytes of an entry of a folder.
pub(super) const ENTRY_LEN: usize = 32;
/// The boot sector and FSInfo are written as this many bytes, whatever the sector; the rest of theirs is zero.
const RECORD_LEN: usize = 512;
/// "A fixed disk".
const MEDIA: u8 = 0xf8;
/// What ends a chain of clusters.
pub(super) const END_OF_CHAIN: u32 = 0x0fff_ffff;

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Label,
}

/// Date and time of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DosTime {
    /// Years since 1980, month, day: 7, 4 and 5 bits.
    date: u16,
    /// Hour, minute, pairs of seconds: 5, 6 and 5 bits.
    time: u16,
    /// The rest in hundredths of a second. Only the time of making has a place for it.
    hundredths: u8,
}

impl DosTime {
    /// `seconds` since 1970, in UTC. What lies before 1980 or after 2107 becomes the nearest time that the format has.
    pub fn from_unix(seconds: i64) -> Self {
        /// 1980-01-01T00:00:00Z.
        const FIRST: i64 = 315_532_800;
        /// 2107-12-31T23:59:59Z.
        const LAST: i64 = 4_354_819_199;
        let time = Timestamp::from_second(seconds.clamp(FIRST, LAST)).expect("jiff knows the years 1980 to 2107");
        let time = Offset::UTC.to_datetime(time);
        // Each field is in the range of its bits: the year was made so, the others are a calendar's.
        let bits = |value: i8| value as u16;
        Self {
            date: (time.year() as u16 - 1980) << 9 | bits(time.month()) << 5 | bits(time.day()),
            time: bits(time.hour()) << 11 | bits(time.minute()) << 5 | (bits(time.second()) / 2),
            hundredths: time.second() as u8 % 2 * 100,
        }
    }
}

/// An entry of a folder. An empty file has no cluster and says 0.
pub(super) fn entry(name: &[u8; SHORT_LEN], kind: Kind, time: DosTime, first_cluster: u32, len: u32) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(
        11,
        &[match kind {
            Kind::File => 0x20,
            Kind::Directory => 0x10,
            Kind::Label => 0x08,
        }],
    );
    put(13, &[time.hundredths]);
    put(14, &time.time.to_le_bytes());
    put(16, &time.date.to_le_bytes());
    put(18, &time.date.to_le_bytes());
    put(20, &((first_cluster >> 16) as u16).to_le_bytes());
    put(22, &time.time.to_le_bytes());
    put(24, &time.date.to_le_bytes());
    put(26, &(first_cluster as u16).to_le_bytes());
    put(28, &len.to_le_bytes());
    entry
}

/// The boot sector. Its program stops the processor: UEFI never runs it.
pub(super) fn boot_sector(shape: &Geometry, volume_id: u32, label: &[u8; SHORT_LEN]) -> [u8; RECORD_LEN] {
    let mut sector = [0; RECORD_LEN];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"MSWIN4.1");
    // All of these were checked to fit when the shape was made.
    put(11, &(shape.sector as u16).to_le_bytes());
    put(13, &[(shape.cluster / shape.sector) as u8]);
    put(14, &(RESERVED_SECTORS as u16).to_le_bytes());
    put(16, &[TABLES as u8]);
    put(21, &[MEDIA]);
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(32, &(shape.sectors as u32).to_le_bytes());
    put(36, &(shape.table_sectors as u32).to_le_bytes());
    put(44, &FIRST_CLUSTER.to_le_bytes());
    put(48, &FSINFO_SECTOR.to_le_bytes());
    put(50, &BACKUP_SECTOR.to_le_bytes());
    put(64, &[0x80, 0, 0x29]);
    put(67, &volume_id.to_le_bytes());
    put(71, label);
    put(82, b"FAT32   ");
    // hlt; jmp to it.
    put(90, &[0xf4, 0xeb, 0xfd]);
    put(510, &[0x55, 0xaa]);
    sector
}

/// FSInfo: how many clusters are free, and where to look for one.
pub(super) fn fs_info(free: u32, next: u32) -> [u8; RECORD_LEN] {
    let mut sector = [0; RECORD_LEN];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RRaA");
    put(484, b"rrAa");
    put(488, &free.to_le_bytes());
    put(492, &next.to_le_bytes());
    put(508, &[0, 0, 0x55, 0xaa]);
    sector
}

/// The first two entries of a table: the medium, and "unmounted cleanly, no error".
pub(super) const TABLE_HEAD: [u32; 2] = [0x0fff_ff00 | MEDIA as u32, END_OF_CHAIN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let parts = |time: DosTime| {
            let (d, t) = (time.date, time.time);
            (1980 + (d >> 9), d >> 5 & 15, d & 31, t >> 11, t >> 5 & 63, (t & 31) * 2, time.hundredths)
        };
        for (unix, wanted) in [
            (0, (1980, 1, 1, 0, 0, 0, 0)),
            (1_078_012_799, (2004, 2, 28, 23, 59, 58, 100)),
            (1_078_012_800, (2004, 2, 29, 0, 0, 0, 0)),
            (i64::MAX, (2107, 12, 31, 23, 59, 58, 100)),
            (i64::MIN, (1980, 1, 1, 0, 0, 0, 0)),
        ] {
            assert_eq!(parts(DosTime::from_unix(unix)), wanted, "{unix}");
        }
    }
}
