//! Keys of sysctl(8) in units for that plugin.
//!
//! tuned makes a path of a key: each `.` becomes `/`, and each `/` becomes `.`. So keys that begin as a path does, which sysctl(8)
//! takes, name files that are not there.

use std::collections::HashMap;

use super::super::finding::{Finding, What};
use super::super::python::is_space;
use super::super::{MergedUnit, Setting};

/// What tuned refuses to set.
const DEPRECATED: [&str; 2] = ["base_reachable_time", "retrans_time"];

/// Tells of keys that cannot be set, and of two that are one.
pub fn check(units: &[MergedUnit], findings: &mut Vec<Finding>) {
    let mut seen: HashMap<String, (&str, &Setting)> = HashMap::new();
    for unit in units.iter().filter(|unit| unit.enabled && unit.plugin == "sysctl") {
        for (key, setting) in &unit.options {
            if let Some(why) = wrong(key) {
                let what = What::BadSysctl { key: key.clone(), why };
                findings.push(Finding { origin: setting.origin.clone(), what });
            }
            // A unit for some nodes only is there to say something else.
            if unit.is_conditional() {
                continue;
            }
            let earlier = seen.insert(meant(key), (key, setting));
            if let Some((other, old)) = earlier.filter(|(_, old)| old.value != setting.value) {
                let what = What::SameSysctl {
                    key: key.clone(),
                    value: setting.value.clone(),
                    other: other.to_owned(),
                    other_value: old.value.clone(),
                    at: old.origin.clone(),
                };
                findings.push(Finding { origin: setting.origin.clone(), what });
            }
        }
    }
}

fn wrong(key: &str) -> Option<&'static str> {
    let parts = || key.split('.');
    if key.contains(|c: char| is_space(c) || c.is_control()) {
        Some("needed a key, found spaces in it")
    } else if parts().any(str::is_empty) {
        Some("needed names with a dot between each two, found none between two dots or at an end")
    } else if parted_by_slashes(key) {
        Some("needed dots between names, found a slash, which tuned takes for a dot in a name")
    } else if key.contains(['*', '?', '[']) {
        Some("needed a key, found a pattern, which this plugin does not know")
    } else if parts().next_back().is_some_and(|last| DEPRECATED.contains(&last)) {
        Some("tuned refuses to set it: the kernel has another key with _ms at its end")
    } else if !key.contains('.') {
        Some("needed a key with a dot (vm.swappiness, say)")
    } else {
        None
    }
}

/// The path below /proc/sys that is meant: by the rule of sysctl(8), whichever of `.` and `/` comes first parts the names.
fn meant(key: &str) -> String {
    if parted_by_slashes(key) { key.to_owned() } else { key.chars().map(swapped).collect() }
}

fn parted_by_slashes(key: &str) -> bool {
    key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('/'))
}

fn swapped(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_tuned_finds_no_file_for() {
        for (key, good) in [
            ("vm.swappiness", true),
            ("net.ipv4.conf.eth0/100.arp_ignore", true),
            ("net/ipv4/ip_forward", false),
            ("net.ipv4..x", false),
            (".a", false),
            ("a b.c", false),
            ("net.ipv4.conf.*.rp_filter", false),
            ("net.ipv4.neigh.eth0.retrans_time", false),
            ("swappiness", false),
        ] {
            assert_eq!(wrong(key).is_none(), good, "{key}: {:?}", wrong(key));
        }
    }

    #[test]
    fn two_keys_for_one_file() {
        for (one, other) in [("a.b", "a/b"), ("net.ipv4.conf.eth0/1.x", "net/ipv4/conf/eth0.1/x")] {
            assert_eq!(meant(one), meant(other));
        }
    }
}
