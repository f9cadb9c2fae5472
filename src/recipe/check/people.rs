//! Checks `[users]`: names and numbers that nobody else has, keys that are keys.

use std::collections::BTreeMap;

use super::super::{Base, names, written};
use super::Checker;
use crate::plan::User;

/// Numbers that Debian gives to people, without those that systemd keeps for itself.
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59999;

impl Checker<'_> {
    pub(super) fn users(&mut self, written: &BTreeMap<String, written::User>, base: &Base) -> BTreeMap<String, User> {
        let mut users: BTreeMap<String, User> = BTreeMap::new();
        for (name, user) in written {
            let place = user.uid.place;
            let key = format!("users.{name}");
            if let Err(why) = names::user(name) {
                self.findings.add(place, format!("users: {why}"));
            } else if name == "root" {
                self.findings.add_with_hint(place, "users.root: root is always there", "its keys go to [ssh] root-keys");
            } else if base.debian().is_some_and(|base| base.users.contains_key(name) || base.groups.contains_key(name)) {
                self.findings.add(place, format!("{key}: the base has a system user or group of this name; needed another name"));
            }
            let uid = user.uid.value;
            if !PEOPLE.contains(&uid) && name != "root" {
                let what = format!("{key}.uid: needed a number from {} to {}, found {uid}", PEOPLE.start(), PEOPLE.end());
                self.findings.add(place, what);
            }
            if let Some((other, _)) = users.iter().find(|(_, other)| other.uid == uid) {
                self.findings.add(place, format!("{key}.uid: needed a number of its own, found {uid}, which is {other}'s"));
            }
            let groups = super::distinct(self.list(&format!("{key}.groups"), &user.groups, names::user));
            let shell = self.one(&format!("{key}.shell"), user.shell.as_ref(), names::shell);
            let ssh_keys = self.list(&format!("{key}.ssh-keys"), &user.ssh_keys, names::ssh_key);
            users.insert(name.clone(), User { uid, groups, shell, ssh_keys });
        }
        users
    }
}
