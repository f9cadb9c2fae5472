//! The partition table: GPT with its protective MBR, by `gptman`, as pieces of a disk.
//!
//! Source: UEFI specification, chapter 5; types of the Discoverable Partitions Specification (UAPI group).

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use gptman::{GPT, GPTHeader, GPTPartitionEntry};
use uuid::{Uuid, uuid};

use super::bytes::{Bytes, Cursor};
use super::extents::Extents;

/// Partitions begin at whole multiples of this, whatever the sector. Also the room before the first and after the last.
pub const ALIGNMENT: u64 = 1 << 20;
/// EFI system partition.
pub const TYPE_ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// What `/boot` is, beside an ESP: XBOOTLDR.
pub const TYPE_BOOT: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
/// Root filesystem, x86-64.
pub const TYPE_ROOT_AMD64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// Root filesystem, 64-bit Arm.
pub const TYPE_ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");

/// UTF-16 units of a partition's name at most.
const NAME_MAX: usize = 36;
/// Bytes of an entry that gptman can read. The specification knows longer ones, which nobody writes.
const ENTRY_LEN: u32 = 128;
/// Bytes of the array of partitions that is written: 128 entries.
const ARRAY_LEN: u64 = 128 * ENTRY_LEN as u64;
/// Entries that are read at most.
const ENTRIES_MAX: u32 = 4096;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name in the table (PARTLABEL).
    pub label: String,
    /// What it is for.
    pub kind: Uuid,
    /// Which it is (PARTUUID).
    pub id: Uuid,
    /// First byte.
    pub start: u64,
    /// In bytes.
    pub size: u64,
}

/// A table and the disk that it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// 512 or 4096.
    pub sector_size: u32,
    /// Of the whole disk, in bytes.
    pub disk_size: u64,
    /// Which disk it is.
    pub id: Uuid,
    /// By their place. The first is number 1.
    pub partitions: Vec<Partition>,
}

/// Why there is no such table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// Another sector size.
    #[error("partition table: needed sectors of 512 or 4096 bytes, found {0}")]
    SectorSize(u32),
    /// A size or place is not aligned.
    #[error("partition {label:?}: start {start} and size {size} must be multiples of {ALIGNMENT}")]
    Alignment {
        /// Which.
        label: String,
        /// First byte.
        start: u64,
        /// In bytes.
        size: u64,
    },
    /// The name cannot be written.
    #[error("partition {0:?}: its name is longer than {NAME_MAX} UTF-16 units")]
    Name(String),
    /// There is no table, or it is damaged and so is its copy.
    #[error("no partition table: {0}")]
    None(#[source] gptman::Error),
    /// A header, whose checksum is right, describes a strange array.
    #[error(
        "partition table: needed at most {ENTRIES_MAX} entries of {ENTRY_LEN} bytes on the disk, found {count} of {len} from sector {sector} on"
    )]
    Array {
        /// Of entries.
        count: u32,
        /// Of each, in bytes.
        len: u32,
        /// Where they begin.
        sector: u64,
    },
    /// Partitions overlap, are equal, or do not fit the disk.
    #[error("partition table for a disk of {disk_size} bytes")]
    Table {
        /// In bytes.
        disk_size: u64,
        /// What is wrong.
        #[source]
        source: gptman::Error,
    },
}

/// The protective MBR, the table and its copy, in an otherwise empty disk.
pub fn layout(table: &Table) -> Result<Extents, GptError> {
    if !matches!(table.sector_size, 512 | 4096) {
        return Err(GptError::SectorSize(table.sector_size));
    }
    let sector = u64::from(table.sector_size);
    let refused = |source| GptError::Table { disk_size: table.disk_size, source };
    // The ends of the disk must not meet; gptman would take that for granted.
    if table.disk_size < 2 * ALIGNMENT || !table.disk_size.is_multiple_of(sector) {
        return Err(refused(gptman::Error::NoSpaceLeft));
    }
    let mut disk = Ends::of(table.disk_size, sector);
    let mut gpt = GPT::new_from(&mut disk, sector, table.id.to_bytes_le()).map_err(refused)?;
    for (number, partition) in (1..).zip(&table.partitions) {
        let Partition { label, start, size, .. } = partition;
        if *size == 0 || *start == 0 || !start.is_multiple_of(ALIGNMENT) || !size.is_multiple_of(ALIGNMENT) {
            return Err(GptError::Alignment { label: label.clone(), start: *start, size: *size });
        }
        if label.encode_utf16().count() > NAME_MAX {
            return Err(GptError::Name(label.clone()));
        }
        if number > gpt.header.number_of_partition_entries {
            return Err(refused(gptman::Error::InvalidPartitionNumber(number)));
        }
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: partition.kind.to_bytes_le(),
            unique_partition_guid: partition.id.to_bytes_le(),
            starting_lba: start / sector,
            ending_lba: (start + size) / sector - 1,
            attribute_bits: 0,
            partition_name: label.as_str().into(),
        };
    }
    GPT::write_protective_mbr_into(&mut disk, sector).map_err(refused)?;
    gpt.write_into(&mut disk).map_err(refused)?;
    Ok(disk.into_extents())
}

/// The table of the disk `disk`, whatever its sector size; its copy where the first one is damaged.
///
/// # Errors
/// [`GptError::None`]; [`GptError::Array`]; [`GptError::Table`] when a partition does not lie on the disk.
pub fn read(disk: &Arc<dyn Bytes>) -> Result<Table, GptError> {
    let disk_size = disk.len();
    look_at_headers(disk)?;
    let gpt = GPT::find_from(&mut Cursor::new(Arc::clone(disk))).map_err(GptError::None)?;
    let refused = |source| GptError::Table { disk_size, source };
    let mut partitions = Vec::new();
    for (_, entry) in gpt.iter().filter(|(_, entry)| entry.is_used()) {
        let range = entry.range().map_err(refused)?;
        let end = range.end().checked_add(1).and_then(|end| end.checked_mul(gpt.sector_size)).filter(|end| *end <= disk_size);
        let end = end.ok_or_else(|| refused(gptman::Error::InvalidPartitionBoundaries))?;
        let start = range.start() * gpt.sector_size;
        partitions.push(Partition {
            label: entry.partition_name.as_str().to_owned(),
            kind: Uuid::from_bytes_le(entry.partition_type_guid),
            id: Uuid::from_bytes_le(entry.unique_partition_guid),
            start,
            size: end - start,
        });
    }
    partitions.sort_by_key(|partition| partition.start);
    let id = Uuid::from_bytes_le(gpt.header.disk_guid);
    Ok(Table { sector_size: u32::try_from(gpt.sector_size).unwrap_or_default(), disk_size, id, partitions })
}

/// Refuses what gptman takes for granted: it would panic, or ask for all memory.
fn look_at_headers(disk: &Arc<dyn Bytes>) -> Result<(), GptError> {
    let mut cursor = Cursor::new(Arc::clone(disk));
    for sector in [512, 4096] {
        let last = (disk.len() / sector).saturating_sub(1);
        for place in [1, last] {
            let found = cursor.seek(SeekFrom::Start(place * sector)).ok().and_then(|_| GPTHeader::read_from(&mut cursor).ok());
            let Some(header) = found else { continue };
            let (count, len, begin) =
                (header.number_of_partition_entries, header.size_of_partition_entry, header.partition_entry_lba);
            if len != ENTRY_LEN || count > ENTRIES_MAX || begin > last {
                return Err(GptError::Array { count, len, sector: begin });
            }
        }
    }
    Ok(())
}

/// A disk of which only both ends can be written: where the table and its copy stand.
struct Ends {
    len: u64,
    at: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    /// Room for the MBR, a header and the array in front; for the array and a header at the end.
    fn of(len: u64, sector: u64) -> Self {
        let zeros = |count: u64| vec![0; count as usize];
        Self { len, at: 0, head: zeros(2 * sector + ARRAY_LEN), tail: zeros(ARRAY_LEN + sector) }
    }

    /// What can be written from the current place on.
    fn rest(&mut self) -> io::Result<&mut [u8]> {
        let tail_at = self.len - self.tail.len() as u64;
        let (part, from) = if self.at < tail_at { (&mut self.head, self.at) } else { (&mut self.tail, self.at - tail_at) };
        part.get_mut(from as usize..).ok_or_else(|| io::Error::other(format!("byte {} is not of the table", self.at)))
    }

    fn into_extents(self) -> Extents {
        let mut extents = Extents::new(self.len);
        let tail_at = self.len - self.tail.len() as u64;
        extents.put_bytes(0, self.head);
        extents.put_bytes(tail_at, self.tail);
        extents
    }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (&*self.rest()?).read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.rest()?.write(bytes)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::other("before the start of the disk"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;
    use crate::format::bytes::Opened;
    use crate::host::cmd::Cmd;

    const MIB: u64 = 1 << 20;

    fn table(sector_size: u32) -> Table {
        let partition = |label: &str, kind, id, start, size| Partition {
            label: label.into(),
            kind,
            id: Uuid::from_u128(id),
            start: start * MIB,
            size: size * MIB,
        };
        Table {
            sector_size,
            disk_size: 100 * MIB,
            id: Uuid::from_u128(0x1234),
            partitions: vec![
                partition("EFI-SYSTEM", TYPE_ESP, 1, 1, 40),
                partition("boot", TYPE_BOOT, 2, 41, 8),
                partition("root", TYPE_ROOT_AMD64, 3, 49, 50),
            ],
        }
    }

    fn write(extents: &Extents, at: &Path) -> File {
        let file = File::create(at).unwrap();
        file.set_len(extents.len()).unwrap();
        extents.write_to(&file, 0, |_| Ok(())).unwrap();
        file
    }

    #[test]
    fn an_array_that_nobody_writes_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk");
        write(&layout(&table(512)).unwrap(), &image);
        for (change, told) in [
            ((|header| header.size_of_partition_entry = 256) as fn(&mut GPTHeader), "found 128 of 256 from sector 2 on"),
            (|header| header.size_of_partition_entry = 0, "found 128 of 0 from sector 2 on"),
            (|header| header.number_of_partition_entries = u32::MAX, "found 4294967295 of 128 from sector 2 on"),
            (|header| header.partition_entry_lba = u64::MAX, "found 128 of 128 from sector 18446744073709551615 on"),
        ] {
            let mut file = File::options().read(true).write(true).open(&image).unwrap();
            file.seek(SeekFrom::Start(512)).unwrap();
            let mut header = GPTHeader::read_from(&mut file).unwrap();
            let good = header.clone();
            change(&mut header);
            header.update_crc32_checksum();
            file.write_all_at(&bytes_of(&header), 512).unwrap();
            let disk: Arc<dyn Bytes> = Arc::new(Opened::new(File::open(&image).unwrap()).unwrap());
            assert!(read(&disk).unwrap_err().to_string().ends_with(told), "{told}");
            file.write_all_at(&bytes_of(&good), 512).unwrap();
            read(&disk).unwrap();
        }
    }

    /// As the specification lays it out.
    fn bytes_of(header: &GPTHeader) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(header.signature);
        bytes.extend(header.revision);
        bytes.extend(header.header_size.to_le_bytes());
        bytes.extend(header.crc32_checksum.to_le_bytes());
        bytes.extend(header.reserved);
        for lba in [header.primary_lba, header.backup_lba, header.first_usable_lba, header.last_usable_lba] {
            bytes.extend(lba.to_le_bytes());
        }
        bytes.extend(header.disk_guid);
        bytes.extend(header.partition_entry_lba.to_le_bytes());
        for number in [header.number_of_partition_entries, header.size_of_partition_entry, header.partition_entry_array_crc32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sgdisk_is_content() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk");
        write(&layout(&table(512)).unwrap(), &image);
        let run = |args: &[&str]| String::from_utf8(Cmd::new("sgdisk").args(args).arg(&image).run().unwrap().stdout).unwrap();
        let verdict = run(&["-v"]);
        assert!(verdict.contains("No problems found"), "{verdict}");
        let root = run(&["-i", "3"]);
        for wanted in ["4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "00000000-0000-0000-0000-000000000003", "'root'", "(at 49.0 MiB)"]
        {
            assert!(root.contains(wanted), "{wanted} in\n{root}");
        }
    }

    /// libblkid checks both checksums, and takes the copy at the end when the first table is damaged. sgdisk cannot be told that
    /// the sectors of a file have 4096 bytes.
    #[test]
    fn libblkid_reads_both_tables_in_either_sector_size() {
        for sector_size in [512_u32, 4096] {
            let folder = tempfile::tempdir().unwrap();
            let image = folder.path().join("disk");
            let file = write(&layout(&table(sector_size)).unwrap(), &image);
            for damage in [false, true] {
                if damage {
                    file.write_all_at(b"x", u64::from(sector_size) + 60).unwrap();
                }
                let listing = Cmd::new("partx")
                    .args(["--sector-size", &sector_size.to_string(), "--bytes", "--noheadings", "--raw"])
                    .args(["--output", "NR,START,SIZE,NAME,UUID,TYPE,SCHEME"])
                    .arg(&image)
                    .run()
                    .unwrap();
                // partx counts starts in sectors of 512 bytes, whatever the disk has.
                let wanted = "\
                    1 2048 41943040 EFI-SYSTEM 00000000-0000-0000-0000-000000000001 c12a7328-f81f-11d2-ba4b-00a0c93ec93b gpt\n\
                    2 83968 8388608 boot 00000000-0000-0000-0000-000000000002 bc13c2ff-59e6-4262-a352-b275fd6f7172 gpt\n\
                    3 100352 52428800 root 00000000-0000-0000-0000-000000000003 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 gpt\n";
                assert_eq!(String::from_utf8(listing.stdout).unwrap(), wanted, "{sector_size}, damaged: {damage}");
            }
        }
    }

    #[test]
    fn read_back_in_either_sector_size_also_from_the_copy() {
        for sector_size in [512_u32, 4096] {
            let image = tempfile::NamedTempFile::new().unwrap();
            let file = write(&layout(&table(sector_size)).unwrap(), image.path());
            let found = || read(&(Arc::new(Opened::new(File::open(image.path()).unwrap()).unwrap()) as Arc<dyn Bytes>));
            assert_eq!(found().unwrap(), table(sector_size));
            file.write_all_at(b"x", u64::from(sector_size) + 60).unwrap();
            assert_eq!(found().unwrap(), table(sector_size), "from the copy");
            file.write_all_at(b"x", 100 * MIB - u64::from(sector_size) + 60).unwrap();
            assert!(found().unwrap_err().to_string().starts_with("no partition table: "));
        }
        assert!(read(&(Arc::new(vec![0_u8; 100]) as Arc<dyn Bytes>)).is_err());
    }

    #[test]
    fn what_is_refused() {
        let refused = |change: fn(&mut Table)| {
            let mut table = table(512);
            change(&mut table);
            layout(&table).unwrap_err()
        };
        assert!(matches!(refused(|t| t.sector_size = 520), GptError::SectorSize(520)));
        assert!(matches!(refused(|t| t.partitions[1].start += 512), GptError::Alignment { .. }));
        assert!(matches!(refused(|t| t.partitions[1].label = "x".repeat(37)), GptError::Name(_)));
        assert!(matches!(refused(|t| t.partitions[1].size += MIB), GptError::Table { .. }), "overlap");
        assert!(matches!(refused(|t| t.partitions[2].size += MIB), GptError::Table { .. }), "no room for the copy");
        assert!(matches!(refused(|t| t.disk_size = MIB), GptError::Table { .. }), "tiny");
    }
}
