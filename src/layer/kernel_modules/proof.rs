//! Whether the kernel loads what is laid into the image, and still loads what uses it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::source::Sources;
use super::target::Target;
use crate::failure::{Failure, Kind};
use crate::format::modules_index::ModulePath;
use crate::format::{compressed, kernel_image, symvers};
use crate::host::cmd::Cmd;
use crate::host::interrupt;
use crate::kmod::{self, Facts, Finding, Kernel, Keyring, Signed, Symbols};
use crate::layer::agent::blob;
use crate::plan::KernelModules;
use crate::sign::KnownSignature;
use crate::store::Store;
use crate::tree::{Content, TreePath};

/// So many reasons are told for one module.
const TOLD: usize = 5;
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
    let found = &sources.modules;
    let ring = keyring(wanted, target, store)?;
    let mut facts = Vec::new();
    for module in found {
        interrupt::check()?;
        let read = Facts::read(module.path.as_str(), &module.content.bytes()?, Some(&ring));
        facts.push(read.map_err(|bad| {
            let set = &wanted.sets[module.set].name;
            let what = format!("kernel module {set}: {}: {bad}", module.path);
            Failure::new(Kind::Invalid, what).hint("build it again").about("kernel-module", set)
        })?);
    }
    let kernel = kernel(wanted, target, removed, store)?;
    let users = users(target, &facts, removed)?;
    let all: Vec<_> = facts.iter().chain(&users).cloned().collect();
    let mut findings = kmod::prove(&kernel, &all);
    for (facts, findings) in facts.iter().zip(&mut findings) {
        let missing = facts.firmware.iter().filter(|name| !is_pattern(name) && firmware(target, sources, name).is_none());
        findings.extend(missing.map(|name| Finding::Firmware { file: name.clone() }));
    }
    let mut proven = Vec::new();
    let mut wrong = String::new();
    let mut count = 0;
    for (place, (facts, findings)) in all.iter().zip(&findings).enumerate() {
        let allow = found.get(place).map(|module| wanted.sets[module.set].allow.as_slice()).unwrap_or_default();
        let (allowed, refused): (Vec<_>, Vec<_>) = findings
            .iter()
            .filter(|finding| !of_kernel(place >= found.len(), finding))
            .partition(|finding| allow.iter().any(|kind| kind == finding.kind()));
        if !refused.is_empty() {
            count += 1;
            for finding in refused.iter().take(TOLD) {
                let _ = write!(wrong, "\n  {}: {finding}", facts.path);
            }
            if refused.len() > TOLD {
                let _ = write!(wrong, "\n  {}: and {} more", facts.path, refused.len() - TOLD);
            }
        }
        if place < found.len() {
            let signed_by = match &facts.signed {
                Signed::By(owner) => Some(owner.clone()),
                _ => None,
            };
            let allowed = allowed.iter().map(ToString::to_string).collect();
            let (name, path) = (facts.name.clone(), facts.path.clone());
            proven.push(Proven { signature: sources.signatures.get(&path).cloned(), name, path, signed_by, allowed });
        }
    }
    if count > 0 {
        let what = format!("the kernel {} would not load {count} of {} modules:{wrong}", target.release, all.len());
        let distrusted = all.iter().any(|facts| matches!(facts.signed, Signed::Stranger(_)));
        let hint = if distrusted && wanted.sets.iter().any(|set| set.sign.is_some()) {
            "nodes trust a key of their owner's (MOK) once it is enrolled: name its certificate in `kernel.module-keys`, too"
        } else {
            "build them for this kernel; what must be as it is, name in `allow` of its [[kernel-module]]"
        };
        return Err(Failure::new(Kind::Verification, what).hint(hint).into());
    }
    proven.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(proven)
}

/// What is no news of the kernel's own modules: nobody looked at their signatures.
fn of_kernel(is_own: bool, finding: &Finding) -> bool {
    is_own && matches!(finding, Finding::Signature { .. })
}

fn keyring(wanted: &KernelModules, target: &Target<'_>, store: &Store) -> Result<Keyring> {
    let image = target.image()?;
    let unpacked = kernel_image::unpack(&image).with_context(|| format!("the kernel {}", target.release))?;
    let mut ring = Keyring::of_kernel(&unpacked);
    for key in &wanted.keys {
        let bytes = blob(store, key.sha256, key.size, "the key for kernel modules")?.bytes()?;
        ring.add(&bytes).map_err(|bad| Failure::new(Kind::Invalid, format!("kernel.module-keys: {bad}")))?;
    }
    Ok(ring)
}

fn kernel(wanted: &KernelModules, target: &Target<'_>, removed: &[ModulePath], store: &Store) -> Result<Kernel> {
    let exports = exports(wanted, target, store)?;
    let text = std::str::from_utf8(&exports).map_err(|error| Failure::new(Kind::Invalid, format!("Module.symvers: {error}")))?;
    let exports = symvers::parse(text).map_err(|bad| Failure::new(Kind::Invalid, format!("Module.symvers: {bad}")))?;
    let mut symbols = Symbols::of_kernel(&exports);
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
        // No byte of the image comes from it.
        let archive = Cmd::new("dpkg-deb").arg("--fsys-tarfile").arg(store.blob_path(&package.sha256)).run()?.stdout;
        let mut archive = tar::Archive::new(archive.as_slice());
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.path_bytes().ends_with(b"/Module.symvers") && entry.header().entry_type().is_file() {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                return Ok(bytes);
            }
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

/// The kernel's own modules that use one which goes or is replaced.
fn users(target: &Target<'_>, facts: &[Facts], removed: &[ModulePath]) -> Result<Vec<Facts>> {
    let replaced = facts.iter().filter_map(|facts| target.index.path(&facts.name));
    let changed: BTreeSet<_> = replaced.chain(removed).cloned().collect();
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let uses = |path: &&ModulePath| {
        let dependencies = target.index.dependencies(&path.name()).unwrap_or_default();
        !changed.contains(*path) && dependencies.iter().any(|dependency| changed.contains(*dependency))
    };
    target.index.paths().filter(uses).map(|path| target.facts(path)).collect()
}

/// Whether a name of firmware means one of many.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// The file of the image that a module may ask for by `name`, perhaps packed as the kernel unpacks it: where it lies, and what it holds.
pub fn firmware(target: &Target<'_>, sources: &Sources, name: &str) -> Option<(TreePath, Content)> {
    let places = FIRMWARE.iter().flat_map(|folder| PACKED.iter().map(move |ending| format!("{folder}/{name}{ending}")));
    places.into_iter().filter_map(|path| TreePath::parse(&path).ok()).find_map(|path| {
        let brought = sources.firmware.iter().find(|(brought, _)| *brought == path).map(|(_, content)| content.clone());
        let found = brought.or_else(|| target.below.file(&target.real(&path)?).cloned())?;
        Some((path, found))
    })
}
