//! `basalt import`: what others wrote becomes a part of a recipe.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::failure::{Failure, Kind};
use crate::import::{Imported, kmm};

/// Prints a part of a recipe that says the same as another program's document, and names on standard error everything that it does not
/// say, with the reason. Nothing is built.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
    /// Print JSON: the recipe's part, and what is left out
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A Module of the Kernel Module Management operator becomes
    /// [[kernel-module]]
    Kmm {
        /// The document: YAML or JSON, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs the verb.
pub fn run(args: &ImportArgs) -> Result<()> {
    let From::Kmm { file } = &args.from;
    let Imported { recipe, left } = kmm::read(&file.display().to_string(), &read(file)?)?;
    if args.json {
        let value = serde_json::json!({ "version": 1, "event": "imported", "recipe": recipe, "left": left });
        return super::print(&format!("{value}\n"));
    }
    super::print(&recipe)?;
    for one in left {
        eprintln!("left out: {}: {}", one.path, one.why);
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = match file.to_str() {
        Some("-") => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        _ => fs::read_to_string(file),
    };
    text.map_err(|error| {
        Failure::new(Kind::Input, format!("{}: cannot be read: {error}", file.display())).hint("name a file with text in UTF-8")
    })
}
