//! Root of a user namespace, as an ordinary user: there, files of the user's subordinate numbers (subuid(5)) can be made and removed.

use std::fs;
use std::path::Path;

use nix::unistd::Uid;

use super::cmd::Cmd;
use crate::failure::{Failure, Kind};

/// A command that runs its arguments as root of a namespace in which the subordinate numbers are the other users.
pub fn cmd() -> Cmd {
    Cmd::new("unshare").args(["--map-root-user", "--map-auto"])
}

/// Takes away the file or folder at `path`, also what subordinate users own in it.
///
/// # Errors
/// When somebody else owns something in it; the hint is what to do.
pub fn remove(path: &Path) -> Result<(), Failure> {
    // Most is gone the plain way, for which no program is needed.
    let plain = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    let Err(error) = plain else { return Ok(()) };
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let cannot = |why: String| {
        Failure::new(Kind::Failed, format!("{}: cannot be removed: {why}", path.display()))
            .hint(format!("sudo rm -rf --one-file-system '{}'", path.display()))
    };
    if Uid::effective().is_root() {
        return Err(cannot(error.to_string()));
    }
    // To its end, also while an interrupt is pending: this is how an interrupted build leaves nothing.
    let removed = cmd().args(["rm", "-rf", "--one-file-system", "--"]).arg(path).spawn()?.wait_with_output();
    match removed {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(cannot(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(cannot(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_go_and_what_is_gone_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir_all(path.join("b/c")).unwrap();
        remove(&path).unwrap();
        fs::write(&path, "x").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
