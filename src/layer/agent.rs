//! The first-boot agent's program, from a blob of the store.

use anyhow::Result;

use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::store::Store;
use crate::tree::{Content, Meta, Node, Tree, TreePath};

/// Where the agent's program lies in an image.
pub const PATH: &str = "/usr/bin/basalt-firstboot";

/// The tree with the program.
pub fn produce(sha256: Digest, size: u64, store: &Store) -> Result<Tree> {
    let content = blob(store, sha256, size, "the first-boot agent's program")?;
    let mut tree = Tree::new();
    tree.put(&TreePath::parse(PATH)?, Node::file(Meta::root(0o755), content))?;
    Ok(tree)
}

/// A blob that a plan names, as a content; `what` is for the message when the store lacks it.
pub(super) fn blob(store: &Store, sha256: Digest, size: u64, what: &str) -> Result<Content> {
    let pack = store.blob(&sha256)?.ok_or_else(|| {
        Failure::new(Kind::Input, format!("{what} ({sha256}) is not in the cache")).hint(
            "build from the recipe, or from the folder that `basalt vendor` made: a plan alone names its inputs only by digest",
        )
    })?;
    Ok(Content::packed(pack, 0, size, sha256))
}
