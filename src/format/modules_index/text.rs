//! Writes the files as depmod(8) does.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::trie::BadKey;
use super::{Entry, Index, TooBig, Trie, WeakDeps, order};

pub const ALIASES: &str = "# Aliases extracted from modules themselves.";
pub const SOFTDEPS: &str = "# Soft dependencies extracted from modules themselves.";
pub const WEAKDEPS: &str = "# Weak dependencies extracted from modules themselves.";
pub const SYMBOLS: &str = "# Aliases for symbols, used by symbol_request().";
const DEVICES: &str = "# Device nodes to trigger on-demand module loading.";

impl Index {
    /// The files by their names: all that depmod writes. `modules.weakdep` only where it was read.
    ///
    /// # Errors
    /// A `.bin` file would be too big.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, TooBig> {
        let mut files = self.kept.clone();
        let mut add = |name: &str, bytes| files.insert(name.to_owned(), bytes);
        add("modules.dep", self.lines("", |index, entry| vec![index.dependency_line(entry)]).into_bytes());
        let aliases =
            |_: &Self, entry: &Entry| entry.aliases.iter().map(|alias| format!("alias {alias} {}", entry.name)).collect();
        add("modules.alias", self.lines(ALIASES, aliases).into_bytes());
        let soft =
            |_: &Self, entry: &Entry| entry.softdeps.iter().map(|value| format!("softdep {} {value}", entry.name)).collect();
        add("modules.softdep", self.lines(SOFTDEPS, soft).into_bytes());
        if self.weak == WeakDeps::Listed {
            let weak =
                |_: &Self, entry: &Entry| entry.weakdeps.iter().map(|value| format!("weakdep {} {value}", entry.name)).collect();
            add("modules.weakdep", self.lines(WEAKDEPS, weak).into_bytes());
        }
        add("modules.symbols", self.symbol_lines().into_bytes());
        add("modules.devname", devices(self).into_bytes());
        for (name, trie) in self.tries() {
            add(name, trie.write(self.layout)?);
        }
        Ok(files)
    }

    fn lines(&self, header: &str, lines: impl Fn(&Self, &Entry) -> Vec<String>) -> String {
        let header = (!header.is_empty()).then(|| header.to_owned());
        let lines = self.entries.iter().flat_map(|entry| lines(self, entry));
        header.into_iter().chain(lines).fold(String::new(), |text, line| text + &line + "\n")
    }

    fn dependency_line(&self, entry: &Entry) -> String {
        let dependencies = entry.dependencies.iter().map(|place| &self.entries[*place].path);
        dependencies.fold(format!("{}:", entry.path), |line, path| line + " " + path.as_str())
    }

    fn symbol_lines(&self) -> String {
        let mut symbols: Vec<_> = self.symbols.iter().map(|(symbol, place)| (symbol.as_str(), *place)).collect();
        order::sort_symbols(&mut symbols);
        let lines = symbols.into_iter().map(|(symbol, place)| format!("alias symbol:{symbol} {}\n", self.entries[place].name));
        std::iter::once(format!("{SYMBOLS}\n")).chain(lines).collect()
    }

    /// The `.bin` files with the same contents.
    fn tries(&self) -> [(&'static str, Trie); 3] {
        let (mut dependencies, mut aliases, mut symbols) = (Trie::default(), Trie::default(), Trie::default());
        // Fewer than 65535, as depmod has it.
        let priority = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        for (place, entry) in self.entries.iter().enumerate() {
            put(dependencies.insert(&entry.name, &self.dependency_line(entry), priority(place)));
            for alias in entry.aliases.iter().filter_map(|alias| normalized(alias)) {
                put(aliases.insert(&alias, &entry.name, priority(place)));
            }
        }
        for (symbol, place) in &self.symbols {
            put(symbols.insert(&format!("symbol:{symbol}"), &self.entries[*place].name, priority(*place)));
        }
        [("modules.dep.bin", dependencies), ("modules.alias.bin", aliases), ("modules.symbols.bin", symbols)]
    }
}

/// Every key and value was checked when it came into the index.
fn put(inserted: Result<(), BadKey>) {
    debug_assert_eq!(inserted, Ok(()));
}

/// An alias as a key: `_` for each `-` outside of brackets. None where brackets do not match: depmod leaves it out.
fn normalized(alias: &str) -> Option<String> {
    let mut key = String::with_capacity(alias.len());
    let mut rest = alias;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '[' => rest.find(']')? + 1,
            ']' => return None,
            _ => c.len_utf8(),
        };
        let (part, after) = rest.split_at(end);
        key.push_str(if part == "-" { "_" } else { part });
        rest = after;
    }
    Some(key)
}

/// `modules.devname`: the modules for device nodes, without a header when there are none.
pub fn devices(index: &Index) -> String {
    let mut text = String::new();
    for entry in &index.entries {
        let Some((name, node)) = device(&entry.aliases) else { continue };
        if text.is_empty() {
            text = format!("{DEVICES}\n");
        }
        let _ = writeln!(text, "{} {name} {node}", entry.name);
    }
    text
}

/// Name and numbers of the device node that aliases speak of: `fuse`, `c10:229`. Of several names before the first numbers the last
/// one counts, and the other way round.
fn device(aliases: &[String]) -> Option<(&str, String)> {
    let (mut name, mut node) = (None, None);
    for alias in aliases {
        if let Some(found) = alias.strip_prefix("devname:") {
            name = Some(found);
        } else if let Some(found) = numbers(alias, "char-major-") {
            node = Some(('c', found));
        } else if let Some(found) = numbers(alias, "block-major-") {
            node = Some(('b', found));
        }
        if let (Some(name), Some((kind, (major, minor)))) = (name, node) {
            return Some((name, format!("{kind}{major}:{minor}")));
        }
    }
    None
}

/// Major and minor number, whatever follows them.
fn numbers(alias: &str, start: &str) -> Option<(u32, u32)> {
    let (major, rest) = alias.strip_prefix(start)?.split_once('-')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((plain(major)?, plain(&rest[..digits])?))
}
