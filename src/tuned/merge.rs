//! Profiles become one, each over those before it.
//!
//! Units of one name are one unit, at the place of the first. A later unit says anew what its type is, which devices it is for and
//! whether it is enabled, even where it does not mention it; what it does not mention of the others stays. Its priority is that of
//! the first.

use super::finding::{Finding, What};
use super::profile::{Profile, Unit, Value, Written};

/// Lays `over` on `profile`.
pub fn merge(profile: &mut Profile, over: Profile, findings: &mut Vec<Finding>) {
    for (name, value) in over.main {
        set(&mut profile.main, name, value);
    }
    for unit in over.units {
        match profile.units.iter_mut().find(|known| known.name == unit.name) {
            None => profile.units.push(unit),
            Some(known) if unit.replace => *known = unit,
            Some(known) => lay(known, unit, findings),
        }
    }
}

fn lay(known: &mut Unit, unit: Unit, findings: &mut Vec<Finding>) {
    (known.kind, known.enabled, known.devices) = (unit.kind, unit.enabled, unit.devices);
    for (old, new) in known.kept.iter_mut().zip(unit.kept) {
        if new.is_some() {
            *old = new;
        }
    }
    known.options.retain(|(name, _)| !unit.drop.contains(name));
    let scripts = (unit.name == "script").then(|| scripts(&known.options)).flatten();
    for (name, value) in unit.options {
        let old = known.options.iter().find(|(own, _)| *own == name).and_then(|(_, old)| old.last());
        if let (Some(old), Value::Text(new)) = (old, &value) {
            findings.extend(told(&unit.name, &name, old, new));
        }
        set(&mut known.options, name, value);
    }
    // Those of before come first; where the later unit has none, they come twice.
    if let Some(mut all) = scripts {
        all.extend(self::scripts(&known.options).unwrap_or_default());
        set(&mut known.options, "script".to_owned(), Value::Scripts(all));
    }
}

fn scripts(options: &[(String, Value)]) -> Option<Vec<Written>> {
    options.iter().find(|(name, _)| name == "script").and_then(|(_, value)| match value {
        Value::Scripts(scripts) => Some(scripts.clone()),
        Value::Text(_) => None,
    })
}

fn set(options: &mut Vec<(String, Value)>, name: String, value: Value) {
    match options.iter_mut().find(|(own, _)| *own == name) {
        Some((_, old)) => *old = value,
        None => options.push((name, value)),
    }
}

/// What is to be told of `new` in the place of `old`.
fn told(unit: &str, option: &str, old: &Written, new: &Written) -> Option<Finding> {
    if old.text == new.text {
        return None;
    }
    let what = match (unit, option) {
        ("variables", "include") => What::VariablesReplaced { path: new.text.clone(), other: old.text.clone() },
        _ if old.active == new.active => return None,
        _ => What::Contradiction {
            unit: unit.to_owned(),
            option: option.to_owned(),
            value: new.text.clone(),
            other_value: old.text.clone(),
            at: old.origin.clone(),
        },
    };
    Some(Finding { origin: new.origin.clone(), what })
}
