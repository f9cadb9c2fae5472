//! Debian packages of the reference image's suite, unpacked and not installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use basalt::architecture::Architecture;
use basalt::lock::LockedPackage;
use basalt::progress::Quiet;
use basalt::source::debian::{self, Request};
use basalt::store::Store;

use crate::tool::run;
use crate::{Scratch, repository};

const SUITE: &str = "trixie";
/// NVIDIA's open modules are in contrib, because their firmware is not free.
const COMPONENTS: [&str; 4] = ["main", "contrib", "non-free", "non-free-firmware"];

/// A folder with the files of those packages that `wanted` picks by name among `packages` and all that they depend on. Fetched once, into
/// the folder `name` of the target folder.
pub fn unpacked(name: &str, packages: &[&str], wanted: fn(&str) -> bool) -> Result<PathBuf> {
    let folder = repository().join("target").join(name).join(SUITE);
    if folder.is_dir() {
        return Ok(folder);
    }
    let scratch = Scratch::new()?;
    let store = Store::open(&scratch.folder("store")?)?;
    let request = Request {
        suite: SUITE.into(),
        components: COMPONENTS.map(Into::into).into(),
        architecture: Architecture::Amd64,
        packages: packages.iter().map(|name| (*name).into()).collect(),
        mirror: None,
        keyring: None,
        headers: false,
        prefer: None,
    };
    let mut resolved: Vec<LockedPackage> = debian::resolve(&request, &store, &Quiet)?.packages;
    resolved.retain(|package| wanted(&package.name));
    ensure!(!resolved.is_empty(), "{packages:?}: none of {SUITE}'s packages is wanted");
    debian::fetch(&resolved, None, &store, &Quiet, false)?;
    let made = folder.with_extension(format!("{}.new", std::process::id()));
    fs::create_dir_all(&made)?;
    for package in &resolved {
        run(Command::new("dpkg-deb").arg("--extract").arg(store.blob_path(&package.sha256)).arg(&made))?;
    }
    fs::rename(&made, &folder)?;
    Ok(folder)
}
