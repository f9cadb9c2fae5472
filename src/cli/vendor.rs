//! `basalt vendor`: a folder with everything that a build needs, for a machine without a network.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{Context, input};
use crate::host::folder;
use crate::pipeline;
use crate::store::Store;

/// Makes a folder from which an offline machine builds: plan.json, the lock, and a cache with every package, local file and the
/// agent. There: basalt build DIR/plan.json --offline
#[derive(Debug, Args)]
pub struct VendorArgs {
    #[command(flatten)]
    input: input::InputArgs,
    /// The folder to make
    dir: PathBuf,
}

/// Runs the verb.
pub fn run(args: &VendorArgs, context: &Context) -> Result<()> {
    folder::need(&args.dir, "name another folder")?;
    let store = context.store()?;
    let plan = input::plan(&args.input, context, &store)?;
    let access = args.input.network.access();
    pipeline::fetch(&plan, &store, args.input.network(&access), &*context.sink)?;
    let folder = args.dir.join("store");
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let vendored = Store::open(&folder)?;
    let inputs = pipeline::inputs(&plan);
    for blob in &inputs.blobs {
        vendored.import_blob(&store, blob)?;
    }
    for (kind, key) in &inputs.entries {
        vendored.import_entry(&store, kind, key)?;
    }
    input::write_lock_copy(&args.input, &args.dir)?;
    let path = args.dir.join("plan.json");
    input::write_whole(&path, plan.to_json().as_bytes())?;
    super::print(&format!(
        "{}: {} files of {}\nbuild there with: basalt build {} --offline\n",
        args.dir.display(),
        inputs.blobs.len() + inputs.entries.len(),
        plan.id(),
        path.display()
    ))
}
