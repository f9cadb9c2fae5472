//! Free space of a filesystem, asked before anything is written.

use std::path::Path;

use crate::failure::{Failure, Kind};

/// Fails when the filesystem of `folder` has less than `needed` bytes free for this user.
pub fn need(folder: &Path, needed: u64, what: &str) -> anyhow::Result<()> {
    let stat = nix::sys::statvfs::statvfs(folder)?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    if free < needed {
        return Err(Failure::new(
            Kind::Failed,
            format!("{}: {what} needs {} MiB of free space, found {} MiB", folder.display(), mib(needed), free >> 20),
        )
        .hint(format!("free {} MiB there, or choose another folder with --out", mib(needed - free)))
        .into());
    }
    Ok(())
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
