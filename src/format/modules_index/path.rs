//! Where a module lies, and the name that follows from it.

use std::fmt;

use crate::format::module::canonical;

/// What follows `.ko` at the end of a file's name.
const COMPRESSED: [&str; 4] = ["", ".gz", ".xz", ".zst"];

/// So many bytes has a path at most.
const LONGEST: usize = 4095;

/// The path of a module, relative to the kernel's folder of modules: `updates/nvidia.ko`, `extra/foo/bar-baz.ko.xz`.
///
/// Printable ASCII without blanks and colons; the file's name has no dots but those of its ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModulePath(String);

/// A text that is not the path of a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needed the path of a module (FOLDER/NAME.ko, perhaps with .gz, .xz or .zst), found {found:?}: {why}")]
pub struct BadPath {
    /// What there is instead.
    pub found: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ModulePath {
    /// Reads one.
    ///
    /// # Errors
    /// What a path of a module cannot have.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        let bad = |why| Err(BadPath { found: text.to_owned(), why });
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return bad("a byte that is not printable ASCII, a blank or a colon");
        }
        if text.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return bad("a part is empty, `.` or `..`");
        }
        if text.len() > LONGEST {
            return bad("it is longer than a path can be");
        }
        let path = Self(text.to_owned());
        let Some(ending) = path.file().strip_prefix(path.stem()).and_then(|ending| ending.strip_prefix(".ko")) else {
            return bad("the ending");
        };
        if !COMPRESSED.contains(&ending) {
            return bad("the ending");
        }
        if path.stem().is_empty() {
            return bad("no name");
        }
        Ok(path)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module's name, as the kernel and modprobe(8) know it: without ending, `_` for each `-`.
    pub fn name(&self) -> String {
        canonical(self.stem())
    }

    /// The path of the same module in a file that is packed in another way: `packed` follows `.ko`.
    ///
    /// # Errors
    /// Nobody packs a module so.
    pub fn packed(&self, packed: &str) -> Result<Self, BadPath> {
        Self::parse(&format!("{}.ko{packed}", self.bare()))
    }

    /// The path without its ending: `extra/foo/bar-baz`.
    pub(super) fn bare(&self) -> &str {
        &self.0[..self.0.len() - self.file().len() + self.stem().len()]
    }

    fn file(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    fn stem(&self) -> &str {
        self.file().split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_paths() {
        for (path, name, bare) in [
            ("updates/nvidia.ko", "nvidia", "updates/nvidia"),
            ("extra/a-b/bar-baz_x.ko.xz", "bar_baz_x", "extra/a-b/bar-baz_x"),
            ("x.ko.zst", "x", "x"),
        ] {
            let path = ModulePath::parse(path).unwrap();
            assert_eq!((path.name().as_str(), path.bare()), (name, bare));
            assert_eq!(path.packed(".gz").unwrap().as_str(), format!("{bare}.ko.gz"));
            assert!(path.packed(".bz2").is_err());
        }
        for path in
            ["", "/a.ko", "a//b.ko", "a/../b.ko", "a/b", "a/b.ko.bz2", "a/b.c.ko", "a/.ko", "a b.ko", "a:b.ko", "é.ko", "a/"]
        {
            assert!(ModulePath::parse(path).is_err(), "{path}");
        }
    }
}
