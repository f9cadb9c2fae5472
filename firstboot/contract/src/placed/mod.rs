//! Values in TOML that know where they were written: what recipes and desired state are read with.
//!
//! All files that were read lie one behind the other in one imagined text: a [`Place`] is a position in it. So a value carries one
//! number wherever merging takes it, and [`Sources`] turns the number into file, line and column.
//!
//! | where | what |
//! |---|---|
//! | [`shape`] | every unknown key, wrong type and missing key of a file at once, by its JSON schema |
//! | [`problem`] | what is wrong, with its place and the next step |
//! | [`secrets`] | what no file may give away |

pub mod problem;
pub mod secrets;
pub mod shape;

#[cfg(feature = "schema")]
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

pub use problem::{Findings, Problem};
#[cfg(feature = "schema")]
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A position in the text of all files: see [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub usize);

/// A value and where it was written. Equal when the values are.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// What was written.
    pub value: T,
    /// Where it begins.
    pub place: Place,
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Placed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let place = Place(spanned.span().start);
        Ok(Self { value: spanned.into_inner(), place })
    }
}

/// Written, a placed value is the value.
impl<T: Serialize> Serialize for Placed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// In the schema a placed value is the value.
#[cfg(feature = "schema")]
impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The files that were read, one behind the other.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    end: usize,
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    start: usize,
}

/// A file and a position in it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// As messages name it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Sources {
    /// Adds a file; answers where it begins.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        let start = self.end;
        // One more than its length, so that a position just behind the last byte still belongs to it.
        self.end += text.len() + 1;
        self.files.push(Source { name: name.to_owned(), text: text.to_owned(), start });
        start
    }

    /// File, line and column of `place`.
    pub fn position(&self, place: Place) -> Position {
        let index = self.files.partition_point(|source| source.start <= place.0);
        let Some(source) = index.checked_sub(1).and_then(|index| self.files.get(index)) else {
            return Position { file: String::new(), line: 1, column: 1 };
        };
        let before = source.text.as_bytes().get(..place.0 - source.start).unwrap_or(source.text.as_bytes());
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start_of_line = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(&before[start_of_line..]).chars().count() + 1;
        Position { file: source.name.clone(), line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Sources};

    #[test]
    fn places_become_lines_and_columns() {
        let mut sources = Sources::default();
        assert_eq!(sources.add("a.toml", "ab\ncd"), 0);
        assert_eq!(sources.add("b.toml", "é = 1\nx"), 6);
        for (place, shown) in [
            (0, "a.toml:1:1"),
            (4, "a.toml:2:2"),
            (5, "a.toml:2:3"),
            (6, "b.toml:1:1"),
            (8, "b.toml:1:2"),
            (13, "b.toml:2:1"),
            (9999, "b.toml:2:2"),
        ] {
            assert_eq!(sources.position(Place(place)).to_string(), shown, "{place}");
        }
    }
}
