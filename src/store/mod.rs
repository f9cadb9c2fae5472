//! The cache: blobs by digest, and folders ("entries") by the hash of what they are made from.
//!
//! Layout below its root: `blobs/<sha256>`, `<kind>/<key>/`, `remembered/`, `tmp/`, `locks/`. A blob or entry is written under `tmp/`, flushed, and
//! renamed: what stands under its name is whole. Who makes an entry holds its lock, so that two builds make it once. A crash
//! leaves only things under `tmp/`; they are taken away when nobody who could have made them lives.

mod entry;
mod import;
mod remember;

pub use entry::{Alone, Entry};

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use nix::fcntl::Flock;

use crate::digest::{Digest, Digesting, Hasher};
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::tree::Pack;

/// A cache folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<PathBuf>,
    /// Held shared while the cache is in use.
    users: Arc<Flock<File>>,
}

impl Store {
    /// Opens (and makes) the cache at `root` and clears what a crash left.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["blobs", "tmp", "locks"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("{}: cannot make the cache folder", path.display()))?;
        }
        let root = root.canonicalize()?;
        let users = Self::begin_use(&root)?;
        Ok(Self { root: Arc::new(root), users: Arc::new(users) })
    }

    /// The user's cache: `$BASALT_CACHE`, else `$XDG_CACHE_HOME/basalt`, else `~/.cache/basalt`.
    pub fn default_root() -> Result<PathBuf> {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        from("BASALT_CACHE")
            .or_else(|| from("XDG_CACHE_HOME").map(|folder| folder.join("basalt")))
            .or_else(|| from("HOME").map(|folder| folder.join(".cache/basalt")))
            .ok_or_else(|| {
                Failure::new(Kind::Usage, "no cache folder: none of BASALT_CACHE, XDG_CACHE_HOME and HOME is set")
                    .hint("set BASALT_CACHE to a folder with a few GiB of space")
                    .into()
            })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob with this digest lies or would lie.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_hex())
    }

    /// Whether the blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob, if it is here.
    pub fn blob(&self, digest: &Digest) -> io::Result<Option<Arc<Pack>>> {
        match Pack::open(&self.blob_path(digest)) {
            Ok(pack) => Ok(Some(pack)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores what `reader` gives; answers its digest and length.
    pub fn add_blob(&self, mut reader: impl Read) -> Result<(Digest, u64)> {
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        let mut len = 0;
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n])?;
            len += n as u64;
        }
        let digest = hasher.finish();
        self.keep_blob(file, &digest)?;
        Ok((digest, len))
    }

    /// Stores what `reader` gives as the blob with this digest and length, unless it is here.
    ///
    /// # Errors
    /// [`Kind::Input`]: other bytes; nothing is stored then.
    pub fn add_known_blob(&self, reader: impl Read, digest: &Digest, len: u64) -> Result<()> {
        if self.has_blob(digest) {
            return Ok(());
        }
        let file = self.temporary_file()?;
        let mut digesting = Digesting::new(file.as_file());
        // One more byte tells that there are more.
        io::copy(&mut interrupt::Stoppable(reader.take(len.saturating_add(1))), &mut digesting)?;
        let (found, size, _) = digesting.finish();
        if (found, size) == (*digest, len) {
            return self.keep_blob(file, digest);
        }
        let found = match size.cmp(&len) {
            std::cmp::Ordering::Less => format!("{size} bytes"),
            std::cmp::Ordering::Equal => format!("sha256 {found}"),
            std::cmp::Ordering::Greater => "more bytes".to_owned(),
        };
        let what = format!("needed {len} bytes, sha256 {digest}; found {found}");
        Err(Failure::new(Kind::Input, what).hint("it is cut off or was altered: make or fetch it again").into())
    }

    /// Takes a finished temporary file as the blob with `digest`, which the caller computed.
    pub fn keep_blob(&self, file: tempfile::NamedTempFile, digest: &Digest) -> Result<()> {
        file.as_file().sync_all()?;
        let path = self.blob_path(digest);
        file.persist(&path).with_context(|| format!("{}: cannot be stored", path.display()))?;
        sync_folder(&self.root.join("blobs"))
    }

    /// A temporary file in the cache's filesystem.
    pub fn temporary_file(&self) -> Result<tempfile::NamedTempFile> {
        Ok(tempfile::NamedTempFile::new_in(self.root.join("tmp"))?)
    }
}

/// Flushes a folder, so that a rename in it survives a power cut.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).with_context(|| format!("{}: cannot be flushed", folder.display()))
}
