//! Profiles of tuned: laid where the image's tuned reads them, and read as it will read them on the node.
//!
//! ```text
//! trees with profiles --profiles--> folders of the image's tuned    variables --variables--> /etc/tuned/NAME-variables.conf
//! active profiles + all layers --active--> Report: kernel arguments, what is left to the node, what should be told
//! ```
//!
//! # Kernel arguments, and what tuned's plugin for boot loaders does on such a host
//!
//! Looked up in tuned 2.25's `plugin_bootloader.py`, and the same in 2.20:
//!
//! - It works only where `/etc/grub.d/00_tuned` is a file. It then adds `$tuned_params` to `/boot/grub/grub.cfg` and to
//!   `/etc/default/grub`, sets it by grub-editenv, and has a hook of kernel-install patch boot entries. On an OSTree host none of it
//!   reaches the kernel: boot entries are libostree's, and no other entry is booted. But files of `/boot` are other ones afterwards.
//! - With `skip_grub_config=1` in `[bootloader]` it does nothing of that, when a profile comes and when it goes, and only writes the
//!   arguments into `/etc/tuned/bootcmdline`.
//! - `tuned-adm verify` compares the arguments with `/proc/cmdline`, word by word, whoever brought them there.
//!
//! So the image has:
//!
//! - the arguments of the active profiles in its boot entries, each word as the profile has it, from the first boot on: `verify` finds
//!   them, and nothing needs a second boot;
//! - `skip_grub_config=1` in `basalt-node`, which all profiles that come with Basalt include; an active profile without it is told;
//! - a drop-in for `tuned.service` that gives it `/boot` and `/etc/default/grub` to read only, for profiles that a person makes active
//!   on the node: tuned says in its log that it cannot write there, and goes on;
//! - `/etc/grub.d/00_tuned` as a file, so that `verify` looks at kernel arguments, but not executable, so that grub-mkconfig, which libostree
//!   runs with each deployment, writes no `tuned_params` into the menu (`commit::menu`);
//! - `/etc/tuned/bootcmdline` as tuned will write it, so that the node's `/etc` stays the image's.

mod active;
mod bootcmdline;
mod profiles;
mod report;
#[cfg(test)]
mod tests;
mod variables;
mod wished;

use anyhow::Result;

use crate::failure::{self, Failure, Kind};
use crate::layer::overlay;
use crate::plan::Tuned;
use crate::recipe::defaults::TUNED_UNIT;
use crate::store::Store;
use crate::tree::{Content, Meta, Tree, TreePath, merge};
use crate::tuned::Folders;

pub use profiles::profile_names;
pub use report::{REPORT, Report, Told, report};
pub use wished::{loadable, taken};

/// Which profiles are active, for tuned.
const ACTIVE: &str = "/etc/tuned/active_profile";
/// Whether a person chose them (`manual`) or tuned shall (`auto`).
const MODE: &str = "/etc/tuned/profile_mode";

/// What the layer brings, and what of the layers below it takes the place of.
#[derive(Debug, Default)]
pub struct Produced {
    /// Profiles, variables, what tuned shall do.
    pub tree: Tree,
    /// Files and profiles of the layers below that go.
    pub removals: Vec<TreePath>,
}

/// The layer of `wanted` over the merged tree `below`.
///
/// # Errors
/// [`Kind::Invalid`]: no tuned in the layers below; what tuned would refuse, with file and line.
pub fn produce(wanted: &Tuned, below: &Tree, store: &Store) -> Result<Produced> {
    let sources = wanted.sources.iter();
    let trees = sources.map(|source| overlay::produce(&format!("tuned profiles {}", source.name), &source.digest, store));
    lay(wanted, &trees.collect::<Result<Vec<_>>>()?, below)
}

/// The layer of `wanted` with the profiles in `sources`, lowest first.
fn lay(wanted: &Tuned, sources: &[Tree], below: &Tree) -> Result<Produced> {
    let active = wanted.active.as_deref().unwrap_or_default();
    needed("[tuned]", below).map_err(|error| failure::about(error, "tuned.active", active))?;
    let folders = Folders::of(below).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
    let mut produced = Produced::default();
    for source in sources {
        profiles::lay(source, &folders, below, &mut produced)?;
    }
    variables::lay(&wanted.variables, &folders, below, &mut produced)?;
    if let Some(active) = &wanted.active {
        produced.replace(ACTIVE, &format!("{active}\n"), below)?;
        produced.replace(MODE, "manual\n", below)?;
        let (report, arguments) = active::evaluate(active, wanted.variables.keys(), &produced.over(below)?, &folders)?;
        if let Some(text) = bootcmdline::patched(below, &arguments)? {
            produced.replace(bootcmdline::FILE, &text, below)?;
        }
        produced.replace(REPORT, &report.to_json()?, below)?;
    }
    Ok(produced)
}

/// Fails unless the layers `below` have tuned, which `key` of the recipe needs.
fn needed(key: &str, below: &Tree) -> Result<()> {
    let unit = TreePath::parse(&format!("/usr/lib/systemd/system/{TUNED_UNIT}"))?;
    if below.get(&unit).is_some() {
        return Ok(());
    }
    let what = format!("{key}: needed tuned in the layers below ({unit}), found none");
    let hint = "add the package tuned to the recipe's packages, or take a base that has it";
    Err(Failure::new(Kind::Invalid, what).hint(hint).into())
}

impl Produced {
    /// Puts a text file; what the layers below have there goes.
    fn replace(&mut self, path: &str, text: &str, below: &Tree) -> Result<()> {
        let path = TreePath::parse(path)?;
        if below.get(&path).is_some() && !self.removals.contains(&path) {
            self.removals.push(path.clone());
        }
        self.tree.put_file(&path, Meta::root(0o644), Content::from_bytes(text.as_bytes()))?;
        Ok(())
    }

    /// The layers `below` with this one over them.
    fn over(&self, below: &Tree) -> Result<Tree> {
        let mut tree = below.clone();
        for path in &self.removals {
            tree.remove(path);
        }
        let merged = merge(&mut tree, &self.tree, |_| true);
        merged.map_err(|conflicts| anyhow::anyhow!("layers that cannot be merged: {conflicts:?}"))?;
        Ok(tree)
    }
}
