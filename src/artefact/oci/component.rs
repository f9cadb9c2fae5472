//! Which package or layer brought a file.

use std::collections::HashMap;

use anyhow::Result;

use super::Subject;
use crate::tree::{LeafKind, Node, TreePath};

/// Where dpkg keeps the list of each package's files.
const LISTS: &str = "/usr/lib/sysimage/dpkg/info";
/// What nobody brought: made when the base was configured, or by OSTree's rules.
const GENERATED: &str = "generated";
/// What says which image this is: other in each build.
const IMAGE: &str = "image";
const IMAGE_FILES: [&str; 2] = ["usr/lib/basalt/image.json", "usr/lib/os-release"];

/// The component of each file: source packages, layers, and what was generated.
pub struct Components {
    by_path: HashMap<TreePath, String>,
    /// Those that a recipe changes from build to build.
    lively: Vec<String>,
}

impl Components {
    /// Reads dpkg's lists, and looks into the layers above the base.
    pub fn of(subject: &Subject<'_>) -> Result<Self> {
        let mut by_path = HashMap::new();
        let sources: HashMap<_, _> =
            subject.packages.iter().map(|package| (package.name.as_str(), package.source.as_str())).collect();
        let lists = subject.tree.directory(&TreePath::parse(LISTS)?);
        for (name, node) in lists.into_iter().flat_map(|lists| &lists.children) {
            let Some(package) = name.strip_suffix(".list") else { continue };
            let Node::Leaf(leaf) = node else { continue };
            let LeafKind::File(content) = &leaf.kind else { continue };
            // `libc6:amd64.list`: the architecture is part of the name where several could be there.
            let package = package.split(':').next().unwrap_or(package);
            let source = sources.get(package).copied().unwrap_or(package);
            for line in String::from_utf8_lossy(&content.bytes()?).lines() {
                if let Ok(path) = TreePath::parse(&in_commit(line)) {
                    by_path.insert(path, source.to_owned());
                }
            }
        }
        for layer in subject.layers.iter().skip(1) {
            for (path, _) in layer.tree.walk() {
                by_path.insert(TreePath::parse(&in_commit(&path.to_string()))?, layer.name.clone());
            }
        }
        let lively = subject.layers.iter().skip(1).map(|layer| layer.name.clone()).chain([IMAGE.to_owned()]).collect();
        Ok(Self { by_path, lively })
    }

    /// Whether the files of `component` are expected to change more often than packages do.
    pub fn is_lively(&self, component: &str) -> bool {
        self.lively.iter().any(|lively| lively == component)
    }

    /// The component of the file at `path` of the commit.
    pub fn of_path(&self, path: &TreePath) -> &str {
        if IMAGE_FILES.contains(&path.relative()) {
            return IMAGE;
        }
        // The one was made for this image, the other lies where its package did not put it.
        if let Some((_, name @ ("vmlinuz" | "initramfs.img"))) = path.split_last()
            && path.relative().starts_with("usr/lib/modules/")
        {
            return if name == "vmlinuz" { "kernel" } else { "initramfs" };
        }
        self.by_path.get(path).map_or(GENERATED, String::as_str)
    }
}

/// Where a file of a package or layer lies in the commit.
fn in_commit(path: &str) -> String {
    for (from, to) in [("/etc/", "/usr/etc/"), ("/opt/", "/usr/lib/opt/")] {
        if let Some(rest) = path.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    for top in ["/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"] {
        if path.starts_with(top) {
            return format!("/usr{path}");
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_packages_in_the_commit() {
        for (path, wanted) in [
            ("/bin/sh", "/usr/bin/sh"),
            ("/etc/passwd", "/usr/etc/passwd"),
            ("/opt/x/y", "/usr/lib/opt/x/y"),
            ("/usr/bin/true", "/usr/bin/true"),
            ("/binary/x", "/binary/x"),
        ] {
            assert_eq!(in_commit(path), wanted);
        }
    }
}
