//! `basalt check`: all problems of a recipe at once.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::failure::{Failure, Kind};
use crate::recipe;

/// Reads recipes with all that they include and names every problem, with file, line and column. Needs no network and no cache.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Recipes (.toml)
    #[arg(required = true)]
    recipes: Vec<PathBuf>,
    /// Tell problems as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &CheckArgs) -> Result<()> {
    let mut text = String::new();
    let mut problems = Vec::new();
    let mut kind = Kind::Invalid;
    for path in &args.recipes {
        match recipe::read(path) {
            Ok(_) => text += &format!("{}: no problems\n", path.display()),
            Err(found) => {
                kind = found.kind;
                problems.extend(found.list);
            }
        }
    }
    if args.json {
        let value = serde_json::json!({ "version": 1, "problems": problems });
        text = format!("{value}\n");
    }
    super::print(&text)?;
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Err(Failure::new(kind, lines.join("\n")).into())
}
