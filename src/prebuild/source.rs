//! What is compiled: a folder or tar, or a Debian package with a source tree for dkms below `/usr/src`, or with an archive there, as the
//! kernel's own source has it.

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
use crate::tree::{Content, LeafKind, Node, Pack, Tree, TreePath, dump};

/// Where packages put it.
const PLACE: &str = "/usr/src";
/// How dkms(8) is told what to do.
const DKMS: &str = "/dkms.conf";

/// Where it is, and what of it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// A folder, an archive or a package.
    pub path: &'a Path,
    /// Whether it is a package.
    pub package: bool,
    /// What people call it.
    pub shown: &'a str,
    /// The folder of it that is built; none: all.
    pub folder: Option<&'a str>,
    /// What the modules are called together, where nothing in it says so.
    pub name: Option<&'a str>,
}

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
    /// Reads a folder, archive or package. It is called as `dkms.conf` says, else by the name that is wanted, else as the folder is.
    ///
    /// # Errors
    /// [`Kind::Input`]: it cannot be read; there is neither `dkms.conf` nor a Makefile for kbuild; it has not the folder; a package has no
    /// source, or more than one. [`Kind::Invalid`]: a name that cannot be one.
    pub fn read(wanted: Wanted<'_>, store: &Store) -> Result<Self> {
        let Wanted { path, shown, name, .. } = wanted;
        let tree = match (wanted.package, wanted.folder) {
            (true, folder) => of_package(wanted, folder, store)?,
            (false, None) => overlay::read(path, &BTreeMap::new(), &store.root().join("tmp"))?,
            (false, Some(folder)) => {
                let tree = overlay::read(path, &BTreeMap::new(), &store.root().join("tmp"))?;
                below(&tree, folder).ok_or_else(|| bad(shown, &format!("has no folder {folder:?}")))?
            }
        };
        let is_there = |name: &str| TreePath::parse(name).is_ok_and(|name| tree.file(&name).is_some());
        let conf = match tree.file(&TreePath::parse(DKMS)?) {
            Some(content) => {
                let text = String::from_utf8_lossy(&content.bytes()?).into_owned();
                Some(conf(&text).map_err(|why| bad(shown, &format!("dkms.conf: {why}")))?)
            }
            None if is_there("/Kbuild") || is_there("/Makefile") => None,
            None => return Err(bad(shown, "needed dkms.conf, Kbuild or Makefile, found none of them").into()),
        };
        let dkms = conf.is_some();
        let folder = || match wanted.folder {
            Some(folder) => folder.trim_end_matches('/').rsplit('/').next().map(str::to_owned),
            None => Some(path.canonicalize().ok()?.file_stem()?.to_str()?.to_owned()),
        };
        let (name, version) = match conf {
            Some(conf) => conf,
            None => {
                let name = name.map(str::to_owned).or_else(folder);
                (name.with_context(|| format!("{shown}: has no name"))?, "0".to_owned())
            }
        };
        for (what, word) in [("name", &name), ("version", &version)] {
            names::version(word).map_err(|why| {
                Failure::new(Kind::Invalid, format!("{shown}: its {what}: {why}")).hint("give another one with --name")
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

/// The part of a tree that `folder` is.
fn below(tree: &Tree, folder: &str) -> Option<Tree> {
    let path = TreePath::parse(&format!("/{}", folder.trim_matches('/'))).ok()?;
    Some(Tree { root: tree.directory(&path)?.clone() })
}

fn bad(shown: &str, what: &str) -> Failure {
    Failure::new(Kind::Input, format!("{shown}: {what}"))
        .hint("name a folder or tar with a kernel module's source, or a package (.deb) with one below /usr/src")
}

/// The source that a package has: with a `folder`, that of its only source, which may be an archive.
fn of_package(wanted: Wanted<'_>, folder: Option<&str>, store: &Store) -> Result<Tree> {
    let Wanted { path, shown, .. } = wanted;
    File::open(path).map_err(|error| bad(shown, &format!("cannot be read: {error}")))?;
    let archive = Cmd::new("dpkg-deb").arg("--fsys-tarfile").arg(path).run().map_err(|failure| match failure.kind {
        Kind::Failed => bad(shown, &failure.what),
        _ => failure,
    })?;
    let mut spool = store.temporary_file()?;
    spool.write_all(&archive.stdout)?;
    // Read as long as the tree lives.
    let pack = Pack::open(spool.path())?;
    let mut tree = read_packed(&pack, Devices::SkipBelowDev)?;
    let place = TreePath::parse(PLACE)?;
    let sources = tree.directory_mut(&place).map(|folder| std::mem::take(&mut folder.children)).unwrap_or_default();
    let mut found = Vec::new();
    for (name, node) in sources {
        match (node, folder) {
            (Node::Directory(root), None) if root.children.contains_key(DKMS.trim_start_matches('/')) => {
                found.push(Tree { root })
            }
            (Node::Directory(root), Some(folder)) => found.extend(below(&Tree { root }, folder)),
            (Node::Leaf(leaf), Some(folder)) if name.contains(".tar.") => {
                let LeafKind::File(content) = &leaf.kind else { continue };
                found.extend(of_archive(content, folder, store).with_context(|| format!("{shown}: {PLACE}/{name}"))?);
            }
            _ => {}
        }
    }
    match (found.pop(), found.len()) {
        (Some(source), 0) => Ok(source),
        (_, others) => {
            let found = if others == 0 { "none".to_owned() } else { (others + 1).to_string() };
            let needed = folder.map_or_else(|| "dkms.conf".to_owned(), |folder| format!("{folder}/ in it"));
            Err(bad(shown, &format!("needed one folder with {needed} below {PLACE}, found {found}")).into())
        }
    }
}

/// A folder of the source that an archive is, below the one folder that such archives have. The archive came with a package of the
/// distribution; tar knows how it is compressed.
fn of_archive(content: &Content, folder: &str, store: &Store) -> Result<Option<Tree>> {
    let work = tempfile::tempdir_in(store.root().join("tmp"))?;
    let (archive, to) = (work.path().join("archive"), work.path().join("files"));
    std::io::copy(&mut content.reader(), &mut File::create(&archive)?)?;
    std::fs::create_dir(&to)?;
    let folder = folder.trim_matches('/');
    let tar =
        Cmd::new("tar").arg("--directory").arg(&to).arg("--strip-components=1").arg("--extract").arg("--file").arg(&archive);
    match tar.args(["--wildcards", "--", &format!("*/{folder}")]).run() {
        Err(failure) if failure.kind == Kind::Failed => return Ok(None),
        ran => ran?,
    };
    let tree = overlay::read(&to, &BTreeMap::new(), &store.root().join("tmp"))?;
    Ok(below(&tree, folder))
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
        of_folder(folder, None, name, &store)
    }

    fn of_folder(path: &Path, folder: Option<&str>, name: Option<&str>, store: &tempfile::TempDir) -> Result<Source> {
        let wanted = Wanted { path, package: false, shown: "it", folder, name };
        Source::read(wanted, &Store::open(store.path()).unwrap())
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
        let store = tempfile::tempdir().unwrap();
        let part = of_folder(folder.path(), Some("mtty-1/"), None, &store).unwrap();
        assert_eq!((part.name, part.digest), ("mtty-1".to_owned(), source.digest));
        assert_eq!(of_folder(folder.path(), Some("mtty"), None, &store).unwrap_err().to_string(), "it: has no folder \"mtty\"");
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
