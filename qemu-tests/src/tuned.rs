//! tuned as Debian packages it, unpacked and not installed: its own loader judges what the builder reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use basalt::tuned::Root;

use crate::unpacked::unpacked;

/// The folder with the files of the package. It is fetched once.
pub fn tuned() -> Result<PathBuf> {
    unpacked("tuned", &["tuned"], |name| name == "tuned")
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
