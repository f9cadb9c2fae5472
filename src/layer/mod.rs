//! Layers: named contributions to the tree.
//!
//! To add a kind: a variant of [`crate::plan::LayerContent`], a file here with its producer, a row in [`produce`].

pub mod builtin;
pub mod cache;
pub mod overlay;

use crate::digest::Digest;
use crate::tree::{Tree, TreePath};

/// A produced layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// As in the plan.
    pub name: String,
    /// Of the tree.
    pub digest: Digest,
    /// Paths where it wins over the layers below.
    pub replaces: Vec<TreePath>,
    /// What it brings.
    pub tree: Tree,
}
