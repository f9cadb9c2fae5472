//! The lock as a file: TOML with a stable order, read strictly, written whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Lock, LockedBase, VERSION};
use crate::failure::{Failure, Kind};
use crate::recipe::{ImageSource, names};
use crate::store::sync_folder;
use crate::tree::TreePath;

const HEADER: &str =
    "# Made by `basalt lock`: what every input of the recipe is, by digest. Change it with `basalt lock --update`.\n";

/// A text is no lock of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {why}")]
pub struct BadLock {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Needed and found.
    pub why: String,
}

/// The first locks knew only Debian's packages as bases, and did not say so. Whether this is one: it says so then.
fn tell_debian(table: &mut toml::Table) -> bool {
    let sections = table.get_mut("architecture").and_then(toml::Value::as_table_mut);
    let bases = sections.into_iter().flat_map(|sections| sections.iter_mut()).filter_map(|(_, section)| section.get_mut("base"));
    let mut told = false;
    for base in bases.filter_map(toml::Value::as_table_mut).filter(|base| !base.contains_key("kind")) {
        base.insert("kind".to_owned(), "debian".into());
        told = true;
    }
    told
}

impl Lock {
    /// Reads a lock. Every unknown key, malformed digest, doubled package or path that climbs is an error; none is a panic.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, BadLock> {
        let bad = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            BadLock { line, column, why: error.message().trim().replace('\n', ", ") }
        };
        // The version first: another version may have other keys.
        let mut table: toml::Table = toml::from_str(text).map_err(bad)?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(VERSION) => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |version| version.to_string());
                return Err(BadLock { line: 1, column: 1, why: format!("needed version = {VERSION}, found {found}") });
            }
        }
        // Places are known only of what stands in the text.
        let mut lock: Self = if tell_debian(&mut table) { table.try_into() } else { toml::from_str(text) }.map_err(bad)?;
        lock.examine().map_err(|why| BadLock { line: 1, column: 1, why })?;
        lock.architecture.values_mut().for_each(super::Section::sort);
        Ok(lock)
    }

    /// What types alone do not say.
    fn examine(&self) -> Result<(), String> {
        names::image(&self.recipe).map_err(|why| format!("recipe: {why}"))?;
        for (architecture, section) in &self.architecture {
            let has_packages =
                [&section.packages, &section.headers, &section.module_packages].iter().any(|packages| !packages.is_empty());
            match &section.base {
                LockedBase::Debian(_) => {}
                _ if has_packages => return Err("package: needed none with a base that is not made of packages".to_owned()),
                LockedBase::Oci(image) => drop(ImageSource::parse("", &image.from).map_err(|why| format!("base.from: {why}"))?),
                LockedBase::Tree(_) => {}
            }
            if let Some(kernel) = &section.kernel {
                names::release(kernel).map_err(|why| format!("kernel: {why}"))?;
            }
            for image in &section.module_images {
                ImageSource::parse("", &image.from).map_err(|why| format!("module-image.from: {why}"))?;
            }
            let mut seen = BTreeSet::new();
            // A package with modules may be installed, too.
            let modules = section.module_packages.iter().map(|package| (package, "module-package"));
            let installed = section.packages.iter().chain(&section.headers).map(|package| (package, "package"));
            for (package, list) in installed.chain(modules) {
                names::package(&package.name).map_err(|why| format!("package: {why}"))?;
                // The name goes into addresses and below folders.
                let climbs = package.filename.starts_with('/') || TreePath::parse(&package.filename).is_err();
                if climbs || package.filename.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    let found = &package.filename;
                    return Err(format!("package {}: needed a filename below the mirror, found {found:?}", package.name));
                }
                if ![architecture.debian(), "all"].contains(&package.architecture.as_str()) {
                    let found = &package.architecture;
                    return Err(format!("package {}: needed architecture {architecture} or all, found {found:?}", package.name));
                }
                if !seen.insert((list, &package.name)) {
                    return Err(format!("package {}: needed once, found twice", package.name));
                }
            }
            let names = section.overlays.iter().map(|overlay| &overlay.name);
            let modules = section.kernel_modules.iter().map(|source| &source.name);
            let tuned = section.tuned.iter().map(|source| &source.name);
            let images = section.module_images.iter().map(|image| &image.from);
            let files = section.files.iter().map(|file| &file.name);
            for (kind, mut names) in [
                ("overlay", Box::new(names) as Box<dyn Iterator<Item = &String>>),
                ("kernel-module", Box::new(modules)),
                ("tuned", Box::new(tuned)),
                ("module-image", Box::new(images)),
                ("file", Box::new(files)),
            ] {
                let mut seen = BTreeSet::new();
                if let Some(twice) = names.find(|name| !seen.insert(*name)) {
                    return Err(format!("{kind} {twice:?}: needed once, found twice"));
                }
            }
        }
        Ok(())
    }

    /// The text of the file. Equal locks are equal texts.
    pub fn to_text(&self) -> String {
        let mut sorted = self.clone();
        sorted.architecture.values_mut().for_each(super::Section::sort);
        let body = toml::to_string(&sorted).expect("a lock is always TOML");
        format!("{HEADER}{body}")
    }
}

/// Where the lock of the recipe at `recipe` lies: beside it, `<stem>.lock`.
pub fn path_for(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}

/// Reads the lock at `path`. None when there is none.
///
/// # Errors
/// [`Kind::Input`] when it cannot be read or is no lock, with line and column.
pub fn read(path: &Path) -> Result<Option<Lock>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display())).into()),
    };
    let lock = Lock::parse(&text).map_err(|bad| {
        Failure::new(Kind::Input, format!("{}:{bad}", path.display()))
            .hint("take the file from version control again, or remove it and run `basalt lock RECIPE`")
    })?;
    Ok(Some(lock))
}

/// Writes `lock` to `path`: a reader sees the old or the new file, also after a power cut. A file that already says this is left alone.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(path: &Path, lock: &Lock) -> Result<()> {
    let text = lock.to_text();
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("{}: cannot be written", path.display());
    // Read by others, like any file of a repository: the umask decides.
    let mut file = tempfile::Builder::new()
        .prefix(".lock-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::tests::{lock, section};

    #[test]
    fn a_lock_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_for(&folder.path().join("web.toml"));
        assert!(path.ends_with("web.lock"));
        assert!(read(&path).unwrap().is_none());
        let mut lock = lock(section());
        write(&path, &lock).unwrap();
        assert_eq!(read(&path).unwrap(), Some(lock.clone()));
        let text = fs::read_to_string(&path).unwrap();
        lock.architecture.values_mut().for_each(|section| section.packages.reverse());
        assert_eq!(lock.to_text(), text, "the order of the packages in memory does not matter");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_that_says_no_kind_is_of_debian() {
        let good = lock(section()).to_text();
        let old = good.replacen("kind = \"debian\"\n", "", 1);
        assert_ne!(old, good);
        assert_eq!(Lock::parse(&old), Lock::parse(&good));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let good = lock(section()).to_text();
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let table = [
            ("version = 1", "version = 2", "1:1: needed version = 1, found 2"),
            ("version = 1", "", "1:1: needed version = 1, found none"),
            ("recipe = ", "recipes = ", "3:1: unknown field `recipes`"),
            ("recipe = \"web\"", "recipe = \"../web\"", "1:1: recipe: needed up to 63"),
            (digest, "00", "needed 64 hexadecimal digits of a SHA-256 digest, found \"00\""),
            ("pool/main/b/bash.deb", "../bash.deb", "1:1: package bash: needed a filename below the mirror"),
            ("name = \"zstd\"", "name = \"bash\"", "1:1: package bash: needed once, found twice"),
            ("architecture = \"all\"", "architecture = \"i386\"", "needed architecture amd64 or all, found \"i386\""),
            ("\"/etc/a\"", "\"/etc/../a\"", "a path must not leave the tree"),
            ("[architecture.amd64]", "[architecture.amd64", "unclosed table"),
        ];
        for (from, to, expected) in table {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let bad = Lock::parse(&text).unwrap_err().to_string();
            assert!(bad.contains(expected), "{to}: {bad}");
        }
        for text in ["", "\u{0}", "version", "version = 1", "[[version]]", "é = "] {
            assert!(Lock::parse(text).is_err(), "{text:?}");
        }
    }
}
