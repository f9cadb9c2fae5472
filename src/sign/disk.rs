//! The signature of the commit on a disk: the repository's `.commitmeta`, which the disk was laid out with, gets other bytes in its place.
//! Nothing else of the disk changes: a file's data have no checksum in ext4.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use super::metadata::LENGTH;
use crate::failure::{Failure, Kind};
use crate::inspect::{self, Disk};

/// Puts `metadata` ([`LENGTH`] bytes) into the disk at `path`, raw or qcow2, and flushes it.
///
/// # Errors
/// [`Kind::Input`]: the disk has no room for them: it was built without `[sign] commit`.
pub fn attach(path: &Path, metadata: &[u8]) -> Result<()> {
    let no_room = || {
        Failure::new(
            Kind::Input,
            format!("{}: needed a disk with room for the signature of its commit, found none", path.display()),
        )
        .hint("name the public key as [sign] commit in the recipe, and build again")
    };
    let disk = Disk::open(path)?;
    let [committed] = <[_; 1]>::try_from(inspect::committed(&disk)?).map_err(|_| no_room())?;
    let Some((old, Some(at))) = committed.metadata else { return Err(no_room().into()) };
    let place = disk.place_in_file(at, LENGTH as u64)?.ok_or_else(no_room)?;
    if old.len() != LENGTH || metadata.len() != LENGTH {
        return Err(no_room().into());
    }
    if old == metadata {
        return Ok(());
    }
    let cannot = |error: std::io::Error| Failure::new(Kind::Failed, format!("{}: cannot be signed: {error}", path.display()));
    let file = File::options().write(true).open(path).map_err(cannot)?;
    file.write_all_at(metadata, place).and_then(|()| file.sync_all()).map_err(cannot)?;
    Ok(())
}
