//! What an artefact says of itself, read from its own bytes: nothing is mounted, and no manifest is believed.
//!
//! ```text
//! path --open--> Disk { partitions, volumes } --deployment::all--> [Deployment]    Disk + "LABEL:/path" --file--> bytes
//! (Disk, Disk) --compare--> Comparison          OCI archive or folder --image::inspect--> Images
//! ```
//!
//! To add a kind of artefact: a file here, a variant of [`Inspected`].

pub mod check;
mod compare;
pub mod contents;
mod deployment;
mod disk;
mod files;
pub mod image;
mod locate;
mod resolve;

pub use compare::{Change, Comparison, FileChange, compare};
pub use deployment::{Committed, Deployment, Layer, Package, committed};
pub use disk::{Disk, Filesystem, Format, Partition};
pub use locate::{Difference, first_difference};

use std::path::Path;

use anyhow::Result;

use crate::format::oci::layout::is_image;
use serde::Serialize;

use crate::failure::{Failure, Kind};

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// What an artefact says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Inspected {
    /// It is a disk.
    Disk(Inspection),
    /// It holds images for a registry.
    Images(image::Images),
}

/// What was found on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// [`VERSION`].
    pub version: u32,
    /// How the file holds the disk.
    pub format: Format,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// Which disk it is: the GUID of its table.
    pub id: String,
    /// In the order of their places.
    pub partitions: Vec<Partition>,
    /// The OSTree deployments on it.
    pub deployments: Vec<Deployment>,
}

/// Inspects the artefact at `path`, whatever it is.
///
/// # Errors
/// As [`inspect`] and [`image::inspect`].
pub fn inspect_any(path: &Path) -> Result<Inspected> {
    if is_image(path) { image::inspect(path).map(Inspected::Images) } else { inspect(path).map(Inspected::Disk) }
}

/// Inspects the disk at `path`.
///
/// # Errors
/// [`Kind::Input`]: it is not there, or no disk; [`Kind::Verification`]: it is damaged.
pub fn inspect(path: &Path) -> Result<Inspection> {
    inspect_disk(&Disk::open(path)?)
}

fn inspect_disk(disk: &Disk) -> Result<Inspection> {
    Ok(Inspection {
        version: VERSION,
        format: disk.format(),
        size: disk.table().disk_size,
        sector_size: disk.table().sector_size,
        id: disk.table().id.to_string(),
        partitions: disk.partitions()?,
        deployments: deployment::all(disk)?,
    })
}

/// The bytes of a file of the disk at `path`. `inside` is a path in the newest deployment, `/usr/lib/os-release`; or one in a
/// partition, whose label stands before it: `boot:/grub/grub.cfg`.
///
/// # Errors
/// As [`inspect`]; [`Kind::Input`] when there is no such file.
pub fn file(path: &Path, inside: &str) -> Result<Vec<u8>> {
    let disk = Disk::open(path)?;
    let found = match inside.split_once(':') {
        Some((label, at)) => disk.volume(label)?.file(at)?,
        None => deployment::file(&disk, inside)?,
    };
    found.ok_or_else(|| Failure::new(Kind::Input, format!("{}: no file {inside}", path.display())).into())
}
