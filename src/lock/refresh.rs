//! Brings a lock up to date with its recipe: local files are pinned anew each time, packages only when the question changes or a
//! person asks for newer ones.
//!
//! Architecture invariant: only `resolver`, which is passed in, asks the network.

mod base;
mod modules;

pub use modules::{PinnedModules, one as pin_modules, question};

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Changes, Lock, LockedDebian, LockedFile, LockedImage, LockedOverlay, LockedPackage, Section, VERSION, diff};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::layer::{builtin, cache, overlay};
use crate::recipe::{Agent, ImageSource, Overlay, OverlaySource, Recipe, secrets};
use crate::store::Store;
use crate::tree::{LeafKind, Node, Tree, dump};

/// The kind of the store's entries that hold the files of a base of kind `tree`; the key is the tree's digest.
pub const TREE_KIND: &str = "tree";
/// The kind of the store's entries that hold overlays; the key is the tree's digest.
pub const OVERLAY_KIND: &str = "overlay";
/// How the lock names the agent that comes with Basalt.
const SHIPPED_AGENT: &str = "basalt-firstboot";
/// How the lock names the update client that comes with Basalt.
const UPDATE_CLIENT: &str = "ostree-container";

/// What may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Local inputs are pinned as they are now. Packages change only when the recipe asks for others.
    Build,
    /// Nothing: what differs is a failure.
    Locked,
    /// Packages are asked for again: these (binary or source packages), or all when none is named.
    Update(Vec<String>),
}

/// What is asked of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// For which machines.
    pub architecture: Architecture,
    /// Suite, components and packages.
    pub base: LockedDebian,
    /// The mirror, when the recipe names one.
    pub mirror: Option<String>,
    /// The archive's keys, when the recipe names them.
    pub keyring: Option<PathBuf>,
    /// Whether the headers of the kernels are wanted, too.
    pub headers: bool,
    /// Another suite of the archive, whose packages win.
    pub prefer: Option<String>,
}

/// What the archive has today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest date of the archive's signed lists, in seconds since 1970.
    pub date: i64,
    /// The packages and all they depend on.
    pub packages: Vec<LockedPackage>,
    /// The headers of the kernels among them that the archive has, when they were asked for.
    pub headers: Vec<LockedPackage>,
}

/// Asks what is current: see `source`.
pub trait Resolver {
    /// Asks Debian's archive.
    fn packages(&self, question: &Question) -> Result<Answer>;
    /// Asks for the image that is at `from` now; `folder` is the recipe's. Answers also its time, in seconds since 1970.
    fn image(&self, from: &ImageSource, folder: &Path, architecture: Architecture) -> Result<(LockedImage, i64)>;
    /// Asks Debian's archive for these packages alone, without what they need.
    fn named(&self, question: &Question, names: &[String]) -> Result<Vec<LockedPackage>>;
    /// The files of the base that an image is; `date` is the image's.
    fn base(&self, image: &LockedImage, date: i64) -> Result<Tree>;
}

/// What a lock is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The checked recipe.
    pub recipe: &'a Recipe,
    /// Whose section.
    pub architecture: Architecture,
    /// Where overlays, files and the agent are imported to.
    pub store: &'a Store,
    /// The agent's program that was installed with Basalt, for recipes that name none.
    pub agent: Option<&'a Path>,
    /// The update client's program that was installed with Basalt.
    pub update_client: Option<&'a Path>,
    /// Asks what is current.
    pub resolver: &'a dyn Resolver,
}

/// The lock as it must be now, and what that changes. Every local input is in the store afterwards.
///
/// # Errors
/// [`Kind::Input`] in [`Mode::Locked`] when something differs, when a local input is missing, and when a package to update is not
/// there; [`Kind::Invalid`] when an overlay cannot be part of an image.
pub fn refresh(inputs: Inputs<'_>, previous: Option<&Lock>, mode: &Mode) -> Result<(Lock, Changes)> {
    let Inputs { recipe, architecture, .. } = inputs;
    if !recipe.architectures.contains(&architecture) {
        let what = format!("recipe {} is not made for {architecture}", recipe.name);
        return Err(Failure::new(Kind::Usage, what).hint("add it to `architectures` in the recipe").into());
    }
    let old = previous.and_then(|lock| lock.architecture.get(&architecture));
    if *mode == Mode::Locked && old.is_none() {
        let what = format!("recipe {}: needed a lock for {architecture}, found none", recipe.name);
        return Err(Failure::new(Kind::Input, what)
            .hint("run `basalt lock RECIPE` and keep the file, or build without --locked")
            .into());
    }
    let (agent, update_client) = (agent(inputs)?, update_client(inputs)?);
    let (overlays, files) = (overlays(inputs)?, files(inputs)?);
    let mut notes = Vec::new();
    let (mode_of_base, updated) = modules::split(recipe, mode);
    let base::Pinned { date, base, packages, headers } = base::pin(inputs, old, &mode_of_base, &mut notes)?;
    let mut section = Section {
        date,
        base,
        agent,
        update_client,
        overlays,
        kernel_modules: kernel_modules(inputs)?,
        tuned: tuned(inputs)?,
        kernel: None,
        module_images: Vec::new(),
        module_packages: Vec::new(),
        files,
        packages,
        headers,
    };
    modules::pin(inputs, old, &mut section, mode, &updated)?;
    section.sort();
    let mut changes = diff(old, &section);
    changes.notes = notes;
    if *mode == Mode::Locked && !changes.is_empty() {
        let lines: Vec<_> = changes.list.iter().map(super::Change::needed_and_found).collect();
        let what = format!("recipe {} differs from its lock:\n  {}", recipe.name, lines.join("\n  "));
        return Err(Failure::new(Kind::Input, what).hint("run `basalt lock RECIPE` to accept this, or undo the change").into());
    }
    let mut lock = Lock { version: VERSION, recipe: recipe.name.clone(), architecture: Default::default() };
    for (other, kept) in previous.into_iter().flat_map(|lock| &lock.architecture) {
        if recipe.architectures.contains(other) {
            lock.architecture.insert(*other, kept.clone());
        }
    }
    lock.architecture.insert(architecture, section);
    Ok((lock, changes))
}

fn agent(inputs: Inputs<'_>) -> Result<Option<LockedFile>> {
    let Some(agent) = &inputs.recipe.agent else { return Ok(None) };
    match agent {
        Agent::Local(path) => import(inputs, path, &inputs.recipe.local(path)).map(Some),
        Agent::Shipped => {
            let program = inputs.agent.ok_or_else(|| {
                Failure::new(
                    Kind::Input,
                    format!("needed {SHIPPED_AGENT}, the first-boot agent, beside the program basalt, found none"),
                )
                .hint("run `make programs`, name its program as [agent] path, or write [agent] enable = false")
            })?;
            import(inputs, SHIPPED_AGENT, program).map(Some)
        }
    }
}

fn update_client(inputs: Inputs<'_>) -> Result<Option<LockedFile>> {
    if !inputs.recipe.update_client {
        return Ok(None);
    }
    let program = inputs.update_client.ok_or_else(|| {
        Failure::new(Kind::Input, format!("needed {UPDATE_CLIENT}, the update client, beside the program basalt, found none"))
            .hint("run `make programs`, or write [update] client = false")
    })?;
    import(inputs, UPDATE_CLIENT, program).map(Some)
}

fn files(inputs: Inputs<'_>) -> Result<Vec<LockedFile>> {
    let mut files = Vec::new();
    for name in inputs.recipe.local_files() {
        files.push(import(inputs, name, &inputs.recipe.local(name))?);
    }
    Ok(files)
}

/// Pins the file at `path`, and copies it into the store unless it is there.
fn import(inputs: Inputs<'_>, name: &str, path: &Path) -> Result<LockedFile> {
    let missing = |error: std::io::Error| Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display()));
    let open = || File::open(path).map_err(missing);
    let mut beginning = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(open()?, 128), &mut beginning).map_err(missing)?;
    if secrets::begins_with_private_key(&beginning) {
        let what = format!("{} is a private key; needed no secret", path.display());
        return Err(Failure::new(Kind::Invalid, what).hint(secrets::HINT).into());
    }
    let (sha256, size) = Digest::of_reader(open()?).map_err(missing)?;
    if !inputs.store.has_blob(&sha256) {
        let (stored, _) = inputs.store.add_blob(open()?).with_context(|| format!("{}: cannot be imported", path.display()))?;
        if stored != sha256 {
            let what = format!("{}: changed while it was read: needed {sha256}, found {stored}", path.display());
            return Err(Failure::new(Kind::Input, what).hint("try again when nothing writes it").into());
        }
    }
    Ok(LockedFile { name: name.to_owned(), sha256, size })
}

fn overlays(inputs: Inputs<'_>) -> Result<Vec<LockedOverlay>> {
    inputs.recipe.overlays.iter().map(|overlay| import_overlay(inputs, overlay)).collect()
}

/// Imported as overlays are: a tree is a tree.
fn kernel_modules(inputs: Inputs<'_>) -> Result<Vec<LockedOverlay>> {
    let sources = inputs.recipe.module_sources().into_iter().map(|path| OverlaySource::Local(path.to_owned()));
    sources.map(|source| import_overlay(inputs, &plain(source))).collect()
}

/// The same of tuned's profiles.
fn tuned(inputs: Inputs<'_>) -> Result<Vec<LockedOverlay>> {
    inputs.recipe.tuned_sources().into_iter().map(|source| import_overlay(inputs, &plain(source))).collect()
}

fn plain(source: OverlaySource) -> Overlay {
    Overlay { source, replaces: Vec::new(), modes: Default::default() }
}

fn import_overlay(inputs: Inputs<'_>, overlay: &Overlay) -> Result<LockedOverlay> {
    let name = overlay.source.lock_name();
    let tree = match &overlay.source {
        OverlaySource::Local(path) => {
            let spool = inputs.store.root().join("tmp");
            overlay::read(&inputs.recipe.local(path), &overlay.modes, &spool)?
        }
        OverlaySource::Builtin(builtin) => {
            let mut tree = builtin::tree(builtin).ok_or_else(|| {
                let what = format!("overlay {builtin:?}: needed one that comes with this Basalt, found none of this name");
                Failure::new(Kind::Invalid, what)
            })??;
            overlay::set_modes(&mut tree, &overlay.modes)
                .map_err(|why| Failure::new(Kind::Invalid, format!("overlay {builtin}: {why}")))?;
            tree
        }
    };
    let digest = dump::digest(&tree);
    inputs
        .store
        .entry_or_make(OVERLAY_KIND, &digest, |folder| cache::write(folder, &tree))
        .with_context(|| format!("overlay {name}: cannot be imported"))?;
    Ok(LockedOverlay { name, digest, files: leaves(&tree) })
}

/// Files by their bytes, links by their target.
fn leaves(tree: &Tree) -> std::collections::BTreeMap<crate::tree::TreePath, Digest> {
    let leaf = |node: &Node| match node {
        Node::Directory(_) => None,
        Node::Leaf(leaf) => Some(match &leaf.kind {
            LeafKind::File(content) => content.digest(),
            LeafKind::Symlink(target) => Digest::of(target.as_bytes()),
        }),
    };
    tree.walk().filter_map(|(path, node)| leaf(node).map(|digest| (path, digest))).collect()
}
