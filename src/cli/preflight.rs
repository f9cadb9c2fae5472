//! `basalt preflight`: whether the kernel modules of a recipe fit another kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{Context, input};
use crate::failure::{Failure, Kind};
use crate::layer::kernel_modules::deb;
use crate::lock::{self, Mode};
use crate::plan::{self, Key};
use crate::preflight::kernel::{self, Wanted};
use crate::preflight::{self, Asked};
use crate::recipe;
use crate::store::Store;

/// Says before an upgrade whether each kernel module of a recipe has a build that another kernel loads, by the same proof as a build:
/// mappings, images and packages are looked up for that kernel, and nothing is built or locked. Exit code 6 says that something is missing or
/// does not fit.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    #[command(flatten)]
    input: input::InputArgs,
    /// The other kernel: a base (a folder, an archive, oci:FOLDER, an image of a
    /// registry), .deb files, or a package of the base's archive
    /// (linux-image-amd64, linux-image-amd64/trixie-backports)
    #[arg(long, value_name = "KERNEL", required = true)]
    kernel: Vec<String>,
    /// What it exports, where it does not say so: its Module.symvers, or the
    /// .deb of its headers
    #[arg(long, value_name = "FILE")]
    symvers: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &PreflightArgs, context: &Context) -> Result<()> {
    let wanted =
        Wanted::parse(&args.kernel).map_err(|why| super::report::usage(format!("--kernel: {why}"), "name one that is there"))?;
    if input::is_plan(&args.input.path) {
        let what = format!("{}: needed a recipe, found a plan, which has modules for one kernel", args.input.path.display());
        return Err(super::report::usage(what, "name the recipe"));
    }
    let store = context.store()?;
    let recipe = recipe::load(&args.input.path)?;
    let architecture = input::chosen(&args.input, &recipe)?;
    let mode = if args.input.locked { Mode::Locked } else { Mode::Build };
    let (lock, _) =
        input::refresh(&args.input, &recipe, &mode, context, &store).map_err(|error| input::placed(error, &args.input))?;
    let section = lock.architecture.get(&architecture).context("the lock has no section for this architecture")?;
    let plan = plan::resolve(&recipe, section, architecture)?;
    let path = lock::path_for(&args.input.path);
    let resolver = input::Sources::new(&path, &args.input, context, &store);
    let inputs =
        lock::Inputs { recipe: &recipe, architecture, store: &store, agent: None, update_client: None, resolver: &resolver };
    let symvers = args.symvers.as_deref().map(|path| symvers(path, &store)).transpose()?;
    let (access, sink) = (args.input.network.access(), &*context.sink);
    let network = args.input.network(&access);
    let kernel = kernel::bring(&wanted, inputs, network, sink)?;
    let asked = Asked { inputs, section, plan: &plan, kernel: &kernel, symvers: symvers.as_ref(), network, sink };
    let report = preflight::examine(asked).map_err(|error| input::placed(error, &args.input))?;
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        value["event"] = "preflight".into();
        super::print(&format!("{value}\n"))?;
    } else {
        super::print(&report.text())?;
    }
    Ok(report.judge()?)
}

/// The `Module.symvers` at `path`, or that of the package there, as a blob of the store.
fn symvers(path: &Path, store: &Store) -> Result<Key> {
    let name = path.display().to_string();
    let missing = |why: String| Failure::new(Kind::Input, format!("--symvers: {name}: {why}"));
    let bytes = if path.extension().is_some_and(|extension| extension == "deb") {
        let tree = deb::tree(&name, path, store)?;
        let found = tree.walk().map(|(path, _)| path).find(|path| path.relative().ends_with("/Module.symvers"));
        let content = found.and_then(|path| tree.file(&path));
        content.ok_or_else(|| missing("needed a package with a Module.symvers, found none in it".to_owned()))?.bytes()?
    } else {
        fs::read(path).map_err(|error| missing(format!("cannot be read: {error}")))?
    };
    let (sha256, size) = store.add_blob(&bytes[..])?;
    Ok(Key { sha256, size })
}
