//! What makes a node refuse updates that nobody it trusts has signed: public keys, a remote for libostree, a policy for images.
//!
//! ```text
//! /usr/lib/basalt/keys/{commit.gpg, image.pub}
//! /etc/ostree/remotes.d/basalt.conf          a remote whose commits libostree verifies (ostree.repo-config(5))
//! /etc/containers/policy.json                nothing is pulled but what the key has signed (containers-policy.json(5))
//! /etc/containers/registries.d/basalt.yaml   signatures lie beside images in their registry (containers-registries.d(5))
//! ```
//!
//! ostree-ext verifies the commit in an image by the remote when the image's name says so ([`reference()`]); skopeo, which fetches for
//! it, reads the policy whatever the name says.

use anyhow::{Context, Result};
use serde_json::json;

use super::agent::blob;
use crate::plan::Trust;
use crate::sign::openpgp;
use crate::store::Store;
use crate::tree::{Content, Meta, Node, Tree, TreePath};

/// libostree's name of where updates come from.
pub const REMOTE: &str = "basalt";
/// The keys for commits.
pub const COMMIT_KEYS: &str = "/usr/lib/basalt/keys/commit.gpg";
/// The key for images.
pub const IMAGE_KEY: &str = "/usr/lib/basalt/keys/image.pub";
/// What says which images are pulled.
pub const POLICY: &str = "/etc/containers/policy.json";
/// What says where signatures of one repository lie ...
const REGISTRIES: &str = "/etc/containers/registries.d/basalt.yaml";
/// ... and of all: a package may bring one, and no two files may speak of the same.
const ALL_REGISTRIES: &str = "/etc/containers/registries.d/default.yaml";
const REMOTES: &str = "/etc/ostree/remotes.d/basalt.conf";

/// Files of packages that this layer wins over.
pub fn replaced() -> Vec<TreePath> {
    [ALL_REGISTRIES, POLICY].iter().filter_map(|path| TreePath::parse(path).ok()).collect()
}

/// The name of the image `image` (`registry.example.org/hosts/node:stable`) for ostree-ext and bootc, by which what can be verified is.
pub fn reference(image: &str, trust: Option<&Trust>) -> String {
    match trust {
        // The policy is in force for it, too.
        Some(Trust { commit: Some(_), .. }) => format!("ostree-remote-registry:{REMOTE}:{image}"),
        Some(Trust { image: Some(_), .. }) => format!("ostree-image-signed:docker://{image}"),
        _ => format!("ostree-unverified-registry:{image}"),
    }
}

/// The tree with keys and rules.
///
/// # Errors
/// The store does not have a key, or it is none.
pub fn produce(trust: &Trust, store: &Store) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut put = |path: &str, content: Content| -> Result<()> {
        tree.put(&TreePath::parse(path)?, Node::file(Meta::root(0o644), content))?;
        Ok(())
    };
    if let Some(key) = &trust.commit {
        let bytes = blob(store, key.sha256, key.size, "the key for commits")?.bytes()?;
        // Without armor: gpgv and old libostree read nothing else.
        let keys = openpgp::public_keys(&bytes).context("the key for commits")?;
        put(COMMIT_KEYS, Content::from_bytes(keys.bytes))?;
        put(REMOTES, Content::from_bytes(remote().into_bytes()))?;
    }
    if let Some(key) = &trust.image {
        put(IMAGE_KEY, blob(store, key.sha256, key.size, "the key for images")?)?;
        put(POLICY, Content::from_bytes(policy(trust.repository.as_deref()).into_bytes()))?;
        let (path, text) = registries(trust.repository.as_deref());
        put(path, Content::from_bytes(text.into_bytes()))?;
    }
    Ok(tree)
}

/// It has no address: who pulls from a repository names it with `--url`; an image has its own name.
fn remote() -> String {
    format!("[remote \"{REMOTE}\"]\ngpg-verify=true\ngpg-verify-summary=false\ngpgkeypath={COMMIT_KEYS}\n")
}

/// What is not said here is refused.
fn policy(repository: Option<&str>) -> String {
    let signed = json!([{ "type": "sigstoreSigned", "keyPath": IMAGE_KEY, "signedIdentity": { "type": "matchRepository" } }]);
    let policy =
        json!({ "default": [{ "type": "reject" }], "transports": { "docker": { (repository.unwrap_or_default()): signed } } });
    format!("{policy:#}\n")
}

fn registries(repository: Option<&str>) -> (&'static str, String) {
    let attached = "use-sigstore-attachments: true";
    match repository {
        Some(repository) => (REGISTRIES, format!("docker:\n  {repository}:\n    {attached}\n")),
        None => (ALL_REGISTRIES, format!("default-docker:\n  {attached}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Key;

    #[test]
    fn images_are_named_by_what_can_be_verified() {
        let key = || Some(Key { sha256: crate::digest::Digest::of(b""), size: 0 });
        let trust = |commit, image| Trust { commit, image, repository: None };
        for (trust, expected) in [
            (None, "ostree-unverified-registry:r.example.org/a:1"),
            (Some(trust(None, key())), "ostree-image-signed:docker://r.example.org/a:1"),
            (Some(trust(key(), None)), "ostree-remote-registry:basalt:r.example.org/a:1"),
            (Some(trust(key(), key())), "ostree-remote-registry:basalt:r.example.org/a:1"),
        ] {
            assert_eq!(reference("r.example.org/a:1", trust.as_ref()), expected);
        }
    }

    #[test]
    fn the_policy_refuses_all_but_what_it_names() {
        let found: serde_json::Value = serde_json::from_str(&policy(Some("r.example.org/a"))).unwrap();
        assert_eq!(found["default"][0]["type"], "reject");
        assert_eq!(found["transports"]["docker"]["r.example.org/a"][0]["keyPath"], IMAGE_KEY);
        let (path, text) = registries(None);
        assert_eq!((path, text.as_str()), (ALL_REGISTRIES, "default-docker:\n  use-sigstore-attachments: true\n"));
        assert!(registries(Some("r.example.org:5000/a")).1.contains("  r.example.org:5000/a:\n"));
    }
}
