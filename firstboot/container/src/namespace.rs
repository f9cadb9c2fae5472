//! A mount namespace in which `/sysroot` and `/boot` can be written to; the rest of the node keeps them read-only. libostree's own
//! commands do the same.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;

/// Only a node that was booted by OSTree has this.
const BOOTED: &str = "/run/ostree-booted";
const WRITTEN: [&str; 2] = ["/sysroot", "/boot"];
const NONE: Option<&str> = None;

/// Enters it. Away from a node, and for who is not root, nothing happens: what needs no place to write works, the rest says what it
/// lacks. Must run before the process has a second thread.
///
/// # Errors
/// When the kernel refuses it.
pub fn enter() -> Result<()> {
    if !geteuid().is_root() || !std::path::Path::new(BOOTED).exists() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of its own")?;
    // What is mounted on the node later is seen here; what is mounted here is not seen there.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).context("a mount namespace of its own")?;
    for path in WRITTEN {
        let flags = statvfs(path).with_context(|| path.to_owned())?.flags();
        if flags.contains(FsFlags::ST_RDONLY) {
            let again = MsFlags::MS_REMOUNT | MsFlags::MS_SILENT;
            mount(Some(path), path, NONE, again, NONE).with_context(|| format!("{path}: cannot be made writable"))?;
        }
    }
    Ok(())
}
