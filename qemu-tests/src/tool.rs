//! Runs programs that are not ours: those that make inputs, and those that read back what ours wrote.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Warm;

/// Runs `command` to its end; answers its standard output. A failure has what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} is needed", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program at `path` of the image `commit`, with the image's loader and libraries: the words that run it here.
pub fn its_program(warm: &Warm, commit: &str, path: &str) -> Result<Vec<String>> {
    let folder = warm.scratch.path().join("its");
    fs::create_dir_all(&folder)?;
    let repo = format!("--repo={}", warm.cache.join("ostree/repo").display());
    let name = path.rsplit('/').next().unwrap_or(path);
    for (path, name) in [("/usr/lib/x86_64-linux-gnu", "lib"), (path, name)] {
        if !folder.join(name).exists() {
            let subpath = format!("--subpath={path}");
            run(Command::new("ostree").args([&repo, "checkout", "--user-mode", &subpath, commit]).arg(folder.join(name)))?;
        }
    }
    // One file is checked out into a folder.
    let [lib, program] = ["lib".to_owned(), format!("{name}/{name}")].map(|name| folder.join(name).display().to_string());
    Ok(vec![format!("{lib}/ld-linux-x86-64.so.2"), "--library-path".to_owned(), lib, program])
}
