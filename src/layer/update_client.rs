//! The update client's program, from a blob of the store: libostree finds it as its external command `container`, so that a node pulls
//! its next version from a registry with `ostree container image`. It is built by `firstboot/container/build.sh`; skopeo, which it
//! runs, is a package of the base.

use anyhow::Result;

use super::agent::blob;
use crate::digest::Digest;
use crate::store::Store;
use crate::tree::{Meta, Node, Tree, TreePath};

/// Where libostree looks for `ostree container`.
pub const PATH: &str = "/usr/libexec/libostree/ext/ostree-container";

/// The tree with the program.
pub fn produce(sha256: Digest, size: u64, store: &Store) -> Result<Tree> {
    let content = blob(store, sha256, size, "the update client's program")?;
    let mut tree = Tree::new();
    tree.put(&TreePath::parse(PATH)?, Node::file(Meta::root(0o755), content))?;
    Ok(tree)
}
