//! Folders in which a new root is made and worked in: locked while somebody does, swept when nobody does any more.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::privilege::Privilege;
use crate::architecture::Architecture;
use crate::host::cmd::Cmd;
use crate::host::subordinate;
use crate::store::Store;

const PREFIX: &str = "chroot-";

/// A folder for one run, locked while it is in use. Files in it may belong to subordinate users.
pub(crate) struct Work {
    /// The folder.
    pub path: PathBuf,
    /// Of whoever works in it.
    pub privilege: Privilege,
    lock: Option<Flock<File>>,
}

impl Work {
    /// Makes one.
    pub fn make(store: &Store, privilege: Privilege) -> Result<Self> {
        // Nobody sweeps between making the folder and locking it.
        let _sweep = store.lock("sweep")?;
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(store.root().join("tmp"))?.keep();
        let lock = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        Ok(Self { path, privilege, lock: Some(lock) })
    }

    /// mmdebstrap in it, with this architecture's packages; what it makes is of `time`, in seconds since 1970.
    pub fn mmdebstrap(&self, architecture: Architecture, time: i64) -> Cmd {
        // umask is not inherited from whoever builds.
        let command = self.privilege.bound_cmd().args(["sh", "-c", "umask 022; exec \"$@\"", "sh", "mmdebstrap"]);
        command
            .args(["--mode=unshare".to_owned(), format!("--architectures={architecture}")])
            .env("BASALT_WORK", &self.path)
            .env("TMPDIR", self.path.join("tmp"))
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("HOME", "/nonexistent")
            // Debian's kernel hook would make an initramfs of its own.
            .env("INITRD", "No")
            .folder(&self.path)
    }

    /// The line of sources.list for the packages in its folder `repository`.
    pub fn repository_line(&self) -> String {
        // A space ends a word there.
        let address = self.path.join("repository").display().to_string().replace('%', "%25").replace(' ', "%20");
        format!("deb [trusted=yes] copy:{address} ./")
    }

    /// Takes it away.
    pub fn remove(mut self) -> Result<()> {
        let removed = subordinate::remove(&self.path);
        self.lock = None;
        Ok(removed?)
    }
}

impl Drop for Work {
    /// After a failure or interrupt. What cannot be removed now is swept by the next run.
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = subordinate::remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot be removed now; the next build tries again");
        }
    }
}

/// Takes away what killed runs left below the store's `tmp`.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    let _sweep = store.lock("sweep")?;
    for entry in fs::read_dir(store.root().join("tmp"))? {
        let path = entry?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // Whoever works in it holds its lock.
        let Some(Ok(file)) = ours.then(|| File::open(&path)) else { continue };
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        subordinate::remove(&path).context("left by a build that was killed")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_run_is_swept_and_a_running_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let running = Work::make(&store, Privilege::Root).unwrap();
        let killed = folder.path().join("tmp/chroot-killed");
        fs::create_dir_all(killed.join("tmp/deep")).unwrap();
        sweep(&store).unwrap();
        assert!(running.path.is_dir() && !killed.exists());
        let path = running.path.clone();
        running.remove().unwrap();
        assert!(!path.exists());
    }
}
