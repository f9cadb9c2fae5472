//! tuned's profiles: what the tuned of an image will make of them, known when the image is built.
//!
//! ```text
//! tuned.conf --ini::parse--> sections --Profile::new--> units   names --load::load--> profiles, parents first
//! profiles --merge::merge--> one profile --evaluate--> Merged { units, variables, kernel arguments, findings }
//! ```
//!
//! tuned's own loader is the measure (2.25, Debian 13's): `qemu-tests/tests/cli_cases/tuned_profiles.rs` runs it over every profile
//! that its package has, and over this project's own. What the format is, is described in tuned.conf(5) and in
//! tuned-main.conf(5); what neither says was tried.
//!
//! Where only the node can answer (which processors it has, what a program prints), the text is left as it is written, and told:
//! [`What::LeftToNode`]. Such a value is neither known nor wrong.
//!
//! Every value keeps its file and line. What tuned would refuse is a [`LoadError`]; what it would take, and should be told, a
//! [`Finding`].
//!
//! Architecture invariant: nothing here knows recipes, layers or the node's agent, and files come from a [`Root`].

mod check;
mod error;
mod evaluate;
mod expand;
mod finding;
mod folders;
mod functions;
pub mod ini;
mod kernel_arguments;
mod load;
mod merge;
mod merged;
mod origin;
mod profile;
mod python;
mod root;
#[cfg(test)]
mod tests;
mod variables;

pub use check::{Installed, Options};
pub use error::LoadError;
pub use evaluate::evaluate;
pub use finding::{Finding, Weight, What};
pub use folders::Folders;
pub use kernel_arguments::{Argument, KernelArguments};
pub use merged::{Loaded, Merged, MergedUnit, Setting, Variable};
pub use origin::Origin;
pub use root::Root;
