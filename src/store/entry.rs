//! Entries: folders made whole, once, by whoever needs them first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::{Store, sync_folder};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::{interrupt, subordinate};

/// An entry, and whether it was there already.
#[derive(Debug)]
pub struct Entry {
    /// Its folder.
    pub path: PathBuf,
    /// Whether nothing had to be made.
    pub cached: bool,
}

impl Store {
    /// The entry `kind`/`key`, if it is here.
    pub fn entry(&self, kind: &str, key: &Digest) -> Option<PathBuf> {
        let path = self.root.join(kind).join(key.to_hex());
        path.is_dir().then_some(path)
    }

    /// The entry `kind`/`key`; `make` fills a new folder when it is not here yet. Another process that makes the same entry is waited
    /// for. When `make` fails, nothing stays.
    pub fn entry_or_make(&self, kind: &str, key: &Digest, make: impl FnOnce(&Path) -> Result<()>) -> Result<Entry> {
        if let Some(path) = self.entry(kind, key) {
            return Ok(Entry { path, cached: true });
        }
        let _lock = self.lock(&format!("{kind}-{key}"))?;
        if let Some(path) = self.entry(kind, key) {
            return Ok(Entry { path, cached: true });
        }
        let folder = tempfile::Builder::new().prefix(&format!("{kind}-")).tempdir_in(self.root.join("tmp"))?;
        make(folder.path())?;
        sync_tree(folder.path())?;
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent)?;
        let path = parent.join(key.to_hex());
        fs::rename(folder.path(), &path).with_context(|| format!("{}: cannot be stored", path.display()))?;
        // The folder has moved: nothing is left for its guard to remove.
        let _moved = folder.keep();
        sync_folder(&parent)?;
        Ok(Entry { path, cached: false })
    }

    /// Holds the lock `name` until it is dropped; waits for another holder, and stops waiting when interrupted.
    pub fn lock(&self, name: &str) -> Result<Flock<File>> {
        let path = self.root.join("locks").join(name);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    interrupt::check()?;
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Err((_, error)) => return Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
            }
        }
    }

    /// Waits for nobody: the cache for this process alone until the answer is dropped, so that something can be taken out of it.
    ///
    /// # Errors
    /// Another process uses it.
    pub fn alone(&self) -> Result<Alone<'_>> {
        match self.users.relock(FlockArg::LockExclusiveNonblock) {
            Ok(()) => Ok(Alone(self)),
            Err(error) => {
                // A refused lock may have cost the one that was held: flock(2).
                self.users.relock(FlockArg::LockShared)?;
                let what = format!("{}: the cache is in use by another build ({error})", self.root.display());
                Err(Failure::new(Kind::Failed, what).hint("try again when it has ended").into())
            }
        }
    }

    /// Marks the cache at `root` as in use and, when nobody else uses it, takes away what crashed processes left under `tmp/`.
    pub(super) fn begin_use(root: &Path) -> Result<Flock<File>> {
        let path = root.join("locks/.users");
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        let refused = |(_, error): (File, nix::errno::Errno)| anyhow::Error::from(error).context(path.display().to_string());
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                clear(&root.join("tmp"))?;
                lock.relock(FlockArg::LockShared)?;
                Ok(lock)
            }
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => Flock::lock(file, FlockArg::LockShared).map_err(refused),
            Err(other) => Err(refused(other)),
        }
    }
}

/// Nobody else uses the cache: see [`Store::alone`].
#[derive(Debug)]
pub struct Alone<'a>(&'a Store);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.users.relock(FlockArg::LockShared) {
            tracing::warn!(%error, "the cache cannot be shared again");
        }
    }
}

/// Takes away everything in `folder`, also what belongs to subordinate users: a base that was being made is many GiB. What stays
/// all the same is told with the next step, and is in nobody's way.
fn clear(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        if let Err(failure) = subordinate::remove(&entry?.path()) {
            interrupt::check()?;
            let next = failure.hint.unwrap_or_default();
            tracing::warn!("left by a build that was killed: {}; next: {next}", failure.what);
        }
    }
    Ok(())
}

/// Flushes every file and folder below `folder`.
fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let failed = store.entry_or_make("base", &key, |path| {
            fs::write(path.join("half"), "x")?;
            anyhow::bail!("stopped")
        });
        assert!(failed.is_err() && store.entry("base", &key).is_none());
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        let made = store.entry_or_make("base", &key, |path| Ok(fs::write(path.join("whole"), "x")?)).unwrap();
        assert!(!made.cached && made.path.join("whole").is_file());
        let again = store.entry_or_make("base", &key, |_| panic!("made twice")).unwrap();
        assert!(again.cached);
    }

    #[test]
    fn what_a_crash_left_is_cleared_when_nobody_works() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        fs::write(folder.path().join("tmp/left"), "x").unwrap();
        let _second = Store::open(folder.path()).unwrap();
        assert!(folder.path().join("tmp/left").exists(), "another user may be writing it");
        drop((first, _second));
        Store::open(folder.path()).unwrap();
        assert!(!folder.path().join("tmp/left").exists());
    }
}
