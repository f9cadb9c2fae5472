//! `passwd` and `group` with the numbers that a plan fixes, for packages to find: so that they do not depend on which package came first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Name, description and home folder of users: what Debian's packages would write.
const USERS: [(&str, &str, &str); 24] = [
    ("messagebus", "System Message Bus", "/nonexistent"),
    ("systemd-network", "systemd Network Management", "/"),
    ("systemd-resolve", "systemd Resolver", "/"),
    ("systemd-timesync", "systemd Time Synchronization", "/"),
    ("systemd-coredump", "systemd Core Dumper", "/"),
    ("systemd-journal-remote", "systemd Journal Remote", "/"),
    ("systemd-journal-upload", "systemd Journal Upload", "/"),
    ("systemd-oom", "systemd Userspace OOM Killer", "/"),
    ("polkitd", "User for polkitd", "/"),
    ("sshd", "sshd user", "/run/sshd"),
    ("_chrony", "Chrony daemon", "/var/lib/chrony"),
    ("_rpc", "", "/run/rpcbind"),
    ("statd", "", "/var/lib/nfs"),
    ("tss", "TPM software stack", "/var/lib/tpm"),
    ("uuidd", "", "/run/uuidd"),
    ("tcpdump", "", "/nonexistent"),
    ("dnsmasq", "dnsmasq", "/var/lib/misc"),
    ("_lldpd", "", "/run/lldpd"),
    ("avahi", "Avahi mDNS daemon", "/run/avahi-daemon"),
    ("fwupd-refresh", "Firmware update daemon", "/var/lib/fwupd"),
    ("nvidia-persistenced", "NVIDIA Persistence Daemon", "/nonexistent"),
    ("dhcpcd", "DHCP Client Daemon", "/usr/lib/dhcpcd"),
    ("ntpsec", "", "/nonexistent"),
    ("prometheus", "Prometheus daemon", "/var/lib/prometheus"),
];

/// Debian's `nogroup`.
const NOGROUP: u32 = 65534;

/// Lines for `/etc/passwd` that give `users` their numbers. A user's group is the one of the same name, else `nogroup`.
pub fn passwd(users: &BTreeMap<String, u32>, groups: &BTreeMap<String, u32>) -> String {
    users.iter().fold(String::new(), |mut text, (name, number)| {
        let known = USERS.iter().find(|(other, ..)| other == name);
        let (description, home) = known.map_or(("", "/nonexistent"), |(_, description, home)| (description, home));
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
    use super::*;
    use crate::recipe::defaults;

    #[test]
    fn who_is_described_has_a_number() {
        for (name, ..) in USERS {
            assert!(defaults::USERS.iter().any(|(other, _)| *other == name), "{name}");
        }
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
