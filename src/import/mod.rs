//! What others wrote about a node becomes a part of a recipe. To add a source: a folder here, and a word in `cli/import.rs`.
//!
//! Architecture invariant: pure, text in and text out. Nothing is left out silently: what a recipe cannot say is named with its path, why, and
//! what to do instead.

pub mod kmm;

use serde::Serialize;

/// Something that a recipe does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it stands: `spec.devicePlugin`.
    pub path: String,
    /// Why, and what to do.
    pub why: String,
}

/// A part of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// TOML.
    pub recipe: String,
    /// What it does not say, in the order of the document.
    pub left: Vec<Left>,
}
