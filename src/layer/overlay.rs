//! A local folder or tar archive becomes a tree: the same tree whoever made the folder, with whatever umask, owner and times.
//!
//! The rules for a folder: everything is root's, at time 0; folders 0755; files 0755 where the owner may execute, else 0644, unless the recipe
//! names a mode; links stay as written. Extended attributes, set-uid bits and hard links of the folder are not taken over: git keeps
//! none of them, so they would depend on how the folder came here. Refused are devices, sockets and named pipes, names and targets
//! that are not UTF-8, relative links that climb above the folder, and private keys. Those for an archive stand in `archive`.

mod archive;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::digest::{Digest, Hasher};
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::layer::cache;
use crate::lock::OVERLAY_KIND;
use crate::recipe::secrets;
use crate::store::Store;
use crate::tree::{Content, LeafKind, Meta, Node, Pack, Tree, TreePath, dump};

/// Files up to this length stay in memory ...
const SMALL: u64 = 64 << 10;
/// ... while all of them together are not more than this.
const MEMORY: u64 = 16 << 20;

/// Why a folder or archive cannot become a layer: every reason, each with its path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list.join("\n"))]
pub struct Unfit {
    /// At least one.
    pub list: Vec<String>,
}

/// What lies in a folder, folders before what they hold.
type Entries = BTreeMap<TreePath, Entry>;

#[derive(Debug)]
enum Entry {
    Folder,
    Link(String),
    File { local: PathBuf, executable: bool },
}

/// The paths in the folder or archive at `path`. The files of a folder are not read.
///
/// # Errors
/// Everything that cannot be part of an image.
pub fn names(path: &Path) -> Result<BTreeSet<TreePath>, Unfit> {
    if path.is_file() {
        return archive::read(path).map(|tree| tree.walk().map(|(path, _)| path).collect());
    }
    scan(path).map(|entries| entries.into_keys().collect())
}

/// Looks at every name of `folder` without reading the files.
fn scan(folder: &Path) -> Result<Entries, Unfit> {
    let mut scan = Scan { found: Entries::new(), unfit: Vec::new() };
    match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => scan.folder(folder, &TreePath::root()),
        Ok(_) => scan.unfit.push("needed a folder or a tar archive, found neither".to_owned()),
        Err(error) => scan.unfit.push(format!("needed a folder or a tar archive, found: {error}")),
    }
    if scan.unfit.is_empty() {
        return Ok(scan.found);
    }
    scan.unfit.sort_unstable();
    Err(Unfit { list: scan.unfit })
}

/// The tree of the folder or archive at `path`. `modes` are the modes that the recipe names. Large files of a folder are copied once
/// into a nameless file in the folder `spool`, from which the tree's contents are read while it lives.
///
/// # Errors
/// As [`names`], with [`Kind::Invalid`]; a mode for a path that is not there; files that cannot be read, or are private keys.
pub fn read(path: &Path, modes: &BTreeMap<TreePath, u16>, spool: &Path) -> Result<Tree> {
    let invalid = |what: String| Failure::new(Kind::Invalid, format!("overlay {}: {what}", path.display()));
    let unfit = |unfit: Unfit| invalid(unfit.to_string());
    let mut tree = if path.is_file() {
        archive::read(path).map_err(unfit)?
    } else {
        read_folder(scan(path).map_err(unfit)?, &invalid, spool)?
    };
    set_modes(&mut tree, modes).map_err(invalid)?;
    Ok(tree)
}

fn read_folder(entries: Entries, invalid: &dyn Fn(String) -> Failure, spool: &Path) -> Result<Tree> {
    let mut spool = Spool { folder: spool, file: None, in_memory: 0 };
    let mut tree = Tree::new();
    for (path, entry) in entries {
        interrupt::check()?;
        match entry {
            Entry::Folder => drop(tree.make_directory(&path)?),
            Entry::Link(target) => drop(tree.put(&path, Node::symlink(target))?),
            Entry::File { local, executable } => {
                let content = spool.content(&local).with_context(|| format!("{}: cannot be read", local.display()))?;
                let mut beginning = vec![0; usize::try_from(content.len().min(128))?];
                content.read_exact_at(&mut beginning, 0)?;
                if secrets::begins_with_private_key(&beginning) {
                    return Err(invalid(format!("{path} is a private key; needed no secret")).hint(secrets::HINT).into());
                }
                tree.put_file(&path, Meta::root(mode(executable)), content)?;
            }
        }
    }
    Ok(tree)
}

/// Gives `tree` the modes that the recipe names.
///
/// # Errors
/// A path that is not there, or a link.
pub fn set_modes(tree: &mut Tree, modes: &BTreeMap<TreePath, u16>) -> Result<(), String> {
    for (path, mode) in modes {
        let missing = || format!("the recipe names a mode for {path}, which is not there");
        let mut node = tree.get(path).cloned().ok_or_else(missing)?;
        match &mut node {
            Node::Directory(directory) => directory.meta.mode = *mode,
            Node::Leaf(leaf) if matches!(leaf.kind, LeafKind::Symlink(_)) => {
                return Err(format!("the recipe names a mode for {path}, which is a symbolic link"));
            }
            Node::Leaf(leaf) => Arc::make_mut(leaf).meta.mode = *mode,
        }
        tree.insert(path, node).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The mode of a file that the recipe names none for.
pub(super) const fn mode(executable: bool) -> u16 {
    if executable { 0o755 } else { 0o644 }
}

/// Whether a relative link at `path` has more `..` than there are folders above it.
pub fn climbs_out(path: &TreePath, target: &str) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut depth = path.parts().count() as i64 - 1;
    target.split('/').any(|part| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    })
}

struct Scan {
    found: Entries,
    unfit: Vec<String>,
}

impl Scan {
    fn folder(&mut self, folder: &Path, at: &TreePath) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.unfit.push(format!("{at}: cannot be read: {error}")),
        };
        for entry in entries {
            let seen = entry.and_then(|entry| Ok((entry.file_name(), entry.path(), entry.path().symlink_metadata()?)));
            match seen {
                Ok((name, local, meta)) => match name.to_str() {
                    Some(name) => self.entry(&local, &at.join(name), &meta),
                    None => self.unfit.push(format!("{}: its name is not UTF-8", at.join(&name.to_string_lossy()))),
                },
                Err(error) => self.unfit.push(format!("{at}: cannot be read: {error}")),
            }
        }
    }

    fn entry(&mut self, local: &Path, path: &TreePath, meta: &fs::Metadata) {
        let kind = meta.file_type();
        let refused = if kind.is_dir() {
            self.found.insert(path.clone(), Entry::Folder);
            return self.folder(local, path);
        } else if kind.is_symlink() {
            match fs::read_link(local).map(PathBuf::into_os_string).map(std::ffi::OsString::into_string) {
                Ok(Ok(target)) if climbs_out(path, &target) => {
                    format!("is a link to {target:?}, which climbs above the image's root")
                }
                Ok(Ok(target)) => {
                    self.found.insert(path.clone(), Entry::Link(target));
                    return;
                }
                Ok(Err(_)) => "is a link whose target is not UTF-8".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            }
        } else if kind.is_file() {
            let executable = meta.permissions().mode() & 0o100 != 0;
            self.found.insert(path.clone(), Entry::File { local: local.to_owned(), executable });
            return;
        } else if kind.is_fifo() {
            "is a named pipe; needed a file, folder or link".to_owned()
        } else if kind.is_socket() {
            "is a socket; needed a file, folder or link".to_owned()
        } else {
            "is a device node; needed a file, folder or link".to_owned()
        };
        self.unfit.push(format!("{path} {refused}"));
    }
}

/// Takes in the contents of files: small ones into memory, the rest into one file without a name.
struct Spool<'a> {
    folder: &'a Path,
    file: Option<Spooled>,
    in_memory: u64,
}

struct Spooled {
    out: BufWriter<File>,
    pack: Arc<Pack>,
    offset: u64,
}

impl Spool<'_> {
    fn content(&mut self, local: &Path) -> io::Result<Content> {
        let mut file = File::open(local)?;
        let len = file.metadata()?.len();
        if len <= SMALL && self.in_memory + len <= MEMORY {
            let mut bytes = Vec::new();
            // A file that grows while it is read must not fill the memory.
            Read::by_ref(&mut file).take(SMALL).read_to_end(&mut bytes)?;
            self.in_memory += bytes.len() as u64;
            return Ok(Content::from_bytes(bytes));
        }
        if self.file.is_none() {
            self.file = Some(Spooled::new(self.folder)?);
        }
        match &mut self.file {
            Some(spooled) => spooled.take(file),
            None => Err(io::Error::other("no spool")),
        }
    }
}

impl Spooled {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        let pack = Pack::open(file.path())?;
        // Without its name it vanishes with the last reader, also in a crash.
        let (file, path) = file.into_parts();
        path.close()?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, file), pack, offset: 0 })
    }

    fn take(&mut self, mut file: File) -> io::Result<Content> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        let start = self.offset;
        loop {
            interrupt::check_io()?;
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            self.out.write_all(&buffer[..n])?;
            self.offset += n as u64;
        }
        self.out.flush()?;
        Ok(Content::packed(Arc::clone(&self.pack), start, self.offset - start, hasher.finish()))
    }
}

/// The tree of a locked overlay, from the store: imported when it was locked, and checked against its digest here.
///
/// # Errors
/// [`Kind::Input`] when the store does not have it, or has something else under its digest.
pub fn produce(name: &str, digest: &Digest, store: &Store) -> Result<Tree> {
    let Some(folder) = store.entry(OVERLAY_KIND, digest) else {
        return Err(Failure::new(Kind::Input, format!("{name} ({digest}) is not in the cache"))
            .hint("build from the recipe, or from the folder that `basalt vendor` made")
            .into());
    };
    let tree = cache::read(&folder)?;
    let found = dump::digest(&tree);
    if found != *digest {
        let what = format!("{}: its digest differs: needed {digest}, found {found}", folder.display());
        return Err(Failure::new(Kind::Input, what).hint("remove this folder and build from the recipe again").into());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::dump;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    fn read_all(folder: &Path, modes: &[(&str, u16)]) -> Result<Tree> {
        let spool = tempfile::tempdir()?;
        let modes = modes.iter().map(|(at, mode)| (path(at), *mode)).collect();
        read(folder, &modes, spool.path())
    }

    fn sample(folder: &Path, readable: u32, executable: u32) {
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        fs::write(folder.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
        fs::write(folder.join("usr/large"), vec![7; 200_000]).unwrap();
        symlink("../bin/tool", folder.join("usr/bin/alias")).unwrap();
        let set = |name: &str, mode| fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        set("usr/bin/tool", executable);
        set("usr/large", readable);
        set("usr/bin", executable);
    }

    #[test]
    fn umask_and_times_do_not_matter() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample(one.path(), 0o644, 0o755);
        sample(other.path(), 0o600, 0o700);
        let tree = read_all(one.path(), &[("/usr/large", 0o440)]).unwrap();
        let same = read_all(other.path(), &[("/usr/large", 0o440)]).unwrap();
        assert_eq!(dump::digest(&tree), dump::digest(&same));
        let mode = |at| tree.get(&path(at)).unwrap().meta().mode;
        assert_eq!([mode("/usr/bin"), mode("/usr/bin/tool"), mode("/usr/large")], [0o755, 0o755, 0o440]);
        assert_eq!(tree.file(&path("/usr/large")).unwrap().bytes().unwrap(), vec![7; 200_000]);
        assert!(tree.file(&path("/usr/large")).unwrap().packed_at().is_some());
    }

    #[test]
    fn everything_unfit_is_named() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/deep")).unwrap();
        symlink("../../../etc/shadow", folder.path().join("etc/deep/out")).unwrap();
        symlink("../../etc/in", folder.path().join("etc/deep/in")).unwrap();
        symlink("/etc/passwd", folder.path().join("etc/absolute")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("etc/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("etc/socket")).unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "").unwrap();
        let unfit = scan(folder.path()).unwrap_err();
        assert_eq!(
            unfit.list,
            [
                "/caf\u{fffd}: its name is not UTF-8",
                "/etc/deep/out is a link to \"../../../etc/shadow\", which climbs above the image's root",
                "/etc/pipe is a named pipe; needed a file, folder or link",
                "/etc/socket is a socket; needed a file, folder or link",
            ]
        );
        let error = read_all(folder.path(), &[]).unwrap_err();
        assert_eq!(crate::failure::kind_of(&error), Kind::Invalid);
    }

    #[test]
    fn a_device_node_is_refused() {
        // Making one needs a privilege; a folder that every machine has holds one.
        let unfit = scan(Path::new("/dev")).unwrap_err();
        let expected = "/null is a device node; needed a file, folder or link".to_owned();
        assert!(unfit.list.contains(&expected), "{unfit}");
    }

    #[test]
    fn what_the_recipe_says_must_be_there_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let message = |modes: &[(&str, u16)]| read_all(folder.path(), modes).unwrap_err().to_string();
        assert!(message(&[("/a", 0o400)]).ends_with("the recipe names a mode for /a, which is not there"));
        symlink("b", folder.path().join("l")).unwrap();
        assert!(message(&[("/l", 0o400)]).ends_with("the recipe names a mode for /l, which is a symbolic link"));
        fs::write(folder.path().join("id"), format!("-----BEGIN {} KEY-----\n", "PRIVATE")).unwrap();
        assert!(message(&[]).ends_with("/id is a private key; needed no secret"));
        assert!(
            scan(&folder.path().join("none"))
                .unwrap_err()
                .to_string()
                .starts_with("needed a folder or a tar archive, found: No such")
        );
    }

    #[test]
    fn links_that_climb() {
        for (at, target, out) in [
            ("/a", "..", true),
            ("/a/b", "..", false),
            ("/a/b", "../..", true),
            ("/a/b", "../c/../d", false),
            ("/a/b", "c/../../..", true),
            ("/a", "/../x", false),
        ] {
            assert_eq!(climbs_out(&path(at), target), out, "{at} {target}");
        }
    }
}
