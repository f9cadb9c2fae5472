//! `basalt schema`, `basalt completions`, `basalt man`: what the program says of itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::host;

/// Prints the recipe's JSON schema.
pub fn schema() -> Result<()> {
    super::print(&crate::recipe::schema())
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
