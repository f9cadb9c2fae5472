//! JSON and YAML as values that know where they stand.
//!
//! JSON is read as the YAML that it is. A key that stands twice counts as it does for those who make drives: the last one. What a
//! document may ask for is limited, because the agent is small. Architecture invariant: the parser's own messages go nowhere, for
//! they quote.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::LARGEST;
use super::document::{At, Reading, Table};

/// Lists, tables and scalars of a document at most, and as many again by aliases: a few megabytes.
const MOST_NODES: usize = 10_000;
const DEEPEST: usize = 32;

/// A value and where it stands.
pub struct Node {
    /// What is there.
    pub(super) value: Value,
    /// Where.
    pub(super) at: At,
}

/// What can be in a document.
pub(super) enum Value {
    Null,
    Flag(bool),
    /// A whole number as people write it.
    Number(String),
    /// Another number. Nothing of ours is one, and `5e3` is a name that somebody has not quoted.
    Fraction,
    Text(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// A document that is a table; an empty file is an empty one.
pub fn table(bytes: &[u8], reading: &mut Reading<'_>) -> Option<Table> {
    let start = At(1, 1);
    if bytes.len() > LARGEST {
        reading.wrong(start, "the file", &format!("at most {LARGEST} bytes"), &bytes.len().to_string());
        return None;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        reading.wrong(start, "the file", "UTF-8", "other bytes");
        return None;
    };
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_NODES, max_depth: DEEPEST, flow_nesting_limit: DEEPEST, max_documents: 1,
            max_aliases: 100, max_anchors: 100, max_recorded_anchor_events: MOST_NODES, max_recorded_anchor_bytes: LARGEST,
            max_merge_keys: 100,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_NODES },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(Node { value: Value::Null, .. }) => Some(Table::empty("", start)),
        Ok(node) => Table::of(node, "", reading),
        Err(error) => {
            let at = error.location().map_or(start, |at| At(number(at.line()), number(at.column())));
            reading.wrong(at, "the file", &format!("JSON or YAML of at most {MOST_NODES} values"), "what is none from here on");
            None
        }
    }
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

impl Value {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Fraction => "a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Value>::deserialize(deserializer)?;
        let at = At(number(spanned.referenced.line()), number(spanned.referenced.column()));
        Ok(Self { value: spanned.value, at })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Text(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        // Of those that stand twice the last.
        let mut seen = BTreeSet::new();
        table.reverse();
        table.retain(|(key, _): &(String, Node)| seen.insert(key.clone()));
        table.reverse();
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Reading;
    use super::table;

    /// What reading it says, if that is anything.
    fn fault(text: &[u8]) -> Option<String> {
        let mut reading = Reading::new("f", "x");
        table(text, &mut reading);
        reading.faults.pop().map(|fault| fault.what)
    }

    #[test]
    fn json_and_yaml_have_places() {
        let json = "{\"a\": [1,\n\t\"\\ud83d\\ude00 \\/ x\"], \"b\":{\"c\":null,\"d\":true}}";
        let mut reading = Reading::new("f", "x");
        let mut read = table(json.as_bytes(), &mut reading).unwrap();
        let items: Vec<_> = read.list("a").into_iter().filter_map(|item| item.text(&mut reading)).collect();
        assert_eq!((items[0].value.as_str(), items[1].value.as_str()), ("1", "\u{1f600} / x"));
        assert_eq!(reading.position(items[1].at).to_string(), "f:2:2");
        let mut inner = read.table("b", &mut reading).unwrap();
        assert_eq!((inner.take("c").is_none(), inner.flag("d", &mut reading)), (true, Some(true)));

        let mut read = table(b"a: yes\nm: 00:11:22:33:44:55\nt: 1\nt: 2\n", &mut reading).unwrap();
        assert_eq!(read.flag("a", &mut reading), Some(true));
        assert_eq!(["m", "t"].map(|key| read.text(key, &mut reading).unwrap().value), ["00:11:22:33:44:55", "2"]);
        assert_eq!((reading.faults, fault(b""), fault(b"# nothing\n")), (vec![], None, None));
    }

    #[test]
    fn what_is_no_document_is_told_and_not_quoted() {
        for (text, message) in [
            (
                &b"a: 1\npassword: *hunter2\n"[..],
                "f:2:11: the file: needed JSON or YAML of at most 10000 values, found what is none from here on",
            ),
            (b"{\"password\": \"hunter2", "f:1:"),
            (b"password hunter2", "f:1:1: the file: needed a table, found a text"),
            (b"a: \xff", "f:1:1: the file: needed UTF-8, found other bytes"),
            (b"a: 1\n---\nb: hunter2\n", "f:"),
        ] {
            let what = fault(text).unwrap();
            assert!(what.starts_with(message) && !what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn a_document_cannot_ask_for_much() {
        let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                    c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                    e: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n";
        let long = format!("[{}]", "1,".repeat(20_000));
        for text in [bomb, &"[".repeat(100_000), &format!("a: {}", "[".repeat(40) + &"]".repeat(40)), &long, &" ".repeat(300_000)]
        {
            assert!(fault(text.as_bytes()).is_some(), "{}", &text[..40]);
        }
    }
}
