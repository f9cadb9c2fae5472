//! How this process gets to make files of other owners: who may make a base, and what to tell those who may not. It makes nothing.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::{Uid, User};

use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::subordinate;

/// Every owner of a Debian system but root, `nobody` (65534) included. The root of a container has so many and one more.
const NUMBERS: u64 = 65534;

/// How this process gets to make files of other owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It is root.
    Root,
    /// In a user namespace of its own: root there is the user here, the others are the user's subordinate numbers. The user may be the
    /// root of an unprivileged container: its subordinate numbers are the container's other users.
    Subordinate,
}

impl Privilege {
    /// What this process has.
    ///
    /// # Errors
    /// [`Kind::Tool`] when it has neither.
    pub fn find() -> Result<Self> {
        let user = Uid::effective();
        if user.is_root() {
            let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
            if may_do_all(&status) {
                return Ok(Self::Root);
            }
        }
        let name = User::from_uid(user)?.map(|user| user.name).unwrap_or_default();
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            if !has_range(&text, &name, user) {
                return Err(no_range(&name, user, file).into());
            }
        }
        let privilege = Self::Subordinate;
        // First without the numbers: where the namespace itself is forbidden, the helper that unshare starts for them waits for ever.
        for attempt in [Cmd::new("unshare").arg("--user"), privilege.cmd()] {
            attempt.arg("true").run().map_err(|failure| match failure.kind {
                Kind::Failed => no_namespace(user, &failure.what),
                _ => failure,
            })?;
        }
        Ok(privilege)
    }

    /// A command that runs its arguments with this privilege.
    fn cmd(self) -> Cmd {
        match self {
            Self::Root => Cmd::new("env"),
            Self::Subordinate => subordinate::cmd(),
        }
    }

    /// A command that runs its arguments with this privilege, and when this process is killed, the command is too, with all that it
    /// started: otherwise it went on for minutes in a folder that the next build takes away. Where a container forbids that, without.
    pub fn bound_cmd(self) -> Cmd {
        let bound = || {
            let command = Cmd::new("setpriv").args(["--pdeathsig", "KILL", "unshare"]);
            let command = if self == Self::Root { command } else { command.args(["--map-root-user", "--map-auto"]) };
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        };
        match bound().arg("true").run() {
            Ok(_) => bound(),
            Err(failure) => {
                tracing::debug!(%failure, "no process namespace");
                self.cmd()
            }
        }
    }
}

/// Whether `/proc/self/status` shows what mmdebstrap needs as root: CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_CHROOT and
/// SYS_ADMIN. Numbers from linux/capability.h.
fn may_do_all(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    [0, 1, 3, 6, 7, 18, 21].iter().all(|bit| effective >> bit & 1 == 1)
}

/// Whether subuid(5) or subgid(5) gives the user enough numbers.
fn has_range(text: &str, user: &str, uid: Uid) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next().unwrap_or_default();
        let count: u64 = fields.nth(1).and_then(|count| count.trim().parse().ok()).unwrap_or_default();
        (owner == user || owner == uid.to_string()) && count >= NUMBERS
    })
}

fn no_range(name: &str, user: Uid, file: &str) -> Failure {
    let what = format!("{file} gives user {name} no range of 65536 subordinate numbers; a base that is not cached needs one");
    if !user.is_root() {
        let next = format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}");
        return Failure::new(Kind::Tool, what).hint(next);
    }
    Failure::new(
        Kind::Tool,
        format!("root without its capabilities (as in a container) cannot make a base that is not cached: {file} gives it no numbers"),
    )
    .hint(
        "in a container: echo root:1:65535 | tee /etc/subuid /etc/subgid. Else build as an ordinary user with subordinate numbers, or \
         copy the cache of a machine that has this base",
    )
}

fn no_namespace(user: Uid, why: &str) -> Failure {
    if user.is_root() {
        let what =
            format!("the root of this container cannot make a user namespace, which a base that is not cached needs: {why}");
        return Failure::new(Kind::Tool, what).hint(
            "run it in rootless Podman, or in Docker with --security-opt seccomp=unconfined --security-opt apparmor=unconfined; or \
             bring the cache of a machine that has this base",
        );
    }
    Failure::new(Kind::Tool, format!("this user cannot make a user namespace: {why}"))
        .hint("allow it: sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_root() {
        assert!(may_do_all("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!may_do_all("CapEff:\t00000000a80425fb\n"), "a container's usual set has no SYS_ADMIN");
        assert!(!may_do_all("CapEff:\t0000000000000000\n") && !may_do_all(""));
    }

    #[test]
    fn ranges_of_subordinate_numbers() {
        let uid = Uid::from_raw(1001);
        for (text, needed) in [
            ("other:100000:65536\nann:165536:65536\n", true),
            ("1001:100000:65536\n", true),
            ("ann:1:65535\n", true), // as the root of a container has it
            ("ann:100000:65000\n", false),
            ("anna:100000:65536\n", false),
            ("ann:100000\n\n", false),
        ] {
            assert_eq!(has_range(text, "ann", uid), needed, "{text:?}");
        }
    }

    #[test]
    fn who_may_not_is_told_what_to_do() {
        let (ann, root) = (Uid::from_raw(1001), Uid::from_raw(0));
        for (failure, next) in [
            (no_range("ann", ann, "/etc/subuid"), "sudo usermod --add-subuids "),
            (no_range("root", root, "/etc/subuid"), "in a container: echo root:1:65535 "),
            (no_namespace(ann, "why"), "allow it: sysctl "),
            (no_namespace(root, "why"), "run it in rootless Podman, "),
        ] {
            assert_eq!(failure.kind, Kind::Tool);
            assert!(failure.hint.as_deref().is_some_and(|hint| hint.starts_with(next)), "{failure:?}");
        }
    }
}
