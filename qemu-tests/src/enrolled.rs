//! Firmware variables of a machine whose owner trusts a key for kernel modules.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{run_program, venv};

/// With Microsoft's keys, as they come with OVMF.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
/// Who enrols: any number will do.
const OWNER: &str = "3b5e8f6a-2f0c-4a55-9d4e-5d1a7c0e9b21";

/// Writes variables with `certificate` (PEM) as mokutil and a person at the console would enrol it, to `to`. By a program that is not ours.
pub fn enrolled(certificate: &Path, to: &Path) -> Result<PathBuf> {
    let program = venv(&["virt-firmware==26.10"])?.join("virt-fw-vars");
    let [certificate, output] = [certificate, to].map(|path| path.display().to_string());
    run_program(&program, &["--input", VARIABLES, "--output", &output, "--add-mok", OWNER, &certificate])?;
    Ok(to.to_owned())
}
