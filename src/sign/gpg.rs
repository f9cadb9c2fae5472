//! OpenPGP signatures by gpg, its agent or a command, and their verification by gpgv: detached, over the bytes of a commit object.
//!
//! The time in a signature is the commit's, or that of the recipe's keys (and of what they say of each other) where that is later: nothing
//! that a key signs is older than it. So RSA, EdDSA and ECDSA keys sign the same commit with the same bytes, whenever that is; DSA and what a command
//! signs may not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::CommitSigner;
use super::openpgp::{self, PublicKeys};
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::tools::{self, Tool};

const GPG: [Tool; 2] = [Tool { program: "gpg", package: "gpg" }, Tool { program: "gpg-agent", package: "gpg-agent" }];
const GPGV: [Tool; 1] = [Tool { program: "gpgv", package: "gpgv" }];
/// By which gpg finds its keys and agent, and the agent somebody to ask.
const KEPT: [&str; 7] =
    ["GNUPGHOME", "GPG_TTY", "TERM", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// Signs `commit`, made at `time`, by `signer`; the signature is one of `public`.
///
/// # Errors
/// [`Kind::Input`]: no such key, or it is none of `public`; [`Kind::Failed`]: gpg or the command fails.
pub fn sign(signer: &CommitSigner, public: &PublicKeys, commit: &[u8], time: i64) -> Result<Vec<u8>> {
    let time = time.max(public.newest);
    let (signature, who) = match signer {
        CommitSigner::File(key, passphrase) => (by_file(key, passphrase.as_deref(), commit, time)?, key.display().to_string()),
        CommitSigner::Agent(name) => {
            tools::need(&GPG, "signing commits")?;
            let mut gpg = gpg(time).args(["--local-user", name]);
            for name in KEPT {
                if let Some(value) = std::env::var_os(name) {
                    gpg = gpg.env(name, value);
                }
            }
            let signed = gpg.input(commit.to_vec()).run();
            let hint = format!("look at `gpg --list-secret-keys {name}`; another folder of keys is named by GNUPGHOME");
            (signed.map_err(|failure| Failure { kind: Kind::Input, ..failure }.hint(hint))?.stdout, format!("key {name}"))
        }
        CommitSigner::Command(command) => (Cmd::of_user(command)?.input(commit.to_vec()).run()?.stdout, command.clone()),
    };
    let hint = "it gets the commit on standard input and signs it as `gpg --detach-sign` does";
    let signature = openpgp::signatures(&signature)
        .map_err(|bad| Failure::new(Kind::Failed, format!("{who}: needed a detached signature, found {bad}")).hint(hint))?;
    match verify(public, commit, &signature)? {
        Verdict::Good(_) => Ok(signature),
        Verdict::Wrong(why) => {
            let what = format!("{who}: its signature is not one of the recipe's keys: {why}");
            Err(Failure::new(Kind::Input, what)
                .hint("sign with a private key of [sign] commit, or export its public key there and build again")
                .into())
        }
    }
}

/// A detached signature to standard output, of standard input, as of `time`.
fn gpg(time: i64) -> Cmd {
    Cmd::new("gpg")
        .args(["--batch", "--no-tty", "--quiet", "--no-options", "--no-armor", "--digest-algo", "SHA256", "--no-emit-version"])
        // The key may be newer than the commit, and its clock is ours.
        .args(["--ignore-time-conflict", "--ignore-valid-from", &format!("--faked-system-time={time}!")])
        .args(["--no-auto-check-trustdb", "--trust-model=always", "--output=-", "--detach-sign"])
}

/// Signs with a key that a gpg of our own takes from `key`, and forgets.
fn by_file(key: &Path, passphrase: Option<&Path>, commit: &[u8], time: i64) -> Result<Vec<u8>> {
    tools::need(&GPG, "signing commits")?;
    let bytes = fs::metadata(key).and_then(|_| fs::File::open(key));
    bytes.map_err(|error| {
        Failure::new(Kind::Input, format!("{}: cannot be read: {error}", key.display()))
            .hint("name a file that `gpg --export-secret-keys` wrote with --commit-key")
    })?;
    let home = Home::new()?;
    let key = key.canonicalize()?;
    let mut secret: Vec<std::ffi::OsString> = Vec::new();
    if let Some(file) = passphrase {
        let file = file.canonicalize().map_err(|error| Failure::new(Kind::Input, format!("{}: {error}", file.display())))?;
        secret = ["--pinentry-mode=loopback".into(), "--passphrase-file".into(), file.into_os_string()].into();
    } else {
        // Nobody is asked: a key without a passphrase needs none, one with it fails at once.
        secret.extend(["--pinentry-mode=error".into()]);
    }
    let import =
        home.gpg().args(["--batch", "--no-tty", "--quiet", "--no-options"]).args(&secret).arg("--import").arg(&key).run();
    import.map_err(|failure| {
        Failure { kind: Kind::Input, what: format!("{}: gpg cannot take this key: {}", key.display(), failure.what), ..failure }
            .hint("name a file that `gpg --export-secret-keys` wrote, and its passphrase's file with --commit-passphrase-file")
    })?;
    // The command of `gpg`, in this home.
    let signed = home.at(gpg(time)).args(&secret).input(commit.to_vec()).run();
    let signed = signed.map_err(|failure| {
        Failure { kind: Kind::Input, what: format!("{}: {}", key.display(), failure.what), ..failure }
            .hint("it needs a private key that may sign; its passphrase's file is named with --commit-passphrase-file")
    })?;
    Ok(signed.stdout)
}

/// A folder for a gpg of our own, in memory where there is such a place. Its agent ends with it.
struct Home(TempDir);

impl Home {
    fn new() -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let parents = runtime.into_iter().chain([PathBuf::from("/dev/shm"), std::env::temp_dir()]);
        // Sockets' names are short.
        let make = |parent: PathBuf| tempfile::Builder::new().prefix("bslt").tempdir_in(parent).ok();
        Ok(Self(parents.into_iter().find_map(make).context("no folder for a moment's key: set TMPDIR")?))
    }

    fn at(&self, cmd: Cmd) -> Cmd {
        cmd.env("GNUPGHOME", self.0.path())
    }

    fn gpg(&self) -> Cmd {
        self.at(Cmd::new("gpg"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // One that never started is none that has to end.
        let _ = self.at(Cmd::new("gpgconf")).args(["--kill", "all"]).run();
    }
}

/// What a signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Of a trusted key: its fingerprint.
    Good(String),
    /// Not; why.
    Wrong(String),
}

/// Whether one of `signatures` over `commit` is of a key of `public` that is neither expired nor revoked.
///
/// # Errors
/// Without gpgv, or when it cannot be asked: nobody knows.
pub fn verify(public: &PublicKeys, commit: &[u8], signatures: &[u8]) -> Result<Verdict> {
    tools::need(&GPGV, "verifying the signature of a commit")?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("keys.gpg"), &public.bytes)?;
    fs::write(at("commit"), commit)?;
    fs::write(at("commit.sig"), signatures)?;
    let gpgv = Cmd::new("gpgv").env("GNUPGHOME", folder.path()).args(["--status-fd", "1", "--keyring"]).arg(at("keys.gpg"));
    // It fails when one of several is not good; what it says of each is what counts.
    let output = gpgv.arg(at("commit.sig")).arg(at("commit")).run_whatever_it_answers()?;
    Ok(judge(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads gpgv's status lines (GnuPG's `doc/DETAILS`).
fn judge(status: &str) -> Verdict {
    let lines = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")).map(|line| line.split(' ').collect::<Vec<_>>());
    let (mut good, mut why) = (false, "no signature that gpgv reads".to_owned());
    for words in lines {
        let of = || words.get(1).copied().unwrap_or_default();
        match words[0] {
            "NEWSIG" => good = false,
            "GOODSIG" => good = true,
            // The second last word is the fingerprint of the signing key, the last that of its primary key.
            "VALIDSIG" if good => return Verdict::Good(words.last().copied().unwrap_or_default().to_owned()),
            "BADSIG" => why = format!("what was signed by key {} is something else", of()),
            "EXPSIG" => why = format!("the signature of key {} has expired", of()),
            "EXPKEYSIG" => why = format!("key {} has expired", of()),
            "REVKEYSIG" => why = format!("key {} was revoked", of()),
            "NO_PUBKEY" => why = format!("it is of another key, {}", of()),
            _ => {}
        }
    }
    Verdict::Wrong(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gpgv_says_becomes_a_verdict() {
        let line = |words: &str| format!("[GNUPG:] {words}\n");
        let valid = line("VALIDSIG AA 2026-01-01 1 0 4 0 22 8 00 BB");
        for (status, expected) in [
            (line("NEWSIG") + &line("GOODSIG AA x") + &valid, Verdict::Good("BB".into())),
            (line("NEWSIG") + &line("EXPKEYSIG AA x") + &valid, Verdict::Wrong("key AA has expired".into())),
            (line("BADSIG AA x"), Verdict::Wrong("what was signed by key AA is something else".into())),
            (line("NO_PUBKEY CC"), Verdict::Wrong("it is of another key, CC".into())),
            (
                line("NEWSIG") + &line("NO_PUBKEY CC") + &line("NEWSIG") + &line("GOODSIG AA x") + &valid,
                Verdict::Good("BB".into()),
            ),
            (String::new(), Verdict::Wrong("no signature that gpgv reads".into())),
        ] {
            assert_eq!(judge(&status), expected, "{status}");
        }
    }
}
