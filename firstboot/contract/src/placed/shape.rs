//! Does a file have the shape that it should have? Compares parsed TOML with the JSON schema of the types that serde reads: every unknown
//! key, wrong type and missing key of a file in one pass, each with its place.
//!
//! What does not fit is left out of the answer, so that serde reads the rest and the later checks still speak. The schema comes from
//! the types: there is no second list of keys.

use std::collections::BTreeSet;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{Findings, Place};

/// What fits of a file, its places counted in [`super::Sources`].
pub struct Fitted<'i> {
    /// What fits.
    pub table: Spanned<DeTable<'i>>,
    /// Dotted paths of what was written and did not fit: not missing, only wrong.
    pub dropped: BTreeSet<String>,
}

/// Compares `table`, whose file begins at `start`, with `schema`.
pub fn fit<'i>(table: Spanned<DeTable<'i>>, start: usize, schema: &Value, findings: &mut Findings) -> Fitted<'i> {
    let mut fitter = Fitter { schema, start, findings, dropped: BTreeSet::new() };
    let span = fitter.moved(&table.span());
    let fitted = fitter.table("", schema, span.start, table.into_inner()).unwrap_or_default();
    Fitted { table: Spanned::new(span, fitted), dropped: fitter.dropped }
}

/// The schema of `T`, as files are compared with it. Without the defaults that are nothing: the comments say what that means.
#[cfg(feature = "schema")]
pub fn schema<T: schemars::JsonSchema>() -> Value {
    fn without_defaults(value: &mut Value) {
        match value {
            Value::Object(map) => {
                let nothing = |value: &Value| match value {
                    Value::Object(map) => map.is_empty(),
                    Value::Array(list) => list.is_empty(),
                    other => other.is_null(),
                };
                map.retain(|key, value| key != "default" || !nothing(value));
                map.values_mut().for_each(without_defaults);
            }
            Value::Array(list) => list.iter_mut().for_each(without_defaults),
            _ => {}
        }
    }
    let mut schema = schemars::schema_for!(T).to_value();
    without_defaults(&mut schema);
    schema
}

struct Fitter<'a> {
    schema: &'a Value,
    start: usize,
    findings: &'a mut Findings,
    dropped: BTreeSet<String>,
}

impl<'a> Fitter<'a> {
    fn moved(&self, span: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.start + span.start..self.start + span.end
    }

    /// Follows references, and picks the one alternative that is not `null`.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        loop {
            let next = if let Some(Value::String(name)) = schema.get("$ref") {
                name.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer))
            } else {
                let alternatives = schema.get("anyOf").and_then(Value::as_array);
                alternatives.and_then(|list| list.iter().find(|item| item.get("type").and_then(Value::as_str) != Some("null")))
            };
            match next {
                Some(inner) => schema = inner,
                None => return schema,
            }
        }
    }

    fn value<'i>(&mut self, path: &str, schema: &'a Value, value: Spanned<DeValue<'i>>) -> Option<Spanned<DeValue<'i>>> {
        let schema = self.resolved(schema);
        let span = self.moved(&value.span());
        let place = Place(span.start);
        let needed = needed_type(schema);
        let fitted = match (value.into_inner(), needed) {
            (DeValue::Table(table), Some("object")) => self.table(path, schema, span.start, table).map(DeValue::Table),
            (DeValue::Array(array), Some("array")) => self.array(path, schema, &array).map(DeValue::Array),
            (DeValue::String(text), Some("string")) => self.word(path, schema, place, &text).then_some(DeValue::String(text)),
            (DeValue::Integer(number), Some("integer")) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.number(path, schema, place, parsed).then_some(DeValue::Integer(number))
            }
            (value @ DeValue::Boolean(_), Some("boolean")) => Some(value),
            (value @ (DeValue::Float(_) | DeValue::Integer(_)), Some("number")) => Some(value),
            (found, _) => {
                let needed = needed.map_or("something else", type_word);
                let what = format!("{path}: needed {needed}, found {}", found_word(&found));
                match (&found, needed) {
                    (DeValue::String(text), "a list") => {
                        self.findings.add_with_hint(place, what, format!("write [{:?}]", text.as_ref()));
                    }
                    (DeValue::Integer(number), "text") => {
                        self.findings.add_with_hint(place, what, format!("write \"{number}\""));
                    }
                    _ => self.findings.add(place, what),
                }
                None
            }
        };
        if fitted.is_none() {
            self.dropped.insert(path.to_owned());
        }
        fitted.map(|value| Spanned::new(span, value))
    }

    /// None when a key is missing that cannot be done without.
    fn table<'i>(&mut self, path: &str, schema: &'a Value, start: usize, table: DeTable<'i>) -> Option<DeTable<'i>> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut fitted = DeTable::new();
        let mut seen = BTreeSet::new();
        for (key, value) in table {
            let name = key.get_ref().clone().into_owned();
            let key_span = self.moved(&key.span());
            match properties.and_then(|properties| properties.get(&name)).or(others) {
                Some(schema) => {
                    seen.insert(name.clone());
                    if let Some(value) = self.value(&dotted(path, &name), schema, value) {
                        fitted.insert(Spanned::new(key_span, key.into_inner()), value);
                    }
                }
                None => {
                    let known: Vec<_> = properties.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
                    let place = if path.is_empty() { String::new() } else { format!(" in {path}") };
                    let what = format!("unknown key {name:?}{place}");
                    self.findings.add_with_hint(Place(key_span.start), what, hint_for_key(&name, &known));
                }
            }
        }
        let mut whole = true;
        for needed in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !seen.contains(needed) {
                self.findings.add(Place(start), format!("{path}: key {needed:?} is missing"));
            }
            whole &= fitted.contains_key(needed);
        }
        whole.then_some(fitted)
    }

    /// None when nothing of a list fits: it must not be taken for an empty one.
    fn array<'i>(&mut self, path: &str, schema: &'a Value, array: &DeArray<'i>) -> Option<DeArray<'i>> {
        let mut fitted = DeArray::new();
        let items = schema.get("items")?;
        for (index, item) in array.iter().enumerate() {
            // People count from one.
            if let Some(item) = self.value(&format!("{path}[{}]", index + 1), items, item.clone()) {
                fitted.push(item);
            }
        }
        (array.is_empty() || !fitted.is_empty()).then_some(fitted)
    }

    fn word(&mut self, path: &str, schema: &Value, place: Place, text: &str) -> bool {
        let Some(words) = words_of(schema) else { return true };
        if words.contains(&text) {
            return true;
        }
        let listed: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
        self.findings.add(place, format!("{path}: needed {}, found {text:?}", listed.join(" or ")));
        false
    }

    fn number(&mut self, path: &str, schema: &Value, place: Place, number: Option<i128>) -> bool {
        let bound = |name| schema.get(name).and_then(Value::as_i64).map(i128::from);
        let (low, high) = match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => (0, i128::from(u32::MAX)),
            Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        let (low, high) = (bound("minimum").unwrap_or(low), bound("maximum").unwrap_or(high));
        match number {
            Some(number) if (low..=high).contains(&number) => true,
            number => {
                let found = number.map_or_else(|| "a larger number".to_owned(), |number| number.to_string());
                self.findings.add(place, format!("{path}: needed a number from {low} to {high}, found {found}"));
                false
            }
        }
    }
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The schema's type; of `["string", "null"]` the first.
fn needed_type(schema: &Value) -> Option<&str> {
    match schema.get("type") {
        Some(Value::String(word)) => Some(word),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).find(|word| *word != "null"),
        _ => words_of(schema).map(|_| "string"),
    }
}

/// The words that an enumeration allows: `enum`, or `oneOf` with a `const` each.
fn words_of(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    let list = schema.get("oneOf").and_then(Value::as_array)?;
    Some(list.iter().filter_map(|item| item.get("const").and_then(Value::as_str)).collect())
}

fn type_word(word: &str) -> &'static str {
    match word {
        "object" => "a table",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "something else",
    }
}

fn found_word(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Table(_) => "a table",
        DeValue::Array(_) => "a list",
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
    }
}

/// What may have been meant by an unknown key.
fn hint_for_key(name: &str, known: &[&str]) -> String {
    if name.contains("password") || name.contains("passwd") {
        return super::secrets::HINT.to_owned();
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The candidate that is a likely spelling of `name`.
pub fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase().replace('_', "-");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len().min(name.len()) / 3))
        .min()
        .map(|(_, candidate)| candidate)
}
