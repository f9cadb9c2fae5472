//! Who runs a program: the issue is always what an ordinary user can do, and tests run as root as often as not.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, User, getgid, getuid};

use crate::Scratch;

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Whoever runs the tests.
    Tests,
    /// An ordinary user with subordinate user numbers: whoever runs the tests or, when that is root, the account `basalt-tests`,
    /// which is made when it is missing.
    Ordinary,
    /// An ordinary user without subordinate user numbers.
    NoSubordinates,
    /// User number 0 with no capability at all, not even those that a program could get back.
    RootWithoutCapabilities,
}

const NAME: &str = "basalt-tests";
/// Leaves no capability to root, and no way to get one.
const POWERLESS: [&str; 4] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
/// Where a user number without an account is looked for.
const FREE_FROM: u32 = 61_200;

impl Account {
    /// A command that runs `program` as this account. `HOME` is a folder of `scratch` that it can write to; programs are found where
    /// an ordinary user finds them.
    pub(crate) fn command(self, program: &Path, scratch: &Scratch) -> Result<Command> {
        let home = scratch.folder("home")?;
        let mut words = self.words()?;
        words.push(program.to_str().context("a program's path is text")?.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("HOME", home).env_remove("XDG_CACHE_HOME").env_remove("BASALT_CACHE");
        Ok(command)
    }

    /// The words before the program's own.
    fn words(self) -> Result<Vec<String>> {
        let root = getuid().is_root();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let become_user = |user: u32, group: u32| {
            words(&["setpriv", &format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", "--"])
        };
        Ok(match self {
            Self::Ordinary if root => {
                let user = ordinary_user()?;
                become_user(user.uid.as_raw(), user.gid.as_raw())
            }
            Self::Tests | Self::Ordinary => Vec::new(),
            Self::NoSubordinates if root => {
                let free = free_number()?;
                become_user(free, free)
            }
            // The same user, in a namespace where the file that grants the numbers is empty.
            Self::NoSubordinates => words(&[
                "unshare",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                "mount --bind /dev/null /etc/subuid && mount --bind /dev/null /etc/subgid && exec \"$@\"",
                "sh",
                "unshare",
                "--user",
                &format!("--map-user={}", getuid()),
                &format!("--map-group={}", getgid()),
                "--",
            ]),
            Self::RootWithoutCapabilities if root => words(&POWERLESS),
            Self::RootWithoutCapabilities => words(&[&["unshare", "--map-root-user"][..], &POWERLESS].concat()),
        })
    }
}

/// The account for tests, made when it is missing. Only root gets here.
fn ordinary_user() -> Result<User> {
    // Cases of one program run side by side: useradd twice would grant the numbers twice.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(user) = User::from_name(NAME)? {
        return Ok(user);
    }
    let made = Command::new("useradd").args(["--create-home", "--comment", "Basalt's tests", NAME]).output();
    let made = made.context("useradd: cannot be started")?;
    let user = User::from_name(NAME)?;
    let user = user.with_context(|| format!("useradd {NAME}: {}", String::from_utf8_lossy(&made.stderr).trim()))?;
    let granted = fs::read_to_string("/etc/subuid").unwrap_or_default();
    ensure!(
        granted.lines().any(|line| line.starts_with(&format!("{NAME}:"))),
        "useradd gave {NAME} no subordinate numbers: usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {NAME}"
    );
    Ok(user)
}

fn free_number() -> Result<u32> {
    for number in FREE_FROM.. {
        if User::from_uid(Uid::from_raw(number))?.is_none() {
            return Ok(number);
        }
    }
    anyhow::bail!("no user number is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sh -c SCRIPT` prints as `account`.
    fn says(account: Account, script: &str) -> String {
        let scratch = Scratch::new().unwrap();
        let output = account.command(Path::new("/bin/sh"), &scratch).unwrap().args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{account:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn cli_each_account_is_what_it_says() {
        let capabilities = "sed -n 's/^Cap\\(Eff\\|Bnd\\):[[:space:]]*//p' /proc/self/status | sort -u";
        assert_eq!(says(Account::Tests, "id -u"), getuid().to_string());
        assert_ne!(says(Account::Ordinary, "id -u"), "0");
        assert_ne!(says(Account::NoSubordinates, "id -u"), "0");
        assert_eq!(says(Account::NoSubordinates, "grep -c -e \"^$(id -u):\" -e \"^$(id -un 2>&1):\" /etc/subuid || true"), "0");
        assert_eq!(says(Account::RootWithoutCapabilities, "id -u"), "0");
        assert_eq!(says(Account::RootWithoutCapabilities, capabilities), "0000000000000000");
        for account in [Account::Ordinary, Account::NoSubordinates, Account::RootWithoutCapabilities] {
            assert_eq!(says(account, "touch \"$HOME/x\" && rm \"$HOME/x\" && echo can"), "can", "{account:?}");
        }
    }

    #[test]
    fn cli_an_ordinary_user_has_subordinates() {
        assert_eq!(says(Account::Ordinary, "unshare --map-root-user --map-auto sh -c 'wc -l </proc/self/uid_map'"), "2");
    }
}
