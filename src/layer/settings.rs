//! What a recipe says of units, users, host name, network and nodes, as files. Pure: nothing is executed, no value meets a shell.
//!
//! Links of units are computed from the `[Install]` sections that the layers below have ([`units`](self)); people are declared for
//! systemd-sysusers and systemd-tmpfiles, so that they come to be on the node and its `/etc/passwd` stays the node's.

mod accounts;
mod firstboot;
mod install;
mod units;

use anyhow::Result;

use crate::plan::Settings;
use crate::tree::{Content, Meta, Tree, TreePath};

/// What a layer of settings brings, and what it takes away.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// Files and links.
    pub tree: Tree,
    /// Paths of the layers below that go.
    pub removals: Vec<TreePath>,
}

/// The files and links for `settings`; `below` is the merged tree of the layers under it.
///
/// # Errors
/// [`crate::failure::Kind::Invalid`]: a unit, group or shell that the layers below do not have (with what was probably meant), a
/// number that someone else has, a unit that cannot be enabled or disabled, a profile of tuned that is wished for nodes and not there.
pub fn produce(settings: &Settings, below: &Tree) -> Result<Produced> {
    let mut produced = Produced::default();
    units::apply(settings, below, &mut produced)?;
    accounts::apply(settings, below, &mut produced)?;
    if let Some(name) = &settings.host_name {
        produced.replace(&TreePath::parse("/etc/hostname")?, format!("{name}\n"), below)?;
    }
    for (name, text) in &settings.network {
        produced.replace(&TreePath::parse(&format!("/etc/systemd/network/{name}"))?, text.clone(), below)?;
    }
    firstboot::apply(&settings.firstboot, below, &mut produced)?;
    Ok(produced)
}

impl Produced {
    /// Puts a text file; what the layers below have there goes: the recipe names it, so it wins.
    fn replace(&mut self, path: &TreePath, text: String, below: &Tree) -> Result<()> {
        if below.get(path).is_some() {
            self.removals.push(path.clone());
        }
        self.put(path, text)
    }

    /// Puts lines before those that the layers below have there, unless they have them already: a base that was made by Basalt has such
    /// files, too.
    fn prepend(&mut self, path: &TreePath, text: String, below: &Tree) -> Result<()> {
        let Some(content) = below.file(path) else { return self.put(path, text) };
        let before = String::from_utf8_lossy(&content.bytes()?).into_owned();
        let known: Vec<_> = before.lines().collect();
        let new: String = text.split_inclusive('\n').filter(|line| !known.contains(&line.trim_end_matches('\n'))).collect();
        self.replace(path, new + &before, below)
    }

    fn put(&mut self, path: &TreePath, text: String) -> Result<()> {
        self.tree.put_file(path, Meta::root(0o644), Content::from_bytes(text.into_bytes()))?;
        Ok(())
    }
}

/// `; did you mean ...?` when one of `names` is close to `name`.
pub(in crate::layer) fn suggestion<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

#[cfg(test)]
mod tests;
