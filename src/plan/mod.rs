//! The plan: a recipe and its lock, fully resolved. `plan --json` prints exactly what `build` takes.
//!
//! Architecture invariant: resolving touches no network, clock or disk. The same [`PlanId`] gives the same bytes.

mod diff;
mod explain;
mod firstboot;
mod json;
mod kernel_arguments;
mod modules;
mod outputs;
mod resolve;
mod signer;
mod tuned;

use std::collections::BTreeMap;

use basalt_contract::KernelArgument;
use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::format::packed::Packing;
use crate::lock::{LockedImage, LockedPackage};
use crate::tree::TreePath;

pub use diff::diff;
pub use explain::explain;
pub use firstboot::Firstboot;
pub use json::BadPlan;
pub use kernel_arguments::contradictory;
pub use modules::{ModuleSource, mappings};
pub use outputs::{Check, Disk, Format};
pub use resolve::{StaleLock, Unresolved, resolve};
pub use signer::ModuleSigner;
pub use tuned::{Tuned, TunedSource};

/// The version of the plan's JSON, and of the rules by which a plan becomes bytes: whatever changes them changes this.
pub const VERSION: u32 = 2;

/// Everything that decides the bytes of an image, and which artefacts are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the image: also the OSTree stateroot's and the branch's.
    pub name: String,
    /// Version of the image, as the recipe says.
    pub image_version: String,
    /// What it runs on.
    pub architecture: Architecture,
    /// The image's time, in seconds since 1970: the newest date among the lock's inputs.
    pub time: i64,
    /// The lowest layer.
    pub base: Base,
    /// The layers above it, lowest first.
    pub layers: Vec<Layer>,
    /// Kernel arguments, in order, with who asks for each: without those that Basalt adds itself (`root=`, `ostree=`), and without those of
    /// the active profile of tuned, which are known when its layer is there ([`Plan::all_kernel_arguments`]). Places in the recipe are not
    /// part of the identity.
    pub kernel_args: Vec<KernelArgument>,
    /// The disk's layout.
    pub disk: Disk,
    /// Where the node looks for updates later; becomes the deployment's origin.
    pub update: Option<String>,
    /// What `basalt test` asks a booted image. Not part of the identity.
    pub checks: Vec<Check>,
    /// The artefacts wanted. Not part of the identity: each is decided by the rest.
    pub outputs: Vec<Format>,
}

/// The lowest layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Base {
    /// Debian packages, unpacked and configured, with an initramfs.
    Debian {
        /// `trixie`.
        suite: String,
        /// Exactly these are installed.
        packages: Vec<LockedPackage>,
        /// Fixed numbers of system users, so that they stay the same when packages come and go.
        users: BTreeMap<String, u32>,
        /// Fixed numbers of system groups.
        groups: BTreeMap<String, u32>,
        /// Where to fetch what the cache lacks, for this build. Not part of the identity.
        mirror: Option<String>,
    },
    /// A container image. Where to fetch it is not part of the identity.
    Oci(LockedImage),
    /// The files of a system, imported into the store when they were locked.
    Tree {
        /// Digest of the tree without times: the key of the store's entry.
        digest: Digest,
    },
}

/// One layer above the base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// `overlay 10-basalt-node`, `agent`, `update-client`, `kernel-modules`, `files`, `tuned`, `settings`.
    pub name: String,
    /// Paths (a folder means all below it) where this layer wins over the ones under it.
    pub replaces: Vec<TreePath>,
    /// What it is made of.
    pub content: LayerContent,
}

/// What a layer is made of. One producer for each kind: see `layer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum LayerContent {
    /// A local folder, imported into the store when it was locked.
    Overlay {
        /// Digest of its tree: the key of the store's entry.
        digest: Digest,
    },
    /// The first-boot agent's program: a blob of the store.
    Agent {
        /// Of the program.
        sha256: Digest,
        /// In bytes.
        size: u64,
    },
    /// The update client's program: a blob of the store.
    UpdateClient {
        /// Of the program.
        sha256: Digest,
        /// In bytes.
        size: u64,
    },
    /// Files that the recipe names one by one.
    Files {
        /// Target path to file.
        files: BTreeMap<TreePath, FileSpec>,
    },
    /// Kernel modules that others built.
    KernelModules(KernelModules),
    /// Profiles of tuned, and which are active.
    Tuned(Tuned),
    /// Whose signatures the node demands of its updates.
    Trust(Trust),
    /// What the recipe says of units, users, host name, network and nodes; made into files once the layers below are known.
    Settings(Settings),
}

/// Kernel modules that others built, and what they are proven against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelModules {
    /// One for each `[[kernel-module]]`, in the recipe's order.
    pub sets: Vec<ModuleSet>,
    /// What the kernel exports: a `Module.symvers`, perhaps compressed; a blob of the store. None: `headers` or the base has it.
    pub symvers: Option<Key>,
    /// The packages with the headers of the base's kernels, which are not installed.
    pub headers: Vec<LockedPackage>,
    /// Certificates of the machine's owner (MOK), which sign modules beside those in the kernel: blobs of the store.
    pub keys: Vec<Key>,
    /// Whether the image boots with Secure Boot: its kernel loads signed modules only.
    pub secure_boot: bool,
}

/// Modules that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleSet {
    /// As the recipe calls it; also the folder that they lie in.
    pub name: String,
    /// Which modules for which kernel: the first that matches counts.
    pub mappings: Vec<ModuleMapping>,
    /// The folder of the source that has `lib/modules`. None: where one usually is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<TreePath>,
    /// The folder of the source with firmware.
    pub firmware: Option<TreePath>,
    /// Loaded at boot, in this order.
    pub load: Vec<String>,
    /// Loaded in the initramfs, in this order.
    pub load_early: Vec<String>,
    /// Who signs them. None: they stay as they are.
    pub sign: Option<ModuleSigner>,
    /// How they are packed. None: as the kernel's own.
    pub compress: Option<Packing>,
    /// Module to parameters.
    pub parameters: BTreeMap<String, String>,
    /// Never loaded for a device.
    pub blacklist: Vec<String>,
    /// The kernel's own modules that go.
    pub remove: Vec<String>,
    /// What may stand in the way of these modules: [`crate::kmod::prove::KINDS`].
    pub allow: Vec<String>,
}

/// Modules for some kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleMapping {
    /// For which.
    pub kernel: KernelMatch,
    /// Where they come from.
    pub source: ModuleSource,
}

/// For which kernels something is, by their release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelMatch {
    /// For each.
    Any,
    /// For this one.
    Literal(String),
    /// For those whose release has a part that matches.
    Regexp(String),
}

/// Whose signatures the node demands of its updates: public keys, blobs of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trust {
    /// OpenPGP keys, for commits.
    pub commit: Option<Key>,
    /// An ECDSA P-256 key in PEM, for OCI images.
    pub image: Option<Key>,
    /// The repository whose images the key is for. None: all of every registry.
    pub repository: Option<String>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Key {
    /// Of the file.
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

impl Trust {
    /// The keys that there are, each with what it is for.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, &Key)> {
        [("commit", &self.commit), ("image", &self.image)].into_iter().filter_map(|(what, key)| Some((what, key.as_ref()?)))
    }
}

/// One file of `[[file]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSpec {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes, values in base64.
    pub xattrs: BTreeMap<String, String>,
    /// What it holds.
    pub content: FileContent,
}

/// What a file of the recipe holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum FileContent {
    /// Text written in the recipe.
    Text(String),
    /// A blob of the store.
    Blob {
        /// Of the bytes.
        sha256: Digest,
        /// In bytes.
        size: u64,
    },
    /// A symbolic link's target.
    Symlink(String),
}

/// What the recipe says of units, users, host name and network, and of what its nodes should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Units to enable: their `[Install]` section decides the links.
    pub enable: Vec<String>,
    /// Units to disable: links of the base go, a preset keeps them off.
    pub disable: Vec<String>,
    /// Units to mask.
    pub mask: Vec<String>,
    /// People and services to make.
    pub users: BTreeMap<String, User>,
    /// Keys that may log in as root.
    pub root_ssh_keys: Vec<String>,
    /// `/etc/hostname`.
    pub host_name: Option<String>,
    /// systemd-networkd's files: name to text.
    pub network: BTreeMap<String, String>,
    /// Desired state, for the agent.
    #[serde(default, skip_serializing_if = "Firstboot::is_empty")]
    pub firstboot: Firstboot,
}

/// A user of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Number; also of the group with the same name.
    pub uid: u32,
    /// Further groups.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// Keys that may log in.
    pub ssh_keys: Vec<String>,
}

/// The identity of a plan: the digest of everything that decides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub Digest);

impl std::fmt::Display for PlanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Base {
    /// Its packages, when it is made of packages.
    pub fn packages(&self) -> &[LockedPackage] {
        match self {
            Self::Debian { packages, .. } => packages,
            Self::Oci(_) | Self::Tree { .. } => &[],
        }
    }
}

impl Plan {
    /// The kernel modules that others built, if there are any.
    pub fn kernel_modules(&self) -> Option<&KernelModules> {
        self.layers.iter().find_map(|layer| match &layer.content {
            LayerContent::KernelModules(modules) => Some(modules),
            _ => None,
        })
    }

    /// Whose signatures the node demands, if it does.
    pub fn trust(&self) -> Option<&Trust> {
        self.layers.iter().find_map(|layer| match &layer.content {
            LayerContent::Trust(trust) => Some(trust),
            _ => None,
        })
    }

    /// Its identity: the digest of its JSON without outputs, checks, mirror and places in the recipe.
    pub fn id(&self) -> PlanId {
        let mut plan = self.clone();
        plan.outputs.clear();
        plan.checks.clear();
        plan.kernel_args = self.placeless_kernel_args();
        match &mut plan.base {
            Base::Debian { mirror, .. } => *mirror = None,
            Base::Oci(image) => image.from.clear(),
            Base::Tree { .. } => {}
        }
        plan.layers.iter_mut().for_each(modules::forget_places);
        PlanId(Digest::of_value(&plan))
    }
}
