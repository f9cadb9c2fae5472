//! The folder where artefacts lie: one build at a time writes it, files appear whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tempfile::{NamedTempFile, TempDir};

use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::store::sync_folder;

/// How the names of files and folders begin and end that are not whole yet.
const PREFIX: &str = ".basalt-";
const SUFFIX: &str = ".part";

/// The folder of a build's artefacts, held against other builds until it is dropped.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    /// None where the filesystem cannot lock folders.
    lock: Option<Flock<File>>,
    /// Whole files that wait for the next flush: flushed together they take as long as one.
    waiting: Mutex<Vec<(NamedTempFile, String)>>,
}

impl Output {
    /// Makes the folder where it is missing, waits for another build that writes to it, and takes away what a killed one left.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("{}: cannot make the folder for artefacts", path.display()))?;
        let output = Self { path: path.to_owned(), lock: lock(path)?, waiting: Mutex::default() };
        if output.lock.is_some() {
            output.clear()?;
        }
        Ok(output)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of this folder that vanishes unless it is kept.
    pub(super) fn begin(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .tempfile_in(&self.path)
            .with_context(|| format!("{}: cannot make a file", self.path.display()))
    }

    /// A folder in this one, which has room for the like of its artefacts. It vanishes with the guard; one that a killed process left,
    /// with the next build.
    pub fn folder(&self) -> Result<TempDir> {
        let made = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempdir_in(&self.path);
        made.with_context(|| format!("{}: cannot make a folder", self.path.display()))
    }

    /// Gives a finished file its name. It was flushed; the folder is not yet.
    pub(super) fn keep(&self, file: NamedTempFile, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        // Whatever the umask: an artefact is for everyone to read.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        // The last to close what was there pays for giving its blocks back: a thread that nobody waits for.
        let old = File::open(&path);
        file.persist(&path).with_context(|| format!("{}: cannot be replaced", path.display()))?;
        thread::spawn(move || drop(old));
        Ok(path)
    }

    /// Writes a small file whole. It was flushed; the folder is not yet.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.begin()?;
        let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
        written.map_err(|error| unwritable(&self.path.join(name), &error))?;
        self.keep(file, name)?;
        Ok(())
    }

    /// The same of one that the next [`Self::flush`] flushes and names: until then nobody sees it.
    pub(super) fn write_later(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.begin()?;
        file.write_all(bytes).map_err(|error| unwritable(&self.path.join(name), &error))?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((file, name.to_owned()));
        Ok(())
    }

    /// Takes a file away, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Names what waits, in the order in which it came, and makes all names durable.
    pub(super) fn flush(&self) -> Result<()> {
        let waiting = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for (file, name) in &waiting {
            file.as_file().sync_all().map_err(|error| unwritable(&self.path.join(name), &error))?;
        }
        for (file, name) in waiting {
            self.keep(file, &name)?;
        }
        sync_folder(&self.path)
    }

    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str()
                && name.starts_with(PREFIX)
                && name.ends_with(SUFFIX)
            {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path()).with_context(|| format!("{}: cannot be removed", entry.path().display()))?;
                } else {
                    self.remove(name)?;
                }
            }
        }
        Ok(())
    }
}

/// A failure of writing `path`: an interrupt when one came, else what the system says, with the next step for a full disk.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> anyhow::Error {
    if interrupt::pending() {
        return interrupt::failure().into();
    }
    let failure = Failure::new(Kind::Failed, format!("{}: cannot be written: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hint("free space there, or choose another folder with --out; nothing half-written was kept").into()
        }
        _ => failure.into(),
    }
}

fn lock(path: &Path) -> Result<Option<Flock<File>>> {
    let mut told = false;
    loop {
        let folder = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => {
                if !told {
                    tracing::info!(path = %path.display(), "another build writes to this folder: waiting");
                    told = true;
                }
                interrupt::check()?;
                thread::sleep(Duration::from_millis(100));
            }
            Err((_, error)) => {
                tracing::debug!(path = %path.display(), %error, "this folder cannot be locked");
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let output = Output::open(&path).unwrap();
        let left = output.begin().unwrap().into_temp_path().keep().unwrap();
        output.write("kept", b"1").unwrap();
        let folder_left = output.folder().unwrap().keep();
        fs::write(folder_left.join("disk.raw"), "half").unwrap();
        drop(output);
        assert!(left.exists() && folder_left.exists());
        let output = Output::open(&path).unwrap();
        assert!(!left.exists() && !folder_left.exists());
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"1");
        assert_eq!(fs::metadata(path.join("kept")).unwrap().permissions().mode() & 0o777, 0o644);
        output.remove("kept").unwrap();
        output.remove("kept").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn what_waits_for_a_flush_appears_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path()).unwrap();
        output.write_later("a", b"1").unwrap();
        output.write_later("b", b"2").unwrap();
        output.write_later("a", b"3").unwrap();
        assert!(!folder.path().join("a").exists());
        output.flush().unwrap();
        let text = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert_eq!((text("a"), text("b")), (b"3".to_vec(), b"2".to_vec()));
        output.write_later("c", b"4").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_second_build_waits() {
        let folder = tempfile::tempdir().unwrap();
        let first = Output::open(folder.path()).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| Output::open(folder.path()).map(|_| std::time::Instant::now()));
            first.write("x", b"").unwrap();
            let released = std::time::Instant::now();
            drop(first);
            assert!(second.join().unwrap().unwrap() >= released);
        });
    }
}
