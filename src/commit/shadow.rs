//! Root's password of `/etc/shadow`: none, and open to a credential.

use anyhow::Result;

use crate::tree::{Content, Node, Tree, TreePath};

const SHADOW: &str = "/usr/etc/shadow";
/// No password at all, as base-passwd leaves root.
const LOCKED: &str = "root:*:";
/// None either, but systemd-firstboot(1) may set one: from the credential `passwd.hashed-password.root`.
const UNPROVISIONED: &str = "root:!unprovisioned:";

/// Lets the node's first boot give root the password of its credential. One that a layer has set stays.
pub fn settle(tree: &mut Tree) -> Result<()> {
    let path = TreePath::parse(SHADOW)?;
    let Some(Node::Leaf(leaf)) = tree.get(&path) else { return Ok(()) };
    let Some(content) = tree.file(&path) else { return Ok(()) };
    let Some(text) = provisionable(&String::from_utf8_lossy(&content.bytes()?)) else { return Ok(()) };
    let file = Node::file(leaf.meta.clone(), Content::from_bytes(text.into_bytes()));
    tree.put(&path, file)?;
    Ok(())
}

/// The file with root's line open to a credential; none when root has a password or no line.
fn provisionable(shadow: &str) -> Option<String> {
    let root = shadow.lines().find(|line| line.starts_with("root:"))?;
    let rest = root.strip_prefix(LOCKED)?;
    Some(shadow.lines().flat_map(|line| if line == root { [UNPROVISIONED, rest, "\n"] } else { [line, "\n", ""] }).collect())
}

#[cfg(test)]
mod tests {
    use super::provisionable;

    #[test]
    fn only_a_root_without_a_password_is_open() {
        for (shadow, wanted) in [
            ("daemon:*:1::::::\nroot:*:20000:0:99999:7:::\n", Some("daemon:*:1::::::\nroot:!unprovisioned:20000:0:99999:7:::\n")),
            ("root:$y$j9T$x$y:20000::::::\n", None),
            ("root:!:20000::::::\n", None),
            ("root::20000::::::\n", None),
            ("rooty:*:1::::::\n", None),
            ("", None),
        ] {
            assert_eq!(provisionable(shadow).as_deref(), wanted, "{shadow:?}");
        }
    }
}
