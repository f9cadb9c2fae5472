//! Whether the kernel loads what is laid into the image, and still loads what uses it.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::deb;
use super::source::Sources;
use super::table::{Obstacle, Row, Table, Verdict};
use super::target::{Target, real};
use crate::failure::{Failure, Kind};
use crate::format::modules_index::ModulePath;
use crate::format::{compressed, kernel_image, symvers};
use crate::host::parallel;
use crate::kmod::{self, Facts, Finding, Kernel, Keyring, Signed, Symbols};
use crate::layer::agent::blob;
use crate::plan::KernelModules;
use crate::sign::KnownSignature;
use crate::store::Store;
use crate::tree::{Content, TreePath};

/// The kind of the store's entries of a kernel's exports, by the digest of the package with its headers, and their one file.
const EXPORTS: &str = "kernel-exports";
const SYMVERS: &str = "Module.symvers";
/// The same of a kernel's certificates, by the digest of its image.
const CERTIFICATES: &str = "kernel-certificates";
const DER: &str = "certificates.der";
/// Where the kernel looks for firmware, and how it may be packed there.
const FIRMWARE: [&str; 2] = ["/usr/lib/firmware/updates", "/usr/lib/firmware"];
const PACKED: [&str; 3] = ["", ".xz", ".zst"];

/// A module that the kernel loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proven {
    /// As the kernel names it.
    pub name: String,
    /// Where it lies, below the kernel's folder.
    pub path: String,
    /// Whose signature it has, when that is a key which the kernel trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The signature that it got while the image was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<KnownSignature>,
    /// What stands in its way and the recipe allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}

/// Proves the modules of `sources`, and those of the kernel's own modules that use what changes: the ones in `removed` are gone.
///
/// # Errors
/// [`Kind::Verification`] with everything that does not fit. [`Kind::Invalid`]: bytes that are no module; no exports of the kernel.
pub fn prove(
    wanted: &KernelModules,
    target: &Target<'_>,
    sources: &Sources,
    removed: &[ModulePath],
    store: &Store,
) -> Result<Vec<Proven>> {
    let table = examine(wanted, target, sources, removed, store)?;
    if !table.is_good() {
        let failure = table.failure();
        // Only a key that nobody trusts can be wrong with a signature which was just made.
        let signed = |row: &Row| wanted.sets.iter().any(|set| set.sign.is_some() && row.entry.as_ref() == Some(&set.name));
        let distrusted = |row: &Row| row.checks.get("signature") == Some(&Verdict::Misfit);
        let hint =
            "nodes trust a key of their owner's (MOK) once it is enrolled: name its certificate in `kernel.module-keys`, too";
        let is_key = table.modules.iter().any(|row| signed(row) && distrusted(row));
        return Err(if is_key { failure.hint(hint) } else { failure }.into());
    }
    let mut proven = table.proven();
    for module in &mut proven {
        module.signature = sources.signatures.get(&module.path).cloned();
    }
    Ok(proven)
}

/// The same, whatever comes out.
///
/// # Errors
/// [`Kind::Invalid`]: bytes that are no module; no exports of the kernel.
pub fn examine(
    wanted: &KernelModules,
    target: &Target<'_>,
    sources: &Sources,
    removed: &[ModulePath],
    store: &Store,
) -> Result<Table> {
    let found = &sources.modules;
    let ring = keyring(wanted, target, store)?;
    let mut facts = parallel::map(found, |module| {
        let read = Facts::read(module.path.as_str(), &module.content.bytes()?, Some(&ring));
        Ok(read.map_err(|bad| {
            let set = &wanted.sets[module.set].name;
            let what = format!("kernel module {set}: {}: {bad}", module.path);
            Failure::new(Kind::Invalid, what).hint("build it again").about("kernel-module", set)
        })?)
    })?;
    let symbols = symbols(wanted, target, store)?;
    let replaced = facts.iter().filter_map(|facts| target.index.path(&facts.name));
    let users = target.users(&replaced.chain(removed).cloned().collect(), |name| symbols.has_owner(name))?;
    let kernel = kernel(wanted, target, removed, symbols)?;
    let own = facts.len();
    facts.extend(users);
    let findings = kmod::prove(&kernel, &facts);
    let mut modules = Vec::new();
    for (place, (facts, findings)) in facts.into_iter().zip(findings).enumerate() {
        let set = found.get(place).map(|module| &wanted.sets[module.set]);
        // Nobody looked at the signatures of the kernel's own modules; those that a build will sign anew do not count before.
        let unsigned_yet = set.is_some_and(|set| set.sign.is_some()) && !sources.signatures.contains_key(&facts.path);
        let mut obstacles: Vec<_> = findings
            .into_iter()
            .filter(|finding| !((place >= own || unsigned_yet) && matches!(finding, Finding::Signature { .. })))
            .map(|finding| Obstacle { text: finding.to_string(), finding, verdict: Verdict::Misfit })
            .collect();
        if set.is_some() {
            obstacles.extend(facts.firmware.iter().filter_map(|name| lacking(target, sources, name)));
        }
        for obstacle in &mut obstacles {
            if set.is_some_and(|set| set.allow.iter().any(|kind| kind == obstacle.finding.kind())) {
                obstacle.verdict = Verdict::Allowed;
            }
        }
        let skipped: &[_] = match set {
            None => &["signature", "firmware"],
            Some(_) if !kernel.signed_only || unsigned_yet => &["signature"],
            Some(_) => &[],
        };
        let mut row = Row::new(set.map(|set| set.name.clone()), facts.name, facts.path, obstacles, skipped);
        if let Signed::By(owner) = facts.signed {
            row.signed_by = Some(owner);
        }
        modules.push(row);
    }
    Ok(Table { kernel: target.release.to_string(), modules })
}

fn keyring(wanted: &KernelModules, target: &Target<'_>, store: &Store) -> Result<Keyring> {
    let image = target.image()?;
    // Unpacking a kernel takes longer than the proof of a few modules: what is asked of it is kept.
    let entry = store.entry_or_make(CERTIFICATES, &image.digest(), |folder| {
        let unpacked = kernel_image::unpack(&image.bytes()?).with_context(|| format!("the kernel {}", target.release))?;
        Ok(fs::write(folder.join(DER), Keyring::certificates(&unpacked))?)
    })?;
    let mut ring = Keyring::of_kernel(&fs::read(entry.path.join(DER))?);
    for key in &wanted.keys {
        let bytes = blob(store, key.sha256, key.size, "the key for kernel modules")?.bytes()?;
        ring.add(&bytes).map_err(|bad| Failure::new(Kind::Invalid, format!("kernel.module-keys: {bad}")))?;
    }
    Ok(ring)
}

/// What the kernel and its own modules export.
fn symbols(wanted: &KernelModules, target: &Target<'_>, store: &Store) -> Result<Symbols> {
    let exports = exports(wanted, target, store)?;
    let text = std::str::from_utf8(&exports).map_err(|error| Failure::new(Kind::Invalid, format!("Module.symvers: {error}")))?;
    let exports = symvers::parse(text).map_err(|bad| Failure::new(Kind::Invalid, format!("Module.symvers: {bad}")))?;
    Ok(Symbols::of_kernel(&exports))
}

fn kernel(wanted: &KernelModules, target: &Target<'_>, removed: &[ModulePath], mut symbols: Symbols) -> Result<Kernel> {
    let gone: Vec<_> = removed.iter().map(ModulePath::name).collect();
    symbols.forget(&gone.iter().map(String::as_str).collect());
    // One of its own modules speaks for the kernel.
    let own = target.index.paths().find(|path| !removed.contains(path)).context("a kernel without modules")?;
    let own = target.facts(own)?;
    let vermagic = own.vermagic.with_context(|| format!("{}: no vermagic", own.path))?;
    Ok(Kernel {
        release: target.release.to_string(),
        machine: own.machine,
        vermagic,
        symbols,
        built_in: target.built_in()?,
        modules: target.index.paths().filter(|path| !removed.contains(path)).map(ModulePath::name).collect(),
        signed_only: wanted.secure_boot,
    })
}

/// The `Module.symvers` of the kernel: the one that the recipe names, the one of its headers, or the base's own.
fn exports(wanted: &KernelModules, target: &Target<'_>, store: &Store) -> Result<Vec<u8>> {
    if let Some(key) = &wanted.symvers {
        let bytes = blob(store, key.sha256, key.size, "the kernel's exports")?.bytes()?;
        let unpacked = compressed::unpack_all(&bytes);
        return Ok(unpacked.map_err(|error| Failure::new(Kind::Invalid, format!("kernel.symvers: {error}")))?);
    }
    let name = format!("linux-headers-{}", target.release);
    if let Some(package) = wanted.headers.iter().find(|package| package.name == name) {
        // No byte of the image comes from it. Unpacking takes longer than the proof of a few modules: what is asked of it is kept.
        let entry = store.entry_or_make(EXPORTS, &package.sha256, |folder| {
            let tree = deb::tree(&name, &store.blob_path(&package.sha256), store)?;
            let is_it = |path: &TreePath| path.relative().ends_with("/Module.symvers");
            match tree.walk().map(|(path, _)| path).find(is_it).and_then(|path| tree.file(&path)) {
                Some(content) => Ok(fs::write(folder.join(SYMVERS), content.bytes()?)?),
                None => Ok(()),
            }
        })?;
        let kept = entry.path.join(SYMVERS);
        if kept.exists() {
            return Ok(fs::read(kept)?);
        }
    }
    let found = target.symvers()?;
    found.ok_or_else(|| {
        let what =
            format!("kernel modules: needed what the kernel {} exports (Module.symvers), found it nowhere", target.release);
        let hint = "take it from the kernel's headers and name it: [kernel] symvers = \"Module.symvers\"";
        Failure::new(Kind::Invalid, what).hint(hint).into()
    })
}

/// Whether a name of firmware means one of many.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// What is to be said of a file that a module may ask for and the image lacks.
fn lacking(target: &Target<'_>, sources: &Sources, name: &str) -> Option<Obstacle> {
    if is_pattern(name) || firmware(target, sources, name).is_some() {
        return None;
    }
    let finding = Finding::Firmware { file: name.to_owned() };
    if target.firmware.is_some() {
        return Some(Obstacle { text: finding.to_string(), finding, verdict: Verdict::Misfit });
    }
    let text = format!("may ask for the firmware {name}, and nobody knows whether the image has it");
    Some(Obstacle { text, finding, verdict: Verdict::Unknown })
}

/// The file of the image that a module may ask for by `name`, perhaps packed as the kernel unpacks it: where it lies, and what it holds.
pub fn firmware(target: &Target<'_>, sources: &Sources, name: &str) -> Option<(TreePath, Content)> {
    let places = FIRMWARE.iter().flat_map(|folder| PACKED.iter().map(move |ending| format!("{folder}/{name}{ending}")));
    places.into_iter().filter_map(|path| TreePath::parse(&path).ok()).find_map(|path| {
        let brought = sources.firmware.iter().find(|(brought, _)| *brought == path).map(|(_, content)| content.clone());
        let below = || target.firmware.iter().flatten().find_map(|tree| tree.file(&real(tree, &path)?).cloned());
        let found = brought.or_else(below)?;
        Some((path, found))
    })
}
