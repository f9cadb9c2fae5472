//! What differs between two plans, a line each, for people. Pure.
//!
//! Works on the plans' JSON, so that no part of a plan can be forgotten. Lists whose items have names are compared by name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Plan;

/// The longest value that is shown whole.
const SHOWN: usize = 60;

/// What differs from `old` to `new`: `base.packages.bash.version: "1" -> "2"`. None when they are equal.
pub fn diff(old: &Plan, new: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", &value(old), &value(new), &mut lines);
    lines
}

/// A value of an enumeration as it stands in JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

fn value(plan: &Plan) -> Value {
    serde_json::to_value(plan).expect("a plan is always JSON")
}

fn compare(at: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (children(old), children(new)) {
        (Some(old), Some(new)) => {
            let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            let before = lines.len();
            for key in keys {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&at, old, new, lines),
                    (Some(_), None) => lines.push(format!("{at}: removed")),
                    (None, Some(_)) => lines.push(format!("{at}: added")),
                    (None, None) => {}
                }
            }
            if lines.len() == before {
                lines.push(format!("{at}: other order"));
            }
        }
        _ => lines.push(format!("{at}: {} -> {}", shown(old), shown(new))),
    }
}

/// The parts of a table, or of a list whose items all have names of their own.
fn children(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(key, value)| (key.clone(), value)).collect()),
        Value::Array(items) => {
            let named = items.iter().map(|item| Some((item.get("name")?.as_str()?.to_owned(), item)));
            let map: BTreeMap<_, _> = named.collect::<Option<_>>()?;
            (map.len() == items.len()).then_some(map)
        }
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN { text } else { format!("{}...", text.chars().take(SHOWN).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Base;

    #[test]
    fn every_difference_has_its_line() {
        let old = Plan::parse(include_str!("../../image-recipes/golden/gpu-node.plan.json")).unwrap();
        assert!(diff(&old, &old).is_empty());
        let mut new = old.clone();
        let Base::Debian { packages, .. } = &mut new.base else { panic!("packages") };
        packages[0].version = "9".into();
        let last = packages.pop().unwrap().name;
        new.disk.boot_size = Some(536_870_912);
        new.kernel_args.truncate(1);
        new.layers.swap(0, 1);
        let lines = diff(&old, &new);
        let packages = old.base.packages();
        assert_eq!(lines[0], format!("base.packages.{}.version: {:?} -> \"9\"", packages[0].name, packages[0].version));
        assert_eq!(lines[1], format!("base.packages.{last}: removed"));
        assert_eq!(lines[2], "disk.boot-size: null -> 536870912");
        assert!(
            lines[3].starts_with("kernel-args: [{\"asked-by\":[") && lines[3].contains("... -> [{\"asked-by\":["),
            "{lines:?}"
        );
        assert_eq!(lines[4..], ["layers: other order"]);
    }
}
