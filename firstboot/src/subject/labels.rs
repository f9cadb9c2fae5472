//! Labels of the node, by way of node feature discovery: a file of features, which its worker reads.
//!
//! Format: `source/local/local.go` of node-feature-discovery: `key=value` lines, at most 65,536 bytes; files whose names begin with a dot
//! are passed over, so that one that is being written is not seen. From version 0.17 on it gives no label without a domain, and the
//! versions before it put different ones there: every label is written with its domain.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use basalt_contract::placed::Placed;
use basalt_contract::{Desired, Fault};

use super::{Node, OneFile, Subject, Told, labels_of, text};
use crate::export::found;
use crate::plan::Action;

const PATH: &str = "/etc/kubernetes/node-feature-discovery/features.d/basalt";
/// Of labels that are wished by their names alone.
const DOMAIN: &str = "feature.node.kubernetes.io/";
/// A larger file is passed over as a whole.
const LARGEST: usize = 65_536;

/// The subject.
pub struct Labels;

impl Subject for Labels {
    fn name(&self) -> &'static str {
        "labels"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { labels(node) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let told = text(node.outside.files.as_ref(), PATH);
            let told = told.map_err(|what| Fault::new(Labels.name(), what, "let the agent read it"))?.unwrap_or_default();
            let pairs = told.lines().filter_map(|line| line.split_once('='));
            let name = |key: &str| key.strip_prefix(DOMAIN).unwrap_or(key).to_owned();
            let labels = pairs.map(|(key, value)| (name(key), found(value.to_owned()))).collect();
            Ok(Desired { labels, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the disk.
        let count = node.goal.desired.labels.len();
        Box::pin(async move { Ok((count > 0).then(|| format!("{} in {PATH}", labels_of(count)))) })
    }
}

fn labels(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let fault = |what: String, next_step: &str| Fault::new(Labels.name(), what, next_step);
    let wishes = &node.goal.desired.labels;
    let mut labels = BTreeMap::new();
    for (name, wish) in wishes {
        let key = if name.contains('/') { name.clone() } else { format!("{DOMAIN}{name}") };
        match labels.entry(key) {
            Entry::Vacant(place) => drop(place.insert(wish)),
            Entry::Occupied(other) if other.get().value == wish.value => {}
            Entry::Occupied(other) => {
                let said = |wish: &Placed<String>| format!("{:?} ({})", wish.value, node.goal.place(wish));
                let what = format!("{} is wished to be {} and {}", other.key(), said(other.get()), said(wish));
                return Err(fault(what, "leave out one of them: a name without a domain is that of this domain"));
            }
        }
    }
    let text: String = labels.iter().map(|(key, wish)| format!("{key}={}\n", wish.value)).collect();
    if text.len() > LARGEST {
        let what = format!("{PATH}: needed at most {LARGEST} bytes, found {} in {} labels", text.len(), wishes.len());
        return Err(fault(what, "wish fewer labels"));
    }
    let wanted = OneFile {
        subject: Labels.name(),
        name: "features",
        path: PATH,
        text: Some(text).filter(|text| !text.is_empty()),
        what: labels_of(wishes.len()),
        gone: "no labels, now there are some",
        asked_by: wishes.values().map(|wish| node.goal.place(wish)).collect(),
    };
    Ok(wanted.action(node.outside.files.as_ref())?.into_iter().collect())
}
