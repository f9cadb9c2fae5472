//! Runs images in QEMU: what `basalt boot`, `basalt test` and the tests in `qemu-tests/` stand on.
//!
//! ```text
//! Machine (what to run) --arguments--> QEMU command line --Process--> Running { Console, Qmp, Channel }
//! ```
//!
//! The image is never changed for a test. A drive is opened through a throw-away overlay, and the way in is a unit that comes by
//! systemd credential (SMBIOS), which works under Secure Boot too. Every wait has a deadline; every machine ends with its owner.
//!
//! Architecture invariant: everything here goes through [`crate::host::cmd`] to start programs, and nothing here decides a byte of
//! an artefact.
//!
//! To add a device or an option: a field and a method of [`Machine`], a line in `arguments`, a row in its test.

mod accel;
mod arguments;
mod boot;
mod channel;
mod checks;
mod console;
mod credential;
mod feed;
mod firmware;
mod folder;
mod machine;
mod overlay;
mod process;
mod qmp;
mod running;
mod terminal;

pub use accel::{Accel, choose as choose_accel};
pub use boot::{Login, interactive};
pub use channel::Output;
pub use checks::{Check, Expect, Outcome, Report, run as run_checks};
pub use console::{Console, KEY_NEXT};
pub use credential::Credentials;
pub use firmware::{Firmware, SecureBoot};
pub use machine::{Bus, Disk, Machine, Network, SectorSize, Writes};
pub use overlay::disk_size;
pub use qmp::Qmp;
pub use running::Running;

use crate::host::tools::Tool;

/// The program: images are amd64 so far.
const QEMU: &str = "qemu-system-x86_64";

/// What running a machine needs on the host.
pub const TOOLS: [Tool; 2] =
    [Tool { program: QEMU, package: "qemu-system-x86" }, Tool { program: "setpriv", package: "util-linux" }];
