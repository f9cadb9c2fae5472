//! A recipe or fragment as it is written in TOML. Everything is optional here: a fragment says a part, `check` judges the whole.
//!
//! These types are the one description of the format: serde reads with them, the JSON schema and [`super::shape`] are made from
//! them, and their comments are the schema's descriptions.

use std::collections::BTreeMap;

use basalt_contract::Desired;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Placed;
use crate::architecture::Architecture;
use crate::format::packed::Packing;
use crate::kmod::signing::Hash;
use crate::plan::Format;

/// A recipe: what an image is made of. A fragment has the same keys.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(title = "Basalt recipe", rename = "Recipe")]
pub struct Written {
    /// Fragments to take in first, relative to the file that names them. What this file says wins over what they say.
    pub include: Vec<Placed<String>>,
    /// Name of the image: lower-case letters, digits and `-`.
    pub name: Option<Placed<String>>,
    /// Version of the image, as the node will report it.
    pub version: Option<Placed<String>>,
    /// What the image runs on. Without it: `["amd64"]`.
    pub architectures: Option<Placed<Vec<Placed<Architecture>>>>,
    /// Packages to add to those of the base.
    pub packages: Vec<Placed<String>>,
    /// `/etc/hostname`. Without it the node takes its name from DHCP or the agent.
    pub host_name: Option<Placed<String>>,
    /// The lowest layer.
    pub base: Base,
    /// Folders or tar archives laid over the base, in this order.
    #[serde(rename = "overlay")]
    pub overlays: Vec<Overlay>,
    /// Single files.
    #[serde(rename = "file")]
    pub files: Vec<File>,
    /// The kernel.
    pub kernel: Kernel,
    /// Kernel modules that others built, laid beside the kernel's own once it is proven that the kernel loads them.
    #[serde(rename = "kernel-module")]
    pub kernel_modules: Vec<KernelModule>,
    /// Profiles of tuned. Where this is there, those that come with Basalt are in the image, and tuned runs.
    pub tuned: Option<Tuned>,
    /// Units of systemd.
    pub systemd: Systemd,
    /// People and services that may log in, by name.
    pub users: BTreeMap<String, User>,
    /// Who may log in as root.
    pub ssh: Ssh,
    /// Files of systemd-networkd.
    #[serde(rename = "network")]
    pub networks: Vec<Network>,
    /// The disk's layout.
    pub disk: Disk,
    /// Where the node looks for updates.
    pub update: Update,
    /// Whose signatures the node demands of its updates.
    pub sign: Sign,
    /// What is made.
    pub outputs: Outputs,
    /// The first-boot agent.
    pub agent: Agent,
    /// What the image's nodes should be: desired state, which the agent reads on the node. Files there come after it and win.
    pub firstboot: Option<Placed<Desired>>,
    /// What `basalt test` asks the booted image.
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
}

/// Kinds of bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Debian packages.
    Debian,
    /// A container image that has a kernel: `from`.
    Oci,
    /// A folder or tar archive with the files of a system: `path`.
    Tree,
}

/// The lowest layer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Base {
    /// Where it comes from. Without it: `debian`.
    pub kind: Option<Placed<BaseKind>>,
    /// Kind `oci`: `registry/path:tag`, `oci:FOLDER[:TAG]` or `oci-archive:FILE[:TAG]`. The lock pins it by digest.
    pub from: Option<Placed<String>>,
    /// Kind `tree`: a folder, or a tar archive (plain, gzip or zstd), relative to this file.
    pub path: Option<Placed<String>>,
    /// Debian's suite. Without it: `trixie`.
    pub suite: Option<Placed<String>>,
    /// Components of the archive. Without it: `["main"]`.
    pub components: Option<Placed<Vec<Placed<String>>>>,
    /// The mirror, an http, https or file address. Without it: the one that this machine's apt uses.
    pub mirror: Option<Placed<String>>,
    /// The keys that sign the archive: a local file. Without it: this machine's Debian archive keyring.
    pub keyring: Option<Placed<String>>,
    /// Packages, beside those that make every image boot. `NAME/SUITE`: from another suite of the archive, such as `trixie-backports`.
    pub packages: Vec<Placed<String>>,
    /// True leaves out what makes every image boot: default packages, shipped overlays and agent. The recipe names its own.
    pub minimal: Option<Placed<bool>>,
    /// Fixed numbers of system users, so that they stay the same when packages come and go.
    pub users: BTreeMap<String, Placed<u32>>,
    /// Fixed numbers of system groups.
    pub groups: BTreeMap<String, Placed<u32>>,
}

/// A folder or tar archive laid over the layers below. A folder's files become root's, with mode 0644, or 0755 where the owner may
/// execute; an archive's keep owner, mode, extended attributes and hard links.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Overlay {
    /// A local folder or plain tar archive, relative to this file. It is the image's `/`.
    pub path: Option<Placed<String>>,
    /// Instead of `path`: an overlay that comes with Basalt, by name.
    pub builtin: Option<Placed<String>>,
    /// Paths (a folder means all below it) where this overlay wins over the layers below.
    pub replaces: Vec<Placed<String>>,
    /// Modes that are neither 0644 nor 0755: `{ "/etc/sudoers.d/ops" = "0440" }`.
    pub modes: BTreeMap<String, Placed<String>>,
}

/// One file or symbolic link: exactly one of `text`, `source` and `symlink`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Where it lies in the image.
    pub path: Placed<String>,
    /// What it holds.
    pub text: Option<Placed<String>>,
    /// A local file that it is a copy of, relative to this file.
    pub source: Option<Placed<String>>,
    /// What it points to.
    pub symlink: Option<Placed<String>>,
    /// Permission bits in octal. Without it: `"0644"`.
    pub mode: Option<Placed<String>>,
    /// Owner. Without it: 0.
    pub uid: Option<u32>,
    /// Group. Without it: 0.
    pub gid: Option<u32>,
    /// Extended attributes by full name. A value is text, or base64 after `0s`.
    #[serde(default)]
    pub xattrs: BTreeMap<String, Placed<String>>,
    /// Whether it wins over a file of a layer below.
    #[serde(default)]
    pub replaces: bool,
}

/// The kernel.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Kernel {
    /// Arguments, in order. Basalt adds `root=` and `ostree=` itself.
    pub args: Vec<Placed<String>>,
    /// What the kernel exports, for the proof of `[[kernel-module]]`: its `Module.symvers`, perhaps compressed, relative to this file.
    /// Without it: the headers of a Debian base's kernel, which the lock pins, or what the base has.
    pub symvers: Option<Placed<String>>,
    /// Whether nodes boot with Secure Boot, so that the kernel loads signed modules only. Without it: true.
    pub secure_boot: Option<Placed<bool>>,
    /// Certificates of the machines' owner (MOK) that sign kernel modules: local files in DER or PEM. Those in the kernel count anyway.
    pub module_keys: Vec<Placed<String>>,
}

/// Kernel modules that others built, from one source: exactly one of `path`, `from`, `deb`, `packages` and `kernel-mappings`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelModule {
    /// What they are called: also the folder below `updates/` that they lie in.
    pub name: Placed<String>,
    /// A folder or plain tar archive with modules (`.ko`, perhaps with `.gz`, `.xz` or `.zst`), relative to this file, for each kernel.
    /// Where it has `opt/lib/modules/RELEASE` (as KMM's images do) or `lib/modules/RELEASE`, those of the image's kernel count.
    pub path: Option<Placed<String>>,
    /// A container image in KMM's layout: `registry/path:tag`, `oci:FOLDER[:TAG]` or `oci-archive:FILE[:TAG]`. `${KERNEL_FULL_VERSION}`
    /// and KMM's other variables stand for the image's kernel. The lock pins it by digest.
    pub from: Option<Placed<String>>,
    /// A Debian package with modules: a local `.deb`, relative to this file.
    pub deb: Option<Placed<String>>,
    /// Packages with modules of the base's Debian archive, by name. KMM's variables are filled in; `${KERNEL_FULL_VERSION}` is the
    /// release as it is. They are not installed, and nothing that they depend on comes along.
    #[serde(default)]
    pub packages: Vec<Placed<String>>,
    /// What `${MOD_NAMESPACE}` stands for. `${MOD_NAME}` is the entry's name.
    pub namespace: Option<Placed<String>>,
    /// The folder of the source that has `lib/modules/RELEASE`. Without it: `/opt` (KMM's), `/usr` or `/`, whichever has one.
    pub dir_name: Option<Placed<String>>,
    /// Which modules for which kernel: the first that matches counts.
    #[serde(default)]
    pub kernel_mappings: Vec<KernelMapping>,
    /// The folder of the source with firmware, as it is seen there: `/firmware`.
    pub firmware: Option<Placed<String>>,
    /// Modules to load at boot, in this order.
    #[serde(default)]
    pub load: Vec<Placed<String>>,
    /// Modules that the initramfs has, too, with all that they need, and loads before it looks for the root filesystem, in this order.
    #[serde(default)]
    pub load_early: Vec<Placed<String>>,
    /// Signs these modules anew. Without it: they keep the signatures that they have.
    pub sign: Option<ModuleSign>,
    /// How they lie in the image: `none`, `xz`, `zst`, or `gz`, which the modprobe of Debian does not read. Without it: as the
    /// kernel's own.
    pub compress: Option<Placed<Packing>>,
    /// Parameters by module: `{ nvidia = "NVreg_EnableGpuFirmware=1" }`.
    #[serde(default)]
    pub parameters: BTreeMap<String, Placed<String>>,
    /// Modules that are never loaded for a device, in the initramfs neither: `["nouveau"]`.
    #[serde(default)]
    pub blacklist: Vec<Placed<String>>,
    /// The kernel's own modules that go, because these take their place.
    #[serde(default)]
    pub in_tree_modules_to_remove: Vec<Placed<String>>,
    /// What may stand in the way of these modules, as the proof names it: `["firmware"]`. Written into the manifest.
    #[serde(default)]
    pub allow: Vec<Placed<String>>,
}

/// Who signs kernel modules. The private key is named on the command line: `basalt build --module-key` or `--module-command`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleSign {
    /// The certificate of the key: a local file in PEM or DER. Nodes trust it when `kernel.module-keys` names it, too.
    pub certificate: Placed<String>,
    /// Without it: as the kernel's own modules are signed.
    pub hash: Option<Placed<Hash>>,
}

/// Modules for some kernels: exactly one of `literal` and `regexp`, as in KMM, and exactly one of `path`, `from`, `deb` and `packages`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelMapping {
    /// The kernel's release: `6.12.117+deb13-amd64`.
    pub literal: Option<Placed<String>>,
    /// A regular expression that matches a part of the release; `^` and `$` make it the whole.
    pub regexp: Option<Placed<String>>,
    /// A folder or tar archive, as `path` of a kernel module.
    pub path: Option<Placed<String>>,
    /// A container image, as `from` of a kernel module.
    pub from: Option<Placed<String>>,
    /// A local `.deb`.
    pub deb: Option<Placed<String>>,
    /// Packages of the base's archive, as `packages` of a kernel module.
    #[serde(default)]
    pub packages: Vec<Placed<String>>,
}

/// Profiles of tuned. The image needs tuned itself: `packages = ["tuned"]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tuned {
    /// Folders or plain tar archives, relative to this file, with a folder for each profile: `NAME/tuned.conf`.
    pub profiles: Vec<Placed<String>>,
    /// The profile that is active, or several with spaces between them: of what two say, the later one counts.
    pub active: Option<Placed<String>>,
    /// Variables by profile: they go into its file `/etc/tuned/NAME-variables.conf`.
    pub variables: BTreeMap<String, BTreeMap<String, Placed<String>>>,
}

/// Units of systemd.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Systemd {
    /// Units to enable: their `[Install]` section decides the links.
    pub enable: Vec<Placed<String>>,
    /// Units to disable.
    pub disable: Vec<Placed<String>>,
    /// Units that must never start.
    pub mask: Vec<Placed<String>>,
}

/// A user of the image. Passwords come as a systemd credential, never in a recipe.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Number; also of the group with the same name.
    pub uid: Placed<u32>,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<Placed<String>>,
    /// Login shell.
    pub shell: Option<Placed<String>>,
    /// Public keys that may log in.
    #[serde(default)]
    pub ssh_keys: Vec<Placed<String>>,
}

/// Who may log in as root.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Ssh {
    /// Public keys.
    pub root_keys: Vec<Placed<String>>,
}

/// A file of systemd-networkd: exactly one of `text` and `source`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// File name: `20-wired.network`, or ending in `.netdev` or `.link`.
    pub name: Placed<String>,
    /// What it holds.
    pub text: Option<Placed<String>>,
    /// A local file that it is a copy of, relative to this file.
    pub source: Option<Placed<String>>,
}

/// The disk's layout. Sizes are like `"512M"` or `"2G"` (powers of 1024), or `"auto"`: as small as the content allows.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Disk {
    /// 512 or 4096 bytes. Without it: 512.
    pub sector_size: Option<Placed<u32>>,
    /// EFI system partition.
    pub esp_size: Option<Placed<String>>,
    /// Boot filesystem: room for the kernels of two deployments.
    pub boot_size: Option<Placed<String>>,
    /// Root filesystem. It grows to its disk at first boot.
    pub root_size: Option<Placed<String>>,
}

/// Where the node looks for updates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Update {
    /// A container image: `registry.example.org/basalt/gpu-node:stable`.
    pub image: Option<Placed<String>>,
    /// Whether the image has what pulls from a registry: `ostree container` and skopeo. Without it: true when `image` is there.
    pub client: Option<Placed<bool>>,
}

/// Whose signatures the node demands of its updates: public keys. With a private key `basalt build` or `basalt sign` signs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Sign {
    /// OpenPGP keys of which one signs each commit: a local file, as `gpg --export` writes it. libostree verifies.
    pub commit: Option<Placed<String>>,
    /// The ECDSA P-256 key that signs each OCI image, as cosign does: a local PEM file. The node pulls no image without.
    pub image: Option<Placed<String>>,
}

/// What is made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Outputs {
    /// What to make: the disk as `raw` or `qcow2`, the image for a registry as `oci`. Without it: `["raw"]`.
    pub formats: Option<Placed<Vec<Placed<Format>>>>,
}

/// The first-boot agent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Agent {
    /// Whether the image has it. Without it: true, but false with a minimal base.
    pub enable: Option<Placed<bool>>,
    /// Its program, relative to this file. Without it: the one that was installed with Basalt.
    pub path: Option<Placed<String>>,
}

/// A question to the booted image: a program, and the answer that is right.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// For people.
    pub name: Placed<String>,
    /// Program and arguments. No shell sees them.
    pub run: Placed<Vec<String>>,
    /// Exit status needed.
    #[serde(default)]
    pub status: i32,
    /// What standard output must be, without white space at both ends.
    pub stdout: Option<String>,
    /// What standard output must contain.
    pub contains: Option<String>,
}
