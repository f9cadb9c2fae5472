//! What `basalt-kernel-arguments.service` does: the boot entry that the agent wants, as a new deployment.

use anyhow::{Context as _, bail};

use crate::backend::{Files, real};
use crate::facts;
use crate::subject::Wanted;

/// Deploys what runs, with the arguments that the agent wrote down.
///
/// # Errors
/// When it is not known what is wanted or what runs, or libostree says no.
pub fn deploy(files: &dyn Files) -> anyhow::Result<()> {
    let wanted = Wanted::read(files).map_err(anyhow::Error::msg)?;
    if wanted.arguments.is_empty() {
        bail!("the agent wants no kernel arguments");
    }
    let facts = facts::collect(files);
    let running = facts.deployment.context("it cannot be told which deployment runs: see `basalt-firstboot facts`")?;
    real::ostree::deploy(&running, &wanted.arguments)
}
