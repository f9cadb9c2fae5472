//! `basalt plan`: what build would make, for people or to be saved.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Context, input};
use crate::plan;

/// Shows a recipe with its lock fully resolved. `--json` prints exactly what build takes: the saved plan gives the same bytes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    input: input::InputArgs,
    /// Print the plan that `build` takes
    #[arg(long)]
    json: bool,
    /// Show only what differs from this saved plan
    #[arg(long, value_name = "PLAN", conflicts_with = "json")]
    diff: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &PlanArgs, context: &Context) -> Result<()> {
    let store = context.store()?;
    let plan = input::plan(&args.input, context, &store)?;
    if args.json {
        return super::print(&plan.to_json());
    }
    let Some(path) = &args.diff else { return super::print(&plan::explain(&plan)) };
    let other =
        input::InputArgs { path: path.clone(), arch: None, offline: true, locked: true, network: args.input.network.clone() };
    let lines = plan::diff(&input::plan(&other, context, &store)?, &plan);
    super::print(&if lines.is_empty() { "no difference\n".to_owned() } else { lines.join("\n") + "\n" })
}
