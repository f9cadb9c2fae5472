//! `basalt cache`: what the cache holds, and taking things out of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use crate::artefact::oci;
use crate::commit;
use crate::prebuild;

/// Shows what the cache holds, by kind. With --gc or --clear it removes some or all of it. Everything in it can be made or fetched
/// again, as long as the mirror still has what a lock names.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Remove commits, overlays and OCI layers that no image's last build has,
    /// and the roots that kernel modules were compiled in
    #[arg(long)]
    gc: bool,
    /// Remove everything
    #[arg(long, conflicts_with = "gc")]
    clear: bool,
}

/// Runs the verb.
pub fn run(args: &CacheArgs, context: &Context) -> Result<()> {
    let store = context.store()?;
    let alone = if args.gc || args.clear { Some(store.alone()?) } else { None };
    let pruned = match &alone {
        Some(alone) if args.gc => {
            let commits = commit::prune(&store, alone)?;
            Some((commits, oci::prune(&store, alone, commit::objects(&store)?)?, prebuild::prune(&store, alone)?))
        }
        _ => None,
    };
    let mut lines = format!("{}\n", store.root().display());
    let mut names: Vec<_> =
        fs::read_dir(store.root())?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if matches!(name.as_str(), "tmp" | "locks") {
            continue;
        }
        let (bytes, files) = size(&path)?;
        lines += &format!("{:>8} MiB {files:>6} files  {name}\n", bytes >> 20);
        if args.clear {
            fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    if args.clear {
        lines += "all removed\n";
    }
    if let Some((commit::Pruned { objects, overlays, bytes }, (layers, compressed), roots)) = pruned {
        let bytes = (bytes + compressed + roots) >> 20;
        lines += &format!("removed {objects} files of old commits, {overlays} overlays and {layers} OCI layers, {bytes} MiB\n");
    }
    super::print(&lines)
}

fn size(folder: &Path) -> Result<(u64, u64)> {
    let mut total = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            let (bytes, files) = size(&entry.path())?;
            total = (total.0 + bytes, total.1 + files);
        } else {
            total = (total.0 + meta.len(), total.1 + 1);
        }
    }
    Ok(total)
}
