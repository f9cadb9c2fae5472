//! Reads the text files. They are depmod's own, so that what depmod would never write is refused: it is another program's, or cut.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::trie::check_key;
use super::{BadTrie, Entry, Index, KEPT, Layout, ModulePath, WeakDeps, order, text};

/// Why files are no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A file that depmod always writes is not among them.
    #[error("{file} is needed, and is not there: has depmod made an index?")]
    Missing {
        /// Its name.
        file: &'static str,
    },
    /// A line that depmod would not have written.
    #[error("{file}, line {line}: {why}")]
    Line {
        /// The name of the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// What was needed, and what was found.
        why: String,
    },
    /// `modules.dep.bin` is none.
    #[error("modules.dep.bin: {0}")]
    Bin(#[from] BadTrie),
}

type Files = BTreeMap<String, Vec<u8>>;

impl Index {
    /// Reads an index: the files by their names, see [`NEEDED`](super::NEEDED). Others are left alone.
    ///
    /// # Errors
    /// A file that is missing, or the first line that depmod would not have written.
    pub fn read(files: &Files) -> Result<Self, ReadError> {
        let order = match files.get("modules.order") {
            Some(_) => lines(files, "modules.order")?.into_iter().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        let (entries, places) = dependencies(files, &order)?;
        let kept = KEPT.iter().filter_map(|name| files.get_key_value(*name)).map(|(name, bytes)| (name.clone(), bytes.clone()));
        let mut index = Self {
            entries,
            symbols: BTreeMap::new(),
            order,
            weak: WeakDeps::Ignored,
            layout: files.get("modules.dep.bin").map_or(Ok(Layout::ParentsFirst), |bytes| Layout::of(bytes))?,
            kept: kept.collect(),
        };
        index.read_aliases(files, &places)?;
        index.read_symbols(files, &places)?;
        let head = |file, header| Listing { file, header, places: &places };
        head("modules.softdep", text::SOFTDEPS).read(files, "softdep", |place, value| {
            index.entries[place].softdeps.push(value.to_owned());
        })?;
        if files.contains_key("modules.weakdep") {
            index.weak = WeakDeps::Listed;
            head("modules.weakdep", text::WEAKDEPS).read(files, "weakdep", |place, value| {
                index.entries[place].weakdeps.push(value.to_owned());
            })?;
        }
        index.check_devices(files)?;
        Ok(index)
    }

    fn read_aliases(&mut self, files: &Files, places: &Places) -> Result<(), ReadError> {
        let file = "modules.alias";
        for (line, found) in listed(files, file, text::ALIASES)? {
            let bad = |why| ReadError::Line { file, line, why };
            let parts = found.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' '));
            let (alias, name) = parts.ok_or_else(|| bad(format!("needed alias ALIAS MODULE, found {found:?}")))?;
            check_key(alias).map_err(|error| bad(format!("the alias: {error}")))?;
            self.entries[place(places, name).map_err(bad)?].aliases.push(alias.to_owned());
        }
        Ok(())
    }

    fn read_symbols(&mut self, files: &Files, places: &Places) -> Result<(), ReadError> {
        let file = "modules.symbols";
        for (line, found) in listed(files, file, text::SYMBOLS)? {
            let bad = |why| ReadError::Line { file, line, why };
            let parts = found.strip_prefix("alias symbol:").and_then(|rest| rest.split_once(' '));
            let parts = parts.filter(|(symbol, _)| !symbol.is_empty());
            let (symbol, name) = parts.ok_or_else(|| bad(format!("needed alias symbol:SYMBOL MODULE, found {found:?}")))?;
            check_key(&format!("symbol:{symbol}")).map_err(|error| bad(format!("the symbol: {error}")))?;
            if self.symbols.insert(symbol.to_owned(), place(places, name).map_err(bad)?).is_some() {
                return Err(bad(format!("needed each symbol once, found {symbol} again")));
            }
        }
        Ok(())
    }

    /// `modules.devname` says what the aliases say: nothing of it is kept.
    fn check_devices(&self, files: &Files) -> Result<(), ReadError> {
        let file = "modules.devname";
        let found = lines(files, file)?;
        let needed = text::devices(self);
        let needed: Vec<&str> = needed.lines().collect();
        for index in 0..found.len().max(needed.len()) {
            if found.get(index) != needed.get(index) {
                let show = |line: Option<&&str>| line.map_or_else(|| "the end".to_owned(), |line| format!("{line:?}"));
                let why = format!("needed {}, as modules.alias says, found {}", show(needed.get(index)), show(found.get(index)));
                return Err(ReadError::Line { file, line: index + 1, why });
            }
        }
        Ok(())
    }
}

/// Where modules are in the index, by name.
type Places = HashMap<String, usize>;

/// A file with a line `WORD MODULE VALUE` each.
struct Listing<'a> {
    file: &'static str,
    header: &'static str,
    places: &'a Places,
}

impl Listing<'_> {
    fn read(&self, files: &Files, word: &str, mut take: impl FnMut(usize, &str)) -> Result<(), ReadError> {
        for (line, found) in listed(files, self.file, self.header)? {
            let bad = |why| ReadError::Line { file: self.file, line, why };
            let parts = found.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')).and_then(|rest| rest.split_once(' '));
            let (name, value) = parts.ok_or_else(|| bad(format!("needed {word} MODULE VALUE, found {found:?}")))?;
            take(place(self.places, name).map_err(bad)?, value);
        }
        Ok(())
    }
}

fn place(places: &Places, name: &str) -> Result<usize, String> {
    places.get(name).copied().ok_or_else(|| format!("needed a module of modules.dep, found {name:?}"))
}

/// The lines of a file, each of which depmod ends.
fn lines<'a>(files: &'a Files, file: &'static str) -> Result<Vec<&'a str>, ReadError> {
    let bytes = files.get(file).ok_or(ReadError::Missing { file })?;
    let mut lines = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let bad = |why: String| ReadError::Line { file, line: index + 1, why };
        let text =
            line.strip_suffix(b"\n").ok_or_else(|| bad("needed the end of the line, found the end of the file".to_owned()))?;
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii() && !text.contains('\0'));
        lines.push(text.ok_or_else(|| bad(format!("needed ASCII without NUL, found {:?}", String::from_utf8_lossy(line))))?);
    }
    Ok(lines)
}

/// The lines after the header, with their numbers.
fn listed<'a>(files: &'a Files, file: &'static str, header: &str) -> Result<Vec<(usize, &'a str)>, ReadError> {
    let lines = lines(files, file)?;
    if lines.first() != Some(&header) {
        let why = format!("needed {header:?}, found {:?}", lines.first().copied().unwrap_or_default());
        return Err(ReadError::Line { file, line: 1, why });
    }
    Ok(lines.into_iter().enumerate().skip(1).map(|(index, line)| (index + 1, line)).collect())
}

/// Reads `modules.dep`.
fn dependencies(files: &Files, order: &[String]) -> Result<(Vec<Entry>, Places), ReadError> {
    let file = "modules.dep";
    let lines = lines(files, file)?;
    let bad = |index: usize, why: String| ReadError::Line { file, line: index + 1, why };
    let (mut entries, mut places, mut needs) = (Vec::new(), Places::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        let (path, rest) = line.split_once(':').ok_or_else(|| bad(index, format!("needed PATH: PATH..., found {line:?}")))?;
        let entry = Entry::new(ModulePath::parse(path).map_err(|error| bad(index, error.to_string()))?);
        if let Some(other) = places.insert(entry.name.clone(), index) {
            return Err(bad(index, format!("needed each module once, found {} after line {}", entry.name, other + 1)));
        }
        entries.push(entry);
        needs.push(rest);
    }
    for (index, rest) in needs.into_iter().enumerate() {
        // Nothing, or a blank before each.
        for path in rest.split(' ').skip(1) {
            let known = |place: &&usize| entries[**place].path.as_str() == path;
            let name = ModulePath::parse(path).map_err(|error| bad(index, error.to_string()))?.name();
            let place = places.get(&name).filter(known).ok_or_else(|| bad(index, format!("{path} has no line of its own")))?;
            let place = *place;
            entries[index].dependencies.push(place);
        }
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(bad(index, format!("needed PATH: PATH..., found {rest:?} after the colon")));
        }
    }
    check_closed(&entries).map_err(|(index, why)| bad(index, why))?;
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    order::sort(&mut sorted, order, |entry| &entry.path);
    if let Some(index) = (0..entries.len()).find(|index| sorted[*index].path != entries[*index].path) {
        let (needed, found) = (&sorted[index].path, &entries[index].path);
        return Err(bad(index, format!("needed {needed}, which depmod puts there by modules.order, found {found}")));
    }
    Ok((entries, places))
}

/// Each line has all that the modules in it depend on, after them. So no module depends on itself.
fn check_closed(entries: &[Entry]) -> Result<(), (usize, String)> {
    for (index, entry) in entries.iter().enumerate() {
        let mut later = HashSet::new();
        for place in entry.dependencies.iter().rev() {
            let other = &entries[*place];
            if let Some(missing) = other.dependencies.iter().find(|place| !later.contains(*place)) {
                let missing = &entries[*missing].path;
                return Err((index, format!("needed {missing} after {}, which depends on it", other.path)));
            }
            if *place == index || !later.insert(*place) {
                return Err((index, format!("needed each module once, found {} again", other.path)));
            }
        }
    }
    Ok(())
}
