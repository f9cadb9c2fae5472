//! The files of a system as a base: a folder, or a tar archive (plain, gzip or zstd).
//!
//! An archive keeps owners, modes, extended attributes and hard links. A folder keeps modes and links; what belongs to the person who
//! builds becomes root's, because an ordinary user can have no other owner's files.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::spool::Spool;
use super::{normalise, stays};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::layer::{Layer, cache};
use crate::lock::TREE_KIND;
use crate::store::Store;
use crate::tree::tar::End;
use crate::tree::{Directory, Leaf, LeafKind, Meta, Node, Tree, TreePath, dump};

/// Folders that are made at boot: what a folder has there is not looked at.
const MADE_AT_BOOT: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// What was read.
#[derive(Debug)]
pub struct Rootfs {
    /// Without times.
    pub tree: Tree,
    /// The newest time in it, in seconds since 1970.
    pub newest: i64,
}

/// Reads the folder or archive at `path`. Contents are kept in a nameless file of the store's while the tree lives.
///
/// # Errors
/// [`Kind::Input`]: it cannot be read; [`Kind::Invalid`]: it has what no image can have.
pub fn read(path: &Path, store: &Store) -> Result<Rootfs> {
    let mut spool = Spool::nameless(&store.root().join("tmp"))?;
    let mut tree = Tree::new();
    let invalid = |error: anyhow::Error| match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::new(Kind::Invalid, format!("{}: {error:#}", path.display()))
            .hint("needed the files of a system: a folder, or a tar archive (plain, gzip or zstd)"),
    };
    let unreadable = |error: std::io::Error| Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display()));
    if fs::metadata(path).map_err(unreadable)?.is_dir() {
        let mut links = HashMap::new();
        tree.root = folder(path, &TreePath::root(), &mut spool, &mut links).map_err(invalid)?;
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let mut input = BufReader::with_capacity(1 << 18, file);
        if input.fill_buf().map_err(unreadable)?.is_empty() {
            return Err(invalid(anyhow::anyhow!("needed an archive, found an empty file")).into());
        }
        spool
            .unpack(&mut tree, input, len, End::Marked)
            .map_err(|error| interrupt::check().err().unwrap_or_else(|| invalid(error)))?;
    }
    spool.finish()?;
    let newest = tree.walk().map(|(_, node)| node.meta().mtime).max().unwrap_or(0).max(0);
    tree.change_meta(|meta| meta.mtime = 0);
    Ok(Rootfs { tree, newest })
}

/// The layer of a locked tree, from the store.
///
/// # Errors
/// [`Kind::Input`]: the store does not have it, or has something else under its digest.
pub fn produce(digest: &Digest, time: i64, store: &Store) -> Result<Layer> {
    let missing = |what: &str| {
        Failure::new(Kind::Input, format!("the base's tree {digest} {what}"))
            .hint("build from the recipe, or from the folder that `basalt vendor` made")
    };
    let entry = store.entry(TREE_KIND, digest).ok_or_else(|| missing("is not in the cache"))?;
    let mut tree = cache::read(&entry)?;
    if dump::digest(&tree) != *digest {
        return Err(missing("is another one in the cache: remove it there").into());
    }
    normalise(&mut tree, time)?;
    Ok(Layer { finished: true, ..Layer::new("base", Vec::new(), tree) })
}

/// The inode of a file with several names.
type Links = HashMap<(u64, u64), Arc<Leaf>>;

fn folder(path: &Path, at: &TreePath, spool: &mut Spool, links: &mut Links) -> Result<Directory> {
    interrupt::check()?;
    let named = |path: &Path| format!("{}: cannot be read", path.display());
    let mut directory = Directory::new(meta(path, &fs::symlink_metadata(path)?)?);
    if at.parts().count() == 1 && at.parts().next().is_some_and(|top| MADE_AT_BOOT.contains(&top)) {
        return Ok(directory);
    }
    let mut names: Vec<OsString> =
        fs::read_dir(path).with_context(|| named(path))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    for name in names {
        let path = path.join(&name);
        let name = name.into_string().map_err(|_| anyhow::anyhow!("{}: its name is not UTF-8", path.display()))?;
        let found = fs::symlink_metadata(&path).with_context(|| named(&path))?;
        let kind = found.file_type();
        let node = if kind.is_dir() {
            Node::Directory(folder(&path, &at.join(&name), spool, links)?)
        } else if let Some(leaf) = links.get(&(found.dev(), found.ino())) {
            Node::Leaf(Arc::clone(leaf))
        } else {
            let kind = if kind.is_symlink() {
                let target = fs::read_link(&path)?.into_os_string().into_string();
                LeafKind::Symlink(target.map_err(|_| anyhow::anyhow!("{}: its target is not UTF-8", path.display()))?)
            } else if kind.is_file() {
                LeafKind::File(spool.take(File::open(&path).with_context(|| named(&path))?)?)
            } else {
                anyhow::bail!("{}: a device, pipe or socket, which has no place in an image", path.display());
            };
            let leaf = Arc::new(Leaf { meta: meta(&path, &found)?, kind });
            if found.nlink() > 1 {
                links.insert((found.dev(), found.ino()), Arc::clone(&leaf));
            }
            Node::Leaf(leaf)
        };
        directory.children.insert(name, node);
    }
    Ok(directory)
}

/// Owner, mode, time and the attributes that can be read.
fn meta(path: &Path, found: &fs::Metadata) -> Result<Meta> {
    let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let or_root = |number: u32, own: u32| if number == own { 0 } else { number };
    let mut meta = Meta {
        uid: or_root(found.uid(), own.0),
        gid: or_root(found.gid(), own.1),
        mode: (found.mode() & 0o7777) as u16,
        mtime: found.mtime(),
        ..Meta::default()
    };
    if !found.is_symlink() {
        let cannot = || format!("{}: its attributes cannot be read", path.display());
        for name in xattr::list(path).with_context(cannot)? {
            let Some(name) = name.to_str().filter(|name| stays(name)) else { continue };
            if let Some(value) = xattr::get(path, name).with_context(cannot)? {
                meta.xattrs.insert(name.to_owned(), value);
            }
        }
    }
    Ok(meta)
}
