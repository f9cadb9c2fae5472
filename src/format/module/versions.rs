//! The checksums of imported symbols that a module was built against (`CONFIG_MODVERSIONS`), in either form.
//!
//! ```text
//! __versions           records of 64 bytes: unsigned long crc, char name[64 - sizeof(long)], padded with NULs
//! __version_ext_crcs   u32 crc, one for each name (CONFIG_EXTENDED_MODVERSIONS, Linux 6.14: names of any length)
//! __version_ext_names  names, each ended by a NUL
//! ```
//!
//! Source: include/linux/module.h (`struct modversion_info`), kernel/module/version.c.

use std::collections::HashMap;

use object::Object;

use super::{BadModule, Machine, section};

const VERSIONS: &str = "__versions";
const CRCS: &str = "__version_ext_crcs";
const NAMES: &str = "__version_ext_names";
const RECORD: usize = 64;

/// Name to checksum, in the order of the section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions<'a> {
    /// `module_layout` comes first, by custom.
    pub entries: Vec<(&'a str, u32)>,
}

impl<'a> Versions<'a> {
    pub(super) fn read(file: &impl Object<'a>, machine: Machine) -> Result<Option<Self>, BadModule> {
        // The kernel takes the extended form where a module has both.
        if let Some(crcs) = section(file, CRCS)? {
            let names = section(file, NAMES)?.ok_or(BadModule::NoSection(NAMES))?;
            return Self::extended(crcs, names, machine.big_endian).map(Some);
        }
        section(file, VERSIONS)?.map(|bytes| Self::records(bytes, machine)).transpose()
    }

    fn records(bytes: &'a [u8], machine: Machine) -> Result<Self, BadModule> {
        let bad = |at: usize, why: String| BadModule::Section { section: VERSIONS, at, why };
        if !bytes.len().is_multiple_of(RECORD) {
            return Err(bad(
                bytes.len(),
                format!("needed records of {RECORD} bytes, found {} bytes behind the last", bytes.len() % RECORD),
            ));
        }
        let word = if machine.wide { 8 } else { 4 };
        let entries = bytes.chunks_exact(RECORD).enumerate().map(|(index, record)| {
            let (crc, name) = record.split_at(word);
            let name =
                text(name).ok_or_else(|| bad(index * RECORD + word, "needed a name that a NUL ends, found none".to_owned()))?;
            // A checksum has 32 bits, wherever in the word they lie.
            let crc = if machine.big_endian { &crc[word - 4..] } else { &crc[..4] };
            Ok((name, number(crc, machine.big_endian)))
        });
        Ok(Self { entries: entries.collect::<Result<_, BadModule>>()? })
    }

    fn extended(crcs: &[u8], names: &'a [u8], big_endian: bool) -> Result<Self, BadModule> {
        let (mut entries, mut rest) = (Vec::with_capacity(crcs.len() / 4), names);
        for crc in crcs.chunks_exact(4) {
            let at = names.len() - rest.len();
            let name = text(rest).ok_or_else(|| BadModule::Section {
                section: NAMES,
                at,
                why: format!("needed a name for each of {} checksums, found {}", crcs.len() / 4, entries.len()),
            })?;
            rest = &rest[name.len() + 1..];
            entries.push((name, number(crc, big_endian)));
        }
        Ok(Self { entries })
    }

    /// For many questions: the checksum of each name. Of a name that comes twice the kernel takes the first.
    pub fn by_name(&self) -> HashMap<&'a str, u32> {
        self.entries.iter().rev().copied().collect()
    }
}

/// A string that a NUL ends; none when none does, or when it is empty or no UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    let len = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&bytes[..len]).ok().filter(|name| !name.is_empty())
}

fn number(bytes: &[u8], big_endian: bool) -> u32 {
    let array = bytes.try_into().unwrap_or_default();
    if big_endian { u32::from_be_bytes(array) } else { u32::from_le_bytes(array) }
}
