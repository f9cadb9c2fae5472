//! Debian's kernel package, for its modules.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use basalt::source::debian::control::stanzas;
use nix::fcntl::{Flock, FlockArg};

use crate::{Scratch, repository, run};

/// The package that depends on the newest one.
const PACKAGE: &str = "linux-image-amd64";

/// The folder `/lib/modules/RELEASE` of this machine's Debian, unpacked into the target folder. There is no index in it.
pub fn kernel_modules() -> Result<PathBuf> {
    let folder = repository().join("target/kernel-package");
    fs::create_dir_all(&folder)?;
    let _lock = Flock::lock(File::create(folder.join(".lock"))?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let unpacked = folder.join("unpacked");
    if !unpacked.exists() {
        let scratch = Scratch::new()?;
        let text = run(Command::new("apt-cache").args(["show", "--no-all-versions", PACKAGE]))?;
        let depends = stanzas(&text).next().and_then(|stanza| stanza.get("Depends").map(str::to_owned));
        let depends = depends.with_context(|| format!("{PACKAGE} depends on nothing"))?;
        let name = depends.split([' ', ',']).next().unwrap_or_default();
        run(Command::new("apt-get").args(["-o", "APT::Sandbox::User=", "download", name]).current_dir(scratch.path()))?;
        let entries = fs::read_dir(scratch.path())?.collect::<Result<Vec<_>, _>>()?;
        let package = entries.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|end| end == "deb"));
        let package = package.context("apt-get download left no package")?;
        let to = folder.join("new");
        let _ = fs::remove_dir_all(&to);
        run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&to))?;
        fs::rename(to, &unpacked)?;
    }
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path)).into_iter().find(|path| path.is_dir());
    let modules = modules.with_context(|| format!("{} has no modules", unpacked.display()))?;
    let entry = fs::read_dir(&modules)?.next().with_context(|| modules.display().to_string())??;
    Ok(entry.path())
}
