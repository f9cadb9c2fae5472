//! root's SSH keys that a config drive brings, in a file beside root's own, which stays root's.
//!
//! A drive that is taken out takes nothing away: nobody is locked out of the node that it made.

use basalt_contract::Fault;

use super::{Node, Subject, Told, file};
use crate::plan::Action;

/// `AuthorizedKeysFile` of sshd names it.
const PATH: &str = "/etc/basalt/authorized_keys/root";

/// The subject.
pub struct SshKeys;

impl Subject for SshKeys {
    fn name(&self) -> &'static str {
        "ssh-keys"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { keys(node) })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the disk.
        let count = node.goal.drive.ssh_keys.len();
        Box::pin(async move { Ok((count > 0).then(|| format!("{count} keys of the config drive in {PATH}"))) })
    }
}

fn keys(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let keys = &node.goal.drive.ssh_keys;
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let text: String = keys.iter().map(|key| format!("{}\n", key.value)).collect();
    let effect = file(node.outside.files.as_ref(), PATH, Some(text));
    let effect = effect.map_err(|error| Fault::new(SshKeys.name(), error.to_string(), "let the agent read it"))?;
    let asked_by = keys.iter().map(|key| key.position.to_string()).collect();
    let what = format!("{} keys for root in {PATH}", keys.len());
    let action = |effect| Action { subject: SshKeys.name(), name: "root", what, asked_by, effects: vec![effect], reboot: false };
    Ok(effect.map(action).into_iter().collect())
}
