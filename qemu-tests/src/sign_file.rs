//! The kernel's own program that signs modules, as Debian packages it, unpacked and not installed, with the libraries of its suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::tool::run;
use crate::unpacked::unpacked;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// `scripts/sign-file`.
#[derive(Debug)]
pub struct SignFile {
    program: PathBuf,
    libraries: PathBuf,
}

impl SignFile {
    /// Fetched once.
    pub fn new() -> Result<Self> {
        let wanted =
            |name: &str| name.starts_with("linux-kbuild-6") || ["libc6", "libssl3t64", "zlib1g", "libzstd1"].contains(&name);
        let root = unpacked("sign-file", &["linux-headers-amd64"], wanted)?;
        let mut folders = fs::read_dir(root.join("usr/lib"))?.flatten().map(|entry| entry.path());
        let kbuild = folders.find(|path| path.join("scripts/sign-file").is_file());
        let program = kbuild.with_context(|| format!("{} has no sign-file", root.display()))?.join("scripts/sign-file");
        Ok(Self { program, libraries: root.join(LIBRARIES) })
    }

    /// What it makes of the module at `module` in the same folder.
    pub fn sign(&self, hash: &str, key: &Path, certificate: &Path, module: &Path) -> Result<Vec<u8>> {
        let to = module.with_extension("signed");
        let mut command = Command::new(self.libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&self.libraries).arg(&self.program);
        run(command.arg(hash).args([key, certificate, module, &to]))?;
        Ok(fs::read(to)?)
    }
}
