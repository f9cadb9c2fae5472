//! The base `debian`: locked packages, unpacked and configured by their own scripts, and an initramfs.
//!
//! mmdebstrap makes the root, in a user namespace when an ordinary user builds. Three hooks ([`chroot`]) fix the numbers of users,
//! install the packages with the new root's own dpkg, and run dracut. What comes out is a tar; it is kept as the layer's pack, and
//! [`normalise`] takes from its tree whatever chance or the host could have put there.
//!
//! Architecture invariant: the tree is decided by the packages, the numbers, the time and the rules here. Neither mmdebstrap, apt
//! nor anything else of the host leaves a trace in it, so no version of theirs is part of the key.

mod accounts;
mod chroot;
mod normalise;
mod numbers;
pub(crate) mod privilege;
pub(crate) mod repository;
pub(crate) mod work;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Layer, cache};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::lock::LockedPackage;
use crate::progress::{Event, Sink, Stage, Unit};
use crate::store::Store;
use crate::tree::Pack;
use crate::tree::tar::{Devices, read_packed};

/// Changes whenever the same inputs would give another tree. The hooks' text is part of the key by itself.
const RULES: u32 = 2;

/// The store's word for its entries.
const KIND: &str = "base";

/// Everything that decides the tree.
#[derive(Serialize)]
struct Key<'a> {
    rules: u32,
    suite: &'a str,
    architecture: Architecture,
    packages: BTreeMap<&'a str, Digest>,
    users: &'a BTreeMap<String, u32>,
    groups: &'a BTreeMap<String, u32>,
    time: i64,
    chroot: Digest,
}

/// What is made, out of what.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `trixie`.
    pub suite: &'a str,
    /// Exactly these are installed.
    pub packages: &'a [LockedPackage],
    /// Fixed numbers of system users.
    pub users: &'a BTreeMap<String, u32>,
    /// Fixed numbers of system groups.
    pub groups: &'a BTreeMap<String, u32>,
    /// For which machines.
    pub architecture: Architecture,
    /// The image's, in seconds since 1970: no file is newer.
    pub time: i64,
}

/// The layer of these packages: from the store, else made now.
///
/// # Errors
/// [`Kind::Input`] when a package is not in the store (see [`crate::source::debian::fetch`]); [`Kind::Invalid`] when the packages do
/// not make a base: no kernel, two kernels, no dracut; [`Kind::Tool`] when this machine cannot make one: a program or the user's
/// subordinate numbers are missing.
pub fn produce(inputs: &Inputs<'_>, store: &Store, sink: &dyn Sink) -> Result<Layer> {
    work::sweep(store)?;
    let entry = store.entry_or_make(KIND, &key(inputs), |folder| make(inputs, folder, store, sink))?;
    if entry.cached {
        let detail = format!("{}, {} packages", inputs.suite, inputs.packages.len());
        Stage::start(sink, "base", detail, None, Unit::None).finish(true);
    }
    let tree = cache::read(&entry.path)?;
    Ok(Layer {
        name: "base".to_owned(),
        replaces: Vec::new(),
        removals: Vec::new(),
        finished: false,
        digest: cache::digest(&entry.path, &tree),
        tree,
    })
}

/// Whether the store has the layer that [`produce`] would answer, so that no package is needed.
pub fn is_cached(inputs: &Inputs<'_>, store: &Store) -> bool {
    store.entry(KIND, &key(inputs)).is_some()
}

fn key(inputs: &Inputs<'_>) -> Digest {
    let Inputs { suite, packages, users, groups, architecture, time } = *inputs;
    Digest::of_value(&Key {
        rules: RULES,
        suite,
        architecture,
        packages: packages.iter().map(|package| (package.name.as_str(), package.sha256)).collect(),
        users,
        groups,
        time,
        chroot: chroot::digest(),
    })
}

/// Fills the entry `folder`.
fn make(inputs: &Inputs<'_>, folder: &Path, store: &Store, sink: &dyn Sink) -> Result<()> {
    if let Some(package) = inputs.packages.iter().find(|package| !store.has_blob(&package.sha256)) {
        let LockedPackage { name, version, sha256, .. } = package;
        return Err(Failure::new(Kind::Input, format!("package {name} {version} ({sha256}) is not in the cache"))
            .hint("build without --offline, or from a folder that `basalt vendor` made")
            .into());
    }
    let path = folder.join("pack");
    chroot::make(inputs, &path, store, sink)?;
    let stage = Stage::start(sink, "import", "the base's files", None, Unit::None);
    let pack = Pack::open(&path)?;
    let mut tree = read_packed(&pack, Devices::SkipBelowDev).or_else(|error| {
        interrupt::check()?;
        Err(anyhow::Error::from(error).context("the archive that mmdebstrap made"))
    })?;
    let strangers = normalise::normalise(&mut tree, inputs.users, inputs.groups, inputs.time)?;
    if !strangers.is_empty() {
        let names = strangers.join(", ");
        let message = format!(
            "packages made users or groups without a fixed number: {names}. Numbers may change when packages come or go; give them \
             numbers in the recipe under [base.users] and [base.groups]"
        );
        sink.event(Event::Warning { message });
    }
    cache::move_into_pack(&mut tree.root, &pack, &mut File::options().append(true).open(&path)?)?;
    cache::write_index(folder, &tree).context("the base's index")?;
    stage.finish(false);
    Ok(())
}
