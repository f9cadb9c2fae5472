//! What lies under `/var` becomes lines of tmpfiles.d(5): a commit has none of it, each boot makes what is missing.
//!
//! Files (the few of the base that are let through: see `assemble`) move to `/usr/share/factory`, from where a line copies them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::tree::{Content, Directory, LeafKind, Meta, Node, Tree, TreePath};

/// The file that we make.
const GENERATED: &str = "/usr/lib/tmpfiles.d/basalt-var-generated.conf";
/// Where others have theirs. `/etc` is `/usr/etc` by now.
const FOLDERS: [&str; 2] = ["/usr/lib/tmpfiles.d", "/usr/etc/tmpfiles.d"];
/// Where systemd-tmpfiles copies from when a line names no source.
const FACTORY: &str = "/usr/share/factory";
/// Line types that make what they name.
const MAKING: [char; 8] = ['d', 'D', 'v', 'q', 'Q', 'L', 'C', 'f'];
/// Line types that set access lists and extended attributes.
const MARKING: [char; 4] = ['a', 'A', 't', 'T'];

/// Empties `/var` and writes the lines that make it again. What another tmpfiles.d file makes already gets no second line.
///
/// # Errors
/// [`Kind::Invalid`]: extended attributes (access lists are some) that no line of tmpfiles.d sets.
pub fn settle(tree: &mut Tree) -> Result<()> {
    let made = named_by(tree, &MAKING)?;
    let marked = named_by(tree, &MARKING)?;
    let var = TreePath::parse("/var")?;
    let mut content = Tree::new();
    if let Some(Node::Directory(directory)) = tree.remove(&var) {
        content.put(&var, Node::Directory(directory))?;
    }
    // A base that was made here has such lines, and nothing under /var any more.
    let generated = TreePath::parse(GENERATED)?;
    let before = tree.file(&generated).map(|content| content.bytes()).transpose()?;
    let mut lines = match before {
        Some(before) => String::from_utf8_lossy(&before).into_owned(),
        None => "# Folders and links that the image's packages and layers have under /var.\nd /run/media 0755 0 0 -\n".to_owned(),
    };
    for (path, node) in content.walk().filter(|(path, _)| *path != var) {
        let Meta { uid, gid, mode, xattrs, .. } = node.meta();
        if !xattrs.is_empty() && !marked.contains(&path.to_string()) {
            return Err(Failure::new(
                Kind::Invalid,
                format!("{path}: extended attributes under /var cannot be part of an image"),
            )
            .hint("set them with a line `t` in a file in /usr/lib/tmpfiles.d")
            .into());
        }
        if made.contains(&path.to_string()) {
            continue;
        }
        let name = quoted(&path.to_string());
        match node {
            Node::Directory(_) => writeln!(lines, "d {name} {mode:04o} {uid} {gid} -")?,
            Node::Leaf(leaf) => match &leaf.kind {
                LeafKind::Symlink(target) => writeln!(lines, "L {name} - - - - {}", target.replace('%', "%%"))?,
                LeafKind::File(_) => {
                    tree.put(&TreePath::parse(&format!("{FACTORY}{path}"))?, node.clone())?;
                    writeln!(lines, "C {name} {mode:04o} {uid} {gid} -")?;
                }
            },
        }
    }
    tree.put(&var, Node::Directory(Directory::new(Meta::root(0o755))))?;
    tree.put_file(&generated, Meta::root(0o644), Content::from_bytes(lines.into_bytes()))?;
    Ok(())
}

/// The paths that lines of these types name in the tree's own tmpfiles.d files.
fn named_by(tree: &Tree, types: &[char]) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for folder in FOLDERS {
        let folder = TreePath::parse(folder)?;
        let Some(directory) = tree.directory(&folder) else { continue };
        for name in directory.children.keys().filter(|name| name.ends_with(".conf")) {
            let Some(content) = tree.file(&folder.join(name)) else { continue };
            paths.extend(paths_of(&String::from_utf8_lossy(&content.bytes()?), types));
        }
    }
    Ok(paths)
}

/// The paths that lines of these types name in a tmpfiles.d file.
fn paths_of(text: &str, types: &[char]) -> impl Iterator<Item = String> {
    text.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let kind = fields.next()?;
        let path = fields.next()?;
        kind.starts_with(types).then(|| path.trim_end_matches('/').to_owned())
    })
}

/// A path as a field of tmpfiles.d: specifiers and white space lose their meaning.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '%');
    if path.chars().all(plain) {
        return path.to_owned();
    }
    let mut text = String::from("\"");
    for byte in path.bytes() {
        match byte {
            b'%' => text.push_str("%%"),
            byte if plain(char::from(byte)) => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted() {
        for (path, field) in [("/var/lib/a", "/var/lib/a"), ("/var/a b", r#""/var/a\x20b""#), ("/var/%i", r#""/var/%%i""#)] {
            assert_eq!(quoted(path), field);
        }
    }

    #[test]
    fn lines_that_make_something() {
        let text = "# d /no\nd /var/log 0755 - - -\nL+ /var/run - - - - ../run\nx /var/tmp/x\nq /var/tmp/ 1777\n";
        let paths: Vec<_> = paths_of(text, &MAKING).collect();
        assert_eq!(paths, ["/var/log", "/var/run", "/var/tmp"]);
    }
}
