//! Which programs are needed, and one clear message for all that are missing.

use std::path::PathBuf;

use crate::failure::{Failure, Kind};

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its name on the path.
    pub program: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

/// Where `program` lies: on the path, or in the folders that an ordinary user's path often lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Fails when one of `tools` is missing, naming all that are.
pub fn need(tools: &[Tool], why: &str) -> Result<(), Failure> {
    let missing: Vec<_> = tools.iter().filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    Err(Failure::new(Kind::Tool, format!("{why} needs programs that are not here: {}", programs.join(", ")))
        .hint(format!("apt install {}", packages.join(" "))))
}
