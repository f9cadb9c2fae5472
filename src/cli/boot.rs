//! `basalt boot`: an artefact in QEMU with its serial console on this terminal.

use std::fs;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use super::machine::MachineArgs;
use crate::failure::{Failure, Kind};
use crate::vm::{self, Login, Network, Writes};

/// Boots a disk in QEMU with UEFI and Secure Boot, its serial console here, and says how to log in. What the guest writes is thrown
/// away unless --keep.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// A raw or qcow2 disk
    #[arg(value_name = "ARTEFACT")]
    disk: PathBuf,
    #[command(flatten)]
    machine: MachineArgs,
    /// Let root log in with this public key (.pub)
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// Let root log in on the console with the password of this hash
    /// (a file from `openssl passwd -6`)
    #[arg(long, value_name = "FILE")]
    password_hash: Option<PathBuf>,
    /// Port of this machine that leads to the guest's SSH
    #[arg(long, value_name = "PORT", default_value_t = 2222)]
    ssh_port: u16,
    /// Keep what the guest writes in the disk
    #[arg(long)]
    keep: bool,
}

/// Runs the verb.
pub fn run(args: &BootArgs, context: &Context) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "boot needs a terminal: it is for people")
            .hint("for scripts: basalt test ARTEFACT")
            .into());
    }
    let read = |path: &Option<PathBuf>| -> Result<Option<String>> {
        path.as_ref()
            .map(|path| fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display())))
            .transpose()
    };
    let login = Login { ssh_keys: read(&args.ssh_key)?, password_hash: read(&args.password_hash)? };
    let writes = if args.keep { Writes::Kept } else { Writes::Discarded };
    let network = match &login.ssh_keys {
        Some(_) => Network::Ssh { host_port: args.ssh_port },
        None => Network::User,
    };
    let machine = args.machine.machine(&args.disk, writes, &context.store()?)?.network(network);
    Ok(vm::interactive(machine, &login)?)
}
