//! From layers to one tree, and from the tree to an OSTree commit.
//!
//! ```text
//! [Layer] --assemble--> Tree --write--> Commit (in the store's repository)
//! ```
//!
//! [`assemble()`] is pure: it merges, then applies OSTree's rules, one file of this folder each: [`kernel`](self) finds the one kernel,
//! `layout` makes the links at the top, `menu` leaves the boot menu to deployments, `var` turns what lies under `/var` into
//! tmpfiles.d lines, `identity` says which image this is, `shadow` leaves root's password to a credential, `label` gives everything
//! its SELinux label where the tree has a policy. [`write()`] hands the tree to libostree; only what the repository does not know yet is read.

mod assemble;
#[cfg(test)]
pub(crate) mod fixture;
mod gc;
mod identity;
mod kernel;
mod known;
mod label;
mod layout;
mod menu;
mod object;
pub mod read;
mod repository;
mod shadow;
#[cfg(test)]
mod tests;
mod var;
mod write;

pub use assemble::{assemble, merged};
pub use gc::{Pruned, objects, prune};
pub use label::Labels;
pub use object::{MetadataObject, ObjectKind, leaf_checksum, object_set, xattrs_bytes as xattrs};
pub use write::write;

use std::collections::BTreeMap;

use basalt_contract::KernelArgument;

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::tree::{Node, Tree, TreePath};

/// The version of the kernel of a commit's tree. None when it has none: nothing boots from it.
pub fn kernel_version(tree: &Tree) -> Option<&str> {
    let modules = TreePath::parse("/usr/lib/modules").ok().and_then(|path| tree.directory(&path))?;
    let has_kernel = |node: &Node| matches!(node, Node::Directory(inner) if inner.children.contains_key("vmlinuz"));
    modules.children.iter().find(|(_, node)| has_kernel(node)).map(|(name, _)| name.as_str())
}

/// Which image a tree becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Name of the recipe.
    pub name: String,
    /// Version, as the recipe says.
    pub version: String,
    /// The plan's identity.
    pub plan_id: Digest,
    /// What it runs on.
    pub architecture: Architecture,
    /// The image's own time, in seconds since 1970.
    pub time: i64,
}

/// What a commit says besides its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Which image.
    pub image: Image,
    /// The ref that names the commit in a repository: `basalt/gpu-node/amd64`.
    pub branch: String,
    /// The layers it was merged from, lowest first: name and digest.
    pub layers: Vec<(String, Digest)>,
    /// Kernel arguments of its deployments beside `root=` and `ostree=`, and who asked for each.
    pub kernel_arguments: Vec<KernelArgument>,
}

/// A commit that is in the store's repository, with all that is needed to lay out a repository that holds just it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its checksum: OSTree's name of it.
    pub checksum: Digest,
    /// What was asked for.
    pub info: CommitInfo,
    /// The repository that holds it.
    pub repository: std::path::PathBuf,
    /// The commit, its folders and their owners and modes, byte by byte, sorted by name. None twice.
    pub metadata: Vec<MetadataObject>,
    /// Each file and link of the tree: the checksum of its object.
    pub files: BTreeMap<TreePath, Digest>,
}
