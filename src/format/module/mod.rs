//! A Linux kernel module as a file: an ELF object, perhaps with a signature behind it, perhaps compressed as a whole.
//!
//! ```text
//! .ko, .ko.gz, .ko.xz, .ko.zst --unpack--> bytes --signature::split--> (object, signature)    object --Module::parse--> what it says
//! ```
//!
//! What is read here is what the kernel's loader reads (kernel/module/main.c, version.c, signing.c): [`Modinfo`], the symbols that the
//! module [imports](Module::imports) with the checksums that it was built against, and those that it [exports](Module::exports).
//!
//! Architecture invariant: whatever bytes come in, the answer is a value or a [`BadModule`] that names the section.

mod info;
pub mod signature;
mod symbols;
mod versions;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, FileKind, Object, ObjectKind};

use super::compressed;
pub use info::Modinfo;
pub use symbols::{Export, Import};
pub use versions::Versions;

/// Why bytes are no kernel module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModule {
    /// It does not unpack.
    #[error("the compressed module does not unpack: {0}")]
    Compressed(String),
    /// No ELF file, or a broken one.
    #[error("needed an ELF object, found {0}")]
    Elf(String),
    /// ELF, but of another kind.
    #[error("needed a relocatable ELF object (ET_REL), found {0}")]
    NotRelocatable(String),
    /// A section that every module has.
    #[error("needed the section {0}, found none")]
    NoSection(&'static str),
    /// A section whose bytes mean nothing.
    #[error("section {section}, byte {at}: {why}")]
    Section {
        /// Its name.
        section: &'static str,
        /// Offset in it.
        at: usize,
        /// What was needed, and what was found.
        why: String,
    },
    /// A signature that the kernel would refuse to look at.
    #[error("the appended signature: {0}")]
    Signature(#[from] signature::BadTrailer),
}

/// What an ELF file's header says of the processor: the kernel loads nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// `EM_X86_64` is 62, `EM_AARCH64` 183.
    pub number: u16,
    /// 64-bit words.
    pub wide: bool,
    /// Byte order.
    pub big_endian: bool,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match object::elf::Machine(self.number) {
            object::elf::EM_X86_64 => f.write_str("x86-64"),
            object::elf::EM_AARCH64 => f.write_str("AArch64"),
            object::elf::EM_386 => f.write_str("i386"),
            object::elf::EM_RISCV => f.write_str("RISC-V"),
            object::elf::EM_PPC64 => f.write_str("PowerPC64"),
            object::elf::EM_S390 => f.write_str("S/390"),
            object::elf::Machine(number) => write!(f, "ELF machine {number}"),
        }?;
        f.write_str(if self.wide { ", 64 bits" } else { ", 32 bits" })?;
        f.write_str(if self.big_endian { ", big endian" } else { "" })
    }
}

/// What a module says of itself. Names borrow from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// For which processor.
    pub machine: Machine,
    /// `.modinfo`.
    pub info: Modinfo<'a>,
    /// The checksums that it was built against; none without modversions.
    pub versions: Option<Versions<'a>>,
    /// What others must export, in the symbol table's order.
    pub imports: Vec<Import<'a>>,
    /// What it exports, by name.
    pub exports: Vec<Export<'a>>,
}

impl<'a> Module<'a> {
    /// Reads an unpacked module. A signature behind it does not matter.
    ///
    /// # Errors
    /// No relocatable ELF object, a section that is missing or that means nothing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadModule> {
        let kind = FileKind::parse(bytes).map_err(|_| BadModule::Elf(beginning(bytes)))?;
        match kind {
            FileKind::Elf64 => Self::of_class::<FileHeader64<Endianness>>(bytes),
            FileKind::Elf32 => Self::of_class::<FileHeader32<Endianness>>(bytes),
            other => Err(BadModule::Elf(format!("{other:?}"))),
        }
    }

    fn of_class<H: FileHeader<Endian = Endianness>>(bytes: &'a [u8]) -> Result<Self, BadModule> {
        let file = ElfFile::<H>::parse(bytes).map_err(elf)?;
        let number = file.elf_header().e_machine(file.endian()).0;
        Self::read(&file, Machine { number, wide: file.is_64(), big_endian: !file.is_little_endian() })
    }

    fn read(file: &impl Object<'a>, machine: Machine) -> Result<Self, BadModule> {
        match file.kind() {
            ObjectKind::Relocatable => {}
            other => return Err(BadModule::NotRelocatable(format!("{other:?}").to_lowercase())),
        }
        let info = Modinfo::parse(section(file, info::SECTION)?.ok_or(BadModule::NoSection(info::SECTION))?)?;
        let versions = Versions::read(file, machine)?;
        let (imports, exports) = symbols::read(file)?;
        Ok(Self { machine, info, versions, imports, exports })
    }
}

/// The bytes of a section; none where there is no such section.
fn section<'a>(file: &impl Object<'a>, name: &'static str) -> Result<Option<&'a [u8]>, BadModule> {
    use object::ObjectSection;
    let Some(section) = file.section_by_name(name) else { return Ok(None) };
    section.data().map(Some).map_err(|error| BadModule::Section { section: name, at: 0, why: error.to_string() })
}

fn elf(error: object::Error) -> BadModule {
    BadModule::Elf(format!("a broken one: {error}"))
}

/// For messages: what a file begins with.
fn beginning(bytes: &[u8]) -> String {
    match bytes {
        [] => "an empty file".to_owned(),
        _ => format!("a file that begins with {:02x?}", &bytes[..bytes.len().min(4)]),
    }
}

/// The bytes of a module, unpacked when it is compressed, whatever its name says.
///
/// # Errors
/// [`BadModule::Compressed`]: broken, or more than [`compressed::limit`].
pub fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, BadModule> {
    if !compressed::is_packed(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    compressed::unpack_all(bytes).map(Cow::Owned).map_err(|error| BadModule::Compressed(error.to_string()))
}

/// The module's name as the kernel knows it, from the file's: `/usr/lib/modules/.../snd-hda-intel.ko.xz` is `snd_hda_intel`. None for
/// what is no module by its name.
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"].iter().find_map(|end| file.strip_suffix(end))?;
    (!stem.is_empty()).then(|| canonical(stem))
}

/// A module's name as the kernel has it: people and files write `-` for `_`.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}
