//! A document of which one key after the other is taken, each with its place; what nobody has taken is told by its name.
//!
//! Architecture invariant: no message has a text of the file that nobody asked for by its key: it might be a password. So nothing
//! here can be shown with `Debug` either.

use basalt_contract::Fault;
use basalt_contract::placed::Position;

use super::values::Parse;
use super::yaml::{Node, Value};
use super::{SUBJECT, Said};

/// So many characters of what was found are quoted, and of a key.
const QUOTED: usize = 80;

/// Line and column, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub(super) usize, pub(super) usize);

/// What comes to light while one file is read.
pub struct Reading<'a> {
    /// The file.
    pub file: &'a str,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Keys that are not honoured, by their paths.
    pub left: Vec<String>,
    /// What was taken in another way than it is written.
    pub remarks: Vec<String>,
    next_step: &'a str,
}

impl<'a> Reading<'a> {
    /// Nothing yet. `next_step` is what a person can do about a fault in `file`.
    pub fn new(file: &'a str, next_step: &'a str) -> Self {
        Self { file, faults: Vec::new(), left: Vec::new(), remarks: Vec::new(), next_step }
    }

    /// Something is wrong at `key`.
    pub fn wrong(&mut self, at: At, key: &str, needed: &str, found: &str) {
        let what = format!("{}: {key}: needed {needed}, found {found}", self.position(at));
        self.faults.push(Fault::new(SUBJECT, what, self.next_step));
    }

    /// What was taken in another way than it is written.
    pub fn remark(&mut self, at: At, key: &str, what: &str) {
        let remark = format!("{}: {key}: {what}", self.position(at));
        self.remarks.push(remark);
    }

    /// File, line and column.
    pub fn position(&self, At(line, column): At) -> Position {
        Position { file: self.file.to_owned(), line, column }
    }
}

/// What a fault says that it found: a short text, quoted.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED).collect();
    format!("{short:?}{}", if short.len() < text.len() { "..." } else { "" })
}

/// A table, of which one key after the other is taken.
pub struct Table {
    /// Where it stands in the document; empty: it is the document.
    pub key: String,
    /// Where it stands in the file.
    pub at: At,
    rest: Vec<(String, Node)>,
}

/// A value with its key: what parsers pass around.
pub struct Keyed<T> {
    /// Where it stands in the document.
    pub key: String,
    /// Where it stands in the file.
    pub at: At,
    /// What is there.
    pub value: T,
}

impl Table {
    /// The table that `node` is.
    pub fn of(node: Node, key: &str, reading: &mut Reading<'_>) -> Option<Self> {
        let Node { value, at } = node;
        match value {
            Value::Table(rest) => Some(Self { key: key.to_owned(), at, rest }),
            other => {
                reading.wrong(at, if key.is_empty() { "the file" } else { key }, "a table", other.kind());
                None
            }
        }
    }

    /// The path of a key in it.
    pub fn path(&self, key: &str) -> String {
        let key: String = key.escape_debug().take(QUOTED).collect();
        if self.key.is_empty() { key } else { format!("{}.{key}", self.key) }
    }

    /// A value; one that is null is none.
    pub fn take(&mut self, key: &str) -> Option<Keyed<Node>> {
        let index = self.rest.iter().position(|(known, _)| known == key)?;
        let (_, node) = self.rest.remove(index);
        (!matches!(node.value, Value::Null)).then(|| Keyed { key: self.path(key), at: node.at, value: node })
    }

    /// One without anything.
    pub fn empty(key: &str, at: At) -> Self {
        Self { key: key.to_owned(), at, rest: Vec::new() }
    }

    /// Whether nothing is left in it.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether something is at a key.
    pub fn has(&self, key: &str) -> bool {
        self.rest.iter().any(|(known, node)| known == key && !matches!(node.value, Value::Null))
    }

    /// A text that is the one that is meant; another one stays.
    pub fn take_if(&mut self, key: &str, meant: fn(&str) -> bool) -> Option<Keyed<Node>> {
        let is_meant = |node: &Node| matches!(&node.value, Value::Text(text) if meant(text));
        self.rest.iter().any(|(known, node)| known == key && is_meant(node)).then(|| self.take(key))?
    }

    /// A text; a number counts as one.
    pub fn text(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<Keyed<String>> {
        self.take(key)?.text(reading)
    }

    /// A text that is there.
    pub fn needed_text(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<Keyed<String>> {
        if !self.has(key) {
            reading.wrong(self.at, &self.path(key), "one", "none");
        }
        self.text(key, reading)
    }

    /// A text that can be right.
    pub fn parsed<T: Parse>(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<T> {
        self.text(key, reading)?.parsed(reading)
    }

    /// One that is there.
    pub fn needed<T: Parse>(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<T> {
        self.needed_text(key, reading)?.parsed(reading)
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<bool> {
        match self.take(key)?.flag() {
            Ok(flag) => Some(flag),
            Err(other) => other.text(reading)?.parsed(reading),
        }
    }

    /// What a list has; what is no list is one item.
    pub fn list(&mut self, key: &str) -> Vec<Keyed<Node>> {
        self.take(key).map(Keyed::items).unwrap_or_default()
    }

    /// Tables of a list.
    pub fn tables(&mut self, key: &str, reading: &mut Reading<'_>) -> Vec<Self> {
        let items = self.list(key);
        items.into_iter().filter_map(|item| Self::of(item.value, &item.key, reading)).collect()
    }

    /// Texts of a list that can be right.
    pub fn parsed_list<T: Parse>(&mut self, key: &str, reading: &mut Reading<'_>) -> Vec<T> {
        let items = self.list(key);
        items.into_iter().filter_map(|item| item.text(reading)?.parsed(reading)).collect()
    }

    /// A table in it.
    pub fn table(&mut self, key: &str, reading: &mut Reading<'_>) -> Option<Self> {
        let taken = self.take(key)?;
        Self::of(taken.value, &taken.key, reading)
    }

    /// All that is left, by its key.
    pub fn entries(self) -> Vec<(String, Keyed<Node>)> {
        let path = |key: &str| self.path(key);
        let keyed: Vec<_> = self.rest.iter().map(|(key, _)| path(key)).collect();
        let rest = self.rest.into_iter().zip(keyed);
        rest.map(|((name, node), key)| (name, Keyed { key, at: node.at, value: node })).collect()
    }

    /// What nobody has taken is not honoured.
    pub fn leave(self, reading: &mut Reading<'_>) {
        let paths = self.rest.iter().map(|(key, _)| self.path(key));
        reading.left.extend(paths.collect::<Vec<_>>());
    }

    /// What nobody has taken is wrong: without it the rest would mean something else.
    pub fn end(self, reading: &mut Reading<'_>) {
        for (key, node) in &self.rest {
            reading.wrong(node.at, &self.path(key), "only what is honoured", "a key that is not");
        }
    }
}

impl Keyed<Node> {
    /// A text; a number counts as one.
    pub fn text(self, reading: &mut Reading<'_>) -> Option<Keyed<String>> {
        let Self { key, at, value } = self;
        match value.value {
            Value::Text(value) | Value::Number(value) => Some(Keyed { key, at, value }),
            other => {
                reading.wrong(at, &key, "a text", other.kind());
                None
            }
        }
    }

    /// What a list has; what is no list is one item.
    pub fn items(self) -> Vec<Self> {
        let Self { key, at, value } = self;
        match value.value {
            Value::List(list) => {
                let item = |(index, node): (usize, Node)| Self { key: format!("{key}[{index}]"), at: node.at, value: node };
                list.into_iter().enumerate().map(item).collect()
            }
            other => vec![Self { key, at, value: Node { value: other, at } }],
        }
    }

    /// The table that it is, if it is one.
    pub fn as_table(self) -> Result<Table, Self> {
        match self.value.value {
            Value::Table(rest) => Ok(Table { key: self.key, at: self.at, rest }),
            value => Err(Self { value: Node { value, at: self.at }, ..self }),
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.value.value, Value::Null)
    }

    /// Yes or no, or what else it is.
    pub fn flag(self) -> Result<bool, Self> {
        if let Value::Flag(flag) = self.value.value { Ok(flag) } else { Err(self) }
    }
}

impl Keyed<String> {
    /// What the text says, if it can be right.
    pub fn parsed<T: Parse>(self, reading: &mut Reading<'_>) -> Option<T> {
        let parsed = T::parse(self.value.trim());
        if parsed.is_none() {
            reading.wrong(self.at, &self.key, T::NEEDED, &quoted(&self.value));
        }
        parsed
    }

    /// The text and where it stands.
    pub fn said(self, reading: &Reading<'_>) -> Said<String> {
        Said { value: self.value, position: reading.position(self.at) }
    }
}
