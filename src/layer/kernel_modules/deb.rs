//! The files of a Debian package, without installing it: dpkg-deb unpacks the archive in it, which is read as any other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::tools::{self, Tool};
use crate::store::Store;
use crate::tree::tar::{Devices, read_packed};
use crate::tree::{Node, Pack, Tree, TreePath, merge};

const DPKG: [Tool; 1] = [Tool { program: "dpkg-deb", package: "dpkg" }];

/// The tree of the package at `path`, its contents in a nameless file of the store's. `name` is what people call it.
///
/// # Errors
/// [`Kind::Invalid`]: no package, or one with files that no image can have. [`Kind::Tool`] without dpkg-deb.
pub fn tree(name: &str, path: &Path, store: &Store) -> Result<Tree> {
    tools::need(&DPKG, "reading packages")?;
    let (file, temporary) = store.temporary_file()?.into_parts();
    let pack = Pack::open(&temporary)?;
    // Without its name it vanishes with the last content in it.
    temporary.close()?;
    let invalid = |why: String| {
        let what = format!("{name}: needed a Debian package, found: {why}");
        Failure::new(Kind::Invalid, what).hint("look at it: dpkg-deb --info FILE")
    };
    let ran = Cmd::new("dpkg-deb").arg("--fsys-tarfile").arg(path).stdout_to(file).run();
    ran.map_err(|failure| if failure.kind == Kind::Failed { invalid(failure.what) } else { failure })?;
    Ok(read_packed(&pack, Devices::Refuse).map_err(|error| invalid(error.to_string()))?)
}

/// The trees of `paths` over one another.
///
/// # Errors
/// As [`tree`]; [`Kind::Invalid`]: two packages have other files at one path.
pub fn trees<'p>(packages: impl IntoIterator<Item = (&'p str, PathBuf)>, store: &Store) -> Result<Tree> {
    let mut all = Tree::new();
    for (name, path) in packages {
        let tree = tree(name, &path, store)?;
        merge(&mut all, &tree, |_| false).map_err(|conflicts| {
            let path = conflicts.first().map(|conflict| conflict.path.to_string()).unwrap_or_default();
            Failure::new(Kind::Invalid, format!("{name}: another package has {path}, too")).hint("leave one of them out")
        })?;
    }
    Ok(all)
}

/// Puts `/lib` where a system has it today: older packages of kernels have their modules there.
///
/// # Errors
/// [`Kind::Invalid`]: both folders have other files at one path.
pub fn move_lib(mut tree: Tree) -> Result<Tree> {
    let lib = TreePath::parse("/lib")?;
    let Some(Node::Directory(folder)) = tree.get(&lib).cloned() else { return Ok(tree) };
    tree.remove(&lib);
    let mut moved = Tree::new();
    moved.put(&TreePath::parse("/usr/lib")?, Node::Directory(folder))?;
    merge(&mut tree, &moved, |_| false)
        .map_err(|_| Failure::new(Kind::Invalid, "/lib and /usr/lib have other files at one path"))
        .context("a package of a kernel")?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::failure::kind_of;

    /// A package of dpkg-deb with these files.
    fn package(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = folder.join(name);
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        let control =
            format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a case\n");
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let deb = folder.join(format!("{name}.deb"));
        Cmd::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&deb).run().unwrap();
        deb
    }

    #[test]
    fn packages_are_unpacked_and_lie_over_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache")).unwrap();
        let image =
            package(folder.path(), "image", &[("lib/modules/6.1.0-1-amd64/a.ko", "a"), ("boot/vmlinuz-6.1.0-1-amd64", "k")]);
        let headers = package(folder.path(), "headers", &[("usr/lib/modules/6.1.0-1-amd64/build", "b")]);
        let trees = |other: &Path| trees([("one", image.clone()), ("other", other.to_owned())], &store).and_then(move_lib);
        let tree = trees(&headers).unwrap();
        for (path, text) in [("a.ko", "a"), ("build", "b")] {
            let path = TreePath::parse(&format!("/usr/lib/modules/6.1.0-1-amd64/{path}")).unwrap();
            assert_eq!(tree.file(&path).unwrap().bytes().unwrap(), text.as_bytes());
        }
        assert!(tree.get(&TreePath::parse("/lib").unwrap()).is_none());
        let same = package(folder.path(), "same", &[("boot/vmlinuz-6.1.0-1-amd64", "other")]);
        assert!(trees(&same).unwrap_err().to_string().contains("other: another package has /boot/vmlinuz-6.1.0-1-amd64"));
        fs::write(folder.path().join("text"), "text").unwrap();
        let error = super::tree("text", &folder.path().join("text"), &store).unwrap_err();
        assert!(
            kind_of(&error) == Kind::Invalid && error.to_string().starts_with("text: needed a Debian package, found: "),
            "{error}"
        );
    }
}
