//! Names: the eight-and-three form that every entry has, and the long form in front of it where that one loses something.
//!
//! Source: Microsoft's "FAT32 File System Specification" 1.03 and its chapter on long names.

use std::collections::BTreeSet;

/// Bytes of a short name: eight and three, without the dot, filled up with spaces.
pub(super) const SHORT_LEN: usize = 11;
/// UTF-16 units in one entry of a long name.
pub(super) const UNITS: usize = 13;
/// UTF-16 units of a long name at most.
const UNITS_MAX: usize = 255;
/// Marks the entry with the end of a long name, which stands first.
pub(super) const LAST: u8 = 0x40;
/// Attributes of an entry that holds a part of a long name.
pub(super) const LONG_NAME: u8 = 0x0f;

/// The short names of one folder so far.
#[derive(Debug, Default)]
pub(super) struct ShortNames(BTreeSet<[u8; SHORT_LEN]>);

impl ShortNames {
    /// A short name for `name` that this folder does not have yet, and whether a long name must stand beside it.
    pub fn choose(&mut self, name: &str) -> ([u8; SHORT_LEN], bool) {
        let (base, extension) = match name.rsplit_once('.') {
            Some((base, extension)) if !base.is_empty() => (base, extension),
            _ => (name, ""),
        };
        let (base, extension) = (fold(base), fold(extension));
        let plain = short(&base, &extension);
        if spelt(&plain) == name && self.0.insert(plain) {
            return (plain, false);
        }
        let lossless = spelt(&plain) == name.to_ascii_uppercase();
        if lossless && self.0.insert(plain) {
            return (plain, true);
        }
        let mut number = 1_u32;
        loop {
            let tail = format!("~{number}");
            let mut head = base.clone();
            head.truncate(8 - tail.len());
            let candidate = short(&(head + &tail), &extension);
            if self.0.insert(candidate) {
                return (candidate, true);
            }
            number += 1;
        }
    }
}

/// What of a part of a name may stand in a short name: no spaces and dots, ASCII in upper case, `_` for the rest.
fn fold(part: &str) -> String {
    part.chars()
        .filter(|c| !matches!(c, ' ' | '.'))
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' => c.to_ascii_uppercase(),
            _ if "!#$%&'()-@^_`{}~".contains(c) => c,
            _ => '_',
        })
        .collect()
}

/// The stored form of a folded base and extension, each cut to its place.
fn short(base: &str, extension: &str) -> [u8; SHORT_LEN] {
    let mut name = [b' '; SHORT_LEN];
    for (place, byte) in name[..8].iter_mut().zip(base.bytes()) {
        *place = byte;
    }
    for (place, byte) in name[8..].iter_mut().zip(extension.bytes()) {
        *place = byte;
    }
    name
}

/// A short name as people write it.
pub(super) fn spelt(name: &[u8; SHORT_LEN]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, extension) = (text(&name[..8]), text(&name[8..]));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// Why `name` cannot stand in a FAT, if it cannot.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    if name.encode_utf16().count() > UNITS_MAX {
        Some("it is longer than 255 UTF-16 units")
    } else if name.chars().any(|c| c < ' ' || c == '\x7f' || "\"*/:<>?\\|".contains(c)) {
        Some("it has a control character or one of \"*/:<>?\\|")
    } else if name.ends_with([' ', '.']) || name.starts_with(' ') {
        Some("it begins with a space, or ends with a space or dot")
    } else {
        None
    }
}

/// How many entries of 32 bytes the long form of `name` takes.
pub(super) fn long_entries(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(UNITS)
}

/// By which the entries of a long name say to which short name they belong.
pub(super) fn checksum(short: &[u8; SHORT_LEN]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The entries of the long form of `name`, in the order in which they stand before the entry of `short`.
pub(super) fn long(name: &str, short: &[u8; SHORT_LEN]) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let checksum = checksum(short);
    let mut entries = Vec::new();
    for (index, chunk) in units.chunks(UNITS).enumerate().rev() {
        // After the end stands one zero, then ones.
        let mut part = [0xffff_u16; UNITS];
        part[..chunk.len()].copy_from_slice(chunk);
        if let Some(end) = part.get_mut(chunk.len()) {
            *end = 0;
        }
        let last = (index + 1) * UNITS >= units.len();
        let text: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        // A name has 20 parts at most, so the number fits.
        entries.push((index + 1) as u8 | if last { LAST } else { 0 });
        entries.extend_from_slice(&text[..10]);
        entries.extend_from_slice(&[LONG_NAME, 0, checksum]);
        entries.extend_from_slice(&text[10..22]);
        entries.extend_from_slice(&[0, 0]);
        entries.extend_from_slice(&text[22..]);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        let mut names = ShortNames::default();
        for (name, wanted, with_long) in [
            ("EFI", "EFI", false),
            ("BOOTX64.EFI", "BOOTX64.EFI", false),
            ("shimx64.efi", "SHIMX64.EFI", true),
            ("long-name-one.conf", "LONG-N~1.CON", true),
            ("long-name-two.conf", "LONG-N~2.CON", true),
            ("a.b.c", "AB~1.C", true),
            (".profile", "PROFIL~1", true),
            ("größe.txt", "GR__E~1.TXT", true),
        ] {
            let (short, long) = names.choose(name);
            assert_eq!((spelt(&short).as_str(), long), (wanted, with_long), "{name}");
        }
    }

    #[test]
    fn ten_names_with_one_beginning() {
        let mut names = ShortNames::default();
        let short: Vec<_> = (0..11).map(|n| spelt(&names.choose(&format!("kernel-module-{n}")).0)).collect();
        assert_eq!((short[0].as_str(), short[8].as_str(), short[9].as_str()), ("KERNEL~1", "KERNEL~9", "KERNE~10"));
    }

    #[test]
    fn what_is_refused() {
        for name in ["a:b", "a\tb", "dot.", "space ", &"x".repeat(256)] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
        assert_eq!(refusal("grubx64.efi"), None);
    }

    #[test]
    fn a_long_name_fills_entries_from_its_end() {
        let entries = long("thirteen.long", b"THIRTE~1LON");
        assert_eq!((entries.len(), long_entries("thirteen.long"), entries[0]), (32, 1, 0x41));
        let entries = long("fourteen.longg", b"FOURTE~1LON");
        assert_eq!((entries.len(), entries[0], entries[32]), (64, 0x42, 0x01));
        assert_eq!(entries[1..7], [b'g', 0, 0, 0, 0xff, 0xff]);
    }
}
