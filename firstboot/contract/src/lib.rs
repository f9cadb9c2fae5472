//! What the Basalt builder and its first-boot agent agree on: names, places and the files that one writes and the other reads.
//!
//! ```text
//! builder --ImageInfo, TunedInfo, ModulesInfo--> /usr/lib/basalt/{image,tuned,modules}.json --> agent
//! agent --Report--> D-Bus, report.json --> people, tests, the hub
//! ```
//!
//! Both decide by the same rules which kernel arguments go together: [`kernel_arguments`]. Both read TOML that people write, and say
//! where it is wrong: [`placed`].
//!
//! Architecture invariants: no I/O and no async here. A file names its format first; readers pass over fields that they do not
//! know, and refuse a format that they do not know. Each format ever shipped keeps a fixture in `fixtures/` that stays readable.
//!
//! How to change a type: a new optional field needs `#[serde(default)]` and nothing else. Anything that an old reader would
//! misunderstand is a new format: raise the number, keep the old fixture, teach `from_json` both.

pub mod desired;
mod error;
mod figure;
pub mod glob;
pub mod hardware;
mod image;
pub mod kernel_arguments;
mod modules;
pub mod names;
pub mod placed;
mod report;
mod state;
mod step;
mod tuned;
mod wire;

pub use desired::Desired;
pub use error::ContractError;
pub use figure::Figure;
pub use hardware::Hardware;
pub use image::ImageInfo;
pub use kernel_arguments::KernelArgument;
pub use modules::{ModulesInfo, PromisedModule};
pub use report::{Deployment, Fault, Report};
pub use state::{State, UnknownState};
pub use step::{Holds, Step, StepState};
pub use tuned::TunedInfo;
