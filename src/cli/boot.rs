//! `basalt boot`: an artefact in QEMU with its serial console on this terminal.

use std::fs;
use std::io::IsTerminal as _;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use super::machine::MachineArgs;
use crate::failure::{Failure, Kind};
use crate::vm::{self, Login, Network, Writes};

/// The guest's SSH, when nobody says.
const PORT: u16 = 2222;

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
    /// (without it: 2222, or another when that is taken)
    #[arg(long, value_name = "PORT")]
    ssh_port: Option<u16>,
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
    let network = Network::Ssh { host_port: ssh_port(args.ssh_port)? };
    let machine = args.machine.machine(&args.disk, writes, &context.store()?)?.network(network);
    Ok(vm::interactive(machine, &login)?)
}

/// The port asked for, or one that is free.
fn ssh_port(wanted: Option<u16>) -> Result<u16> {
    let free = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|socket| socket.local_addr()).map(|address| address.port());
    match wanted {
        Some(port) => free(port).map_err(|error| {
            let what = format!("--ssh-port: port {port} of 127.0.0.1 cannot be used: {error}");
            Failure::new(Kind::Usage, what).hint("leave --ssh-port out: a free one is found").into()
        }),
        None => free(PORT).or_else(|_| free(0)).context("127.0.0.1 has no free port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_or_gone_around() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = ssh_port(Some(port)).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().kind, Kind::Usage, "{error}");
        assert_ne!(ssh_port(None).unwrap(), port);
        drop(taken);
        assert_eq!(ssh_port(Some(port)).unwrap(), port);
    }
}
