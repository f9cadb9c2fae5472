//! People: declared in sysusers.d(5) and tmpfiles.d(5), their keys where sshd looks besides the home folder.
//!
//! A key that is part of the image lies in `/usr/lib/basalt/authorized_keys/NAME`: an update that drops it revokes it. A key that comes
//! with the machine (credential `ssh.authorized_keys.NAME`) lands in the home folder once, and is the node's from then on. A password
//! hash comes by the credential `passwd.hashed-password.NAME`, never with the image.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::{Produced, suggestion};
use crate::failure::{Failure, Kind};
use crate::plan::{Settings, User};
use crate::tree::{Tree, TreePath};

const SYSUSERS: &str = "/usr/lib/sysusers.d/10-basalt.conf";
const TMPFILES: &str = "/usr/lib/tmpfiles.d/10-basalt-users.conf";
const KEYS: &str = "/usr/lib/basalt/authorized_keys";
const SSHD: &str = "/etc/ssh/sshd_config.d/50-basalt.conf";
const SHELL: &str = "/bin/bash";

/// systemd reads these credentials for root only. Without its conditions sysusers also sees users that an update brings.
const SYSUSERS_DROP_IN: (&str, &str) = (
    "/usr/lib/systemd/system/systemd-sysusers.service.d/10-basalt.conf",
    "[Unit]\nConditionNeedsUpdate=\n\n[Service]\nImportCredential=passwd.hashed-password.*\nImportCredential=passwd.shell.*\n",
);
const TMPFILES_DROP_IN: (&str, &str) = (
    "/usr/lib/systemd/system/systemd-tmpfiles-setup.service.d/10-basalt.conf",
    "[Service]\nImportCredential=ssh.authorized_keys.*\n",
);

/// Adds users and keys.
pub fn apply(settings: &Settings, below: &Tree, produced: &mut Produced) -> Result<()> {
    let known = Known::read(below)?;
    let mut sysusers = String::new();
    let mut tmpfiles = String::new();
    for (name, user) in &settings.users {
        check(name, user, settings, &known, below)?;
        let uid = user.uid;
        let shell = user.shell.as_deref().unwrap_or(SHELL);
        writeln!(sysusers, "g {name} {uid}\nu {name} {uid}:{uid} \"{name}\" /var/home/{name} {shell}")?;
        for group in &user.groups {
            writeln!(sysusers, "m {name} {group}")?;
        }
        // The colon: only when it is made, so that what the user changes stays.
        for folder in ["", "/.ssh"] {
            writeln!(tmpfiles, "d /var/home/{name}{folder} :0700 :{uid} :{uid} -")?;
        }
        writeln!(tmpfiles, "f^ /var/home/{name}/.ssh/authorized_keys :0600 :{uid} :{uid} - ssh.authorized_keys.{name}")?;
    }
    if !settings.users.is_empty() {
        produced.prepend(&TreePath::parse(SYSUSERS)?, sysusers, below)?;
        produced.prepend(&TreePath::parse(TMPFILES)?, tmpfiles, below)?;
        for (path, text) in [SYSUSERS_DROP_IN, TMPFILES_DROP_IN] {
            produced.replace(&TreePath::parse(path)?, text.into(), below)?;
        }
    }
    put_keys(settings, below, produced)
}

fn put_keys(settings: &Settings, below: &Tree, produced: &mut Produced) -> Result<()> {
    let of_users = settings.users.iter().map(|(name, user)| (name.as_str(), &user.ssh_keys));
    let with_keys: Vec<_> = of_users.chain([("root", &settings.root_ssh_keys)]).filter(|(_, keys)| !keys.is_empty()).collect();
    let Some((first, _)) = with_keys.first() else { return Ok(()) };
    if below.file(&TreePath::parse("/etc/ssh/sshd_config")?).is_none() {
        return Err(Failure::new(
            Kind::Invalid,
            "the recipe has SSH keys, but no layer has sshd: /etc/ssh/sshd_config is missing",
        )
        .hint("add openssh-server to the packages")
        .about(key_of(first), *first)
        .into());
    }
    for (name, keys) in with_keys {
        if let Some(key) = keys.iter().find(|key| key.trim().is_empty() || key.contains(['\n', '\r', '\0'])) {
            return Err(invalid(name, format!("an SSH key is one line of text, found {key:?}")).into());
        }
        let text: String = keys.iter().flat_map(|key| [key.trim(), "\n"]).collect();
        produced.replace(&TreePath::parse(&format!("{KEYS}/{name}"))?, text, below)?;
    }
    produced.replace(
        &TreePath::parse(SSHD)?,
        format!("AuthorizedKeysFile .ssh/authorized_keys /run/basalt/authorized_keys/%u {KEYS}/%u\n"),
        below,
    )
}

/// Names and numbers that the layers below give out.
struct Known {
    users: BTreeMap<String, Option<u32>>,
    groups: BTreeMap<String, Option<u32>>,
}

impl Known {
    fn read(below: &Tree) -> Result<Self> {
        let mut known = Self { users: table(below, "/etc/passwd")?, groups: table(below, "/etc/group")? };
        let folder = TreePath::parse("/usr/lib/sysusers.d")?;
        let names = below.directory(&folder).into_iter().flat_map(|directory| directory.children.keys());
        for name in names.filter(|name| name.ends_with(".conf")) {
            for line in text(below, &folder.join(name))?.lines() {
                let fields: Vec<_> = line.split_whitespace().take(3).collect();
                if let [kind, name, number] = fields.as_slice()
                    && kind.starts_with(['u', 'g'])
                {
                    known.groups.entry((*name).to_owned()).or_insert_with(|| number.parse().ok());
                }
            }
        }
        Ok(known)
    }
}

/// Name and number of each line of passwd(5) or group(5).
fn table(below: &Tree, path: &str) -> Result<BTreeMap<String, Option<u32>>> {
    let text = text(below, &TreePath::parse(path)?)?;
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()))
    };
    Ok(text.lines().filter_map(entry).collect())
}

fn text(below: &Tree, path: &TreePath) -> Result<String> {
    Ok(match below.file(path) {
        Some(content) => String::from_utf8_lossy(&content.bytes()?).into_owned(),
        None => String::new(),
    })
}

fn check(name: &str, user: &User, settings: &Settings, known: &Known, below: &Tree) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let is_name = |name: &str| {
        name.len() <= 31 && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(plain)
    };
    if !is_name(name) {
        return Err(invalid(
            name,
            "a name has up to 31 lower-case letters, digits, - and _, and begins with a letter or _".into(),
        ));
    }
    for (what, table) in [("user", &known.users), ("group", &known.groups)] {
        for (other, number) in table {
            if (other == name) != (*number == Some(user.uid)) {
                let found = number.map_or_else(|| "a number chosen at boot".into(), |number| number.to_string());
                return Err(invalid(
                    name,
                    format!("needed number {} for it alone, but the {what} {other} has {found}", user.uid),
                )
                .hint("choose another name or number"));
            }
        }
    }
    if let Some(other) = settings.users.iter().find(|(other, their)| other.as_str() != name && their.uid == user.uid) {
        return Err(invalid(name, format!("needed number {} for it alone, but {} has it, too", user.uid, other.0)));
    }
    for group in &user.groups {
        if !known.groups.contains_key(group) && !settings.users.contains_key(group) {
            let hint = suggestion(group, known.groups.keys().map(String::as_str));
            return Err(invalid(name, format!("no layer has the group {group}"))
                .hint(hint.unwrap_or_else(|| "add the package that brings it, or a file in /usr/lib/sysusers.d".into())));
        }
    }
    let shell = user.shell.as_deref().unwrap_or(SHELL);
    let merged =
        if shell.starts_with("/bin/") || shell.starts_with("/sbin/") { format!("/usr{shell}") } else { shell.to_owned() };
    let exists = TreePath::parse(&merged).is_ok_and(|path| below.get(&path).is_some());
    if !shell.starts_with('/') || shell.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '%')) || !exists {
        return Err(invalid(name, format!("no layer has the shell {shell}")).hint("add the package that brings it"));
    }
    Ok(())
}

fn invalid(name: &str, why: String) -> Failure {
    Failure::new(Kind::Invalid, format!("[users] {name}: {why}")).about(key_of(name), name)
}

/// The key of the recipe that says something of `name`.
fn key_of(name: &str) -> &'static str {
    if name == "root" { "ssh.root-keys" } else { "users" }
}
