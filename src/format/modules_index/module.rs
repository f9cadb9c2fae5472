//! A module that comes new into an index: what whoever read its file says of it.

use super::ModulePath;
use super::trie::check_key;

/// A new module. The lists have the order of the file, since depmod's output depends on it. What modules.devname says follows from
/// the aliases, as it does for depmod(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it will lie. Its name follows from this, whatever its `.modinfo` says; so it does for depmod(8).
    pub path: ModulePath,
    /// Values of `alias` in `.modinfo`: `pci:v000010DEd*sv*sd*bc03sc00i00*`, `char-major-10-229`, `devname:fuse`.
    pub aliases: Vec<String>,
    /// Values of `softdep` in `.modinfo`: `pre: crypto-crc32c`.
    pub softdeps: Vec<String>,
    /// Values of `weakdep` in `.modinfo`.
    pub weakdeps: Vec<String>,
    /// Symbols that it exports: those of `.symtab` that begin with `__crc_`, without that; without versions the strings of
    /// `__ksymtab_strings`.
    pub exports: Vec<String>,
    /// Symbols that it imports: the undefined ones of `.symtab`, weak ones too, then what only `__versions` has.
    pub imports: Vec<String>,
}

impl Module {
    /// What in it no index can hold.
    pub(super) fn problem(&self) -> Option<String> {
        let line = |text: &&String| !text.is_ascii() || text.contains(['\n', '\0']);
        let word = |text: &&String| text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic());
        let texts = [("alias", &self.aliases), ("softdep", &self.softdeps), ("weakdep", &self.weakdeps)];
        let words = [("exported symbol", &self.exports), ("imported symbol", &self.imports)];
        let found = texts.into_iter().find_map(|(what, list)| Some((what, list.iter().find(line)?)));
        if let Some((what, found)) = found {
            return Some(format!("needed a {what} in one line of ASCII, found {found:?}"));
        }
        let found = words.into_iter().find_map(|(what, list)| Some((what, list.iter().find(word)?)));
        if let Some((what, found)) = found {
            return Some(format!("needed an {what} in printable ASCII, found {found:?}"));
        }
        let long = |key: &str| check_key(key).err().map(|why| why.to_string());
        let found = self.aliases.iter().find_map(|alias| long(alias));
        found.or_else(|| self.exports.iter().find_map(|symbol| long(&format!("symbol:{symbol}"))))
    }
}
