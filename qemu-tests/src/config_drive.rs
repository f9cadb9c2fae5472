//! Config drives as others make them: OpenStack's own library one for `config-2`, mtools one for `cidata`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{Scratch, run, run_program, venv};

/// The library that makes Ironic's config drives; it runs xorrisofs.
const SDK: &str = "openstacksdk==4.22.0";
/// Ironic takes them packed and as text; here they become what a machine sees.
const BUILD: &str = "
import base64, gzip, json, sys
from openstack.baremetal import configdrive
packed = configdrive.build(**json.load(open(sys.argv[1])))
open(sys.argv[2], 'wb').write(gzip.decompress(base64.b64decode(packed)))
";

/// What OpenStack tells a machine.
#[derive(Clone, Debug, Default)]
pub struct OpenStack {
    /// `meta_data.json`
    pub meta_data: Value,
    /// `network_data.json`; null: there is none.
    pub network_data: Value,
    /// `user_data`; empty: there are none.
    pub user_data: String,
}

impl OpenStack {
    /// Writes the drive `name` into `scratch`: an ISO image labelled `config-2`.
    pub fn drive(&self, scratch: &Scratch, name: &str) -> Result<PathBuf> {
        let Self { meta_data, network_data, user_data } = self;
        let wanted = json!({ "metadata": meta_data, "network_data": network_data, "user_data": user_data });
        let request = scratch.write(&format!("{name}.json"), wanted.to_string())?;
        let drive = scratch.path().join(name);
        let [request, written] = [&request, &drive].map(|path| path.display().to_string());
        run_program(&venv(&[SDK])?.join("python"), &["-c", BUILD, &request, &written])?;
        Ok(drive)
    }
}

/// Writes the drive `name` of NoCloud into `scratch`: a FAT filesystem labelled `cidata`, with these files.
pub fn nocloud_drive(scratch: &Scratch, name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let drive = scratch.path().join(name);
    run(Command::new("mkfs.vfat").args(["-n", "cidata", "-C"]).arg(&drive).arg("2048"))?;
    for (file, text) in files {
        let from = scratch.write(&format!("{name}.files/{file}"), text)?;
        run(Command::new("mcopy").arg("-i").arg(&drive).arg(from).arg(format!("::/{file}")))?;
    }
    Ok(drive)
}

/// What a drive's label is, as udev sees it.
pub fn label(drive: &Path) -> Result<String> {
    let label = run(Command::new("blkid").args(["-p", "-o", "value", "-s", "LABEL"]).arg(drive))?;
    Ok(label.trim().to_owned())
}

/// All files of a drive, in the new folder `to`.
pub fn unpack(drive: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.parent().context("a folder has a parent")?)?;
    if label(drive)? == "config-2" {
        run(Command::new("xorriso").args(["-osirrox", "on", "-indev"]).arg(drive).args(["-extract", "/"]).arg(to))?;
        // Folders are as they are in the image, where nobody may write; a scratch folder goes in the end.
        run(Command::new("chmod").args(["-R", "u+w"]).arg(to))?;
    } else {
        std::fs::create_dir(to)?;
        run(Command::new("mcopy").arg("-s").arg("-i").arg(drive).arg("::/*").arg(to))?;
    }
    Ok(())
}
