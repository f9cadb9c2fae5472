//! A mapping of a document that is emptied as its parts are understood, so that what nobody asked for is found at the end.

use serde_json::{Map, Value};

use crate::import::Left;

/// The mapping at `at`.
#[derive(Debug)]
pub struct Table {
    at: String,
    map: Map<String, Value>,
}

/// What a recipe does not say, so far.
pub type Notes = Vec<Left>;

impl Table {
    /// The whole document. None: it is no mapping.
    pub fn of(value: Value, at: &str) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { at: at.to_owned(), map }),
            _ => None,
        }
    }

    /// Where the key stands.
    pub fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// Notes why the key says nothing in a recipe, if it is there.
    pub fn leave(&mut self, key: &str, why: &str, notes: &mut Notes) {
        if self.value(key).is_some() {
            self.note(key, why, notes);
        }
    }

    /// Notes something about the key.
    pub fn note(&self, key: &str, why: impl Into<String>, notes: &mut Notes) {
        notes.push(Left { path: self.path(key), why: why.into() });
    }

    /// The value of a key; what is empty says nothing.
    pub fn value(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(true) | Value::Number(_) => true,
        })
    }

    /// A text.
    pub fn text(&mut self, key: &str, notes: &mut Notes) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.note(key, format!("needed text, found {}", shown(&other)), notes);
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str, notes: &mut Notes) -> Vec<String> {
        let mut texts = Vec::new();
        for (place, item) in self.list(key, notes).into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => self.note(&format!("{key}[{place}]"), format!("needed text, found {}", shown(&other)), notes),
            }
        }
        texts
    }

    /// A mapping.
    pub fn table(&mut self, key: &str, notes: &mut Notes) -> Option<Self> {
        let value = self.value(key)?;
        let found = shown(&value);
        let table = Self::of(value, &self.path(key));
        if table.is_none() {
            self.note(key, format!("needed a mapping, found {found}"), notes);
        }
        table
    }

    /// A list of mappings.
    pub fn tables(&mut self, key: &str, notes: &mut Notes) -> Vec<Self> {
        let mut tables = Vec::new();
        for (place, item) in self.list(key, notes).into_iter().enumerate() {
            let (name, found) = (format!("{key}[{place}]"), shown(&item));
            match Self::of(item, &self.path(&name)) {
                Some(table) => tables.push(table),
                None => self.note(&name, format!("needed a mapping, found {found}"), notes),
            }
        }
        tables
    }

    fn list(&mut self, key: &str, notes: &mut Notes) -> Vec<Value> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.note(key, format!("needed a list, found {}", shown(&other)), notes);
                Vec::new()
            }
        }
    }

    /// Notes everything that nobody asked for.
    pub fn rest(mut self, notes: &mut Notes) {
        let keys: Vec<_> = self.map.keys().cloned().collect();
        for key in keys {
            self.leave(&key, "nothing in a recipe is like it, as far as this Basalt knows", notes);
        }
    }
}

/// A value in a few characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { format!("{}...", text.chars().take(40).collect::<String>()) }
}
