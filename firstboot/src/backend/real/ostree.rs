//! libostree's own program: makes a deployment of the commit that runs, with other kernel arguments.

use std::process::Command;

use anyhow::{Context as _, bail};
use basalt_contract::Deployment;

/// Makes it the default, and keeps the one that runs. Its origin stays the same: updates come from where they came.
///
/// # Errors
/// When the program cannot be run, or says no: in its words.
pub fn deploy(running: &Deployment, arguments: &[String]) -> anyhow::Result<()> {
    let Deployment { os_name, checksum, serial } = running;
    let origin = format!("/ostree/deploy/{os_name}/deploy/{checksum}.{serial}.origin");
    let mut command = Command::new("ostree");
    command.args(["admin", "deploy", "--karg-none", &format!("--os={os_name}"), &format!("--origin-file={origin}")]);
    command.args(arguments.iter().map(|argument| format!("--karg-append={argument}")));
    let ran = command.arg(checksum).output().context("ostree cannot be run")?;
    if !ran.status.success() {
        bail!("ostree admin deploy: {}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(())
}
