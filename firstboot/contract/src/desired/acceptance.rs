//! What is measured on a node, and what it should come to: an acceptance run.

use std::collections::BTreeSet;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::note;
use crate::placed::{Findings, Placed};

/// One measurement of an acceptance run: a ready one, or a command that prints a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Acceptance {
    /// What the figure is called: letters, digits, `-` and `_`. An entry of a later source replaces an earlier one of its name.
    pub name: Placed<String>,
    /// A measurement that comes with the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Placed<Ready>>,
    /// For `ready = "network"`: the host on which `iperf3 --server` runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Placed<String>>,
    /// Another one: a program and its arguments. No shell sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Placed<String>>,
    /// Where the figure is in the JSON that the command prints: a JSON pointer (RFC 6901). Without it the command prints one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<Placed<String>>,
    /// Of the command's figure, for people and for metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Placed<String>>,
    /// Not less. Without it and `at-most` the figure is only told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Placed<f64>>,
    /// Not more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Placed<f64>>,
    /// How many seconds it may take. Without it: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<Placed<u32>>,
}

/// Measurements that come with the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// How fast one writer is on the disk of `/var`, in MB/s.
    DiskWrite,
    /// How fast one reader is there, in MB/s.
    DiskRead,
    /// How fast one processor copies memory, in MB/s: what is read and what is written, as STREAM counts.
    Memory,
    /// How fast a server receives from this node, in bit/s, by iperf3, which the image must have.
    Network,
}

/// Where nobody says how long a measurement may take, in seconds.
const USUAL_S: u32 = 60;
/// A name is a word on a screen.
const LONGEST: usize = 32;

impl Acceptance {
    /// How long all measurements of a node together may take, in seconds.
    pub const ALL_S: u32 = 1800;

    /// How long it may take, in seconds.
    pub fn limit_s(&self) -> u32 {
        self.timeout_s.as_ref().map_or(USUAL_S, |limit| limit.value)
    }
}

/// Notes what can never work.
pub(super) fn check(list: &[Acceptance], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for one in list {
        note(findings, "acceptance.name", &one.name, word);
        if !seen.insert(one.name.as_str()) {
            findings.add(one.name.place, format!("acceptance.name: there is another {:?} in this list", one.name.value));
        }
        check_source(one, findings);
        check_bounds(one, findings);
    }
    let all: u64 = list.iter().map(|one| u64::from(one.limit_s())).sum();
    if let (true, Some(last)) = (all > u64::from(Acceptance::ALL_S), list.last()) {
        let what = format!("acceptance: needed at most {} s in all, found {all} s", Acceptance::ALL_S);
        findings.add_with_hint(last.name.place, what, "give some of them less: timeout-s");
    }
}

/// Where the figure comes from: one of both ways, and what belongs to it.
fn check_source(one: &Acceptance, findings: &mut Findings) {
    let Acceptance { name, ready, server, command, figure, unit, .. } = one;
    let name = format!("acceptance {:?}", name.value);
    match (ready, command.first()) {
        (None, None) => findings.add(one.name.place, format!("{name}: needed ready or command, found neither")),
        (Some(ready), Some(_)) => findings.add(ready.place, format!("{name}: needed ready or command, found both")),
        (None, Some(program)) if program.is_empty() => {
            findings.add(program.place, format!("{name}: command: needed a program, found \"\""));
        }
        (None, Some(_)) => {
            if let Some(server) = server {
                findings.add(server.place, format!("{name}: server is for ready = \"network\""));
            }
        }
        (Some(ready), None) => {
            for (key, value) in [("figure", figure), ("unit", unit)] {
                if let Some(value) = value {
                    findings.add(value.place, format!("{name}: {key} is for a command: a ready one has its own"));
                }
            }
            match (ready.value == Ready::Network, server) {
                (true, None) => findings.add(ready.place, format!("{name}: key \"server\" is missing")),
                (false, Some(server)) => findings.add(server.place, format!("{name}: server is for ready = \"network\"")),
                _ => {}
            }
        }
    }
    for argument in command.iter().filter(|argument| argument.contains('\0')) {
        findings.add(argument.place, format!("{name}: command: needed text without a NUL, found {:?}", argument.value));
    }
    if let Some(server) = server {
        note(findings, "acceptance.server", server, |text| {
            let fits = !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_graphic());
            fits.then_some(()).ok_or_else(|| format!("needed a host name or an address, found {text:?}"))
        });
    }
    if let Some(figure) = figure {
        note(findings, "acceptance.figure", figure, pointer);
    }
    if let Some(unit) = unit {
        note(findings, "acceptance.unit", unit, |text| {
            let fits =
                !text.is_empty() && text.chars().count() <= LONGEST && !text.chars().any(|c| c.is_whitespace() || c.is_control());
            fits.then_some(()).ok_or_else(|| format!("needed one word of at most {LONGEST} characters, found {text:?}"))
        });
    }
}

fn check_bounds(one: &Acceptance, findings: &mut Findings) {
    let Acceptance { at_least, at_most, timeout_s, .. } = one;
    for (key, bound) in [("at-least", at_least), ("at-most", at_most)] {
        if let Some(bound) = bound.as_ref().filter(|bound| !bound.value.is_finite()) {
            findings.add(bound.place, format!("acceptance.{key}: needed a number, found {}", bound.value));
        }
    }
    if let (Some(least), Some(most)) = (at_least, at_most)
        && least.value > most.value
    {
        let what = format!("acceptance.at-most: at least {} and at most {} is no number", least.value, most.value);
        findings.add(most.place, what);
    }
    if let Some(none) = timeout_s.as_ref().filter(|limit| limit.value == 0) {
        findings.add(none.place, "acceptance.timeout-s: needed at least 1, found 0");
    }
}

fn word(text: &str) -> Result<(), String> {
    let fits = (1..=LONGEST).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    fits.then_some(()).ok_or_else(|| format!("needed 1 to {LONGEST} letters, digits, \"-\" and \"_\", found {text:?}"))
}

/// RFC 6901: nothing (all of it), or parts with a `/` before each, in which `~` is `~0` and `/` is `~1`.
fn pointer(text: &str) -> Result<(), String> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let fits = escaped && (text.is_empty() || text.starts_with('/'));
    fits.then_some(()).ok_or_else(|| format!("needed a JSON pointer like /end/sum/bits_per_second, found {text:?}"))
}
