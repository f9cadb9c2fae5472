//! What the cases in `tests/` stand on: the built programs, folders for one case, accounts to run as, the reference image.
//!
//! Cases are named by tier: `cli_` runs programs only, `vm_` boots machines (through [`basalt::vm`], the product's own runner). A
//! missing program fails a case, and says which; nothing is skipped.

mod account;
mod config_drive;
mod container;
mod debugfs;
pub mod draft;
mod enrolled;
mod foreign;
mod guest;
mod image;
mod kernel;
mod kubernetes;
mod labels;
mod linux_source;
mod programs;
pub mod readers;
mod module_key;
mod registry;
mod scratch;
mod sign_file;
mod signing;
mod snippets;
mod ssh;
mod stock_modules;
mod tool;
mod tuned;
mod unpacked;
mod update;
mod venv;
mod warm;

pub use account::Account;
pub use config_drive::{OpenStack, label, nocloud_drive, unpack};
pub use container::{Container, IMAGE};
pub use debugfs::{boot_folder, root_file, root_folder};
pub use enrolled::enrolled;
pub use foreign::{CHANGED, Foreign, foreign_base};
pub use guest::holds;
pub use image::{Image, reference_image, shared_cache};
pub use kernel::{KernelPackage, kernel_package};
pub use kubernetes::{NodeLabels, kubelet_configuration};
pub use labels::Labels;
pub use linux_source::{linux_source, mtty};
pub use module_key::{KEYS, ModuleKey, Token};
pub use programs::{Basalt, Ran, agent, basalt, repository, update_client};
pub use registry::{Registry, auth_file};
pub use scratch::Scratch;
pub use sign_file::SignFile;
pub use signing::{Agent, Signer, demanding};
pub use snippets::{Provided, Script, System};
pub use ssh::{SshKey, free_port};
pub use stock_modules::{Mutation, StockModules, mutations};
pub use tool::{its_program, run};
pub use tuned::{Folder, tuned};
pub use update::Factory;
pub use venv::{run_program, venv};
pub use warm::{Warm, assert_whole, manifest};
