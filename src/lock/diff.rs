//! What differs between two sections of a lock, for people. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{LockedBase, LockedDebian, LockedFile, LockedImage, LockedOverlay, LockedPackage, Section};
use crate::digest::Digest;

/// One input that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which: `package bash`, `overlay 50-x`.
    pub what: String,
    /// What it was, in a few characters: a version. None when it is new.
    pub from: Option<String>,
    /// What it is. None when it is gone.
    pub to: Option<String>,
    /// The digest it had.
    pub needed: Option<Digest>,
    /// The digest it has.
    pub found: Option<Digest>,
    /// Within it: `/etc/foo changed`.
    pub details: Vec<String>,
}

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Base, agent, update client, overlays, files, packages, in this order.
    pub list: Vec<Change>,
    /// What else to know: packages that could not be held, ...
    pub notes: Vec<String>,
}

/// How many details of one change are shown.
const SHOWN: usize = 10;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        match (&self.from, &self.to) {
            (None, None) => f.write_str(&self.shown_details().unwrap_or_else(|| "changed".to_owned())),
            (None, Some(to)) => write!(f, "added {to}"),
            (Some(from), None) => write!(f, "removed {from}"),
            (Some(from), Some(to)) if from == to => {
                write!(f, "{to} {}", self.shown_details().unwrap_or_else(|| "changed".to_owned()))
            }
            (Some(from), Some(to)) => write!(f, "{from} -> {to}"),
        }
    }
}

impl Change {
    fn shown_details(&self) -> Option<String> {
        if self.details.is_empty() {
            return None;
        }
        let mut text = self.details[..self.details.len().min(SHOWN)].join(", ");
        if self.details.len() > SHOWN {
            text.push_str(&format!(" and {} more", self.details.len() - SHOWN));
        }
        Some(text)
    }

    /// For who may not change the lock: what it needs, and what was found.
    pub fn needed_and_found(&self) -> String {
        if (&self.needed, &self.found, &self.from, &self.to) == (&None, &None, &None, &None) {
            return self.to_string();
        }
        let show = |digest: Option<Digest>, word: &Option<String>| match (digest, word) {
            (Some(digest), _) => format!("sha256 {digest}"),
            (None, Some(word)) => word.clone(),
            (None, None) => "none".to_owned(),
        };
        let mut text = format!("{}: needed {}, found {}", self.what, show(self.needed, &self.from), show(self.found, &self.to));
        if let Some(details) = self.shown_details() {
            text.push_str(&format!(" ({details})"));
        }
        text
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.list {
            writeln!(f, "{change}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What differs from `old` (none: everything is new) to `new`.
pub fn diff(old: Option<&Section>, new: &Section) -> Changes {
    let mut list = Vec::new();
    base(old.map(|old| &old.base), &new.base, &mut list);
    let by_name = |file: &LockedFile| (file.name.clone(), file.clone());
    let agents = |section: &Section| section.agent.iter().map(by_name).collect::<BTreeMap<_, _>>();
    let clients = |section: &Section| section.update_client.iter().map(by_name).collect::<BTreeMap<_, _>>();
    let files = |section: &Section| section.files.iter().map(by_name).collect::<BTreeMap<_, _>>();
    let overlays = |section: &Section| -> BTreeMap<String, LockedOverlay> {
        section.overlays.iter().map(|overlay| (overlay.name.clone(), overlay.clone())).collect()
    };
    let modules = |section: &Section| -> BTreeMap<String, LockedOverlay> {
        section.kernel_modules.iter().map(|source| (source.name.clone(), source.clone())).collect()
    };
    let tuned = |section: &Section| -> BTreeMap<String, LockedOverlay> {
        section.tuned.iter().map(|source| (source.name.clone(), source.clone())).collect()
    };
    let images = |section: &Section| -> BTreeMap<String, LockedImage> {
        section.module_images.iter().map(|image| (image.from.clone(), image.clone())).collect()
    };
    let module_packages = |section: &Section| -> BTreeMap<String, LockedPackage> {
        section.module_packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    let packages = |section: &Section| -> BTreeMap<String, LockedPackage> {
        section.packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    pairs(old.map(agents), agents(new), |name, old, new| list.extend(file("agent", name, old, new)));
    pairs(old.map(clients), clients(new), |name, old, new| list.extend(file("update client", name, old, new)));
    pairs(old.map(overlays), overlays(new), |name, old, new| list.extend(overlay("overlay", name, old, new)));
    pairs(old.map(modules), modules(new), |name, old, new| list.extend(overlay("kernel modules", name, old, new)));
    pairs(old.map(tuned), tuned(new), |name, old, new| list.extend(overlay("tuned's profiles", name, old, new)));
    pairs(old.map(images), images(new), |name, old, new| list.extend(image(name, old, new)));
    pairs(old.map(module_packages), module_packages(new), |name, old, new| list.extend(package(name, old, new)));
    pairs(old.map(files), files(new), |name, old, new| list.extend(file("file", name, old, new)));
    let headers = |section: &Section| -> BTreeMap<String, LockedPackage> {
        section.headers.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    pairs(old.map(packages), packages(new), |name, old, new| list.extend(package(name, old, new)));
    pairs(old.map(headers), headers(new), |name, old, new| list.extend(package(name, old, new)));
    Changes { list, notes: Vec::new() }
}

/// Calls `each` for every name of either, in order.
fn pairs<T>(old: Option<BTreeMap<String, T>>, new: BTreeMap<String, T>, mut each: impl FnMut(&str, Option<&T>, Option<&T>)) {
    let old = old.unwrap_or_default();
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        each(name, old.get(name), new.get(name));
    }
}

fn base(old: Option<&LockedBase>, new: &LockedBase, list: &mut Vec<Change>) {
    let Some(old) = old else { return };
    let mut note = |what: &str, from: &str, to: &str| {
        if from != to {
            let (from, to) = (Some(from.to_owned()), Some(to.to_owned()));
            list.push(Change { what: what.to_owned(), from, to, needed: None, found: None, details: Vec::new() });
        }
    };
    let (old, new) = match (old, new) {
        (LockedBase::Debian(old), LockedBase::Debian(new)) => (old, new),
        (LockedBase::Oci(one), LockedBase::Oci(other)) => {
            note("base", &one.from, &other.from);
            let digests = (Some(one.manifest.sha256), Some(other.manifest.sha256));
            list.extend(other_bytes(&format!("image {}", other.from), digests));
            return;
        }
        (LockedBase::Tree(one), LockedBase::Tree(other)) => {
            note("base", &one.path, &other.path);
            list.extend(other_bytes(&format!("tree {}", other.path), (Some(one.digest), Some(other.digest))));
            return;
        }
        (one, other) => return note("base", &name(one), &name(other)),
    };
    note("suite", &old.suite, &new.suite);
    note("components", &old.components.join(" "), &new.components.join(" "));
    let missing = |from: &LockedDebian, other: &LockedDebian| -> Vec<String> {
        from.requested.iter().filter(|name| !other.requested.contains(name)).cloned().collect()
    };
    let (removed, added) = (missing(old, new), missing(new, old));
    if !(removed.is_empty() && added.is_empty()) {
        let tell = |names: Vec<String>, word: &'static str| names.into_iter().map(move |name| format!("{name} {word}"));
        let details = tell(added, "added").chain(tell(removed, "removed")).collect();
        list.push(Change { what: "asked packages".into(), from: None, to: None, needed: None, found: None, details });
    }
}

/// What people call a base.
fn name(base: &LockedBase) -> String {
    match base {
        LockedBase::Debian(debian) => format!("Debian {}", debian.suite),
        LockedBase::Oci(image) => format!("image {}", image.from),
        LockedBase::Tree(tree) => format!("tree {}", tree.path),
    }
}

fn other_bytes(what: &str, (needed, found): (Option<Digest>, Option<Digest>)) -> Option<Change> {
    let change = || Change { what: what.to_owned(), from: None, to: None, needed, found, details: Vec::new() };
    (needed != found).then(change)
}

/// An image with kernel modules.
fn image(name: &str, old: Option<&LockedImage>, new: Option<&LockedImage>) -> Option<Change> {
    let digest = |image: Option<&LockedImage>| image.map(|image| image.manifest.sha256);
    if digest(old) == digest(new) {
        return None;
    }
    let layers = |image: Option<&LockedImage>| image.map(|image| format!("{} layers", image.layers.len()));
    let (from, to) = match (old, new) {
        (Some(_), Some(_)) => (None, None),
        _ => (layers(old), layers(new)),
    };
    let what = format!("kernel modules {name}");
    Some(Change { what, from, to, needed: digest(old), found: digest(new), details: Vec::new() })
}

fn file(kind: &str, name: &str, old: Option<&LockedFile>, new: Option<&LockedFile>) -> Option<Change> {
    if old.map(|file| file.sha256) == new.map(|file| file.sha256) {
        return None;
    }
    let bytes = |file: Option<&LockedFile>| file.map(|file| format!("{} bytes", file.size));
    let (from, to) = match (old, new) {
        (Some(_), Some(_)) => (None, None),
        _ => (bytes(old), bytes(new)),
    };
    let (needed, found) = (old.map(|file| file.sha256), new.map(|file| file.sha256));
    Some(Change { what: format!("{kind} {name}"), from, to, needed, found, details: Vec::new() })
}

fn overlay(kind: &str, name: &str, old: Option<&LockedOverlay>, new: Option<&LockedOverlay>) -> Option<Change> {
    if old.map(|overlay| overlay.digest) == new.map(|overlay| overlay.digest) {
        return None;
    }
    let count = |overlay: Option<&LockedOverlay>| overlay.map(|overlay| format!("{} files", overlay.files.len()));
    let mut details = Vec::new();
    let (from, to) = match (old, new) {
        (Some(old), Some(new)) => {
            for path in old.files.keys().chain(new.files.keys().filter(|path| !old.files.contains_key(*path))) {
                match (old.files.get(path), new.files.get(path)) {
                    (Some(_), None) => details.push(format!("{path} removed")),
                    (None, Some(_)) => details.push(format!("{path} added")),
                    (old, new) if old != new => details.push(format!("{path} changed")),
                    _ => {}
                }
            }
            if details.is_empty() {
                details.push("modes or empty folders changed".to_owned());
            }
            (None, None)
        }
        _ => (count(old), count(new)),
    };
    let (needed, found) = (old.map(|overlay| overlay.digest), new.map(|overlay| overlay.digest));
    Some(Change { what: format!("{kind} {name}"), from, to, needed, found, details })
}

fn package(name: &str, old: Option<&LockedPackage>, new: Option<&LockedPackage>) -> Option<Change> {
    if old == new {
        return None;
    }
    let version = |package: Option<&LockedPackage>| package.map(|package| package.version.clone());
    let (from, to) = (version(old), version(new));
    let mut details = Vec::new();
    if let (Some(old), Some(new)) = (old, new)
        && old.version == new.version
    {
        details.push(if old.sha256 == new.sha256 { "moved in the archive" } else { "has other bytes in the archive" }.to_owned());
    }
    let (needed, found) = (old.map(|package| package.sha256), new.map(|package| package.sha256));
    Some(Change { what: format!("package {name}"), from, to, needed, found, details })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::tests::{package as a_package, section};
    use crate::tree::TreePath;

    #[test]
    fn differences_are_told_in_words() {
        let old = section();
        assert!(diff(Some(&old), &old).is_empty());
        let mut new = old.clone();
        let crate::lock::LockedBase::Debian(base) = &mut new.base else { panic!("packages") };
        base.requested = vec!["bash".into(), "vim".into()];
        new.packages = vec![a_package("bash", "2"), a_package("vim", "1")];
        new.overlays[0].digest = Digest::of(b"other");
        new.overlays[0].files.insert(TreePath::parse("/etc/b").unwrap(), Digest::of(b"b"));
        new.overlays[0].files.insert(TreePath::parse("/etc/a").unwrap(), Digest::of(b"b"));
        new.files[0].sha256 = Digest::of(b"new");
        new.agent = None;
        let changes = diff(Some(&old), &new);
        assert_eq!(
            changes.to_string(),
            "asked packages: vim added, zstd removed\n\
             agent basalt-firstboot: removed 3 bytes\n\
             overlay 50-x: /etc/a changed, /etc/b added\n\
             file motd: changed\n\
             package bash: 1 -> 2\n\
             package vim: added 1\n\
             package zstd: removed 1\n"
        );
        let overlay = changes.list[2].needed_and_found();
        let (needed, found) = (old.overlays[0].digest, Digest::of(b"other"));
        assert_eq!(overlay, format!("overlay 50-x: needed sha256 {needed}, found sha256 {found} (/etc/a changed, /etc/b added)"));
        assert!(diff(None, &new).to_string().starts_with("overlay 50-x: added 2 files\n"));
    }
}
