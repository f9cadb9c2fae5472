//! The lock: every input of a recipe pinned by digest, a section for each architecture.
//!
//! Architecture invariant: only this stage may ask the network which version is current, and only it changes a digest.

mod base;
mod diff;
mod file;
mod refresh;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::tree::TreePath;

pub use base::{LockedBase, LockedBlob, LockedDebian, LockedImage, LockedTree};
pub use diff::{Change, Changes, diff};
pub use file::{BadLock, path_for, read, write};
pub use refresh::{
    Answer, Inputs, Mode, OVERLAY_KIND, PinnedModules, Question, Resolver, TREE_KIND, pin_modules, question, refresh,
};

/// The version of the file format.
pub const VERSION: u32 = 1;

/// A lock file: `<recipe>.lock` beside the recipe, TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// [`VERSION`].
    pub version: u32,
    /// The recipe's name.
    pub recipe: String,
    /// What is pinned, for each architecture.
    pub architecture: BTreeMap<Architecture, Section>,
}

/// What is pinned for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Section {
    /// The newest date among the inputs, in seconds since 1970: the image's time.
    pub date: i64,
    /// The release of the base's kernel, when the recipe has kernel modules whose source depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What the base is made from.
    pub base: LockedBase,
    /// First-boot agent, when the recipe wants it.
    pub agent: Option<LockedFile>,
    /// Update client, when the recipe wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_client: Option<LockedFile>,
    /// Local folders.
    #[serde(default, rename = "overlay", skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<LockedOverlay>,
    /// Local folders with kernel modules.
    #[serde(default, rename = "kernel-module", skip_serializing_if = "Vec::is_empty")]
    pub kernel_modules: Vec<LockedOverlay>,
    /// What has tuned's profiles.
    #[serde(default, rename = "tuned", skip_serializing_if = "Vec::is_empty")]
    pub tuned: Vec<LockedOverlay>,
    /// Container images with kernel modules for it.
    #[serde(default, rename = "module-image", skip_serializing_if = "Vec::is_empty")]
    pub module_images: Vec<LockedImage>,
    /// Packages with kernel modules for it: not installed.
    #[serde(default, rename = "module-package", skip_serializing_if = "Vec::is_empty")]
    pub module_packages: Vec<LockedPackage>,
    /// Local files that `[[file]]` names.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
    /// Every package of a base of kind `debian`, by name.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<LockedPackage>,
    /// The headers of each kernel among them, when the recipe has kernel modules: not installed, but what the kernel exports is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<LockedPackage>,
}

/// A Debian package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Binary package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Of the .deb file.
    pub sha256: Digest,
    /// Of the .deb file, in bytes.
    pub size: u64,
    /// Below the mirror: `pool/main/...`.
    pub filename: String,
    /// Which of the suite's archives has it: `trixie`, `trixie-security` ...
    pub archive: String,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
}

/// A local file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedFile {
    /// As the recipe names it.
    pub name: String,
    /// Of its bytes.
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

/// A local folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedOverlay {
    /// As the recipe names it.
    pub name: String,
    /// Of the tree that it becomes ([`crate::tree::dump::digest`]).
    pub digest: Digest,
    /// Its files and links, so that a difference can be named.
    pub files: BTreeMap<TreePath, Digest>,
}

impl LockedPackage {
    /// The package with the headers of the kernel that this one is. None where it is no kernel.
    pub fn headers(&self) -> Option<String> {
        self.kernel().map(|release| format!("linux-headers-{release}"))
    }

    /// The package with its headers among `all`, or the name and version of what is missing there. None where it is no kernel.
    pub fn headers_among<'a>(&self, mut all: impl Iterator<Item = &'a Self>) -> Option<Result<&'a Self, String>> {
        let name = self.headers()?;
        let found = all.find(|other| other.name == name && other.version == self.version);
        Some(found.ok_or_else(|| format!("{name} {}", self.version)))
    }

    /// The release of the kernel that this package is. None where it is no kernel.
    pub fn kernel(&self) -> Option<&str> {
        let release = self.name.strip_prefix("linux-image-")?.trim_end_matches("-unsigned");
        release.starts_with(|c: char| c.is_ascii_digit()).then_some(release)
    }
}

impl Section {
    /// Puts everything into the order of the file, so that equal sections are equal bytes.
    pub fn sort(&mut self) {
        self.overlays.sort_by(|a, b| a.name.cmp(&b.name));
        self.kernel_modules.sort_by(|a, b| a.name.cmp(&b.name));
        self.tuned.sort_by(|a, b| a.name.cmp(&b.name));
        self.module_images.sort_by(|a, b| a.from.cmp(&b.from));
        self.module_packages.sort_by(|a, b| a.name.cmp(&b.name));
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        self.packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        self.headers.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

#[cfg(test)]
mod tests;
