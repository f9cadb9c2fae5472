//! Files and folders of a raw disk's filesystems, read by debugfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The file at `path` of the root filesystem on `disk`, whose partitions `manifest` names.
pub fn root_file(disk: &Path, manifest: &Value, path: &str) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("file");
    let said = run(disk, manifest, "root", &format!("dump {path} {}", to.display()))?;
    fs::read(&to).with_context(|| format!("{path}: {said}"))
}

/// The folder at `path` of the root filesystem on `disk`, unpacked below `into`. Answers where it lies.
pub fn root_folder(disk: &Path, manifest: &Value, path: &str, into: &Path) -> Result<PathBuf> {
    let said = run(disk, manifest, "root", &format!("rdump {path} {}", into.display()))?;
    let unpacked = into.join(Path::new(path).file_name().context("a path with a name")?);
    ensure!(unpacked.is_dir(), "{path}: {said}");
    Ok(unpacked)
}

/// The boot filesystem, unpacked as the folder `into`.
pub fn boot_folder(disk: &Path, manifest: &Value, into: &Path) -> Result<()> {
    let said = run(disk, manifest, "boot", &format!("rdump / {}", into.display()))?;
    ensure!(into.join("loader.1").is_dir(), "the boot filesystem: {said}");
    Ok(())
}

/// Runs a request on the partition of this label, and answers what debugfs has to say: its exit code says nothing.
fn run(disk: &Path, manifest: &Value, label: &str, request: &str) -> Result<String> {
    let partitions = manifest["partitions"].as_array().context("manifest.json: no partitions")?;
    let found = partitions.iter().find(|partition| partition["label"] == label);
    let found = found.with_context(|| format!("manifest.json: no partition {label}"))?;
    let at = format!("{}?offset={}", disk.display(), found["start"]);
    let done = Command::new("debugfs").args(["-R", request, &at]).output().context("debugfs")?;
    Ok(String::from_utf8_lossy(&done.stderr).into_owned())
}
