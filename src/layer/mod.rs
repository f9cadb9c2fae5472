//! Layers: named contributions to the tree.
//!
//! To add a kind: a variant of [`crate::plan::LayerContent`], a file here with its producer, a row in [`produce`].

pub mod agent;
pub mod base;
pub mod builtin;
pub mod cache;
pub mod debian;
pub mod files;
pub mod foreign;
pub mod kernel_modules;
pub mod overlay;
pub mod packages;
mod residue;
pub mod settings;
pub mod trust;
pub mod tuned;
pub mod update_client;

use anyhow::{Context, Result};

use crate::commit;
use crate::digest::Digest;
use crate::plan::{self, LayerContent};
use crate::sign::ModuleSigners;
use crate::store::Store;
use crate::tree::{Tree, TreePath, dump};

/// A produced layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// As in the plan.
    pub name: String,
    /// Paths where it wins over the layers below.
    pub replaces: Vec<TreePath>,
    /// Paths that it takes away from the layers below, before its own tree is laid over them.
    pub removals: Vec<TreePath>,
    /// What it brings.
    pub tree: Tree,
    /// Whether it is a system that others made: what it has in folders of the node is no mistake, and is copied there at boot.
    pub finished: bool,
    /// Of the tree: every byte, owner, mode, time, attribute and hard link counts.
    pub digest: Digest,
}

impl Layer {
    /// A layer that takes nothing away.
    pub fn new(name: impl Into<String>, replaces: Vec<TreePath>, tree: Tree) -> Self {
        let digest = dump::digest(&tree);
        Self { name: name.into(), replaces, removals: Vec::new(), finished: false, tree, digest }
    }
}

/// Produces a layer of a plan. `below` are the layers under it, lowest first; `signers` have the keys of kernel modules.
pub fn produce(wanted: &plan::Layer, below: &[Layer], store: &Store, signers: &ModuleSigners) -> Result<Layer> {
    let name = &wanted.name;
    let mut removals = Vec::new();
    let tree = match &wanted.content {
        LayerContent::Overlay { digest } => overlay::produce(name, digest, store),
        LayerContent::Agent { sha256, size } => agent::produce(*sha256, *size, store),
        LayerContent::UpdateClient { sha256, size } => update_client::produce(*sha256, *size, store),
        LayerContent::Files { files } => files::produce(files, store),
        LayerContent::KernelModules(modules) => {
            kernel_modules::produce(modules, &commit::merged(below)?, store, signers).map(|made| {
                removals = made.removals;
                made.tree
            })
        }
        LayerContent::Tuned(tuned) => tuned::produce(tuned, &commit::merged(below)?, store).map(|made| {
            removals = made.removals;
            made.tree
        }),
        LayerContent::Trust(trust) => trust::produce(trust, store),
        LayerContent::Settings(settings) => {
            // What those below disagree about is not this one's.
            let below = commit::merged(below)?;
            settings::produce(settings, &below).map(|made| {
                removals = made.removals;
                made.tree
            })
        }
    };
    let tree = tree.with_context(|| format!("layer {name}"))?;
    Ok(Layer { removals, ..Layer::new(name, wanted.replaces.clone(), tree) })
}
