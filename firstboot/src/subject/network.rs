//! The network that a config drive describes: files for systemd-networkd.
//!
//! A drive that is taken out takes nothing away: what it once said stays, as the node that it made stays.

use basalt_contract::Fault;

use super::{Node, Subject, Told, file};
use crate::plan::{Action, Effect};

const FOLDER: &str = "/etc/systemd/network";
/// How the names of our files begin: files of others are theirs.
const OURS: &str = "10-basalt-";
const UNIT: &str = "systemd-networkd.service";

/// The subject.
pub struct Network;

impl Subject for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { files(node) })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the disk, and systemd-networkd has read it, too.
        let count = node.goal.drive.network.len();
        Box::pin(async move { Ok((count > 0).then(|| format!("{count} files of the config drive in {FOLDER}"))) })
    }
}

fn files(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let wished = &node.goal.drive.network;
    if wished.is_empty() {
        return Ok(vec![]);
    }
    let outside = node.outside.files.as_ref();
    let fault = |error: crate::backend::FileError| Fault::new(Network.name(), error.to_string(), "let the agent read it");
    let mut effects = Vec::new();
    for stale in outside.list(FOLDER).unwrap_or_default() {
        if stale.starts_with(OURS) && wished.iter().all(|file| file.name != stale) {
            effects.push(Effect::Remove { path: format!("{FOLDER}/{stale}") });
        }
    }
    for wish in wished {
        effects.extend(file(outside, &format!("{FOLDER}/{}", wish.name), Some(wish.text.clone())).map_err(fault)?);
    }
    if effects.is_empty() {
        return Ok(vec![]);
    }
    // An interface has its name from when it appears.
    let renames =
        |effect: &Effect| matches!(effect, Effect::Write { path, .. } | Effect::Remove { path } if path.ends_with(".link"));
    let reboot = effects.iter().any(renames);
    let what = format!("the network of the config drive: {} files in {FOLDER}", effects.len());
    effects.push(Effect::Reload { unit: UNIT.to_owned() });
    let asked_by = vec!["the config drive".to_owned()];
    Ok(vec![Action { subject: Network.name(), name: "files", what, asked_by, effects, reboot }])
}
