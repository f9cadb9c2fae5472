//! Recipes: the TOML that a person writes, and what it means.
//!
//! `load` (files, includes, places) -> `merge` (pure) -> `check` (pure) -> [`Recipe`]. Every stage notes what is wrong and goes on:
//! a person sees all problems at once, each with file, line and column.
//!
//! To add a key: a field with its comment in `written`, a line in `merge`, its rule in `check`, and
//! `basalt schema > image-recipes/recipe.schema.json`.
//!
//! Architecture invariant: values never run through a shell, and nothing here touches the network.

mod check;
pub mod defaults;
mod image;
mod kernel_arguments;
mod load;
mod local;
mod merge;
mod module_source;
pub mod names;
mod problem;
mod tuned;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use basalt_contract::placed::{Place, Placed, Position, Problem, Sources, secrets};
pub use image::{ImageSource, LocalImage};
pub use module_source::{ImageTemplate, ModuleOrigin};
pub use problem::Problems;
pub use tuned::{Tuned, wished_profiles};
pub use written::Written;

use basalt_contract::kernel_arguments::Declaration;
use basalt_contract::placed::{Findings, shape};

use crate::architecture::Architecture;
use crate::failure::{Failure, Mention};
use crate::kmod::signing::Hash;
use crate::plan::{Check, Disk, Format, KernelMatch, ModuleSet, Settings};
use crate::tree::TreePath;

/// A recipe that has been merged and checked: names follow their rules, numbers are numbers, paths stay in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The folder that local paths are relative to.
    pub folder: PathBuf,
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// What it runs on; at least one.
    pub architectures: Vec<Architecture>,
    /// The lowest layer.
    pub base: Base,
    /// What lies over the base, lowest first; those that come with Basalt are the first.
    pub overlays: Vec<Overlay>,
    /// The first-boot agent, if the image has it.
    pub agent: Option<Agent>,
    /// Single files by their path in the image.
    pub files: BTreeMap<TreePath, File>,
    /// Kernel arguments as they are written, in order: [`Recipe::kernel_arguments`] are all.
    pub kernel_args: Vec<Declaration>,
    /// Kernel modules that others built.
    pub kernel_modules: Vec<KernelModule>,
    /// What they are proven against.
    pub module_proof: ModuleProof,
    /// Profiles of tuned, if tuned is to run.
    pub tuned: Option<Tuned>,
    /// Units, users, keys, host name, network, desired state. A `[[network]]` with a local source is one of the files.
    pub settings: Settings,
    /// The disk's layout.
    pub disk: Disk,
    /// Where the node looks for updates.
    pub update: Option<String>,
    /// Whose signatures the node demands.
    pub sign: Sign,
    /// Whether the node pulls them by itself: the image has the update client and its packages.
    pub update_client: bool,
    /// What is made.
    pub outputs: Vec<Format>,
    /// What a booted image is asked.
    pub checks: Vec<Check>,
}

/// Files with public keys, relative to the recipe's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sign {
    /// OpenPGP keys, for commits.
    pub commit: Option<String>,
    /// An ECDSA P-256 key, for OCI images.
    pub image: Option<String>,
}

/// The lowest layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Whether everything that makes an image boot is left to the recipe.
    pub minimal: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where the lowest layer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Packages.
    Debian(Debian),
    /// A container image.
    Image(ImageSource),
    /// A local folder or tar archive, relative to the recipe's folder.
    Tree(String),
}

/// Debian packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Debian {
    /// `trixie`.
    pub suite: String,
    /// `main`, ...
    pub components: Vec<String>,
    /// The mirror, when the recipe names one.
    pub mirror: Option<String>,
    /// The archive's keys, when the recipe names them: absolute, or relative to the recipe's folder.
    pub keyring: Option<String>,
    /// What the recipe adds, sorted.
    pub packages: Vec<String>,
    /// Fixed numbers of system users.
    pub users: BTreeMap<String, u32>,
    /// Fixed numbers of system groups.
    pub groups: BTreeMap<String, u32>,
}

impl Base {
    /// Packages and what is said of them, when it is made of packages.
    pub fn debian(&self) -> Option<&Debian> {
        match &self.origin {
            Origin::Debian(debian) => Some(debian),
            Origin::Image(_) | Origin::Tree(_) => None,
        }
    }

    /// All packages that are asked for, sorted; what they depend on comes by itself. None where the base is not made of packages.
    pub fn requested(&self, architecture: Architecture) -> Vec<String> {
        let Some(debian) = self.debian() else { return Vec::new() };
        let mut names = debian.packages.clone();
        if !self.minimal {
            names.extend(defaults::packages(architecture).into_iter().map(str::to_owned));
        }
        // Who names a suite means it instead of ours.
        let elsewhere: BTreeSet<_> = names.iter().filter_map(|name| Some(name.split_once('/')?.0.to_owned())).collect();
        names.retain(|name| !elsewhere.contains(name));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A folder or tar archive over the layers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Where it comes from.
    pub source: OverlaySource,
    /// Paths where it wins over the layers below.
    pub replaces: Vec<TreePath>,
    /// Modes other than 0644 and 0755.
    pub modes: BTreeMap<TreePath, u16>,
}

/// Where an overlay comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlaySource {
    /// A local folder or tar archive, relative to the recipe's folder.
    Local(String),
    /// One that comes with Basalt: see `crate::layer::builtin`.
    Builtin(String),
}

impl OverlaySource {
    /// The name in the lock: the local path, or `builtin:NAME`.
    pub fn lock_name(&self) -> String {
        match self {
            Self::Local(path) => path.clone(),
            Self::Builtin(name) => format!("builtin:{name}"),
        }
    }

    /// The name for people, and in the plan.
    pub fn name(&self) -> &str {
        match self {
            Self::Local(name) | Self::Builtin(name) => name,
        }
    }
}

/// Kernel modules that others built, from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelModule {
    /// What they are called.
    pub name: String,
    /// What `${MOD_NAMESPACE}` stands for.
    pub namespace: Option<String>,
    /// What is for which kernels: the first that matches counts.
    pub mappings: Vec<(KernelMatch, ModuleOrigin)>,
    /// Who signs them.
    pub sign: Option<ModuleSign>,
    /// All that does not depend on the kernel; its mappings are empty, and nobody signs it.
    pub set: ModuleSet,
}

/// Who signs kernel modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSign {
    /// Its certificate, relative to the recipe's folder.
    pub certificate: String,
    /// None: that of the kernel's own modules.
    pub hash: Option<Hash>,
}

/// What kernel modules are proven against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleProof {
    /// The kernel's `Module.symvers`, relative to the recipe's folder; none: the base has it.
    pub symvers: Option<String>,
    /// Certificates, relative to the recipe's folder.
    pub keys: Vec<String>,
    /// Whether the kernel loads signed modules only.
    pub secure_boot: bool,
}

/// Which first-boot agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// The one that was installed with Basalt.
    Shipped,
    /// A local file, relative to the recipe's folder.
    Local(String),
}

/// One file or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What it holds.
    pub content: Content,
    /// Whether it wins over a file of a layer below.
    pub replaces: bool,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text of the recipe.
    Text(String),
    /// A copy of a local file, relative to the recipe's folder.
    Source(String),
    /// A symbolic link's target.
    Symlink(String),
}

impl Recipe {
    /// A local path of the recipe, to open it.
    pub fn local(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Whether kernel modules are proven against the headers that belong to the base's kernel.
    pub fn wants_headers(&self) -> bool {
        !self.kernel_modules.is_empty() && self.module_proof.symvers.is_none() && self.base.debian().is_some()
    }

    /// Where kernel modules come from.
    fn module_origins(&self) -> impl Iterator<Item = &ModuleOrigin> {
        self.kernel_modules.iter().flat_map(|module| &module.mappings).map(|(_, origin)| origin)
    }

    /// Every local folder or archive with kernel modules, each once, sorted.
    pub fn module_sources(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.module_origins().filter_map(ModuleOrigin::path).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Every local file that decides the image, each once, sorted: copied into it, packages with kernel modules, or what these are proven
    /// against.
    pub fn local_files(&self) -> Vec<&str> {
        let sources = self.files.values().filter_map(|file| match &file.content {
            Content::Source(path) => Some(path.as_str()),
            Content::Text(_) | Content::Symlink(_) => None,
        });
        let keys = self.sign.commit.iter().chain(&self.sign.image).map(String::as_str);
        let kernel = self.module_proof.symvers.iter().chain(&self.module_proof.keys).map(String::as_str);
        let debs = self.module_origins().filter_map(ModuleOrigin::deb);
        let signers = self.kernel_modules.iter().filter_map(|module| Some(module.sign.as_ref()?.certificate.as_str()));
        let mut paths: Vec<_> = sources.chain(keys).chain(kernel).chain(debs).chain(signers).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

/// Reads the recipe at `path` with its fragments, and looks at the local files and folders that it names.
///
/// # Errors
/// All problems at once. The kind is [`crate::failure::Kind::Input`] when there is no such recipe.
pub fn read(path: &Path) -> Result<Recipe, Problems> {
    let (folder, loaded) = loaded(path)?;
    check::all(loaded, folder, check::LocalInputs::Examine)
}

/// The folder of the recipe at `path`, and everything that was read.
fn loaded(path: &Path) -> Result<(&Path, load::Loaded), Problems> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let shown = folder.map(|folder| format!("{}/", folder.display().to_string().trim_end_matches('/'))).unwrap_or_default();
    let folder = folder.unwrap_or(Path::new("."));
    let reader = |inner: &str| fs::read_to_string(folder.join(inner));
    Ok((folder, load::load(&name, &shown, &reader)?))
}

/// Where the recipe at `path` (or a fragment) has what a failure is about: only a build finds out that no layer has a unit, and a plan
/// does not keep places. None when the recipe does not say it: it came by itself.
pub fn locate(path: &Path, mention: &Mention) -> Option<Position> {
    let load::Loaded { sources, written, .. } = loaded(path).ok()?.1;
    let value = mention.value.as_str();
    let among = |list: &[Placed<String>]| list.iter().find(|item| item.value == value).map(|item| item.place);
    let place = match mention.key {
        "systemd.enable" => among(&written.systemd.enable),
        "systemd.disable" => among(&written.systemd.disable),
        "systemd.mask" => among(&written.systemd.mask),
        "tuned.active" => written.tuned.and_then(|tuned| tuned.active).map(|active| active.place),
        "tuned.profiles" => written.tuned.and_then(|tuned| among(&tuned.profiles)),
        "tuned.variables" => {
            let variables = written.tuned.and_then(|mut tuned| tuned.variables.remove(value));
            variables.and_then(|variables| variables.into_values().next()).map(|value| value.place)
        }
        "firstboot.tuned.profile" => {
            let wished = written.firstboot.as_ref().map(|desired| wished_profiles(desired)).unwrap_or_default();
            wished.into_iter().find(|profile| profile.value == value).map(|profile| profile.place)
        }
        "users" => written.users.get(value).map(|user| user.uid.place),
        "ssh.root-keys" => written.ssh.root_keys.first().map(|key| key.place),
        "sign.commit" => written.sign.commit.map(|path| path.place),
        "sign.image" => written.sign.image.map(|path| path.place),
        "agent.path" => written.agent.path.map(|path| path.place),
        "kernel-module" => {
            written.kernel_modules.iter().find(|module| module.name.value == value).map(|module| module.name.place)
        }
        "overlay" => {
            let names = written.overlays.iter().filter_map(|overlay| overlay.path.as_ref().or(overlay.builtin.as_ref()));
            names.into_iter().find(|name| name.value == value).map(|name| name.place)
        }
        "file" => {
            let is_it = |path: &TreePath| path.to_string() == value;
            let mut paths = written.files.iter().map(|file| &file.path);
            paths.find(|path| TreePath::parse(path).as_ref().is_ok_and(is_it)).map(|path| path.place)
        }
        _ => None,
    };
    place.map(|place| sources.position(place))
}

/// The same as [`read`], as a failure of the program.
///
/// # Errors
/// As [`read`].
pub fn load(path: &Path) -> Result<Recipe, Failure> {
    read(path).map_err(Failure::from)
}

/// Reads a recipe without includes from memory. Pure: the local files that it names are not looked at. `name` is for messages.
///
/// # Errors
/// All problems at once.
pub fn parse(name: &str, text: &str) -> Result<Recipe, Problems> {
    let reader = |inner: &str| match inner == name {
        true => Ok(text.to_owned()),
        false => Err(std::io::ErrorKind::NotFound.into()),
    };
    check::all(load::load(name, "", &reader)?, Path::new("."), check::LocalInputs::Ignore)
}

/// The recipe's JSON schema, as committed in `image-recipes/recipe.schema.json`.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schema_value()).expect("a schema of ours is always JSON");
    text.push('\n');
    text
}

fn schema_value() -> serde_json::Value {
    shape::schema::<Written>()
}

#[cfg(test)]
mod tests;
