//! A folder for one case, gone at its end.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder for one case. Any account can get through it, none but the owner of a file can change it.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// A new one, in `$TMPDIR` or `/var/tmp`: images are too big for a `/tmp` in memory.
    pub fn new() -> Result<Self> {
        let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let folder = tempfile::Builder::new().prefix("basalt-test.").tempdir_in(&parent).context(parent.display().to_string())?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder in it, made if needed, that every account can write to.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o1777))?;
        }
        Ok(path)
    }

    /// Writes a file in it, with the folders above.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Copies a file or a folder of the repository into it, under its own name: recipes and overlays that a case changes.
    pub fn copy(&self, from: &Path) -> Result<PathBuf> {
        let to = self.path().join(from.file_name().context("a path without a name")?);
        copy(from, &to).with_context(|| format!("{}: cannot be copied", from.display()))?;
        Ok(to)
    }

    /// A program where every account can run it.
    pub fn program(&self, program: &Path) -> Result<PathBuf> {
        let folder = self.path().join("bin");
        let to = folder.join(program.file_name().context("a program without a name")?);
        if !to.exists() {
            fs::create_dir_all(&folder)?;
            // A rename at the end: two threads of a case may come here at once.
            let new = tempfile::NamedTempFile::new_in(&folder)?;
            fs::copy(program, new.path())?;
            new.persist(&to)?;
        }
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = from.symlink_metadata()?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if !kind.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cli_a_tree_is_copied_with_links_and_modes() {
        let scratch = Scratch::new().unwrap();
        let from = scratch.folder("from/tree").unwrap();
        fs::write(from.join("run"), "x").unwrap();
        fs::set_permissions(from.join("run"), Permissions::from_mode(0o755)).unwrap();
        symlink("run", from.join("link")).unwrap();
        let to = scratch.copy(&from).unwrap();
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("run"));
        assert_eq!(to.join("run").metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }
}
