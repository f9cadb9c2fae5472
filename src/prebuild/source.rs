//! What is compiled: a folder or tar, or a Debian package with a source tree for dkms below `/usr/src`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::layer::overlay;
use crate::recipe::names;
use crate::store::Store;
use crate::tree::tar::{Devices, read_packed};
use crate::tree::{LeafKind, Node, Pack, Tree, TreePath, dump};

/// Where packages put it.
const PLACE: &str = "/usr/src";
/// How dkms(8) is told what to do.
const DKMS: &str = "/dkms.conf";

/// What is compiled.
#[derive(Debug)]
pub struct Source {
    /// What the modules are called together.
    pub name: String,
    /// Of `dkms.conf`; else 0.
    pub version: String,
    /// Its files.
    pub tree: Tree,
    /// Of the tree.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Whether dkms builds it; else it has a Makefile for kbuild.
    pub dkms: bool,
}

impl Source {
    /// Reads the folder, archive or package at `path`. It is called as `dkms.conf` says, else `name`, else as the folder is.
    ///
    /// # Errors
    /// [`Kind::Input`]: it cannot be read; there is neither `dkms.conf` nor a Makefile for kbuild; a package has no source, or more than
    /// one. [`Kind::Invalid`]: a name that cannot be one.
    pub fn read(path: &Path, name: Option<&str>, store: &Store) -> Result<Self> {
        let tree = if path.extension().is_some_and(|extension| extension == "deb") {
            of_package(path, store)?
        } else {
            overlay::read(path, &BTreeMap::new(), &store.root().join("tmp"))?
        };
        let is_there = |name: &str| TreePath::parse(name).is_ok_and(|name| tree.file(&name).is_some());
        let conf = match tree.file(&TreePath::parse(DKMS)?) {
            Some(content) => {
                let text = String::from_utf8_lossy(&content.bytes()?).into_owned();
                Some(conf(&text).map_err(|why| bad(path, &format!("dkms.conf: {why}")))?)
            }
            None if is_there("/Kbuild") || is_there("/Makefile") => None,
            None => return Err(bad(path, "needed dkms.conf, Kbuild or Makefile, found none of them").into()),
        };
        let dkms = conf.is_some();
        let folder = || Some(path.canonicalize().ok()?.file_stem()?.to_str()?.to_owned());
        let (name, version) = match conf {
            Some(conf) => conf,
            None => {
                let name = name.map(str::to_owned).or_else(folder);
                (name.with_context(|| format!("{}: has no name", path.display()))?, "0".to_owned())
            }
        };
        for (what, word) in [("name", &name), ("version", &version)] {
            names::version(word).map_err(|why| {
                Failure::new(Kind::Invalid, format!("{}: its {what}: {why}", path.display())).hint("give another one with --name")
            })?;
        }
        let size = tree.walk().map(|(_, node)| size(node)).sum();
        Ok(Self { name, version, digest: dump::digest(&tree), size, dkms, tree })
    }
}

fn size(node: &Node) -> u64 {
    match node {
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::File(content) => content.len(),
            LeafKind::Symlink(_) => 0,
        },
        Node::Directory(_) => 0,
    }
}

fn bad(path: &Path, what: &str) -> Failure {
    Failure::new(Kind::Input, format!("{}: {what}", path.display()))
        .hint("name a folder or tar with a kernel module's source, or a package (.deb) with one below /usr/src")
}

/// The source that a package has.
fn of_package(path: &Path, store: &Store) -> Result<Tree> {
    File::open(path).map_err(|error| bad(path, &format!("cannot be read: {error}")))?;
    let archive = Cmd::new("dpkg-deb").arg("--fsys-tarfile").arg(path).run().map_err(|failure| match failure.kind {
        Kind::Failed => bad(path, &failure.what),
        _ => failure,
    })?;
    let mut spool = store.temporary_file()?;
    spool.write_all(&archive.stdout)?;
    // Read as long as the tree lives.
    let pack = Pack::open(spool.path())?;
    let mut tree = read_packed(&pack, Devices::SkipBelowDev)?;
    let place = TreePath::parse(PLACE)?;
    let below = tree.directory_mut(&place).map(|folder| std::mem::take(&mut folder.children)).unwrap_or_default();
    let sources = below.into_values().filter_map(|node| match node {
        Node::Directory(root) if root.children.contains_key(DKMS.trim_start_matches('/')) => Some(Tree { root }),
        _ => None,
    });
    let mut sources: Vec<_> = sources.collect();
    match (sources.pop(), sources.len()) {
        (Some(source), 0) => Ok(source),
        (_, others) => {
            let found = if others == 0 { "none".to_owned() } else { (others + 1).to_string() };
            Err(bad(path, &format!("needed one folder with dkms.conf below {PLACE}, found {found}")).into())
        }
    }
}

/// Name and version, as `dkms.conf` gives them. It is a shell script, of which only plain words are understood here.
fn conf(text: &str) -> Result<(String, String), String> {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        let value = lines.next_back().ok_or_else(|| format!("needed {key}, found none"))?;
        let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        if value.contains(['$', '`']) || value.is_empty() {
            return Err(format!("needed a plain word as {key}, found {value:?}"));
        }
        Ok(value.to_owned())
    };
    Ok((value("PACKAGE_NAME")?, value("PACKAGE_VERSION")?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::failure::kind_of;

    fn read(folder: &Path, name: Option<&str>) -> Result<Source> {
        let store = tempfile::tempdir().unwrap();
        Source::read(folder, name, &Store::open(store.path()).unwrap())
    }

    #[test]
    fn a_folder_is_for_kbuild_or_dkms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mtty-1");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("mtty.c"), "int x;").unwrap();
        assert_eq!(kind_of(&read(&path, None).unwrap_err()), Kind::Input);
        fs::write(path.join("Makefile"), "obj-m := mtty.o\n").unwrap();
        let source = read(&path, None).unwrap();
        assert_eq!((source.name.as_str(), source.version.as_str(), source.dkms, source.size), ("mtty-1", "0", false, 22));
        assert_eq!(read(&path, Some("mtty")).unwrap().name, "mtty");
        assert_eq!(kind_of(&read(&path, Some("a b")).unwrap_err()), Kind::Invalid);
        fs::write(path.join("dkms.conf"), "PACKAGE_NAME=\"nvidia-open\"\nPACKAGE_VERSION='550.163.01' # upstream's\n").unwrap();
        let source = read(&path, None).unwrap();
        assert_eq!((source.name.as_str(), source.version.as_str(), source.dkms), ("nvidia-open", "550.163.01", true));
    }

    #[test]
    fn words_that_only_a_shell_understands_are_told() {
        assert_eq!(
            conf("PACKAGE_NAME=$x\nPACKAGE_VERSION=1\n").unwrap_err(),
            "needed a plain word as PACKAGE_NAME, found \"$x\""
        );
        assert_eq!(conf("PACKAGE_NAME=a\n").unwrap_err(), "needed PACKAGE_VERSION, found none");
    }
}
