//! The labels with which the kubelet registers the node: its configuration has no word for them, its command line has.
//!
//! Format: a file of environment (systemd.exec(5)), which the image's drop-in of kubelet.service reads, with `KUBELET_EXTRA_ARGS`, as kubeadm's unit
//! and those made after it take further arguments.

use std::collections::BTreeMap;

use basalt_contract::desired::Kubelet as Wishes;
use basalt_contract::placed::Placed;
use basalt_contract::{Fault, names};

use super::Kubelet;
use crate::backend::Files;
use crate::export::found;
use crate::plan::Action;
use crate::subject::{Node, OneFile, Subject, labels_of, text};

const PATH: &str = "/etc/kubernetes/basalt-kubelet.env";
const VARIABLE: &str = "KUBELET_EXTRA_ARGS=";
const FLAG: &str = "--node-labels=";
/// Where a person says it: kubeadm's unit reads one or the other, before ours.
const PERSONS: [&str; 2] = ["/etc/default/kubelet", "/etc/sysconfig/kubelet"];

/// The file, where it differs.
pub(super) fn labels(node: &Node<'_>) -> Result<Option<Action>, Fault> {
    let labels = &node.goal.desired.kubelet.labels;
    let files = node.outside.files.as_ref();
    if !labels.is_empty() {
        nobody_else_says_more(files)?;
    }
    let wanted = OneFile {
        subject: Kubelet.name(),
        name: "labels",
        path: PATH,
        text: environment(labels),
        what: words(labels.len()),
        gone: "no labels for the kubelet's registration, now there are some",
        asked_by: labels.values().map(|wish| node.goal.place(wish)).collect(),
    };
    wanted.action(files)
}

/// What holds where nothing differs.
pub(super) fn said(wishes: &Wishes) -> Option<String> {
    let count = wishes.labels.len();
    (count > 0).then(|| format!("{} in {PATH}", words(count)))
}

fn words(count: usize) -> String {
    format!("{} for the kubelet's registration", labels_of(count))
}

/// Ours would take the place of theirs.
fn nobody_else_says_more(files: &dyn Files) -> Result<(), Fault> {
    for path in PERSONS {
        let fault = |what| Fault::new(Kubelet.name(), what, "let the agent read it");
        let told = text(files, path).map_err(fault)?.unwrap_or_default();
        if arguments(&told).any(|arguments| !arguments.is_empty()) {
            let what = format!("{path}: {VARIABLE}... found, needed no arguments beside kubelet.labels");
            return Err(Fault::new(Kubelet.name(), what, "say the labels there, with --node-labels, or take the arguments out"));
        }
    }
    Ok(())
}

/// What the variable is set to, without quotes.
fn arguments(text: &str) -> impl Iterator<Item = &str> {
    let set = text.lines().filter_map(|line| line.trim().strip_prefix(VARIABLE));
    set.map(|value| value.trim().trim_matches(['"', '\'']).trim())
}

/// Nothing in a label has to be quoted.
fn environment(labels: &BTreeMap<String, Placed<String>>) -> Option<String> {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={}", value.value)).collect();
    let text = || format!("# Written by {}: from desired state.\n{VARIABLE}{FLAG}{}\n", names::AGENT_UNIT, pairs.join(","));
    (!pairs.is_empty()).then(text)
}

/// What a file of ours says.
pub(super) fn found_labels(files: &dyn Files) -> Result<BTreeMap<String, Placed<String>>, String> {
    let told = text(files, PATH)?.unwrap_or_default();
    let pairs = arguments(&told).filter_map(|arguments| arguments.strip_prefix(FLAG)).flat_map(|labels| labels.split(','));
    let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), found(value.to_owned())));
    Ok(pairs.filter_map(pair).collect())
}
