//! `.modinfo`: `key=value`, each ended by a NUL. Written by `MODULE_INFO` and its relatives in the kernel's include/linux/module.h, and
//! by modpost.

use super::BadModule;

pub(super) const SECTION: &str = ".modinfo";

/// What a module says in words. Keys may come several times (`alias`, `firmware`, `import_ns`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modinfo<'a> {
    /// Key and value, in the section's order.
    pub pairs: Vec<(&'a str, &'a str)>,
}

/// Licences that may use symbols exported by `EXPORT_SYMBOL_GPL`: `license_is_gpl_compatible` in include/linux/license.h.
const GPL_COMPATIBLE: [&str; 6] = ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

impl<'a> Modinfo<'a> {
    /// Reads the section.
    ///
    /// # Errors
    /// A string without `=`, one that is not UTF-8, or one that does not end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadModule> {
        let bad = |at: usize, why: String| BadModule::Section { section: SECTION, at, why };
        let mut pairs = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            // Linkers pad with NULs.
            if bytes[at] == 0 {
                at += 1;
                continue;
            }
            let len = bytes[at..].iter().position(|byte| *byte == 0);
            let len = len.ok_or_else(|| bad(at, "needed a NUL at the end, found none".to_owned()))?;
            let text =
                std::str::from_utf8(&bytes[at..at + len]).map_err(|_| bad(at, "needed UTF-8, found other bytes".to_owned()))?;
            let pair = text.split_once('=').ok_or_else(|| bad(at, format!("needed key=value, found {text:?}")))?;
            pairs.push(pair);
            at += len + 1;
        }
        Ok(Self { pairs })
    }

    /// The first value of a key: the one that the kernel takes.
    pub fn first(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    /// Every value of a key, in order.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// What it was built for: kernel release and the words that change the layout of its data.
    pub fn vermagic(&self) -> Option<&'a str> {
        self.first("vermagic")
    }

    /// The modules that it says it needs.
    pub fn depends(&self) -> impl Iterator<Item = &'a str> {
        self.first("depends").unwrap_or_default().split(',').filter(|name| !name.is_empty())
    }

    /// Whether it may use symbols that are for the GPL only. Without a licence it is proprietary.
    pub fn is_gpl_compatible(&self) -> bool {
        self.first("license").is_some_and(|license| GPL_COMPATIBLE.contains(&license))
    }
}
