//! Checks `[[file]]` and `[[network]]`: where they may lie, and that each says exactly one thing.

use std::collections::BTreeMap;

use super::super::Placed;
use super::super::{Content, File, names, written};
use super::Checker;
use crate::tree::TreePath;

/// Where systemd-networkd looks for what an administrator wrote.
const NETWORKS: &str = "/etc/systemd/network";

/// Folders that are not part of a commit, and what to do instead.
const ELSEWHERE: [(&[&str], &str); 4] = [
    (&["/dev", "/proc", "/sys", "/run", "/tmp"], "it is made at boot; a file of /usr/lib/tmpfiles.d can make things there"),
    (&["/var", "/home", "/root", "/srv"], "it is the node's own; a file of /usr/lib/tmpfiles.d makes things there at boot"),
    (&["/boot", "/efi"], "the boot filesystem is written by Basalt and libostree"),
    (&["/ostree", "/sysroot"], "it belongs to libostree"),
];

impl Checker<'_> {
    /// A path of the image.
    pub(super) fn target(&mut self, key: &str, written: &Placed<String>) -> Option<TreePath> {
        if !written.starts_with('/') {
            self.findings.add(written.place, format!("{key}: needed an absolute path of the image, found {:?}", written.value));
            return None;
        }
        TreePath::parse(written).map_err(|error| self.findings.add(written.place, format!("{key}: {error}"))).ok()
    }

    pub(super) fn files(&mut self, written: &[written::File]) -> BTreeMap<TreePath, File> {
        let mut files: BTreeMap<TreePath, File> = BTreeMap::new();
        for file in written {
            let content = self.content(file);
            let mode = match &file.mode {
                Some(mode) => self.by_rule("file.mode", mode, names::mode),
                None => Some(0o644),
            };
            if let (Some(mode), Some(_)) = (&file.mode, &file.symlink) {
                self.findings.add(mode.place, "file.mode: needed none, because a symbolic link has no mode of its own");
            }
            let xattrs = self.xattrs(&file.xattrs);
            let Some(path) = self.target("file.path", &file.path) else { continue };
            if path == TreePath::root() {
                self.findings.add(file.path.place, "file.path: needed a file, found the root folder");
                continue;
            }
            if let Some((folder, hint)) = elsewhere(&path) {
                let what = format!("file.path: {path} lies in {folder}, which no image carries");
                self.findings.add_with_hint(file.path.place, what, hint);
            }
            if let Some(other) = files.keys().find(|other| path.is_within(other) || other.is_within(&path)) {
                let what = match *other == path {
                    true => format!("file.path: {path} is named twice; needed once"),
                    false => format!("file.path: {path} and {other}: one would be a folder of the other"),
                };
                self.findings.add(file.path.place, what);
            }
            let (Some(content), Some(mode)) = (content, mode) else { continue };
            let (uid, gid) = (file.uid.unwrap_or(0), file.gid.unwrap_or(0));
            files.insert(path, File { mode, uid, gid, xattrs, content, replaces: file.replaces });
        }
        files
    }

    fn content(&mut self, file: &written::File) -> Option<Content> {
        match (&file.text, &file.source, &file.symlink) {
            (Some(text), None, None) => Some(Content::Text(text.value.clone())),
            (None, Some(source), None) => Some(Content::Source(source.value.clone())),
            (None, None, Some(target)) if target.is_empty() || target.contains('\0') || target.len() > 4095 => {
                self.findings.add(target.place, "file.symlink: needed a target of 1 to 4095 bytes without NUL");
                None
            }
            (None, None, Some(target)) => {
                if climbs_out(&file.path, target) {
                    let what = format!("file.symlink: {:?} points out of the image from {:?}", target.value, file.path.value);
                    self.findings.add_with_hint(target.place, what, "write an absolute target: it is the image's own path");
                }
                Some(Content::Symlink(target.value.clone()))
            }
            (text, source, target) => {
                let found = [text, source, target].into_iter().flatten().count();
                let what = format!("file: needed exactly one of \"text\", \"source\" and \"symlink\", found {found}");
                self.findings.add(file.path.place, what);
                None
            }
        }
    }

    fn xattrs(&mut self, written: &BTreeMap<String, Placed<String>>) -> BTreeMap<String, Vec<u8>> {
        let mut xattrs = BTreeMap::new();
        for (name, value) in written {
            if let Err(why) = names::xattr(name) {
                self.findings.add(value.place, format!("file.xattrs: {why}"));
            }
            if let Some(bytes) = self.by_rule(&format!("file.xattrs.{name}"), value, names::xattr_value) {
                xattrs.insert(name.clone(), bytes);
            }
        }
        xattrs
    }

    /// The texts by name; those with a local source become `files`.
    pub(super) fn networks(
        &mut self,
        written: &[written::Network],
        files: &mut BTreeMap<TreePath, File>,
    ) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for network in written {
            let Some(name) = self.one("network.name", Some(&network.name), names::network_file) else { continue };
            let Ok(path) = TreePath::parse(&format!("{NETWORKS}/{name}")) else { continue };
            if texts.contains_key(&name) || files.contains_key(&path) {
                self.findings.add(network.name.place, format!("network.name: {path} is named twice; needed once"));
                continue;
            }
            match (&network.text, &network.source) {
                (Some(text), None) => {
                    texts.insert(name, text.value.clone());
                }
                (None, Some(source)) => {
                    let content = Content::Source(source.value.clone());
                    let file = File { mode: 0o644, uid: 0, gid: 0, xattrs: BTreeMap::new(), content, replaces: false };
                    files.insert(path, file);
                }
                _ => self.findings.add(network.name.place, "network: needed exactly one of \"text\" and \"source\""),
            }
        }
        texts
    }
}

/// The folder of the running node that `path` lies in, and the hint.
fn elsewhere(path: &TreePath) -> Option<(&'static str, &'static str)> {
    ELSEWHERE.iter().find_map(|(folders, hint)| {
        let within = |folder: &&&str| TreePath::parse(folder).is_ok_and(|folder| path.is_within(&folder));
        folders.iter().find(within).map(|folder| (*folder, *hint))
    })
}

/// Whether a relative link at `path` has more `..` than the image has folders.
fn climbs_out(path: &str, target: &str) -> bool {
    TreePath::parse(path).is_ok_and(|path| crate::layer::overlay::climbs_out(&path, target))
}
