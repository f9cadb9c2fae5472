//! What the recipe says of units, users, host name and network becomes files. No value is ever seen by a shell.
//!
//! Units are enabled as `systemctl enable` does it, by the links of their `[Install]` section, computed from the layers below; a preset
//! says the same, so that the first boot does not undo it. People are made by systemd-sysusers, their homes and keys by
//! systemd-tmpfiles: `/etc/passwd` and `/var` belong to the node.

mod install;
mod people;

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::plan::Settings;
use crate::tree::{Content, LeafKind, Meta, Node, Tree, TreePath};

/// Links of the administrator: where `systemctl enable` puts them.
const ETC: &str = "/etc/systemd/system";
/// Where units lie, the strongest first.
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What the settings bring and take away.
#[derive(Debug, Default)]
pub struct Made {
    /// Files and links.
    pub tree: Tree,
    /// Links of the layers below that a disabled or masked unit has.
    pub removals: Vec<TreePath>,
}

/// Makes the files for `settings`; `below` is the merged tree of the layers below.
///
/// # Errors
/// [`Kind::Invalid`] when a unit does not exist (with the nearest name) or has no `[Install]` section to enable it by.
pub fn produce(settings: &Settings, below: &Tree) -> Result<Made> {
    let mut made = Made::default();
    for unit in &settings.enable {
        install::enable(unit, below, &mut made)?;
    }
    for unit in &settings.disable {
        install::find(unit, below)?;
        made.removals.extend(install::links_of(unit, below)?);
    }
    for unit in &settings.mask {
        install::find(unit, below)?;
        made.removals.extend(install::links_of(unit, below)?);
        let path = TreePath::parse(ETC)?.join(unit);
        if below.get(&path).is_some() {
            made.removals.push(path.clone());
        }
        made.tree.put(&path, Node::symlink("/dev/null"))?;
    }
    preset(settings, &mut made.tree)?;
    people::put(settings, &mut made.tree)?;
    if let Some(name) = &settings.host_name {
        put_text(&mut made.tree, "/etc/hostname", &format!("{name}\n"))?;
        let path = TreePath::parse("/etc/hostname")?;
        if below.get(&path).is_some() {
            made.removals.push(path);
        }
    }
    for (name, text) in &settings.network {
        put_text(&mut made.tree, &format!("/etc/systemd/network/{name}"), text)?;
    }
    Ok(made)
}

/// The first boot applies presets: they must say what the links say.
fn preset(settings: &Settings, tree: &mut Tree) -> Result<()> {
    let mut text = String::from("# Made by basalt from the recipe's [systemd].\n");
    for unit in &settings.enable {
        text += &format!("enable {unit}\n");
    }
    for unit in settings.disable.iter().chain(&settings.mask) {
        text += &format!("disable {unit}\n");
    }
    put_text(tree, "/usr/lib/systemd/system-preset/10-basalt-recipe.preset", &text)
}

fn put_text(tree: &mut Tree, path: &str, text: &str) -> Result<()> {
    tree.put_file(&TreePath::parse(path)?, Meta::root(0o644), Content::from_bytes(text.as_bytes()))?;
    Ok(())
}

/// The text of the file at `path`.
fn text_of(tree: &Tree, path: &TreePath) -> Result<Option<String>> {
    let Some(content) = tree.file(path) else { return Ok(None) };
    let text = String::from_utf8(content.bytes()?)
        .map_err(|_| Failure::new(Kind::Invalid, format!("{path}: needed a unit file, found bytes that are no text")))?;
    Ok(Some(text))
}

/// Where the link at `path` leads, if it is one.
fn target_of<'a>(tree: &'a Tree, path: &TreePath) -> Option<&'a str> {
    match tree.get(path)? {
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::Symlink(target) => Some(target),
            LeafKind::File(_) => None,
        },
        Node::Directory(_) => None,
    }
}
