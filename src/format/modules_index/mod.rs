//! The index files of kernel modules, below `/lib/modules/RELEASE`: what kmod's depmod(8) makes and modprobe(8) reads.
//! modules.dep(5) and kmod's `tools/depmod.c` describe them.
//!
//! ```text
//! {name: bytes} --Index::read--> Index    (Index, removed, [Module], SearchOrder) --with--> Extended{Index}
//! Index --files--> {name: bytes}
//! ```
//!
//! Modules are added to an index that depmod has already made: nothing of the target is run, and no module that the index knows is
//! read again. What comes out are the bytes that depmod would write for all of them.
//!
//! # What the text files do not say
//!
//! - Which symbols a module imports: `modules.dep` has all that it depends on, in the end. When a module that others depend on is
//!   replaced, this decides as long as all of its symbols come from one module again. Otherwise [`ExtendError::Unknown`] names the
//!   modules whose files have to be read: given to [`Index::with`] like new ones, at their own paths, they are known.
//! - That a module imports what nobody exports (nor the kernel), or that two export the same: both make no index wrong unless a new
//!   module exports it, or the one that counts is removed. Kernels are not built with either.
//! - Files that depmod has passed over for others of the same name: where the latter are removed, the former are to be given.
//! - Now and then, the order in which depmod comes to dependencies: see [`Extended::guessed`].
//!
//! What is not made: `modules.builtin.bin` and `modules.builtin.alias.bin`, which depend on the kernel alone. They are passed
//! through.

mod change;
mod graph;
mod module;
mod order;
mod parse;
mod path;
mod search;
mod text;
mod trie;
#[cfg(test)]
mod tests;

pub use change::{ExtendError, Extended, Unknown, Unresolved};
pub use module::Module;
pub use parse::ReadError;
pub use path::{BadPath, ModulePath};
pub use search::{BadCommand, Override, Place, SearchOrder};
pub use trie::{BadKey, BadTrie, Layout, TooBig, Trie, Value};

use std::collections::BTreeMap;

/// Files that [`Index::read`] needs. The other ones that it looks at: `modules.order` (needed where it exists), `modules.weakdep`
/// (kmod 33 and newer), `modules.dep.bin` (for the [`Layout`]), [`KEPT`].
pub const NEEDED: [&str; 5] = ["modules.dep", "modules.alias", "modules.symbols", "modules.softdep", "modules.devname"];

/// Files that are passed through.
pub const KEPT: [&str; 2] = ["modules.builtin.bin", "modules.builtin.alias.bin"];

/// An index: every module that counts, what it depends on, and what it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// In depmod's order.
    entries: Vec<Entry>,
    /// Who exports a symbol, by place in `entries`.
    symbols: BTreeMap<String, usize>,
    /// Lines of `modules.order`.
    order: Vec<String>,
    /// Whether there is a `modules.weakdep`.
    weak: WeakDeps,
    layout: Layout,
    kept: BTreeMap<String, Vec<u8>>,
}

/// Whether depmod writes `modules.weakdep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WeakDeps {
    /// kmod 33 and newer.
    Listed,
    /// Older ones.
    Ignored,
}

/// What an index has of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: ModulePath,
    name: String,
    /// All modules that have to be loaded before it, by place, in the order of the line in `modules.dep`: users first.
    dependencies: Vec<usize>,
    aliases: Vec<String>,
    softdeps: Vec<String>,
    weakdeps: Vec<String>,
}

impl Entry {
    fn new(path: ModulePath) -> Self {
        let name = path.name();
        Self { path, name, dependencies: Vec::new(), aliases: Vec::new(), softdeps: Vec::new(), weakdeps: Vec::new() }
    }
}

impl Index {
    /// Of modules that are known by their paths alone: it does not say what depends on what.
    pub fn of_paths(paths: impl IntoIterator<Item = ModulePath>) -> Self {
        Self {
            entries: paths.into_iter().map(Entry::new).collect(),
            symbols: BTreeMap::new(),
            order: Vec::new(),
            weak: WeakDeps::Ignored,
            layout: Layout::ParentsFirst,
            kept: BTreeMap::new(),
        }
    }

    /// All modules that count, in depmod's order.
    pub fn paths(&self) -> impl Iterator<Item = &ModulePath> {
        self.entries.iter().map(|entry| &entry.path)
    }

    /// Where the module of this name lies.
    pub fn path(&self, name: &str) -> Option<&ModulePath> {
        self.entry(name).map(|entry| &entry.path)
    }

    /// All modules that have to be loaded before the one of this name, in the order of `modules.dep`: the last one first.
    pub fn dependencies(&self, name: &str) -> Option<Vec<&ModulePath>> {
        let entry = self.entry(name)?;
        Some(entry.dependencies.iter().map(|place| &self.entries[*place].path).collect())
    }

    /// What the module of this name wants to have loaded around it (`pre: a b post: c`), in the order of its file.
    pub fn softdeps(&self, name: &str) -> &[String] {
        self.entry(name).map(|entry| entry.softdeps.as_slice()).unwrap_or_default()
    }

    /// The module that exports a symbol.
    pub fn exporter(&self, symbol: &str) -> Option<&ModulePath> {
        self.symbols.get(symbol).map(|place| &self.entries[*place].path)
    }

    /// In which layout the `.bin` files are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}
