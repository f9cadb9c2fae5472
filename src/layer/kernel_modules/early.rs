//! What the initramfs gets of modules: an archive behind the base's own, which stays as it is. dracut does not run again.
//!
//! | in the archive | why |
//! |---|---|
//! | modules of `load-early`, those that take the place of one which the initramfs has, and all that they need and it lacks | they are loaded there |
//! | `modules.dep` and its kin | those of the initramfs, with these modules in them and without what they replace |
//! | firmware that these modules name, but for names that mean one of many | they ask for it while they are loaded |
//! | `modprobe.d` | parameters and blacklists of all modules of the recipe |
//! | `modules-load.d` | systemd loads `load-early`, in its order |
//!
//! An archive can add and replace, not take away: a module that goes stays as a file, and modprobe does not find it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, repeat};

use anyhow::{Context, Result};

use super::settings::{self, MODPROBE};
use super::source::Sources;
use super::target::Target;
use super::{INITRAMFS, index, proof};
use crate::failure::{Failure, Kind};
use crate::format::cpio::{self, Entry};
use crate::format::initramfs::{self, Initramfs, Node};
use crate::format::modules_index::{Index, ModulePath};
use crate::kmod::Facts;
use crate::plan::KernelModules;
use crate::store::Store;
use crate::tree::{Content, Meta, TreePath};

/// What loads modules in the initramfs, and what tells it.
const LOADER: &str = "usr/lib/systemd/systemd-modules-load";
const LOAD: &str = "etc/modules-load.d/basalt-early.conf";

/// The initramfs with more in it.
pub struct Early {
    /// Where the base has its own.
    pub replaced: TreePath,
    /// As the base's own.
    pub meta: Meta,
    /// The base's bytes, and the archive behind them.
    pub content: Content,
}

/// The base's initramfs with what `wanted` needs there. None where it needs nothing. `removed` are the kernel's modules that go, `index` is the
/// image's.
///
/// # Errors
/// [`Kind::Invalid`]: an initramfs whose files nobody can tell; one that loads no modules; no module of a name in `load-early`.
pub fn extended(
    wanted: &KernelModules,
    target: &Target<'_>,
    sources: &Sources,
    removed: &[ModulePath],
    index: &Index,
    store: &Store,
) -> Result<Option<Early>> {
    let load = load_early(wanted, target, index)?;
    let brought: BTreeSet<_> = sources.modules.iter().map(|found| found.path.name()).collect();
    let gone: BTreeSet<_> = removed.iter().map(ModulePath::name).chain(brought.iter().cloned()).collect();
    let changes_own = gone.iter().any(|name| target.index.path(name).is_some());
    // An image without one is told of later, whatever is asked for here.
    let Some((replaced, base)) = base(target)?.filter(|_| changes_own || !load.is_empty()) else { return Ok(None) };
    let Some(mut part) = Part::read(target, &replaced, &base)? else {
        if load.is_empty() {
            return Ok(None);
        }
        return Err(unfit(&replaced, format!("needed modules for the kernel {}, found none", target.release)).into());
    };
    let gone: Vec<_> = part.index.paths().filter(|path| gone.contains(&path.name())).cloned().collect();
    if load.is_empty() && gone.is_empty() {
        return Ok(None);
    }
    let first = load.iter().cloned().chain(gone.iter().map(ModulePath::name).filter(|name| brought.contains(name)));
    let have: BTreeSet<_> = part.index.paths().filter(|path| !gone.contains(path)).cloned().collect();
    let added: Vec<_> = closure(index, first).into_iter().filter(|path| !have.contains(path)).collect();
    part.modules(target, sources, &gone, &added)?;
    for (path, text) in settings::files(wanted).into_iter().filter(|(path, _)| path.starts_with(MODPROBE)) {
        part.put(&path, text.into_bytes())?;
    }
    if !load.is_empty() {
        part.load(&load)?;
    }
    let meta = target.below.get(&replaced).context("no initramfs")?.meta().clone();
    Ok(Some(Early { meta, content: part.behind(&base, store)?, replaced }))
}

/// The modules that the initramfs is to load, without those that are part of the kernel.
fn load_early(wanted: &KernelModules, target: &Target<'_>, index: &Index) -> Result<Vec<String>> {
    let built_in = target.built_in()?;
    let mut names: Vec<String> = Vec::new();
    for set in &wanted.sets {
        for name in set.load_early.iter().filter(|name| !built_in.contains(*name)) {
            if index.path(name).is_none() {
                let what = format!(
                    "kernel module {}: load-early: needed a module of the kernel {} or of the recipe, found {name:?}",
                    set.name, target.release
                );
                return Err(Failure::new(Kind::Invalid, what)
                    .hint("name it as modprobe does")
                    .about("kernel-module", &set.name)
                    .into());
            }
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    Ok(names)
}

/// Where the base has its initramfs: in a tree that is not yet a commit, or in one.
fn base(target: &Target<'_>) -> Result<Option<(TreePath, Content)>> {
    let release = &target.release;
    let places = [
        target.path(INITRAMFS)?,
        TreePath::parse(&format!("/boot/initrd.img-{release}"))?,
        TreePath::parse(&format!("/boot/initramfs-{release}.img"))?,
    ];
    Ok(places.into_iter().find_map(|path| target.below.file(&path).cloned().map(|content| (path, content))))
}

/// The modules of these names and all that modprobe loads with them.
fn closure(index: &Index, names: impl Iterator<Item = String>) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    let mut left: Vec<String> = names.collect();
    while let Some(name) = left.pop() {
        let Some(path) = index.path(&name) else { continue };
        if !found.insert(path.clone()) {
            continue;
        }
        left.extend(index.dependencies(&name).unwrap_or_default().into_iter().map(ModulePath::name));
        let soft = index.softdeps(&name).iter().flat_map(|line| line.split_whitespace());
        left.extend(soft.filter(|word| !word.ends_with(':')).map(crate::format::module::canonical));
    }
    found
}

fn unfit(at: &TreePath, why: String) -> Failure {
    Failure::new(Kind::Invalid, format!("{at}: kernel modules need a place in it: {why}"))
        .hint("the base needs an initramfs with modules, by gzip, xz or zstd, as dracut makes it")
}

/// An archive to be.
struct Part {
    /// Where the base's initramfs lies, for messages.
    at: TreePath,
    ram: Initramfs,
    /// The folder of modules in it, links followed.
    folder: String,
    /// Of the modules that it has.
    index: Index,
    /// Path in the initramfs to bytes.
    files: BTreeMap<String, Vec<u8>>,
}

impl Part {
    /// None where the initramfs has no modules of this kernel.
    fn read(target: &Target<'_>, at: &TreePath, base: &Content) -> Result<Option<Self>> {
        let of_index =
            |path: &str| path.contains("/modules/") && path.rsplit('/').next().is_some_and(|file| file.starts_with("modules."));
        let ram = Initramfs::read(&base.bytes()?, &of_index).map_err(|bad| unfit(at, bad.to_string()))?;
        let folder = ram.real(&format!("lib/modules/{}", target.release)).unwrap_or_default();
        let mut files = BTreeMap::new();
        let mut has_modules = false;
        for (path, node) in &ram.files {
            let Some(name) = path.strip_prefix(&format!("{folder}/")) else { continue };
            has_modules |= crate::format::module::name_of(name).is_some();
            if let (Node::File(Some(bytes)), false) = (node, name.contains('/')) {
                files.insert(name.to_owned(), bytes.clone());
            }
        }
        if !has_modules {
            return Ok(None);
        }
        let index = Index::read(&files).map_err(|bad| unfit(at, format!("{folder}: {bad}")))?;
        Ok(Some(Self { at: at.clone(), ram, folder, index, files: BTreeMap::new() }))
    }

    /// Puts a file at a path that the image has, too.
    fn put(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let real = self.ram.real(path).with_context(|| format!("{}: links around {path} turn in a circle", self.at))?;
        self.files.insert(real, bytes);
        Ok(())
    }

    /// The modules `added`, their firmware, and the index.
    fn modules(&mut self, target: &Target<'_>, sources: &Sources, gone: &[ModulePath], added: &[ModulePath]) -> Result<()> {
        let mut described = Vec::new();
        for path in added {
            let brought = sources.modules.iter().find(|found| found.path == *path).map(|found| &found.content);
            let content = match brought {
                Some(content) => content,
                None => target.file(path.as_str())?.with_context(|| format!("{path}: in the index, and not there"))?,
            };
            let bytes = content.bytes()?;
            described.push(index::described(path, &bytes)?);
            let facts = Facts::read(path.as_str(), &bytes, None).with_context(|| path.to_string())?;
            for name in facts.firmware.iter().filter(|name| !proof::is_pattern(name)) {
                if let Some((path, content)) = proof::firmware(target, sources, name)
                    && self.ram.get(path.relative()).is_none()
                {
                    self.put(path.relative(), content.bytes()?)?;
                }
            }
            self.files.insert(format!("{}/{path}", self.folder), bytes);
        }
        for (name, bytes) in index::with(target, &self.index, gone, described)?.files()? {
            let path = format!("{}/{name}", self.folder);
            if !matches!(self.ram.files.get(&path), Some(Node::File(Some(old))) if *old == bytes) {
                self.files.insert(path, bytes);
            }
        }
        Ok(())
    }

    fn load(&mut self, names: &[String]) -> Result<()> {
        if self.ram.get(LOADER).is_none() {
            let what = format!("{}: needed {LOADER}, which loads modules there, found none", self.at);
            let hint = "the base's initramfs needs systemd (dracut's module `systemd-modules-load`)";
            return Err(Failure::new(Kind::Invalid, what).hint(hint).into());
        }
        let text = names.iter().fold(String::new(), |mut text, name| {
            let _ = writeln!(text, "{name}");
            text
        });
        self.put(LOAD, text.into_bytes())
    }

    /// The archive behind the bytes of `base`, as a blob of the store.
    fn behind(&self, base: &Content, store: &Store) -> Result<Content> {
        let folders = self.files.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]));
        let new = folders.filter(|folder| !self.ram.files.contains_key(*folder));
        let mut entries: BTreeMap<&str, cpio::Kind<'_>> = new.map(|folder| (folder, cpio::Kind::Directory)).collect();
        entries.extend(self.files.iter().map(|(path, bytes)| (path.as_str(), cpio::Kind::File(bytes))));
        let mode = |kind: &cpio::Kind<'_>| if *kind == cpio::Kind::Directory { 0o755 } else { 0o644 };
        let entries: Vec<_> = entries.iter().map(|(path, kind)| Entry { path, mode: mode(kind), kind: *kind }).collect();
        let archive = cpio::write(&entries);
        let zeros = initramfs::padding(base.len());
        let (digest, len) = store.add_blob(base.reader().chain(repeat(0).take(zeros as u64)).chain(archive.as_slice()))?;
        let pack = store.blob(&digest)?.context("a blob that was stored is gone")?;
        Ok(Content::packed(pack, 0, len, digest))
    }
}
