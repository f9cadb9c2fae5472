//! Does what a plan says, one action after another, and finds out anew whether anything still differs.
//!
//! The power may go at any point. Before an action's first effect and after its last one the journal is on the disk; an effect that happened and
//! was not noted differs no more, so that it is not done again.

use std::io::ErrorKind;

use basalt_contract::Fault;
use serde::Serialize;

use crate::backend::Outside;
use crate::desired;
use crate::facts::{self, Facts};
use crate::journal::{self, Journal};
use crate::plan::{Action, Effect, Plan};
use crate::subject::{self, Node};

/// What became of one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whose it was.
    pub subject: &'static str,
    /// Which of the subject's.
    pub name: &'static str,
    /// What was to be done.
    pub what: String,
    /// Why it was not; absent: it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What was done, and what still differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// In the order in which they were done.
    pub outcomes: Vec<Outcome>,
    /// Everything that is not as it should be, with reasons.
    pub faults: Vec<Fault>,
}

/// What differs now.
pub async fn plan(outside: &Outside, facts: &Facts) -> Plan {
    let goal = desired::load(outside.files.as_ref(), &facts.hardware);
    subject::plan(&Node { outside, facts, goal: &goal }).await
}

/// Does what differs, then looks again.
pub async fn apply(outside: &Outside) -> Applied {
    let files = outside.files.as_ref();
    let facts = facts::collect(files);
    let mut applied = Applied::default();
    let mut journal = match files.read(journal::PATH) {
        Ok(bytes) => Journal::from_json(&bytes).unwrap_or_else(|why| {
            outside.console.warn(&format!("{why}; beginning a new one"));
            Journal::default()
        }),
        Err(error) if error.cause.kind() == ErrorKind::NotFound => Journal::default(),
        Err(error) => {
            outside.console.warn(&format!("{error}; beginning a new one"));
            Journal::default()
        }
    };
    let wished = plan(outside, &facts).await;
    journal.forget(&wished.actions);
    for action in &wished.actions {
        let failed = match journal.allows(action) {
            Ok(()) => one(outside, action, &mut journal).await.err(),
            Err(why) => Some(format!("waits: {why}")),
        };
        let Action { subject, name, what, .. } = action;
        applied.outcomes.push(Outcome { subject, name, what: what.clone(), failed });
    }
    let left = plan(outside, &facts).await;
    applied.faults = left.faults;
    for Action { subject, name, what, .. } in left.actions {
        let outcome = applied.outcomes.iter().find(|outcome| (outcome.subject, outcome.name) == (subject, name));
        let why = match outcome.map(|outcome| outcome.failed.as_deref()) {
            Some(Some(why)) => why,
            Some(None) => "it was done, and still differs",
            None => "it came to differ meanwhile",
        };
        let next =
            format!("see `basalt-firstboot plan`, mend what is in the way of {name}, then `basalt-firstboot apply --retry`");
        applied.faults.push(Fault::new(subject, format!("{what}: {why}"), next));
    }
    applied
}

/// One action, with the journal before and behind it. Without a journal nothing is begun.
async fn one(outside: &Outside, action: &Action, journal: &mut Journal) -> Result<(), String> {
    journal.begin(action, outside.clock.now());
    keep(outside, journal)?;
    let mut result = Ok(());
    for effect in &action.effects {
        result = run(outside, effect).await;
        if result.is_err() {
            break;
        }
    }
    journal.end(action, result.clone(), outside.clock.now());
    keep(outside, journal)?;
    result
}

fn keep(outside: &Outside, journal: &Journal) -> Result<(), String> {
    outside.files.replace(journal::PATH, journal.to_json().as_bytes()).map_err(|error| error.to_string())
}

/// One effect.
async fn run(outside: &Outside, effect: &Effect) -> Result<(), String> {
    match effect {
        Effect::Write { path, text } => outside.files.replace(path, text.as_bytes()).map_err(|error| error.to_string()),
        Effect::Remove { path } => outside.files.remove(path).map_err(|error| error.to_string()),
        Effect::SetHostName { name } => outside.namer.set_host_name(name).await.map_err(|error| error.to_string()),
        Effect::SwitchProfile { profile } => outside.tuner.switch(profile).await.map_err(|error| error.to_string()),
    }
}

/// Forgets how often actions failed: the next [`apply`] tries them again.
///
/// # Errors
/// When the journal cannot be read or written.
pub fn retry(outside: &Outside) -> Result<(), String> {
    let bytes = match outside.files.read(journal::PATH) {
        Err(error) if error.cause.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| error.to_string())?,
    };
    let mut journal = Journal::from_json(&bytes)?;
    journal.retry();
    keep(outside, &journal)
}

impl Applied {
    /// For people.
    pub fn screen(&self) -> String {
        let mut text = String::new();
        for Outcome { subject, name, what, failed } in &self.outcomes {
            let word = if failed.is_some() { "FAILED" } else { "done" };
            text += &format!("{word:<7} {:<25} {what}\n", format!("{subject}/{name}"));
        }
        if self.outcomes.is_empty() && self.faults.is_empty() {
            text.push_str("Nothing differs.\n");
        }
        for fault in &self.faults {
            text += &format!("\n{fault}\n");
        }
        text
    }
}
