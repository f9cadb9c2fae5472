//! What of a node can be wished, one file a subject.
//!
//! How to add one: a file here with a type that is a [`Subject`], and its line in [`SUBJECTS`]. A subject reads what is so, compares it
//! with the goal and says what differs; who does it, remembers it and looks again knows no subject by name. When nothing differs any
//! more, the subject verifies: it asks whoever did the work whether it is so.

mod acceptance;
mod drivers;
mod identity;
mod interfaces;
mod kernel;
mod kubelet;
mod labels;
mod modules;
mod network;
mod ssh_keys;
mod tuned;

use std::pin::Pin;

use basalt_contract::{Desired, Fault, Figure};

pub use self::kernel::Wanted;
use crate::backend::{FileError, Files, Outside};
use crate::desired::Goal;
use crate::facts::Facts;
use crate::owners;
use crate::plan::{Action, Effect, Left, Plan};

/// All of them, in the order in which they are done. What kernel arguments a profile takes tuned knows once it has applied it: one reboot is for
/// these and for all that others wish. What is measured is a node of which all else is done.
pub const SUBJECTS: [&dyn Subject; 11] = [
    &identity::Identity,
    &interfaces::Interfaces,
    &ssh_keys::SshKeys,
    &network::Network,
    &modules::Modules,
    &drivers::Drivers,
    &kubelet::Kubelet,
    &labels::Labels,
    &tuned::Tuned,
    &kernel::Kernel,
    &acceptance::Acceptance,
];

/// A node and what it should be.
pub struct Node<'a> {
    /// Where it is read.
    pub outside: &'a Outside,
    /// What it is.
    pub facts: &'a Facts,
    /// What it should be.
    pub goal: &'a Goal,
    /// Whether somebody who is not there yet, or not done yet, is waited for: so it is while a node boots.
    pub patient: bool,
}

/// An answer of a subject, as soon as it is known.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + 'a>>;

/// One thing that can be wished.
pub trait Subject: Sync {
    /// One word.
    fn name(&self) -> &'static str;
    /// Whether what it does is for the node as it stays: then a reboot that others take comes first.
    fn after_reboot(&self) -> bool {
        false
    }
    /// What differs between the node and its goal; changes nothing.
    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>>;
    /// What is so, as desired state. As it stands here: desired state has no word for it.
    fn export<'a>(&'a self, _: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async { Ok(Desired::default()) })
    }
    /// What was measured, as far as it was. A figure outside of its thresholds is a fault. As it stands here: nothing is. Changes nothing.
    fn figures<'a>(&'a self, _: &'a Node<'a>) -> Told<'a, Vec<Figure>> {
        Box::pin(async { Ok(vec![]) })
    }
    /// What holds, in words, where nothing differs; `None`: nobody wishes anything. Changes nothing.
    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>>;
}

/// Asks every subject what differs. One that cannot tell does not stop the others; but while it is not known what the node should be, nothing is planned:
/// what nobody seems to wish might be in the file that has a mistake.
pub async fn plan(node: &Node<'_>) -> Plan {
    let mut plan = Plan { faults: node.goal.faults.clone(), ..Plan::default() };
    if !plan.faults.is_empty() {
        return plan;
    }
    for subject in SUBJECTS {
        if let Some(owner) = owners::of(node.outside.files.as_ref(), subject.name()) {
            let left = left(subject, node).await;
            plan.left.extend(left.into_iter().map(|action| Left { action, owner: owner.clone() }));
            continue;
        }
        match subject.differences(node).await {
            Ok(actions) => plan.actions.extend(actions),
            Err(fault) => plan.faults.push(fault),
        }
    }
    plan
}

/// What differs of what somebody else owns. Who cannot tell has nothing to say of it.
pub async fn left(subject: &dyn Subject, node: &Node<'_>) -> Vec<Action> {
    subject.differences(&Node { patient: false, ..*node }).await.unwrap_or_default()
}

/// What makes the file `path` have this text, if it has not; `None`: that there is no such file.
fn file(files: &dyn Files, path: &str, text: Option<String>) -> Result<Option<Effect>, FileError> {
    let found = files.read_if_there(path)?;
    let path = path.to_owned();
    Ok(match (found, text) {
        (None, None) => None,
        (Some(found), Some(text)) if found == text.as_bytes() => None,
        (_, Some(text)) => Some(Effect::Write { path, text }),
        (Some(_), None) => Some(Effect::Remove { path }),
    })
}

/// So many.
fn labels_of(count: usize) -> String {
    format!("{count} label{}", if count == 1 { "" } else { "s" })
}

/// A file that is as it is wished, or is not there.
struct OneFile {
    subject: &'static str,
    /// The action's.
    name: &'static str,
    path: &'static str,
    /// `None`: there is to be no such file.
    text: Option<String>,
    /// What the action says where there is one to be.
    what: String,
    /// And where there is not.
    gone: &'static str,
    asked_by: Vec<String>,
}

impl OneFile {
    /// What makes it so, if anything differs.
    fn action(self, files: &dyn Files) -> Result<Option<Action>, Fault> {
        let Self { subject, name, path, text, what, gone, mut asked_by } = self;
        let effect = file(files, path, text).map_err(|error| Fault::new(subject, error.to_string(), "let the agent read it"))?;
        let Some(effect) = effect else { return Ok(None) };
        let what = if matches!(effect, Effect::Remove { .. }) {
            asked_by.push("nobody wishes any".to_owned());
            format!("{gone} in {path}")
        } else {
            format!("{what} in {path}")
        };
        Ok(Some(Action { subject, name, what, asked_by, effects: vec![effect], reboot: false }))
    }
}

/// What is in a file, if it is there.
fn text(files: &dyn Files, path: &str) -> Result<Option<String>, String> {
    let read = files.read_if_there(path).map_err(|error| error.to_string())?;
    read.map(String::from_utf8).transpose().map_err(|_| format!("{path}: needed UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SUBJECTS;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = SUBJECTS.iter().map(|subject| subject.name()).collect();
        assert_eq!(names.len(), SUBJECTS.len());
    }
}
