//! Reads a file of desired state: TOML, every mistake with its place.

use serde::Deserialize;
use toml::de::DeTable;

use super::{Desired, SCHEMA};
use crate::placed::{Findings, Place, Sources, secrets, shape};

/// A file of more bytes is a mistake.
pub const LARGEST: usize = 1 << 20;

/// Reads `text`, which messages call `name`. What is wrong is noted, and left out of the answer.
pub fn read(name: &str, text: &str, sources: &mut Sources, findings: &mut Findings) -> Desired {
    if text.len() > LARGEST {
        let start = sources.add(name, "");
        findings.add(Place(start), format!("needed at most {LARGEST} bytes, found {}", text.len()));
        return Desired::default();
    }
    let start = sources.add(name, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        findings.add(Place(start + at), format!("not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return Desired::default();
    }
    secrets::look(table.get_ref(), start, findings);
    let schema = serde_json::from_str(SCHEMA).unwrap_or_default();
    let fitted = shape::fit(table, start, &schema, findings);
    Desired::deserialize(toml::de::Deserializer::from(fitted.table)).unwrap_or_else(|error| {
        let at = error.span().map_or(start, |span| span.start);
        findings.add(Place(at), error.message());
        Desired::default()
    })
}
