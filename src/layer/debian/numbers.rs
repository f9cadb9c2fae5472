//! Numbers for the users and groups that packages make, so that they do not depend on which package came first.
//!
//! From 400 on: adduser gives out numbers from 100 upwards and systemd-sysusers from 999 downwards, so what neither the recipe nor
//! this table names gets a number that nobody else has. Description and home folder are what Debian's packages would write.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Name, number, whether there is a group of the same name and number, description, home folder.
type User = (&'static str, u32, bool, &'static str, &'static str);

const USERS: [User; 24] = [
    ("messagebus", 400, true, "System Message Bus", "/nonexistent"),
    ("systemd-network", 401, true, "systemd Network Management", "/"),
    ("systemd-resolve", 402, true, "systemd Resolver", "/"),
    ("systemd-timesync", 403, true, "systemd Time Synchronization", "/"),
    ("systemd-coredump", 404, true, "systemd Core Dumper", "/"),
    ("systemd-journal-remote", 405, true, "systemd Journal Remote", "/"),
    ("systemd-journal-upload", 406, true, "systemd Journal Upload", "/"),
    ("systemd-oom", 407, true, "systemd Userspace OOM Killer", "/"),
    ("polkitd", 408, true, "User for polkitd", "/"),
    ("sshd", 409, false, "sshd user", "/run/sshd"),
    ("_chrony", 410, true, "Chrony daemon", "/var/lib/chrony"),
    ("_rpc", 411, false, "", "/run/rpcbind"),
    ("statd", 412, false, "", "/var/lib/nfs"),
    ("tss", 413, true, "TPM software stack", "/var/lib/tpm"),
    ("uuidd", 414, true, "", "/run/uuidd"),
    ("tcpdump", 415, true, "", "/nonexistent"),
    ("dnsmasq", 416, false, "dnsmasq", "/var/lib/misc"),
    ("_lldpd", 417, true, "", "/run/lldpd"),
    ("avahi", 418, true, "Avahi mDNS daemon", "/run/avahi-daemon"),
    ("fwupd-refresh", 419, true, "Firmware update daemon", "/var/lib/fwupd"),
    ("nvidia-persistenced", 420, true, "NVIDIA Persistence Daemon", "/nonexistent"),
    ("dhcpcd", 421, false, "DHCP Client Daemon", "/usr/lib/dhcpcd"),
    ("ntpsec", 422, true, "", "/nonexistent"),
    ("prometheus", 423, true, "Prometheus daemon", "/var/lib/prometheus"),
];

const GROUPS: [(&str, u32); 15] = [
    ("systemd-journal", 450),
    ("input", 451),
    ("sgx", 452),
    ("kvm", 453),
    ("render", 454),
    ("clock", 455),
    ("_ssh", 456),
    ("crontab", 457),
    ("netdev", 458),
    ("rdma", 459),
    ("docker", 460),
    ("ssl-cert", 461),
    ("i2c", 462),
    ("libvirt", 463),
    ("plocate", 464),
];

/// Debian's `nogroup`.
const NOGROUP: u32 = 65534;

/// Numbers for users, for a recipe that gives none.
pub fn default_users() -> BTreeMap<String, u32> {
    USERS.iter().map(|(name, number, ..)| ((*name).to_owned(), *number)).collect()
}

/// Numbers for groups, for a recipe that gives none.
pub fn default_groups() -> BTreeMap<String, u32> {
    let own = USERS.iter().filter(|(_, _, own, ..)| *own).map(|(name, number, ..)| (*name, *number));
    own.chain(GROUPS).map(|(name, number)| (name.to_owned(), number)).collect()
}

/// Lines for `/etc/passwd` that give `users` their numbers. A user's group is the one of the same name, else `nogroup`.
pub fn passwd(users: &BTreeMap<String, u32>, groups: &BTreeMap<String, u32>) -> String {
    users.iter().fold(String::new(), |mut text, (name, number)| {
        let known = USERS.iter().find(|(other, ..)| other == name);
        let (description, home) = known.map_or(("", "/nonexistent"), |(.., description, home)| (description, home));
        let group = groups.get(name).copied().unwrap_or(NOGROUP);
        let _ = writeln!(text, "{name}:*:{number}:{group}:{description}:{home}:/usr/sbin/nologin");
        text
    })
}

/// Lines for `/etc/group` that give `groups` their numbers.
pub fn group(groups: &BTreeMap<String, u32>) -> String {
    groups.iter().fold(String::new(), |mut text, (name, number)| {
        let _ = writeln!(text, "{name}:*:{number}:");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_number_is_given_twice() {
        for numbers in [default_users(), default_groups()] {
            let distinct: BTreeSet<_> = numbers.values().collect();
            assert_eq!(distinct.len(), numbers.len());
            assert!(numbers.values().all(|number| (400..500).contains(number)));
        }
        assert_eq!(default_users().len(), USERS.len());
    }

    #[test]
    fn lines() {
        let users = BTreeMap::from([("own".to_owned(), 5), ("sshd".to_owned(), 409)]);
        let groups = BTreeMap::from([("own".to_owned(), 6)]);
        assert_eq!(
            passwd(&users, &groups),
            "own:*:5:6::/nonexistent:/usr/sbin/nologin\nsshd:*:409:65534:sshd user:/run/sshd:/usr/sbin/nologin\n"
        );
        assert_eq!(group(&groups), "own:*:6:\n");
    }
}
