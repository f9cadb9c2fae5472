//! `basalt boot`: an image with its serial console on this terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::feed::Stopped;
use super::machine::{Machine, Network, Writes};
use super::terminal::{self, Raw};
use crate::failure::{Failure, Kind};
use crate::host::interrupt;

/// Who may log in as root. Both go in as systemd credentials: the image stays as it is.
#[derive(Clone, Default)]
pub struct Login {
    /// Lines of an `authorized_keys` file.
    pub ssh_keys: Option<String>,
    /// A hash as in `/etc/shadow` (`mkpasswd`, `openssl passwd -6`).
    pub password_hash: Option<String>,
}

impl Login {
    /// Gives `machine` the credentials. Fails when a value is none of its kind.
    pub fn put_in(&self, mut machine: Machine) -> Result<Machine, Failure> {
        if let Some(keys) = &self.ssh_keys {
            if !keys.lines().any(|line| line.split_whitespace().count() >= 2) {
                return Err(Failure::new(Kind::Usage, "the SSH key file holds no public key")
                    .hint("give the .pub file: one \"ssh-ed25519 AAAA... name\" a line"));
            }
            machine = machine.credential("ssh.authorized_keys.root", keys.as_str());
        }
        if let Some(hash) = &self.password_hash {
            let hash = hash.trim();
            if !hash.starts_with('$') || hash.contains([':', '\n']) {
                return Err(Failure::new(Kind::Usage, "the password hash is none: it must begin with $")
                    .hint("make one: openssl passwd -6"));
            }
            machine = machine.credential("passwd.hashed-password.root", hash);
        }
        Ok(machine)
    }

    /// What a person is told before the guest starts: one line each.
    fn explanation(&self, network: &Network) -> Vec<String> {
        let mut lines = Vec::new();
        if let Network::Ssh { host_port } = network {
            let whose = if self.ssh_keys.is_some() { "that you gave" } else { "of the image" };
            // The guest's key is new each time what it wrote is thrown away: remembered, it would be called an attack.
            let fresh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
            lines.push(format!("log in with a key {whose}: ssh -p {host_port} {fresh} root@127.0.0.1"));
        } else if self.ssh_keys.is_some() {
            lines.push("your SSH key is in, but no port leads to the guest".to_owned());
        }
        if self.password_hash.is_some() {
            lines.push("log in here: as root, with the password of the hash you gave".to_owned());
        } else {
            lines.push("log in here: only with a password of the image; for root give a password hash".to_owned());
        }
        lines
    }
}

/// How long bytes of the guest are waited for before the keyboard's escape and interrupts are looked at.
const SLICE: Duration = Duration::from_millis(50);

/// Boots `machine` with its console here, until the guest powers off, or Ctrl-A X is typed. Says how to log in first.
pub fn interactive(machine: Machine, login: &Login) -> Result<(), Failure> {
    let machine = login.put_in(machine)?.limit(None);
    let failed = |error: io::Error| Failure::new(Kind::Failed, format!("the terminal: {error}"));
    for line in summary(&machine).into_iter().chain(login.explanation(&machine.network)) {
        writeln!(io::stderr(), "basalt: {line}").map_err(failed)?;
    }
    let mut running = machine.start()?;
    let quit = Arc::new(AtomicBool::new(false));
    let raw = Raw::new().map_err(failed)?;
    terminal::send_keys(running.console()?.keys().map_err(failed)?, Arc::clone(&quit));
    let mut terminal = io::stdout();
    let end = loop {
        if quit.load(Ordering::Relaxed) {
            break Ok(());
        }
        match running.console()?.take(Instant::now() + SLICE) {
            Ok(bytes) => terminal.write_all(&bytes).and_then(|()| terminal.flush()).map_err(failed)?,
            Err(Stopped::Late) => {}
            Err(Stopped::Closed) => break running.wait_off(Duration::from_secs(10)),
            Err(Stopped::Interrupted) => break Err(interrupt::failure()),
        }
    };
    drop(raw);
    terminal::show_as_before().map_err(failed)?;
    writeln!(io::stderr(), "\nbasalt: the machine is off").map_err(failed)?;
    end
}

fn summary(machine: &Machine) -> Vec<String> {
    let writes = match machine.disk.writes {
        Writes::Discarded => "what it writes is thrown away at the end",
        Writes::Kept => "what it writes stays in the image",
    };
    vec![
        format!("boot {}: {writes}", machine.disk.path.display()),
        format!(
            "{} processors by {}, {} MiB, UEFI, Secure Boot {}",
            machine.cpus,
            machine.accel,
            machine.memory_mib,
            format!("{:?}", machine.secure_boot).to_lowercase()
        ),
        "stop: power off in the guest, or Ctrl-A X here".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::accel::Accel;
    use super::super::machine::Disk;
    use super::*;
    use std::path::Path;

    #[test]
    fn it_is_said_how_to_log_in() {
        let ssh = Network::Ssh { host_port: 2222 };
        let key = Some("ssh-ed25519 AAAA me".to_owned());
        let hash = Some("$6$salt$hash".to_owned());
        for (keys, hash, network, said) in [
            (key.clone(), None, &ssh, "with a key that you gave: ssh -p 2222 "),
            (key, None, &Network::User, "no port leads"),
            (None, None, &ssh, "with a key of the image: ssh -p 2222 "),
            (None, hash, &ssh, "as root, with the password"),
            (None, None, &ssh, "for root give a password hash"),
        ] {
            let lines = Login { ssh_keys: keys, password_hash: hash }.explanation(network).join("\n");
            assert!(lines.contains(said), "{said}: {lines}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused() {
        let machine = || Machine::new(Disk::new(Path::new("a.raw")), Accel::Tcg);
        for (keys, hash, good) in [
            (Some("ssh-ed25519 AAAA me\n"), Some("$6$salt$hash\n"), true),
            (Some("-----BEGIN\n"), None, false),
            (None, Some("password"), false),
            (None, Some("$6$a:b"), false),
        ] {
            let login = Login { ssh_keys: keys.map(Into::into), password_hash: hash.map(Into::into) };
            assert_eq!(login.put_in(machine()).is_ok(), good, "{keys:?} {hash:?}");
        }
    }
}
