//! The folder of one machine: overlay, firmware variables, credentials, sockets. Gone with its owner; what an owner that was killed
//! left (an overlay can be gigabytes) the next machine takes away.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

/// A machine's folder, readable by us alone.
pub(super) struct Folder {
    folder: TempDir,
    /// Held while the owner lives.
    _lock: Flock<File>,
}

const PREFIX: &str = "basalt-vm.";
const LOCK: &str = "lock";

impl Folder {
    /// A new one in `$TMPDIR`, else `/var/tmp`: on a disk, not in memory.
    pub(super) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from))
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", parent.display()));
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(named)?;
        // Locked before it has its name: a folder whose lock is free has no owner any more.
        let unnamed = folder.path().join("lock.new");
        let lock = Flock::lock(File::create(&unnamed)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        fs::rename(unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what has no owner. What cannot be read or removed is somebody else's.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if let Ok(_free) = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            && fs::remove_dir_all(&path).is_ok()
        {
            tracing::info!(path = %path.display(), "removed what a machine left whose owner was killed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_owner_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("basalt-vm.left");
        let other = parent.path().join("basalt-vm.other");
        for folder in [&left, &other] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(left.join(LOCK), "").unwrap();
        let living = Folder::new_in(parent.path()).unwrap();
        let second = Folder::new_in(parent.path()).unwrap();
        assert!(!left.exists() && other.exists() && living.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
