//! Parts of the kernel's own source, as Debian ships it: modules that Debian's kernel does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::tool::run;
use crate::unpacked::unpacked;

/// What the cases build.
const PARTS: [&str; 2] = ["drivers/net/netdevsim", "samples/vfio-mdev"];

/// A folder with `drivers/net/netdevsim` and `samples/vfio-mdev` of the kernel's source. Unpacked once: it takes most of a minute.
pub fn linux_source() -> Result<PathBuf> {
    let root = unpacked("linux-source", &["linux-source"], |name| name.starts_with("linux-source-"))?;
    let folder = root.join("parts");
    if folder.is_dir() {
        return Ok(folder);
    }
    let archives = fs::read_dir(root.join("usr/src"))?.collect::<Result<Vec<_>, _>>()?;
    let is_tar = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "xz");
    let archive = archives.iter().map(fs::DirEntry::path).find(is_tar).context("linux-source has no archive")?;
    let made = root.join(format!("parts.{}", std::process::id()));
    fs::create_dir(&made)?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&made).args(["--strip-components=1", "--wildcards", "-xJf"]).arg(&archive);
    run(tar.args(PARTS.map(|part| format!("*/{part}"))))?;
    fs::rename(&made, &folder)?;
    Ok(folder)
}

/// Makes a folder with mtty's source, changed, and a Makefile of its own: in the kernel's tree it has none that builds it alone.
pub fn mtty(folder: &Path, change: fn(String) -> String) -> Result<()> {
    fs::create_dir_all(folder)?;
    let text = fs::read_to_string(linux_source()?.join("samples/vfio-mdev/mtty.c"))?;
    fs::write(folder.join("mtty.c"), change(text))?;
    Ok(fs::write(folder.join("Makefile"), "obj-m := mtty.o\n")?)
}
