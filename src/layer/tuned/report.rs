//! What the active profiles come to: kept in the image, where the agent finds it, and in the manifest.

use std::fmt;

use anyhow::{Context, Result};
use basalt_contract::{KernelArgument, names};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::progress::{Event, Sink};
use crate::recipe::names::kernel_arg;
use crate::tree::{Tree, TreePath};
use crate::tuned::Weight;

/// Where it lies in the image, as JSON.
pub const REPORT: &str = names::TUNED_FILE;

/// What the active profiles come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Of the part that the agent reads: [`basalt_contract::TunedInfo::FORMAT`].
    pub format: u32,
    /// Their names, with one space between two.
    pub active: String,
    /// Every profile that is loaded for them, parents before those that include them.
    pub profiles: Vec<String>,
    /// Kernel arguments that are known when the image is built: they are in its boot entries.
    pub arguments: Vec<KernelArgument>,
    /// Those that only the node can know, as they are written: they are in none.
    pub left: Vec<KernelArgument>,
    /// What should be told, in the order of the files.
    pub told: Vec<Told>,
}

/// Something that should be told of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// `/usr/lib/tuned/profiles/a/tuned.conf:7`
    pub at: String,
    /// How much it matters.
    pub weight: Weight,
    /// In words.
    pub what: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl Report {
    /// Tells people what there is to tell.
    pub fn tell(&self, sink: &dyn Sink) {
        for told in &self.told {
            let message = format!("tuned: {told}");
            sink.event(match told.weight {
                Weight::Note => Event::Note { message },
                Weight::Warning | Weight::Error => Event::Warning { message },
            });
        }
        for left in &self.left {
            let message = format!("tuned: the kernel argument {left} is left to the node: no boot entry has it");
            sink.event(Event::Warning { message });
        }
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// What the active profiles of `tree` come to, where a recipe has made some active: this one, or that of a base which Basalt made.
///
/// # Errors
/// Another program's file lies there, or one whose arguments no profile could have given.
pub fn report(tree: &Tree) -> Result<Option<Report>> {
    let Some(content) = tree.file(&TreePath::parse(REPORT)?) else { return Ok(None) };
    let report: Report = serde_json::from_slice(&content.bytes()?).with_context(|| REPORT.to_owned())?;
    for word in report.arguments.iter().flat_map(KernelArgument::words) {
        kernel_arg(word).map_err(|why| Failure::new(Kind::Invalid, format!("{REPORT}: {why}")))?;
    }
    Ok(Some(report))
}
