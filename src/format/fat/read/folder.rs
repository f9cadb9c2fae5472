//! The entries of a folder, with the long names that stand before them.

use super::super::name::{LAST, LONG_NAME, SHORT_LEN, UNITS, checksum, spelt};
use super::super::record::ENTRY_LEN;
use super::{Entry, unix};

const DELETED: u8 = 0xe5;
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
/// Marks of a base and an extension that are meant in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// The entries in the bytes of a folder, without `.` and `..` and the volume's label.
pub(super) fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut long = Long::default();
    for record in records(bytes) {
        let attributes = record[11];
        if record[0] == DELETED {
            long = Long::default();
        } else if attributes & 0x3f == LONG_NAME {
            long.add(record);
        } else {
            let mut short = [0; SHORT_LEN];
            short.copy_from_slice(&record[..SHORT_LEN]);
            let name = std::mem::take(&mut long).name(&short).unwrap_or_else(|| short_name(short, record[12]));
            if attributes & LABEL == 0 && !matches!(name.as_str(), "." | "..") {
                entries.push(entry(record, name));
            }
        }
    }
    entries
}

/// The volume's label, in the bytes of the folder `/`.
pub(super) fn label(bytes: &[u8]) -> Option<String> {
    let is_label = |record: &&[u8]| record[0] != DELETED && record[11] & 0x3f != LONG_NAME && record[11] & LABEL != 0;
    records(bytes).find(is_label).map(|record| String::from_utf8_lossy(&record[..SHORT_LEN]).trim_end().to_owned())
}

/// Up to the mark of the end.
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(ENTRY_LEN).take_while(|record| record[0] != 0)
}

fn entry(record: &[u8], name: String) -> Entry {
    let u16_at = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
    Entry {
        name,
        is_folder: record[11] & FOLDER != 0,
        len: u64::from(u16_at(28)) | u64::from(u16_at(30)) << 16,
        modified: unix(u16_at(24), u16_at(22)),
        first: u32::from(u16_at(26)) | u32::from(u16_at(20)) << 16,
    }
}

fn short_name(mut short: [u8; SHORT_LEN], case: u8) -> String {
    // A first byte that means "deleted" is written as this.
    if short[0] == 0x05 {
        short[0] = DELETED;
    }
    let (base, extension) = short.split_at_mut(8);
    for (part, mark) in [(base, LOWER_BASE), (extension, LOWER_EXTENSION)] {
        if case & mark != 0 {
            part.make_ascii_lowercase();
        }
    }
    spelt(&short)
}

/// A long name while its parts come, the last one first.
#[derive(Default)]
struct Long {
    /// The number of the part that comes next; 0 when all are there.
    next: u8,
    checksum: u8,
    units: Vec<u16>,
}

impl Long {
    fn add(&mut self, record: &[u8]) {
        let (number, checksum) = (record[0] & !LAST, record[13]);
        if record[0] & LAST != 0 {
            *self = Self { next: number, checksum, units: Vec::new() };
        }
        if number == 0 || number != self.next || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        let text = record[1..11].iter().chain(&record[14..26]).chain(&record[28..32]).copied().collect::<Vec<u8>>();
        let (pairs, _) = text.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take(UNITS).collect();
        units.append(&mut self.units);
        self.units = units;
        self.next = number - 1;
    }

    /// The name, when it is whole and belongs to the entry of `short`.
    fn name(self, short: &[u8; SHORT_LEN]) -> Option<String> {
        if self.units.is_empty() || self.next != 0 || self.checksum != checksum(short) {
            return None;
        }
        let end = self.units.iter().position(|&unit| unit == 0).unwrap_or(self.units.len());
        String::from_utf16(&self.units[..end]).ok().filter(|name| !name.is_empty())
    }
}
