//! The network that a config drive describes: files for systemd-networkd.
//!
//! A drive that is taken out takes nothing away: what it once said stays, as the node that it made stays.

use basalt_contract::Fault;

use super::{Node, Subject, Told, file};
use crate::plan::{Action, Effect};

/// Of systemd-networkd and systemd-udevd.
pub const FOLDER: &str = "/etc/systemd/network";
/// How the names of our files begin: files of others are theirs.
pub const OURS: &str = "10-basalt-";
/// What systemd-networkd was last told to read: files are in force only then.
const READ: &str = "/var/lib/basalt/firstboot/network-read";
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
    let mut files = Vec::new();
    for stale in outside.list_if_there(FOLDER).map_err(fault)? {
        if stale.starts_with(OURS) && wished.iter().all(|file| file.name != stale) {
            files.push(Effect::Remove { path: format!("{FOLDER}/{stale}") });
        }
    }
    for wish in wished {
        files.extend(file(outside, &format!("{FOLDER}/{}", wish.name), Some(wish.text.clone())).map_err(fault)?);
    }
    let text: String = wished.iter().map(|file| format!("# {}\n{}\n", file.name, file.text)).collect();
    let read = file(outside, READ, Some(text.clone())).map_err(fault)?;
    if files.is_empty() && read.is_none() {
        return Ok(vec![]);
    }
    // An interface has its name from when it appears.
    let renames =
        |effect: &Effect| matches!(effect, Effect::Write { path, .. } | Effect::Remove { path } if path.ends_with(".link"));
    let what = match files.len() {
        0 => format!("the network of the config drive, which {UNIT} has not read"),
        count => format!("the network of the config drive: {count} files in {FOLDER}"),
    };
    let unread = Effect::Remove { path: READ.to_owned() };
    let reload = Effect::Reload { unit: UNIT.to_owned() };
    // Names are none of systemd-networkd's: they come last, so that who tries again knows of the reboot.
    let (names, files): (Vec<_>, Vec<_>) = files.into_iter().partition(renames);
    let reboot = !names.is_empty();
    let effects = [vec![unread], files, vec![reload], names, vec![Effect::Write { path: READ.to_owned(), text }]].concat();
    let asked_by = vec!["the config drive".to_owned()];
    Ok(vec![Action { subject: Network.name(), name: "files", what, asked_by, effects, reboot }])
}
