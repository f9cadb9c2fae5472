//! `/etc/passwd`, `/etc/group` and their shadows, once all packages are configured: who is kept, and who has no fixed number.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context, Result};

use crate::tree::{Content, Node, Tree, TreePath};

const SECONDS_OF_A_DAY: i64 = 86400;

/// Takes out the users and groups of the tables that nothing in `tree` names or owns, and writes `time` as the day of each
/// password's last change. Answers the users and groups that are neither Debian's own nor in a table.
pub fn settle(tree: &mut Tree, users: &BTreeMap<String, u32>, groups: &BTreeMap<String, u32>, time: i64) -> Result<Vec<String>> {
    let passwd = Lines::read(tree, "etc/passwd")?;
    let group = Lines::read(tree, "etc/group")?;
    let words = words_of_packages(tree)?;
    let (owners, group_owners) = owners(tree);
    let wanted = |name: &str, number: u32, owners: &BTreeSet<u32>| words.contains(name) || owners.contains(&number);
    let gone: BTreeSet<&str> =
        names(users).filter(|(name, number)| !wanted(name, *number, &owners)).map(|(name, _)| name).collect();
    // The group of a user who stays must stay.
    let primary: BTreeSet<u32> =
        passwd.rows().filter(|row| !gone.contains(row[0])).filter_map(|row| row.get(3)?.parse().ok()).collect();
    let kept = |name: &str, number: u32| wanted(name, number, &group_owners) || primary.contains(&number);
    let gone_groups: BTreeSet<&str> = names(groups).filter(|(name, number)| !kept(name, *number)).map(|(name, _)| name).collect();

    let mut strangers = passwd.strangers(tree, "usr/share/base-passwd/passwd.master", users)?;
    strangers.extend(group.strangers(tree, "usr/share/base-passwd/group.master", groups)?);
    for (path, gone, dated) in [
        ("etc/passwd", &gone, false),
        ("etc/shadow", &gone, true),
        ("etc/group", &gone_groups, false),
        ("etc/gshadow", &gone_groups, false),
    ] {
        let Ok(lines) = Lines::read(tree, path) else { continue };
        let day = dated.then(|| (time / SECONDS_OF_A_DAY).max(1));
        lines.write(tree, path, gone, day);
    }
    Ok(strangers.into_iter().collect())
}

fn names(table: &BTreeMap<String, u32>) -> impl Iterator<Item = (&str, u32)> {
    table.iter().map(|(name, number)| (name.as_str(), *number))
}

/// A file of lines with fields between colons.
struct Lines(String);

impl Lines {
    fn read(tree: &Tree, path: &str) -> Result<Self> {
        let content = tree.file(&TreePath::parse(path)?).with_context(|| format!("the base has no /{path}"))?;
        Ok(Self(String::from_utf8(content.bytes()?).with_context(|| format!("/{path} is not UTF-8"))?))
    }

    fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.0.lines().map(|line| line.split(':').collect())
    }

    /// Who is in neither `master` nor `table`.
    fn strangers(&self, tree: &Tree, master: &str, table: &BTreeMap<String, u32>) -> Result<BTreeSet<String>> {
        let master = Self::read(tree, master)?;
        let debian: HashSet<&str> = master.rows().map(|row| row[0]).collect();
        let new = |name: &&str| !name.is_empty() && !debian.contains(name) && !table.contains_key(*name);
        Ok(self.rows().map(|row| row[0]).filter(new).map(str::to_owned).collect())
    }

    /// Puts the lines back without those of `gone`; the third field of each becomes `day`.
    fn write(&self, tree: &mut Tree, path: &str, gone: &BTreeSet<&str>, day: Option<i64>) {
        let mut text = String::new();
        for mut row in self.rows().filter(|row| !gone.contains(row[0])) {
            let day = day.map(|day| day.to_string());
            if let (Some(day), Some(field)) = (&day, row.get_mut(2)) {
                *field = day;
            }
            text.push_str(&row.join(":"));
            text.push('\n');
        }
        replace(tree, path, text);
    }
}

/// Gives the file at `path` another content, with owner and mode as they are.
fn replace(tree: &mut Tree, path: &str, text: String) {
    let Ok(path) = TreePath::parse(path) else { return };
    if let Some(Node::Leaf(leaf)) = tree.get(&path) {
        let node = Node::file(leaf.meta.clone(), Content::from_bytes(text.into_bytes()));
        let _ = tree.insert(&path, node);
    }
}

/// Every word in what packages say of users: their scripts and their files for systemd-sysusers.
fn words_of_packages(tree: &Tree) -> Result<HashSet<String>> {
    let mut words = HashSet::new();
    for (folder, endings) in
        [("var/lib/dpkg/info", &[".preinst", ".postinst", ".config"][..]), ("usr/lib/sysusers.d", &[".conf"])]
    {
        let folder = TreePath::parse(folder)?;
        let Some(directory) = tree.directory(&folder) else { continue };
        for name in directory.children.keys().filter(|name| endings.iter().any(|ending| name.ends_with(ending))) {
            let Some(content) = tree.file(&folder.join(name)) else { continue };
            let bytes = content.bytes()?;
            let text = String::from_utf8_lossy(&bytes);
            let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
            words.extend(text.split(part).filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    Ok(words)
}

/// The numbers of all users and groups who own something.
fn owners(tree: &Tree) -> (BTreeSet<u32>, BTreeSet<u32>) {
    tree.walk().map(|(_, node)| (node.meta().uid, node.meta().gid)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Meta;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::from_bytes(text.as_bytes());
            tree.put_file(&TreePath::parse(path).unwrap(), Meta::root(0o644), content).unwrap();
        }
        tree
    }

    fn text(tree: &Tree, path: &str) -> String {
        Lines::read(tree, path).unwrap().0
    }

    #[test]
    fn who_is_kept() {
        let mut tree = tree(&[
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/sh\nnamed:x:400:400::/:/n\nowner:x:401:65534::/:/n\nidle:x:402:402::/:/n\nnew:x:100:100::/:/n\n",
            ),
            ("etc/shadow", "root:*:20000:0:99999:7:::\nnamed:!*:20000::::::\nidle:*:1::::::\n"),
            ("etc/group", "root:x:0:\nnamed:x:400:\nidle:x:402:\ninput:x:451:\nnew:x:100:\n"),
            ("etc/gshadow", "root:*::\nidle:*::\n"),
            ("usr/share/base-passwd/passwd.master", "root::0:0:root:/root:/bin/bash\n"),
            ("usr/share/base-passwd/group.master", "root:*:0:\n"),
            ("var/lib/dpkg/info/a.postinst", "adduser --system \"named\"\n# idle-ness\n"),
            ("usr/lib/sysusers.d/basic.conf", "g input - -\n"),
        ]);
        let owned = Node::file(Meta { uid: 401, ..Meta::root(0o644) }, Content::from_bytes(*b""));
        tree.put(&TreePath::parse("srv/x").unwrap(), owned).unwrap();
        let table = |rows: &[(&str, u32)]| rows.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        let users: BTreeMap<String, u32> = table(&[("named", 400), ("owner", 401), ("idle", 402)]);
        let groups = table(&[("named", 400), ("idle", 402), ("input", 451), ("sgx", 452)]);
        let strangers = settle(&mut tree, &users, &groups, 86400 * 30).unwrap();
        assert_eq!(strangers, ["new"]);
        assert_eq!(
            text(&tree, "etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nnamed:x:400:400::/:/n\nowner:x:401:65534::/:/n\nnew:x:100:100::/:/n\n"
        );
        assert_eq!(text(&tree, "etc/group"), "root:x:0:\nnamed:x:400:\ninput:x:451:\nnew:x:100:\n");
        assert_eq!(text(&tree, "etc/shadow"), "root:*:30:0:99999:7:::\nnamed:!*:30::::::\n");
        assert_eq!(text(&tree, "etc/gshadow"), "root:*::\n");
    }
}
