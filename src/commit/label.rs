//! SELinux labels: what the tree's own policy says of each path, as `security.selinux`. A tree without a policy gets none.
//!
//! A path is labelled as the booted node sees it. What OSTree has elsewhere (`/usr/etc`, and below `/var` the folders of the node
//! that links at the top lead to) is named by lines in the policy's own `file_contexts.subs_dist`, so that libostree, systemd and
//! restorecon on the node give the same labels as this.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::format::file_contexts::{FileContexts, FileKind, RULES, SUBSTITUTIONS, Source};
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// The attribute that the kernel keeps a label in.
const ATTRIBUTE: &str = "security.selinux";
/// Which policy, and whether it is in use: selinux_config(5). `/etc` is `/usr/etc` by now.
const CONFIG: &str = "/usr/etc/selinux/config";

/// Where OSTree has what a policy knows by its usual name: there, and that.
const ELSEWHERE: [(&str, &str); 7] = [
    ("/usr/etc", "/etc"),
    ("/var/home", "/home"),
    ("/var/roothome", "/root"),
    ("/var/opt", "/opt"),
    ("/var/srv", "/srv"),
    ("/var/mnt", "/mnt"),
    ("/var/usrlocal", "/usr/local"),
];

/// The labels of a tree's own policy.
#[derive(Debug)]
pub struct Labels(FileContexts);

/// Names what lies elsewhere in the policy of `tree`, and labels everything in the tree.
///
/// # Errors
/// [`Kind::Invalid`]: the policy has no rules, or one that cannot be understood.
pub fn settle(tree: &mut Tree) -> Result<()> {
    let Some(policy) = policy(tree)? else { return Ok(()) };
    let path = TreePath::parse(&format!("{}{}", file_contexts(&policy), SUBSTITUTIONS[1]))?;
    let (meta, text) = match tree.file(&path).cloned() {
        Some(content) => (tree.get(&path).map(|node| node.meta().clone()), text(&path, &content)?),
        None => (None, String::new()),
    };
    if let Some(text) = with_elsewhere(&text) {
        tree.put_file(&path, meta.unwrap_or_else(|| Meta::root(0o644)), Content::from_bytes(text.into_bytes()))?;
    }
    if let Some(labels) = Labels::of(tree)? {
        labels.put(&mut tree.root, "/", &|path| Some(path.to_owned()));
    }
    Ok(())
}

impl Labels {
    /// The labels of the policy in `tree`, whose `/etc` is `/usr/etc`. None when it has no policy, or one that is disabled.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: the policy has no rules, or one that cannot be understood.
    pub fn of(tree: &Tree) -> Result<Option<Self>> {
        let Some(policy) = policy(tree)? else { return Ok(None) };
        let start = file_contexts(&policy);
        let read = |end: &str| -> Result<Option<(String, String)>> {
            let path = TreePath::parse(&format!("{start}{end}"))?;
            tree.file(&path).map(|content| Ok((path.to_string(), text(&path, content)?))).transpose()
        };
        let mut rules = Vec::new();
        for end in RULES {
            rules.extend(read(end)?);
        }
        if rules.first().is_none_or(|(name, _)| *name != start) {
            let what = format!("{start} is missing: {CONFIG} names policy {policy:?}, and its rules say how files are labelled");
            return Err(Failure::new(Kind::Invalid, what)
                .hint("add the package of that policy (selinux-policy-default), or write SELINUX=disabled there")
                .into());
        }
        let rules: Vec<_> = rules.iter().map(|(name, text)| Source { name, text }).collect();
        let substitutions = SUBSTITUTIONS.map(|end| Ok(read(end)?.map(|(_, text)| text).unwrap_or_default()));
        let [own, distribution]: [Result<String>; 2] = substitutions;
        let contexts = FileContexts::parse(&rules, [&own?, &distribution?]).map_err(|bad| {
            Failure::new(Kind::Invalid, bad.to_string())
                .hint("restorecon on the node would not label by this rule either, or Basalt does not know it: leave it out")
        })?;
        Ok(Some(Self(contexts)))
    }

    /// Labels `directory`, which stands at `at`, and all below it. `seen` says under which path something is looked up; none: it
    /// keeps the label that it has. Hard links stay, where they get one label.
    pub fn put(&self, directory: &mut Directory, at: &str, seen: &dyn Fn(&str) -> Option<String>) {
        Labelling { labels: self, seen, links: HashMap::new() }.directory(directory, at);
    }
}

/// Labels, and remembers hard links.
struct Labelling<'a> {
    labels: &'a Labels,
    seen: &'a dyn Fn(&str) -> Option<String>,
    /// By address of what was, and its new label.
    links: HashMap<(*const Leaf, Option<String>), Relabelled>,
}

struct Relabelled {
    /// Kept, so that no other leaf gets its address.
    _was: Arc<Leaf>,
    is: Arc<Leaf>,
}

impl Labelling<'_> {
    fn directory(&mut self, directory: &mut Directory, at: &str) {
        if let Some(path) = (self.seen)(at) {
            mark(&mut directory.meta, self.labels.0.label(&path, FileKind::Directory));
        }
        for (name, node) in &mut directory.children {
            let path = if at == "/" { format!("/{name}") } else { format!("{at}/{name}") };
            match node {
                Node::Directory(inner) => self.directory(inner, &path),
                Node::Leaf(leaf) => self.leaf(leaf, &path),
            }
        }
    }

    fn leaf(&mut self, leaf: &mut Arc<Leaf>, path: &str) {
        let Some(path) = (self.seen)(path) else { return };
        let kind = match leaf.kind {
            LeafKind::File(_) => FileKind::Regular,
            LeafKind::Symlink(_) => FileKind::Symlink,
        };
        let label = self.labels.0.label(&path, kind);
        let key = (Arc::as_ptr(leaf), label.map(str::to_owned));
        let relabelled = self.links.entry(key).or_insert_with(|| {
            let mut new = Leaf::clone(leaf);
            mark(&mut new.meta, label);
            Relabelled { _was: Arc::clone(leaf), is: Arc::new(new) }
        });
        *leaf = Arc::clone(&relabelled.is);
    }
}

/// Writes a label as the kernel keeps it: with a NUL.
fn mark(meta: &mut Meta, label: Option<&str>) {
    match label {
        Some(label) => meta.xattrs.insert(ATTRIBUTE.to_owned(), label.bytes().chain([0]).collect()),
        None => meta.xattrs.remove(ATTRIBUTE),
    };
}

/// The policy that the tree names as in use.
fn policy(tree: &Tree) -> Result<Option<String>> {
    let path = TreePath::parse(CONFIG)?;
    let Some(content) = tree.file(&path) else { return Ok(None) };
    let text = text(&path, content)?;
    let value = |key: &str| text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=').map(str::trim));
    if value("SELINUX").is_some_and(|mode| mode.eq_ignore_ascii_case("disabled")) {
        return Ok(None);
    }
    let Some(name) = value("SELINUXTYPE").filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.starts_with('.') || name.contains('/') {
        let what = format!("{CONFIG}: needed the name of a policy after SELINUXTYPE=, found {name:?}");
        return Err(Failure::new(Kind::Invalid, what).hint("it is the name of a folder in /etc/selinux").into());
    }
    Ok(Some(name.to_owned()))
}

/// Where the rules of a policy lie.
fn file_contexts(policy: &str) -> String {
    format!("/usr/etc/selinux/{policy}/contexts/files/file_contexts")
}

fn text(path: &TreePath, content: &Content) -> Result<String> {
    let bytes = content.bytes().with_context(|| path.to_string())?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(Kind::Invalid, format!("{path}: needed text in UTF-8, found other bytes"))
            .hint("leave out the layer that brings this file, or mend it")
            .into()
    })
}

/// `text` of `file_contexts.subs_dist` with the lines of [`ELSEWHERE`] that it lacks; none when it has all. Lines that lead the other
/// way (bases made for OSTree have some) count, too.
fn with_elsewhere(text: &str) -> Option<String> {
    let pairs: Vec<_> = text.lines().filter_map(|line| line.split_once(char::is_whitespace)).collect();
    let known = |a: &str, b: &str| pairs.iter().any(|(from, to)| *from == a || (*from == b && to.trim() == a));
    let missing: Vec<_> = ELSEWHERE.iter().filter(|(there, usual)| !known(there, usual)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("# Where OSTree has it, and the name by which this policy knows it.\n");
    for (there, usual) in missing {
        let _ = writeln!(text, "{there} {usual}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::fixture::{file, path, put};

    const RULES: &str = "/.* u:r:default_t\n/ -d u:r:root_t\n/etc(/.*)? u:r:etc_t\n/etc/shadow.* -- u:r:shadow_t\n/usr(/.*)? u:r:usr_t\n\
                         /usr/bin/one -- u:r:one_t\n/usr/bin/none <<none>>\n/usr/local(/.*)? u:r:local_t\n";

    fn tree(config: &str) -> Tree {
        let mut tree = Tree::new();
        put(&mut tree, CONFIG, file(config));
        put(&mut tree, &file_contexts("own"), file(RULES));
        for at in ["/usr/etc/shadow", "/usr/bin/none"] {
            put(&mut tree, at, file("x"));
        }
        let (linked, same) = (file("linked"), file("same"));
        for (at, node) in [("one", &linked), ("two", &linked), ("a", &same), ("b", &same)] {
            put(&mut tree, &format!("/usr/bin/{at}"), node.clone());
        }
        put(&mut tree, "/home", Node::symlink("var/home"));
        tree
    }

    fn label(tree: &Tree, at: &str) -> Option<String> {
        let meta = if at == "/" { &tree.root.meta } else { tree.get(&path(at)).unwrap().meta() };
        meta.xattrs.get(ATTRIBUTE).map(|value| String::from_utf8(value.clone()).unwrap())
    }

    #[test]
    fn everything_is_labelled_as_the_node_sees_it() {
        let mut tree = tree("SELINUX=permissive\nSELINUXTYPE=own\n");
        settle(&mut tree).unwrap();
        for (at, wanted) in [
            ("/", Some("u:r:root_t\0")),
            ("/home", Some("u:r:default_t\0")),
            ("/usr", Some("u:r:usr_t\0")),
            ("/usr/etc", Some("u:r:etc_t\0")),
            ("/usr/etc/shadow", Some("u:r:shadow_t\0")),
            ("/usr/bin/one", Some("u:r:one_t\0")),
            ("/usr/bin/two", Some("u:r:usr_t\0")),
            ("/usr/bin/none", None),
        ] {
            assert_eq!(label(&tree, at).as_deref(), wanted, "{at}");
        }
        let leaf = |at: &str| match tree.get(&path(at)) {
            Some(Node::Leaf(leaf)) => Arc::clone(leaf),
            _ => panic!("{at}"),
        };
        assert!(Arc::ptr_eq(&leaf("/usr/bin/a"), &leaf("/usr/bin/b")));
        assert!(!Arc::ptr_eq(&leaf("/usr/bin/one"), &leaf("/usr/bin/two")));
        let substitutions = tree.file(&path(&format!("{}.subs_dist", file_contexts("own")))).unwrap().bytes().unwrap();
        assert!(String::from_utf8(substitutions).unwrap().contains("\n/usr/etc /etc\n"));
        let labels = Labels::of(&tree).unwrap().unwrap();
        assert_eq!(labels.0.label("/var/usrlocal/bin/x", FileKind::Regular), Some("u:r:local_t"));
        let before = tree.clone();
        settle(&mut tree).unwrap();
        assert_eq!(tree, before);
    }

    #[test]
    fn without_a_policy_in_use_nothing_changes() {
        for config in ["SELINUX=disabled\nSELINUXTYPE=own\n", "SELINUX=enforcing\n", "# SELINUXTYPE=own\n"] {
            let mut tree = tree(config);
            let before = tree.clone();
            settle(&mut tree).unwrap();
            assert_eq!(tree, before, "{config}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_used_is_named() {
        for (config, rules, message) in [
            ("SELINUXTYPE=gone\n", "", "/usr/etc/selinux/gone/contexts/files/file_contexts is missing"),
            ("SELINUXTYPE=../own\n", "", "/usr/etc/selinux/config: needed the name of a policy"),
            ("SELINUXTYPE=own\n", "/a l\n/b( l\n", "/usr/etc/selinux/own/contexts/files/file_contexts, line 2: the regular"),
        ] {
            let mut tree = tree(config);
            put(&mut tree, &file_contexts("own"), file(rules));
            let error = settle(&mut tree).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert_eq!(crate::failure::kind_of(&error), Kind::Invalid);
        }
    }

    #[test]
    fn a_base_made_for_ostree_keeps_its_own_substitutions() {
        let own = "/home /var/home\n/usr/etc\t/etc\n";
        let text = with_elsewhere(own).unwrap();
        assert!(text.starts_with(own) && !text.contains("/var/home /home") && !text.contains("/usr/etc /etc"), "{text}");
        assert_eq!(with_elsewhere(&text), None);
    }
}
