//! How bonds and bridges work and what of DHCP's answers is used: one table for each, from the names that the formats have to
//! systemd.netdev(5) and systemd.network(5).
//!
//! How to add one: a row. The kernel's names (`Documentation/networking/bonding.rst`) are those of version 1 and of OpenStack, once
//! `bond-` and `bond_` are off and `-` is `_`; netplan's are those of version 2.

use super::document::{Keyed, Reading, Table, quoted};
use super::values::Mac;
use super::yaml::Node;

/// A key and a value of a file of systemd-networkd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// A setting: the kernel's name, netplan's (empty: the kernel's with `-`), systemd's, and what it can be.
type Row = (&'static str, &'static str, &'static str, Value);

/// What a setting can be.
enum Value {
    /// A word; where the kernel has numbers for them, they count from 0 in this order.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Milliseconds, or with a unit.
    Milliseconds,
    /// Seconds, or with a unit.
    Seconds,
    /// IPv4 addresses.
    Addresses,
    /// A hardware address.
    Mac,
}

const BOND: [Row; 24] = [
    (
        "mode",
        "",
        "Mode",
        Value::Word(&["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]),
    ),
    (
        "xmit_hash_policy",
        "transmit-hash-policy",
        "TransmitHashPolicy",
        Value::Word(&["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"]),
    ),
    ("lacp_rate", "", "LACPTransmitRate", Value::Word(&["slow", "fast"])),
    ("miimon", "mii-monitor-interval", "MIIMonitorSec", Value::Milliseconds),
    ("updelay", "up-delay", "UpDelaySec", Value::Milliseconds),
    ("downdelay", "down-delay", "DownDelaySec", Value::Milliseconds),
    ("lp_interval", "learn-packet-interval", "LearnPacketIntervalSec", Value::Seconds),
    ("ad_select", "", "AdSelect", Value::Word(&["stable", "bandwidth", "count"])),
    ("ad_actor_sys_prio", "", "AdActorSystemPriority", Value::Number),
    ("ad_user_port_key", "", "AdUserPortKey", Value::Number),
    ("ad_actor_system", "", "AdActorSystem", Value::Mac),
    ("fail_over_mac", "fail-over-mac-policy", "FailOverMACPolicy", Value::Word(&["none", "active", "follow"])),
    ("arp_validate", "", "ARPValidate", Value::Word(&["none", "active", "backup", "all"])),
    ("arp_interval", "", "ARPIntervalSec", Value::Milliseconds),
    ("arp_ip_target", "arp-ip-targets", "ARPIPTargets", Value::Addresses),
    ("arp_all_targets", "", "ARPAllTargets", Value::Word(&["any", "all"])),
    ("primary_reselect", "primary-reselect-policy", "PrimaryReselectPolicy", Value::Word(&["always", "better", "failure"])),
    ("resend_igmp", "", "ResendIGMP", Value::Number),
    ("packets_per_slave", "", "PacketsPerSlave", Value::Number),
    ("packets_per_slave", "packets-per-member", "PacketsPerSlave", Value::Number),
    ("num_grat_arp", "gratuitous-arp", "GratuitousARP", Value::Number),
    ("all_slaves_active", "", "AllSlavesActive", Value::Flag),
    ("tlb_dynamic_lb", "", "DynamicTransmitLoadBalancing", Value::Flag),
    ("min_links", "", "MinLinks", Value::Number),
];

const BRIDGE: [Row; 6] = [
    ("stp", "", "STP", Value::Flag),
    ("fd", "forward-delay", "ForwardDelaySec", Value::Seconds),
    ("hello", "hello-time", "HelloTimeSec", Value::Seconds),
    ("maxage", "max-age", "MaxAgeSec", Value::Seconds),
    ("ageing", "ageing-time", "AgeingTimeSec", Value::Seconds),
    ("bridgeprio", "priority", "Priority", Value::Number),
];

const DHCP: [Row; 8] = [
    ("use_dns", "", "UseDNS", Value::Flag),
    ("use_domains", "", "UseDomains", Value::Flag),
    ("use_hostname", "", "UseHostname", Value::Flag),
    ("use_ntp", "", "UseNTP", Value::Flag),
    ("use_mtu", "", "UseMTU", Value::Flag),
    ("use_routes", "", "UseRoutes", Value::Flag),
    ("send_hostname", "", "SendHostname", Value::Flag),
    ("route_metric", "", "RouteMetric", Value::Number),
];

/// What systemd-networkd has for IPv4 only.
const DHCP4_ONLY: [&str; 4] = ["UseMTU", "UseRoutes", "RouteMetric", "SendHostname"];

/// A bond's, by the kernel's names or netplan's.
pub fn bond(table: Table, reading: &mut Reading<'_>) -> Vec<Setting> {
    taken(&BOND, "bond", table, reading)
}

/// A bridge's, by bridge-utils-interfaces(5)'s names or netplan's.
pub fn bridge(table: Table, reading: &mut Reading<'_>) -> Vec<Setting> {
    taken(&BRIDGE, "bridge", table, reading)
}

/// What of an answer over IPv4 is used.
pub fn dhcp4(table: Table, reading: &mut Reading<'_>) -> Vec<Setting> {
    taken(&DHCP, "dhcp", table, reading)
}

/// What of an answer over IPv6 is used.
pub fn dhcp6(table: Table, reading: &mut Reading<'_>) -> Vec<Setting> {
    let (of_both, only): (Vec<_>, _) =
        taken(&DHCP, "dhcp", table, reading).into_iter().partition(|setting| !DHCP4_ONLY.contains(&setting.key));
    reading.left.extend(only.into_iter().map(|setting| format!("{} of dhcp6-overrides", setting.key)));
    of_both
}

fn taken(rows: &[Row], prefix: &str, table: Table, reading: &mut Reading<'_>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for (name, node) in table.entries() {
        let name = name.to_ascii_lowercase();
        let kernel = name.replace('-', "_");
        let kernel = kernel.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).unwrap_or(&kernel);
        let Some((.., key, value)) =
            rows.iter().find(|(known, netplan, ..)| *known == kernel || (*netplan == name && !name.is_empty()))
        else {
            reading.left.push(node.key);
            continue;
        };
        if let Some(value) = value.taken(node, reading) {
            settings.retain(|setting| setting.key != *key);
            settings.push(Setting { key, value });
        }
    }
    settings
}

impl Value {
    /// As systemd has it.
    fn taken(&self, node: Keyed<Node>, reading: &mut Reading<'_>) -> Option<String> {
        match self {
            Self::Addresses => {
                let parsed = |item: Keyed<Node>| item.text(reading)?.parsed::<std::net::IpAddr>(reading);
                let list: Vec<_> = node.items().into_iter().filter_map(parsed).map(|address| address.to_string()).collect();
                return Some(list.join(" "));
            }
            Self::Flag => return flag(node, reading).map(|flag| if flag { "yes" } else { "no" }.to_owned()),
            Self::Mac => return node.text(reading)?.parsed::<Mac>(reading).map(|mac| mac.to_string()),
            Self::Word(_) | Self::Number | Self::Milliseconds | Self::Seconds => {}
        }
        let text = node.text(reading)?;
        let word = text.value.trim().to_ascii_lowercase();
        let (parsed, needed) = match self {
            Self::Word(words) => {
                let numbered = word.parse().ok().and_then(|number: usize| words.get(number));
                let found = words.iter().find(|known| **known == word).or(numbered);
                (found.map(|word| (*word).to_owned()), format!("one of {}", words.join(", ")))
            }
            Self::Milliseconds => (time(&word, "ms"), "a time, in milliseconds".to_owned()),
            Self::Seconds => (time(&word, "s"), "a time, in seconds".to_owned()),
            _ => (word.parse::<u32>().ok().map(|number| number.to_string()), "a whole number".to_owned()),
        };
        if parsed.is_none() {
            reading.wrong(text.at, &text.key, &needed, &quoted(&text.value));
        }
        parsed
    }
}

/// Yes or no, as a flag or as a text.
fn flag(node: Keyed<Node>, reading: &mut Reading<'_>) -> Option<bool> {
    match node.flag() {
        Ok(flag) => Some(flag),
        Err(node) => node.text(reading)?.parsed::<bool>(reading),
    }
}

/// A number with a unit that systemd knows.
fn time(text: &str, unit: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let given = &text[digits.len()..];
    let number: u32 = digits.trim_end().parse().ok()?;
    let unit = if given.is_empty() { unit } else { given };
    ["us", "ms", "s", "m", "min", "h"].contains(&unit).then(|| format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::super::document::Reading;
    use super::super::yaml::table;
    use super::{bond, bridge, dhcp6};

    fn shown(settings: Vec<super::Setting>) -> String {
        settings.iter().map(|setting| format!("{}={} ", setting.key, setting.value)).collect()
    }

    #[test]
    fn all_formats_names_are_known() {
        for (text, expected) in [
            (
                "{bond-mode: 802.3ad, bond-lacp_rate: fast, bond_miimon: 100}",
                "Mode=802.3ad LACPTransmitRate=fast MIIMonitorSec=100ms ",
            ),
            (
                "{mode: 4, xmit_hash_policy: 1, lacp-rate: 1, ad-select: 0}",
                "Mode=802.3ad TransmitHashPolicy=layer3+4 LACPTransmitRate=fast AdSelect=stable ",
            ),
            (
                "{mii-monitor-interval: 1s, up-delay: 200, learn-packet-interval: 2}",
                "MIIMonitorSec=1s UpDelaySec=200ms LearnPacketIntervalSec=2s ",
            ),
            (
                "{arp-ip-targets: [10.0.0.1, 10.0.0.2], all-slaves-active: yes}",
                "ARPIPTargets=10.0.0.1 10.0.0.2 AllSlavesActive=yes ",
            ),
        ] {
            let mut reading = Reading::new("f", "x");
            let table = table(text.as_bytes(), &mut reading).unwrap();
            assert_eq!((shown(bond(table, &mut reading)).as_str(), reading.faults), (expected, vec![]), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_and_what_is_wrong_is_wrong() {
        let mut reading = Reading::new("f", "x");
        let taken = |text: &str, reading: &mut Reading<'_>| table(text.as_bytes(), reading).unwrap();
        let settings =
            bridge(taken("{bridge_stp: 'off', bridge_fd: 1, bridge_maxwait: 3, priority: 9}", &mut reading), &mut reading);
        assert_eq!(shown(settings), "STP=no ForwardDelaySec=1s Priority=9 ");
        let settings = dhcp6(taken("{use-dns: false, use-mtu: false}", &mut reading), &mut reading);
        assert_eq!(
            (shown(settings).as_str(), reading.left.join(" ")),
            ("UseDNS=no ", "bridge_maxwait UseMTU of dhcp6-overrides".into())
        );
        for text in
            ["{mode: fastest}", "{mode: 7}", "{miimon: -1}", "{miimon: 1 fortnight}", "{arp-ip-targets: [x]}", "{mode: [1]}"]
        {
            let mut reading = Reading::new("f", "x");
            let table = taken(text, &mut reading);
            bond(table, &mut reading);
            assert_eq!(reading.faults.len(), 1, "{text}");
        }
    }
}
