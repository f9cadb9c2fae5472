//! Which modules are laid into the image: those of the first mapping that is for its kernel.
//!
//! A source is a tree of modules (see [`origin`]): in KMM's layout (`opt/lib/modules/RELEASE/*.ko`), as packages lay them out
//! (`[usr/]lib/modules/RELEASE/...`), or any folder with modules for one kernel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::target::Target;
use super::{FOLDER, Found, origin};
use crate::failure::{Failure, Kind};
use crate::format::module;
use crate::format::modules_index::ModulePath;
use crate::plan::{KernelModules, ModuleSet};
use crate::sign::KnownSignature;
use crate::store::Store;
use crate::tree::{Content, LeafKind, Node, Tree, TreePath};

/// Where a source may keep modules by the kernel's release.
const BY_RELEASE: [&str; 3] = ["/opt/lib/modules", "/usr/lib/modules", "/lib/modules"];
/// Where the kernel looks for firmware before it looks for what the base brings.
const FIRMWARE: &str = "/usr/lib/firmware/updates";

/// What all entries of the recipe bring.
#[derive(Debug, Default)]
pub struct Sources {
    /// By set, then by path.
    pub modules: Vec<Found>,
    /// Path in the image, and content.
    pub firmware: Vec<(TreePath, Content)>,
    /// What was signed here, by the module's path.
    pub signatures: BTreeMap<String, KnownSignature>,
}

/// Reads the sources for the kernel of `target`.
///
/// # Errors
/// [`Kind::Verification`]: nothing there is for this kernel. [`Kind::Invalid`]: two modules of one source have one file name.
pub fn all(wanted: &KernelModules, target: &Target<'_>, store: &Store) -> Result<Sources> {
    let mut sources = Sources::default();
    for (number, set) in wanted.sets.iter().enumerate() {
        add(number, set, target, store, &mut sources)?;
    }
    Ok(sources)
}

/// Adds what the entry `number` of the recipe brings. What fails has added nothing.
///
/// # Errors
/// As [`all`].
pub fn add(number: usize, set: &ModuleSet, target: &Target<'_>, store: &Store, sources: &mut Sources) -> Result<()> {
    let Some(source) = target.choose(set.mappings.iter().map(|mapping| (&mapping.kernel, &mapping.source)))? else {
        return Err(unmapped(&set.name, target.release.as_str()).into());
    };
    let tree = origin::tree(set, source, store)?;
    let mut own = Sources::default();
    modules(number, set, target, &tree, &mut own)?;
    firmware(set, &tree, &mut own)?;
    sources.modules.append(&mut own.modules);
    for (to, content) in own.firmware {
        if !sources.firmware.iter().any(|(there, other)| *there == to && other.digest() == content.digest()) {
            sources.firmware.push((to, content));
        }
    }
    Ok(())
}

/// An entry of the recipe has no mapping for a kernel.
pub fn unmapped(name: &str, release: &str) -> Failure {
    Failure::new(Kind::Verification, format!("kernel module {name}: no mapping is for the kernel {release}"))
        .hint("add a mapping with modules that were built for this kernel, or keep the kernel back in the lock")
        .about("kernel-module", name)
}

fn modules(number: usize, set: &ModuleSet, target: &Target<'_>, tree: &Tree, sources: &mut Sources) -> Result<()> {
    let fail = |kind, what: String, hint: &str| {
        let failure = Failure::new(kind, format!("kernel module {}: {what}", set.name)).hint(hint);
        failure.about("kernel-module", &set.name)
    };
    let within = match by_release(set, tree)? {
        Some((place, releases)) if releases.contains(target.release.as_str()) => place.join(target.release.as_str()),
        Some((place, releases)) => {
            let found = releases.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("needed modules for the kernel {}, found in {place} those for {found}", target.release);
            return Err(fail(Kind::Verification, what, "build them for this kernel, or keep the kernel back in the lock").into());
        }
        None => TreePath::root(),
    };
    let mut names = BTreeSet::new();
    for (path, node) in tree.walk().filter(|(path, _)| path.is_within(&within)) {
        let Node::Leaf(leaf) = node else { continue };
        let LeafKind::File(content) = &leaf.kind else { continue };
        let Some((_, file)) = path.split_last() else { continue };
        if module::name_of(file).is_none() {
            continue;
        }
        let path = ModulePath::parse(&format!("{FOLDER}/{}/{file}", set.name))
            .map_err(|bad| fail(Kind::Invalid, bad.to_string(), "rename the file"))?;
        if !names.insert(path.name()) {
            return Err(fail(Kind::Invalid, format!("needed one module of a name, found {file} twice"), "remove one").into());
        }
        sources.modules.push(Found { set: number, path, content: content.clone() });
    }
    if names.is_empty() {
        let what = format!("needed modules (*.ko, perhaps with .gz, .xz or .zst) in {within}, found none");
        return Err(fail(Kind::Verification, what, "build them first").into());
    }
    Ok(())
}

/// The folder with modules by release, and which releases it has.
fn by_release(set: &ModuleSet, tree: &Tree) -> Result<Option<(TreePath, BTreeSet<String>)>> {
    for place in places(set)? {
        if let Some(folder) = tree.directory(&place) {
            let folders = folder.children.iter().filter(|(_, node)| matches!(node, Node::Directory(_)));
            return Ok(Some((place, folders.map(|(name, _)| name.clone()).collect())));
        }
    }
    Ok(None)
}

/// Where the source of an entry may keep modules by the kernel's release.
pub(super) fn places(set: &ModuleSet) -> Result<Vec<TreePath>> {
    if let Some(dir) = &set.dir {
        return Ok(vec![dir.join("lib").join("modules")]);
    }
    Ok(BY_RELEASE.into_iter().map(TreePath::parse).collect::<Result<_, _>>()?)
}

/// What lies in the source's folder of firmware.
fn firmware(set: &ModuleSet, tree: &Tree, sources: &mut Sources) -> Result<()> {
    let Some(folder) = &set.firmware else { return Ok(()) };
    if tree.directory(folder).is_none() {
        let what = format!("kernel module {}: needed a folder with firmware at {folder} of its source, found none", set.name);
        return Err(Failure::new(Kind::Invalid, what).hint("correct `firmware`").about("kernel-module", &set.name).into());
    }
    for (path, node) in tree.walk().filter(|(path, _)| path.is_within(folder)) {
        if let Node::Leaf(leaf) = node
            && let LeafKind::File(content) = &leaf.kind
        {
            let relative = &path.relative()[folder.relative().len()..];
            let to = TreePath::parse(&format!("{FIRMWARE}/{}", relative.trim_start_matches('/')))?;
            sources.firmware.push((to, content.clone()));
        }
    }
    Ok(())
}
