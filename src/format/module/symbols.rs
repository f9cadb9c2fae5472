//! What a module takes from others and gives to others.
//!
//! An import is an undefined symbol. An export `f` is an entry of `__ksymtab` (or `__ksymtab_gpl`) labelled `__ksymtab_f`; its checksum is
//! labelled `__crc_f` in `__kcrctab` (or `__kcrctab_gpl`; an absolute symbol before Linux 5.19), its namespace `__kstrtabns_f` in
//! `__ksymtab_strings`. Source: include/linux/export-internal.h, scripts/mod/modpost.c.

use std::collections::BTreeMap;

use object::{Object, ObjectSection, ObjectSymbol, SectionIndex, SymbolSection};

use super::{BadModule, section};

const TABLE: &str = "__ksymtab";
const GPL_TABLE: &str = "__ksymtab_gpl";
const STRINGS: &str = "__ksymtab_strings";

/// A symbol that somebody else must export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import<'a> {
    /// `kmalloc_noprof`
    pub name: &'a str,
    /// Nobody need export it: the module looks whether it is there.
    pub weak: bool,
}

/// A symbol for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export<'a> {
    /// `mdev_register_parent`
    pub name: &'a str,
    /// Checksum of its type; none without modversions.
    pub crc: Option<u32>,
    /// For modules under the GPL only.
    pub gpl: bool,
    /// Who uses it must say so with `import_ns`; empty: anybody.
    pub namespace: &'a str,
}

/// What the labels of one export say, before they are put together.
#[derive(Clone, Copy, Default)]
struct Labels<'a> {
    gpl: Option<bool>,
    crc: Option<u32>,
    namespace: &'a str,
}

type Symbols<'a> = (Vec<Import<'a>>, Vec<Export<'a>>);

pub(super) fn read<'a>(file: &impl Object<'a>) -> Result<Symbols<'a>, BadModule> {
    let index = |name| file.section_by_name(name).map(|section| section.index());
    let (plain, gpl, strings) = (index(TABLE), index(GPL_TABLE), index(STRINGS));
    let string_bytes = section(file, STRINGS)?.unwrap_or_default();
    let mut imports = Vec::new();
    let mut labels = BTreeMap::<&str, Labels<'_>>::new();
    for symbol in file.symbols() {
        let name = symbol.name().map_err(|error| BadModule::Section {
            section: ".strtab",
            at: symbol.index().0,
            why: error.to_string(),
        })?;
        let within: Option<SectionIndex> = symbol.section_index();
        if symbol.is_undefined() {
            if !name.is_empty() {
                imports.push(Import { name, weak: symbol.is_weak() });
            }
        } else if let Some(export) =
            name.strip_prefix("__ksymtab_").filter(|_| within.is_some() && (within == plain || within == gpl))
        {
            labels.entry(export).or_default().gpl = Some(within == gpl);
        } else if let Some(export) = name.strip_prefix("__kstrtabns_").filter(|_| within.is_some() && within == strings) {
            labels.entry(export).or_default().namespace = string(string_bytes, symbol.address())?;
        } else if let Some(export) = name.strip_prefix("__crc_") {
            labels.entry(export).or_default().crc = Some(checksum(file, &symbol)?);
        }
    }
    // The kernel needs the table alone: whoever stripped the labels leaves exports that nobody can tell.
    let counted = labels.values().filter(|labels| labels.gpl.is_some()).count();
    let filled = [TABLE, GPL_TABLE].into_iter().any(|name| file.section_by_name(name).is_some_and(|section| section.size() > 0));
    if counted == 0 && filled {
        let why = "needed a symbol for each export, found none: the module was stripped of more than debug data".to_owned();
        return Err(BadModule::Section { section: TABLE, at: 0, why });
    }
    let export = |(name, labels): (&'a str, Labels<'a>)| {
        Some(Export { name, crc: labels.crc, gpl: labels.gpl?, namespace: labels.namespace })
    };
    Ok((imports, labels.into_iter().filter_map(export).collect()))
}

/// The four bytes at a label, or the value of an absolute symbol.
fn checksum<'a>(file: &impl Object<'a>, symbol: &impl ObjectSymbol<'a>) -> Result<u32, BadModule> {
    let at = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
    let bad = |why: String| BadModule::Section { section: "__kcrctab", at, why };
    let SymbolSection::Section(index) = symbol.section() else {
        return u32::try_from(symbol.address()).map_err(|_| bad("needed 32 bits, found more".to_owned()));
    };
    let section = file.section_by_index(index).map_err(|error| bad(error.to_string()))?;
    let bytes = section.data().map_err(|error| bad(error.to_string()))?;
    let four = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    let four = *four.ok_or_else(|| bad(format!("needed 4 bytes for a checksum, found a section of {}", bytes.len())))?;
    Ok(if file.is_little_endian() { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
}

fn string(bytes: &[u8], at: u64) -> Result<&str, BadModule> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let bad = || BadModule::Section { section: STRINGS, at, why: "needed a string that a NUL ends, found none".to_owned() };
    let rest = bytes.get(at..).ok_or_else(bad)?;
    let len = rest.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
    std::str::from_utf8(&rest[..len]).map_err(|_| bad())
}
