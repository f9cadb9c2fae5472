//! tuned as Debian packages it, unpacked and not installed: its own loader judges what the builder reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use basalt::architecture::Architecture;
use basalt::progress::Quiet;
use basalt::source::debian::{self, Request};
use basalt::store::Store;
use basalt::tuned::Root;

use crate::tool::run;
use crate::{Scratch, repository};

/// The suite of the reference image.
const SUITE: &str = "trixie";

/// The folder with the files of the package. It is fetched once.
pub fn tuned() -> Result<PathBuf> {
    let folder = repository().join("target/tuned").join(SUITE);
    if folder.is_dir() {
        return Ok(folder);
    }
    let scratch = Scratch::new()?;
    let store = Store::open(&scratch.folder("store")?)?;
    let request = Request {
        suite: SUITE.into(),
        components: vec!["main".into()],
        architecture: Architecture::Amd64,
        packages: vec!["tuned".into()],
        mirror: None,
        keyring: None,
    };
    let resolved = debian::resolve(&request, &store, &Quiet)?;
    let package = resolved.packages.into_iter().find(|package| package.name == "tuned").context("tuned is no package")?;
    debian::fetch(std::slice::from_ref(&package), None, &store, &Quiet, false)?;
    let made = folder.with_extension(format!("{}.new", std::process::id()));
    fs::create_dir_all(&made)?;
    run(Command::new("dpkg-deb").arg("--extract").arg(store.blob_path(&package.sha256)).arg(&made))?;
    fs::rename(&made, &folder)?;
    Ok(folder)
}

/// A folder as the root of an image.
#[derive(Debug)]
pub struct Folder<'a>(pub &'a Path);

impl Root for Folder<'_> {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(path.trim_start_matches('/'));
        if path.is_file() { fs::read(path).map(Some) } else { Ok(None) }
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder.trim_start_matches('/'))).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }
}
