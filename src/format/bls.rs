//! Boot Loader Specification type #1 entries: one key and value a line. Source: <https://uapi-group.org/specifications/specs/boot_loader_specification/>.
//!
//! Reading is as lenient as boot loaders are: comments and blank lines are passed over, unknown keys kept.

use std::fmt;

/// An entry: keys and values in the order of the file. A key like `initrd` may come several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    fields: Vec<(String, String)>,
}

/// Why a text is no entry, or a field cannot be part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// A line has a key and nothing else.
    #[error("line {line} of the boot entry: needed a key and a value, found {text:?}")]
    NoValue {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A key has something else than ASCII letters, digits, `-` and `_`; or a value begins or ends with white space, is empty, or has
    /// a line break: it would be read back as something else.
    #[error("{key:?} = {value:?} cannot be a field of a boot entry")]
    Unwritable {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl Entry {
    /// With nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, key: &str, value: impl Into<String>) -> Result<(), BadEntry> {
        let value = value.into();
        if !is_key(key) || value.is_empty() || value.trim() != value || value.contains(['\n', '\r', '\0']) {
            return Err(BadEntry::Unwritable { key: key.to_owned(), value });
        }
        self.fields.push((key.to_owned(), value));
        Ok(())
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every value of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadEntry> {
        let mut entry = Self::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || BadEntry::NoValue { line: index + 1, text: line.to_owned() };
            let (key, value) = line.split_once(char::is_whitespace).ok_or_else(bad)?;
            entry.push(key, value.trim())?;
        }
        Ok(entry)
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The file's text.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|(key, value)| writeln!(f, "{key} {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut entry = Entry::new();
        for (key, value) in [("title", "Debian 13 (ostree:0)"), ("options", "a=\"b c\" rw"), ("initrd", "/a"), ("initrd", "/b")] {
            entry.push(key, value).unwrap();
        }
        let text = entry.to_string();
        assert_eq!(text, "title Debian 13 (ostree:0)\noptions a=\"b c\" rw\ninitrd /a\ninitrd /b\n");
        assert_eq!(Entry::parse(&text).unwrap(), entry);
        assert_eq!(entry.all("initrd").collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(entry.get("devicetree"), None);
    }

    #[test]
    fn reading_is_lenient_but_not_silent() {
        let entry = Entry::parse("# made by hand\n\n  title\t Debian \r\nunknown x\n").unwrap();
        assert_eq!((entry.get("title"), entry.get("unknown")), (Some("Debian"), Some("x")));
        assert_eq!(Entry::parse("a b\ntitle\n"), Err(BadEntry::NoValue { line: 2, text: "title".into() }));
    }

    #[test]
    fn what_would_be_read_differently_is_refused() {
        let mut entry = Entry::new();
        for (key, value) in [("title", ""), ("title", " x"), ("title", "x\ny"), ("", "x"), ("a b", "x"), ("#", "x")] {
            assert!(entry.push(key, value).is_err(), "{key:?} {value:?}");
        }
    }
}
