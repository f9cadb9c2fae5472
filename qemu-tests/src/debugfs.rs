//! Files of a raw disk's root filesystem, read by debugfs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

/// The file at `path` of the root filesystem on `disk`, whose partitions `manifest` names.
pub fn root_file(disk: &Path, manifest: &Value, path: &str) -> Result<Vec<u8>> {
    let partitions = manifest["partitions"].as_array().context("manifest.json: no partitions")?;
    let root = partitions.iter().find(|partition| partition["label"] == "root").context("manifest.json: no root partition")?;
    let at = format!("{}?offset={}", disk.display(), root["start"]);
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("file");
    let done = Command::new("debugfs").args(["-R", &format!("dump {path} {}", to.display()), &at]).output().context("debugfs")?;
    fs::read(&to).with_context(|| format!("{path}: {}", String::from_utf8_lossy(&done.stderr)))
}
