//! Modules for tests, made with the `object` crate's writer.

use object::write::{Object, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// A module to be.
pub struct Draft(Object<'static>);

impl Draft {
    /// For x86-64.
    pub fn new() -> Self {
        Self::of(Architecture::X86_64, Endianness::Little)
    }

    /// For another machine.
    pub fn of(architecture: Architecture, endian: Endianness) -> Self {
        let mut object = Object::new(BinaryFormat::Elf, architecture, endian);
        object.section_id(StandardSection::Text);
        Self(object)
    }

    /// With a section of these bytes.
    pub fn section(&mut self, name: &str, bytes: &[u8]) -> object::write::SectionId {
        let id = self.0.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::ReadOnlyData);
        self.0.append_section_data(id, bytes, 1);
        id
    }

    /// With a symbol.
    pub fn symbol(&mut self, name: &str, value: u64, section: SymbolSection, weak: bool) -> SymbolId {
        let (kind, scope) = (SymbolKind::Data, SymbolScope::Linkage);
        let name = name.as_bytes().to_vec();
        self.0.add_symbol(Symbol { name, value, size: 0, kind, scope, weak, section, flags: SymbolFlags::None })
    }

    /// Its file.
    pub fn bytes(self) -> Vec<u8> {
        self.0.write().unwrap()
    }
}
