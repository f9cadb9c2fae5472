//! Programs from PyPI that judge what we write: those who made a format have written them. Installed once, in versions that the
//! caller pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository;

/// The folder with the programs of `packages` (`NAME==VERSION`).
pub fn venv(packages: &[&str]) -> Result<PathBuf> {
    let folder = repository().join("target/validators").join(packages.join("-"));
    let bin = folder.join("bin");
    if !folder.join("complete").exists() {
        run_program(Path::new("python3"), &["-m", "venv", "--clear", &folder.display().to_string()])?;
        run_program(&bin.join("pip"), &[&["install", "--quiet", "--disable-pip-version-check"][..], packages].concat())?;
        fs::write(folder.join("complete"), "")?;
    }
    Ok(bin)
}

/// What `program` prints, standard error behind standard output; fails when it does.
pub fn run_program(program: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.display().to_string())?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{} {args:?}: {text}", program.display());
    Ok(text)
}
