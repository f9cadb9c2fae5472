//! Runs programs that are not ours: those that make inputs, and those that read back what ours wrote.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs `command` to its end; answers its standard output. A failure has what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} is needed", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
