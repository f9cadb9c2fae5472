//! Who exports what: the kernel, its own modules, and those that are laid over them.

use std::collections::{BTreeSet, HashMap};

use crate::format::module::canonical;
use crate::format::symvers;

/// A symbol that somebody exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Checksum of its type; none where the kernel has no modversions.
    pub crc: Option<u32>,
    /// For modules under the GPL only.
    pub gpl: bool,
    /// Who uses it must import this; empty: anybody may.
    pub namespace: Box<str>,
    /// `vmlinux`, or a module's name.
    pub owner: Box<str>,
}

/// Symbols by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    by_name: HashMap<Box<str>, Symbol>,
}

/// How the kernel itself is named among owners.
pub const KERNEL: &str = "vmlinux";

impl Symbols {
    /// Of a kernel's `Module.symvers`. Modules are named as the kernel names them.
    pub fn of_kernel(symvers: &[symvers::Symbol<'_>]) -> Self {
        // Zero is what modpost writes without modversions; no type has it.
        let symbol = |found: &symvers::Symbol<'_>| Symbol {
            crc: (found.crc != 0).then_some(found.crc),
            gpl: found.gpl,
            namespace: found.namespace.into(),
            owner: owner(found.owner).into(),
        };
        Self { by_name: symvers.iter().map(|found| (found.name.into(), symbol(found))).collect() }
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.by_name.get(name)
    }

    /// Whether this owner exports anything.
    pub fn has_owner(&self, owner: &str) -> bool {
        self.by_name.values().any(|symbol| *symbol.owner == *owner)
    }

    /// Adds a symbol; of those of one name the last counts.
    pub fn insert(&mut self, name: &str, symbol: Symbol) {
        self.by_name.insert(name.into(), symbol);
    }

    /// Forgets what these owners export.
    pub fn forget(&mut self, owners: &BTreeSet<&str>) {
        self.by_name.retain(|_, symbol| !owners.contains(&*symbol.owner));
    }
}

/// `drivers/net/foo-bar` is the module `foo_bar`.
fn owner(path: &str) -> String {
    match path {
        KERNEL => KERNEL.to_owned(),
        _ => canonical(path.rsplit('/').next().unwrap_or_default()),
    }
}
