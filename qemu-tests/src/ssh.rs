//! A client that logs in to a machine over SSH, with a key of its own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Scratch;

/// A key pair, made anew.
#[derive(Debug)]
pub struct SshKey {
    private: PathBuf,
    /// The line for an `authorized_keys` file, without its end.
    pub public: String,
}

impl SshKey {
    /// In the folder of a case.
    pub fn new(scratch: &Scratch) -> Result<Self> {
        let private = scratch.path().join("ssh-key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "basalt-case", "-f"]).arg(&private).output();
        let made = made.context("ssh-keygen (apt install openssh-client)")?;
        ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
        let public = fs::read_to_string(private.with_extension("pub"))?.trim().to_owned();
        Ok(Self { private, public })
    }

    /// Logs in as root on `port` of this host and runs `script`; answers its standard output. The host's key is taken as it is: it was
    /// made a minute ago.
    pub fn root(&self, port: u16, script: &str) -> Result<String> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"]);
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=VERBOSE"]);
        ssh.arg("-i").arg(&self.private).args(["-p", &port.to_string(), "root@127.0.0.1", script]);
        let output = ssh.output().context("ssh (apt install openssh-client)")?;
        ensure!(output.status.success(), "{ssh:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A TCP port of 127.0.0.1 that is free just now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
