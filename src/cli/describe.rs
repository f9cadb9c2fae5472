//! `basalt schema`, `basalt completions`, `basalt man`: what the program says of itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::host;

/// What has a JSON schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Described {
    /// A recipe: what an image is made of
    #[default]
    Recipe,
    /// What a node should be, as the first-boot agent reads it
    DesiredState,
}

/// Prints a JSON schema.
pub fn schema(of: Described) -> Result<()> {
    super::print(&match of {
        Described::Recipe => crate::recipe::schema(),
        Described::DesiredState => basalt_contract::desired::schema(),
    })
}

/// Prints a completion script for `shell`.
pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "basalt", &mut bytes);
    super::print(&String::from_utf8(bytes)?)
}

/// Writes `basalt.1` and a page for each verb into `folder`.
pub fn man(folder: &Path) -> Result<()> {
    host::folder::need(folder, "name another folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    clap_mangen::generate_to(super::command(), folder).with_context(|| format!("{}: cannot be written", folder.display()))
}
