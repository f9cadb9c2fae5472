//! `basalt lock`: pins every input of a recipe.

use anyhow::Result;
use clap::Args;

use super::{Context, input};
use crate::lock::Mode;
use crate::recipe;

/// Pins every input by digest in RECIPE.lock beside the recipe: packages with their sources, local files, the agent. What is pinned
/// stays until --update; local files are pinned as they are now.
#[derive(Debug, Args)]
pub struct LockArgs {
    #[command(flatten)]
    input: input::InputArgs,
    /// Ask archive and registries again: for these packages and kernel
    /// modules, or for all
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Tell the changes as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &LockArgs, context: &Context) -> Result<()> {
    let store = context.store()?;
    let recipe = recipe::load(&args.input.path)?;
    let mode = match (&args.update, args.input.locked) {
        (Some(packages), false) => Mode::Update(packages.clone()),
        (None, false) => Mode::Build,
        (None, true) => Mode::Locked,
        (Some(_), true) => {
            return Err(super::report::usage("--update changes the lock, --locked forbids it", "leave one of them out"));
        }
    };
    let (lock, changes) =
        input::refresh(&args.input, &recipe, &mode, context, &store).map_err(|error| input::placed(error, &args.input))?;
    if args.json {
        let value = serde_json::json!({ "version": 1, "event": "locked", "changes": changes });
        return super::print(&format!("{value}\n"));
    }
    let packages: usize = lock.architecture.values().map(|section| section.packages.len()).sum();
    let what = if changes.is_empty() { "nothing changed".to_owned() } else { changes.to_string() };
    super::print(&format!("{}\n{packages} packages are pinned\n", what.trim_end()))
}
