//! Kernel modules that others built: proven to fit the kernel of the layers below, laid beside its own, and entered into the files that
//! modprobe reads. Nothing of the target runs.
//!
//! ```text
//! (sources of modules, layers below) --target--> the kernel   --origin--> trees --source--> [Found]   --finish--> [Found], signed and packed
//!     --proof--> table     --index--> modules.dep ...     --settings--> modprobe.d, modules-load.d
//!     --promise--> /usr/lib/basalt/modules.json, for the agent
//!     --early--> the base's initramfs with an archive behind it
//! ```

pub mod deb;
mod early;
mod finish;
mod index;
mod origin;
mod promise;
mod proof;
mod settings;
pub mod source;
pub mod table;
pub mod target;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use basalt_contract::names;

use crate::format::modules_index::ModulePath;
use crate::plan::{Base, KernelModules, ModuleSource, Plan};
use crate::progress::Sink;
use crate::sign::ModuleSigners;
use crate::source::{self as fetched, Network};
use crate::store::Store;
use crate::tree::{Content, Meta, Tree, TreePath};
use target::Target;

pub use proof::{Proven, examine};
pub use settings::blacklist_argument;
pub use target::release;

/// What each module was found to be, in the image: [`proof::Proven`] as JSON, sorted by path.
pub const REPORT: &str = "/usr/lib/basalt/kernel-modules.json";
/// Where depmod and modprobe look before they look at the kernel's own modules.
const FOLDER: &str = "updates";
/// Where libostree looks for the initramfs, below the kernel's folder.
const INITRAMFS: &str = "initramfs.img";

/// What the layer brings, and what of the layers below it takes the place of.
#[derive(Debug)]
pub struct Produced {
    /// Modules, firmware, indexes, settings.
    pub tree: Tree,
    /// The kernel's own modules that go, and the indexes that are written anew.
    pub removals: Vec<TreePath>,
}

/// A module that is to be laid into the image.
#[derive(Debug)]
pub struct Found {
    /// Which entry of the recipe it belongs to: its place.
    pub set: usize,
    /// Where it will lie, below the kernel's folder.
    pub path: ModulePath,
    /// Its bytes, perhaps packed.
    pub content: Content,
}

/// The layer of `wanted` over the merged tree `below`; `signers` have the keys, where modules are to be signed.
///
/// # Errors
/// [`crate::failure::Kind::Verification`]: a module that the kernel would not load, every reason of each; no modules for this kernel.
/// [`crate::failure::Kind::Invalid`]: layers below without a kernel, or without what the proof needs. [`crate::failure::Kind::Input`]: nobody
/// has a key.
pub fn produce(wanted: &KernelModules, below: &Tree, store: &Store, signers: &ModuleSigners) -> Result<Produced> {
    let target = Target::of(below)?;
    let mut sources = source::all(wanted, &target, store)?;
    finish::all(wanted, &target, &mut sources, store, signers)?;
    let removed = target.removed(&wanted.sets)?;
    let proven = proof::prove(wanted, &target, &sources, &removed, store)?;
    let mut produced = Produced { tree: Tree::new(), removals: Vec::new() };
    for found in &sources.modules {
        produced.put(&target.path(found.path.as_str())?, found.content.clone())?;
    }
    for (path, content) in &sources.firmware {
        produced.put(path, content.clone())?;
    }
    for path in &removed {
        produced.removals.push(target.path(path.as_str())?);
    }
    let index = index::extended(&target, &sources.modules, &removed)?;
    for (name, bytes) in index.files()? {
        let path = target.path(&name)?;
        if below.get(&path).is_some() {
            produced.removals.push(path.clone());
        }
        produced.put(&path, Content::from_bytes(bytes))?;
    }
    if let Some(early) = early::extended(wanted, &target, &sources, &removed, &index, store)? {
        produced.removals.push(early.replaced);
        produced.tree.put_file(&target.path(INITRAMFS)?, early.meta, early.content)?;
    }
    for (path, text) in settings::files(wanted) {
        produced.put(&TreePath::parse(&path)?, Content::from_bytes(text.into_bytes()))?;
    }
    let promise = promise::all(wanted, &target, &sources, &index)?.to_json();
    produced.put(&TreePath::parse(names::MODULES_FILE)?, Content::from_bytes(promise.into_bytes()))?;
    let mut report = serde_json::to_vec_pretty(&proven)?;
    report.push(b'\n');
    produced.put(&TreePath::parse(REPORT)?, Content::from_bytes(report))?;
    Ok(produced)
}

/// Brings images and packages with modules, and the headers that modules are proven against, unless the store has them.
///
/// # Errors
/// What cannot be had.
pub fn fetch(plan: &Plan, store: &Store, network: Network<'_>, sink: &dyn Sink) -> Result<()> {
    let mirror = match &plan.base {
        Base::Debian { mirror, .. } => mirror.as_deref(),
        Base::Oci(_) | Base::Tree { .. } => None,
    };
    plan.kernel_modules().map_or(Ok(()), |modules| bring(modules, mirror, store, network, sink))
}

/// The same for `wanted`; `mirror` is that of its packages, where a recipe names one.
///
/// # Errors
/// What cannot be had.
pub fn bring(wanted: &KernelModules, mirror: Option<&str>, store: &Store, network: Network<'_>, sink: &dyn Sink) -> Result<()> {
    let mut packages = wanted.headers.clone();
    for mapping in wanted.sets.iter().flat_map(|set| &set.mappings) {
        match &mapping.source {
            ModuleSource::Image(image) => fetched::oci::fetch(image, network, store, sink)?,
            ModuleSource::Packages(more) => packages.extend(more.iter().cloned()),
            ModuleSource::Tree(_) | ModuleSource::Deb(_) => {}
        }
    }
    if packages.iter().all(|package| store.has_blob(&package.sha256)) {
        return Ok(());
    }
    fetched::debian::fetch(&packages, mirror, store, sink, network.offline)
}

/// What was found of the modules that were laid into `tree`. Empty where there are none.
///
/// # Errors
/// Another program's file lies there.
pub fn report(tree: &Tree) -> Result<Vec<Proven>> {
    let Some(content) = tree.file(&TreePath::parse(REPORT)?) else { return Ok(Vec::new()) };
    serde_json::from_slice(&content.bytes()?).with_context(|| REPORT.to_owned())
}

impl Produced {
    fn put(&mut self, path: &TreePath, content: Content) -> Result<()> {
        self.tree.put_file(path, Meta::root(0o644), content)?;
        Ok(())
    }
}
