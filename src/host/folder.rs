//! Whether a folder can be written to, asked before any work: hours later is too late to learn that `--out` is a file.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::failure::{Failure, Kind};

/// Fails unless `path` is a folder that this user can write to, or can be made as one. `next` is the next step.
pub fn need(path: &Path, next: &str) -> Result<(), Failure> {
    let bad = |why: String| Failure::new(Kind::Usage, format!("{}: {why}", path.display())).hint(next);
    // The folder, or the one that it would be made in: the empty path is the current folder.
    let above = path.ancestors().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let Some(there) = above.into_iter().find(|folder| folder.symlink_metadata().is_ok()) else {
        return Err(bad("no such folder".to_owned()));
    };
    if !there.is_dir() {
        let found = if there.exists() { "found a file" } else { "found a link that leads nowhere" };
        let which = if there == path { String::new() } else { format!(" at {}", there.display()) };
        return Err(bad(format!("needed a folder, {found}{which}")));
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| bad(format!("needed a folder to write to, found that {} is not: {}", there.display(), error.desc())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        symlink("none", at("link")).unwrap();
        for good in ["", "new", "new/deep"] {
            need(&at(good), "x").unwrap();
        }
        need(Path::new("surely-not-there"), "x").unwrap();
        for (name, expected) in [
            ("file", "needed a folder, found a file"),
            ("file/deep", "needed a folder, found a file at "),
            ("link", "needed a folder, found a link that leads nowhere"),
        ] {
            let failure = need(&at(name), "choose another").unwrap_err();
            assert!(failure.what.contains(expected), "{name}: {failure}");
            assert_eq!((failure.kind, failure.hint.as_deref()), (Kind::Usage, Some("choose another")));
        }
        assert!(need(Path::new("/proc/1/new"), "x").is_err(), "nobody can make a folder there");
    }
}
