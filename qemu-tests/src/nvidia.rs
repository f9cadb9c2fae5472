//! NVIDIA's open kernel modules, as Debian ships their source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::kernel::only;
use crate::unpacked::unpacked;

/// The file that the kernel's security updates outran: a function that it calls has one parameter more.
const FILE: &str = "nvidia/nv-pci.c";
const CALL: &str = "pci_resize_resource(";

/// The folder with the source and its `dkms.conf`. Fetched once.
pub fn nvidia_open() -> Result<PathBuf> {
    let name = "nvidia-open-kernel-dkms";
    only(&unpacked(name, &[name], |package| package == "nvidia-open-kernel-dkms")?.join("usr/src"))
}

/// Writes what mends that source for Debian's kernel of today, as `diff` says it, to `to`.
pub fn nvidia_patch(source: &Path, to: &Path) -> Result<()> {
    let old = source.join(FILE);
    let text = fs::read_to_string(&old)?;
    let at = text.find(CALL).with_context(|| format!("{} calls no {CALL}", old.display()))?;
    let end = at + text[at..].find(';').context("a call without an end")?;
    let call = text[at..end].trim_end();
    let call = call.strip_suffix(')').with_context(|| format!("not a call: {call}"))?;
    let new = to.with_extension("c");
    fs::write(&new, format!("{}{call}, 0){}", &text[..at], &text[end..]))?;
    let labels = ["a", "b"].map(|side| format!("--label={side}/{FILE}"));
    let diff = Command::new("diff").args(["--unified=1"]).args(labels).args([&old, &new]).output().context("diff")?;
    ensure!(diff.status.code() == Some(1), "diff: {}", String::from_utf8_lossy(&diff.stderr));
    Ok(fs::write(to, diff.stdout)?)
}
