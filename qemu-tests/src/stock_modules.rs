//! The modules of Debian's kernel as Debian packs them, and some of them altered in one respect each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use basalt::format::{kernel_image, module, symvers};
use basalt::kmod::{Facts, Finding, Kernel, Keyring, Symbols};

use crate::{KernelPackage, kernel_package};

/// So many must be there for a proof of all of them to mean something.
const MANY: usize = 3000;

/// Debian's kernel and its modules.
#[derive(Debug)]
pub struct StockModules {
    /// Where they come from.
    pub package: KernelPackage,
    /// The keys that the kernel trusts.
    pub ring: Keyring,
    /// Every module.
    pub paths: Vec<PathBuf>,
}

impl StockModules {
    /// Fetched once.
    pub fn new() -> Result<Self> {
        let package = kernel_package()?;
        let ring = Keyring::of_kernel(&kernel_image::unpack(&fs::read(&package.image)?)?);
        let mut paths = Vec::new();
        files(&package.modules, &mut paths)?;
        ensure!(paths.len() > MANY, "found {} modules", paths.len());
        Ok(Self { package, ring, paths })
    }

    /// What the module at `path` says when its bytes are these.
    pub fn facts(&self, path: &Path, bytes: &[u8]) -> Result<Facts> {
        let below = path.strip_prefix(&self.package.modules)?.display().to_string();
        Facts::read(&below, bytes, Some(&self.ring)).with_context(|| below)
    }

    /// With the keys of a node's owner, in PEM or DER.
    pub fn trusting(mut self, certificate: &Path) -> Result<Self> {
        self.ring.add(&fs::read(certificate)?)?;
        Ok(self)
    }

    /// What the modules are proven against: each as if it came in the place of the kernel's own.
    pub fn kernel(&self, one: &Facts) -> Result<Kernel> {
        let text = fs::read_to_string(&self.package.symvers)?;
        let built_in = fs::read_to_string(self.package.modules.join("modules.builtin"))?;
        Ok(Kernel {
            release: self.package.release.clone(),
            machine: one.machine,
            vermagic: one.vermagic.clone().context("a stock module without vermagic")?,
            symbols: Symbols::of_kernel(&symvers::parse(&text)?),
            built_in: built_in.lines().filter_map(module::name_of).collect(),
            modules: self.paths.iter().filter_map(|path| module::name_of(&path.display().to_string())).collect(),
            signed_only: true,
        })
    }

    /// The unpacked bytes of the first module for which `pick` answers something, with that.
    fn pick<T>(&self, pick: impl Fn(&Facts, &[u8]) -> Option<T>) -> Result<(PathBuf, Vec<u8>, T)> {
        for path in &self.paths {
            let packed = fs::read(path)?;
            let bytes = module::unpack(&packed)?.into_owned();
            if let Some(found) = pick(&self.facts(path, &bytes)?, &bytes) {
                return Ok((path.clone(), bytes, found));
            }
        }
        anyhow::bail!("no module of the kernel will do")
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            files(&path, found)?;
        } else if module::name_of(&path.display().to_string()).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

/// One respect that is altered in a module's bytes, and whether a finding is what is to be told of it.
#[derive(Debug)]
pub struct Mutation {
    /// Which respect.
    pub name: &'static str,
    /// Unpacked, with the signature of other bytes.
    pub bytes: Vec<u8>,
    /// Of the module that was altered.
    pub path: PathBuf,
    /// Whether a finding, but for the signature, is what is to be told.
    pub told: fn(&Finding) -> bool,
}

/// One of each kind. The modules need no other module, so that a kernel has nothing else to say of them.
pub fn mutations(case: &StockModules) -> Result<Vec<Mutation>> {
    let mut all = Vec::new();
    let mut add = |name, path: &Path, bytes, told| all.push(Mutation { name, bytes, path: path.to_owned(), told });

    // A module with a checksum for a symbol of the kernel that is for the GPL only.
    let text = fs::read_to_string(&case.package.symvers)?;
    let gpl: BTreeSet<_> =
        symvers::parse(&text)?.iter().filter(|symbol| symbol.gpl && symbol.crc > 1).map(|symbol| symbol.name).collect();
    let picked = case.pick(|facts, bytes| {
        facts.depends.is_empty().then_some(())?;
        let need = facts.needs.iter().find(|need| gpl.contains(&*need.name) && need.crc.is_some())?;
        let record = [&u64::from(need.crc?).to_le_bytes()[..], need.name.as_bytes(), b"\0"].concat();
        let once = |pattern: &[u8]| (count(bytes, pattern) == 1).then_some(());
        once(b"\0license=GPL\0").or_else(|| once(b"\0license=GPL v2\0"))?;
        once(b" SMP preempt mod_unload modversions ")?;
        Some((record, [b"\0", need.name.as_bytes(), b"\0"].concat()))
    });
    let (path, bytes, (record, name)) = picked?;
    let mut other = record.clone();
    other[0] ^= 1;
    add("crc", &path, replaced(&bytes, &record, &other)?, |finding| matches!(finding, Finding::Checksum { .. }));
    let to = b" SMP PREEMPT mod_unload modversions ";
    let changed = replaced(&bytes, b" SMP preempt mod_unload modversions ", to)?;
    add("vermagic", &path, changed, |finding| matches!(finding, Finding::Vermagic { .. }));
    let changed = replaced(&bytes, b"\0license=GPL", b"\0license=XPL")?;
    add("license", &path, changed, |finding| matches!(finding, Finding::Gpl { .. }));
    // The string table names what is imported; the checksums have names of their own.
    let mut other = name.clone();
    other[1] = b'~';
    let changed = replaced_last(&bytes, &name, &other)?;
    add("symbol", &path, changed, |finding| matches!(finding, Finding::Symbol { .. }));
    let mut changed = bytes.clone();
    changed[0x40] ^= 1;
    add("signature", &path, changed, |_| false);

    let (path, bytes, namespace) =
        case.pick(|facts, _| facts.namespaces.first().filter(|_| facts.depends.is_empty()).cloned())?;
    let (from, to) = (format!("import_ns={namespace}\0"), format!("import_xx={namespace}\0"));
    let changed = replaced(&bytes, from.as_bytes(), to.as_bytes())?;
    add("namespace", &path, changed, |finding| matches!(finding, Finding::Namespace { .. }));
    Ok(all)
}

fn places(bytes: &[u8], pattern: &[u8]) -> Vec<usize> {
    bytes.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern).map(|(at, _)| at).collect()
}

fn count(bytes: &[u8], pattern: &[u8]) -> usize {
    places(bytes, pattern).len()
}

/// With the one place of `from` changed.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>> {
    ensure!(count(bytes, from) == 1, "{:?} is there {} times", String::from_utf8_lossy(from), count(bytes, from));
    replaced_last(bytes, from, to)
}

/// With the last place of `from` changed.
fn replaced_last(bytes: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>> {
    let at = *places(bytes, from).last().context("nothing to replace")?;
    let mut changed = bytes.to_vec();
    changed[at..at + from.len()].copy_from_slice(to);
    Ok(changed)
}
