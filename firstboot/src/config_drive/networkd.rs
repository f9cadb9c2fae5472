//! A network as files of systemd-networkd and systemd-udevd.
//!
//! Formats: systemd.link(5), systemd.netdev(5), systemd.network(5) of systemd 252 and newer. Hardware is found by its permanent
//! address: a port of a bond has the bond's otherwise. A `.link` file is written for a new name only, because it stands in the
//! place of systemd's own, which gives interfaces their names.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use basalt_contract::names;

use super::network::{Ip, Kind, Link, Match, Network, Resolvers, Route};
use super::settings::Setting;

/// A file below `/run/systemd/network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its name, without a folder: before those that an image has.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// The files of `network`, which `source` describes.
pub fn files(network: &Network, source: &str) -> Vec<NetworkFile> {
    let mut taken = BTreeSet::new();
    let mut files = Vec::new();
    for link in &network.links {
        let name = file_name(link, &mut taken);
        let mut add = |kind: &str, text: Text| files.push(NetworkFile { name: format!("10-basalt-{name}.{kind}"), text: text.0 });
        match &link.kind {
            Kind::Physical { which, rename: Some(rename) } => {
                let mut text = Text::new(source);
                matched(&mut text, which, Naming::Original);
                text.section("Link");
                text.line("Name", rename);
                add("link", text);
            }
            Kind::Physical { .. } => {}
            Kind::Bond { .. } | Kind::Vlan { .. } | Kind::Bridge { .. } => add("netdev", device(link, source)),
        }
        add("network", configuration(network, link, source));
    }
    files
}

/// What a link's files are called: its name, else what the document calls it.
fn file_name(link: &Link, taken: &mut BTreeSet<String>) -> String {
    let name = link.name().map_or_else(|| link.id.clone(), ToString::to_string);
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let plain: String = name.chars().take(64).map(kept).collect();
    let mut unique = plain.clone();
    let mut count = 1;
    while !taken.insert(unique.clone()) {
        count += 1;
        unique = format!("{plain}-{count}");
    }
    unique
}

/// A `.netdev` file.
fn device(link: &Link, source: &str) -> Text {
    let mut text = Text::new(source);
    let mut head = |kind: &str| {
        text.section("NetDev");
        text.line("Name", link.name().map(ToString::to_string).unwrap_or_default());
        text.line("Kind", kind);
        text.optional("MACAddress", link.mac.as_ref());
        text.optional("MTUBytes", link.mtu.as_ref());
    };
    match &link.kind {
        Kind::Bond { settings, .. } => {
            head("bond");
            text.settings("Bond", settings);
        }
        Kind::Bridge { settings, .. } => {
            head("bridge");
            text.settings("Bridge", settings);
        }
        Kind::Vlan { id, .. } => {
            head("vlan");
            text.section("VLAN");
            text.line("Id", id);
        }
        Kind::Physical { .. } => {}
    }
    text
}

/// A `.network` file.
fn configuration(network: &Network, link: &Link, source: &str) -> Text {
    let mut text = Text::new(source);
    match &link.kind {
        Kind::Physical { which, rename } => {
            let name = rename.as_ref().map(ToString::to_string);
            matched(&mut text, which, name.as_deref().map_or(Naming::Current, Naming::Renamed));
        }
        Kind::Bond { name, .. } | Kind::Vlan { name, .. } | Kind::Bridge { name, .. } => {
            text.section("Match");
            text.line("Name", name);
        }
    }
    let given = matches!(link.kind, Kind::Physical { .. }).then_some(link.mac).flatten();
    if given.is_some() || link.mtu.is_some() || link.optional {
        text.section("Link");
        text.optional("MACAddress", given.as_ref());
        text.optional("MTUBytes", link.mtu.as_ref());
        if link.optional {
            text.line("RequiredForOnline", "no");
        }
    }
    text.section("Network");
    stacked(&mut text, network, link);
    addresses(&mut text, &link.ip, &network.resolvers);
    for route in &link.ip.routes {
        self::route(&mut text, &route.value);
    }
    if link.ip.dhcp4 {
        let mut settings = link.ip.dhcp4_settings.clone();
        // As other clients do: a cloud's networks tell theirs this way. What is written here counts more.
        if link.mtu.is_none() && !settings.iter().any(|setting| setting.key == "UseMTU") {
            settings.push(Setting { key: "UseMTU", value: "yes".to_owned() });
        }
        text.settings("DHCPv4", &settings);
    }
    if link.ip.dhcp6 {
        text.settings("DHCPv6", &link.ip.dhcp6_settings);
    }
    text
}

/// What a link is a port or the whole of.
fn stacked(text: &mut Text, network: &Network, link: &Link) {
    let mut is_port = false;
    for other in &network.links {
        let Some(name) = other.name().filter(|_| other.ports().iter().any(|port| port.value == link.id)) else { continue };
        is_port = true;
        match &other.kind {
            Kind::Bond { primary, .. } => {
                text.line("Bond", name);
                if primary.as_ref().is_some_and(|primary| primary.value == link.id) {
                    text.line("PrimarySlave", "yes");
                }
            }
            _ => text.line("Bridge", name),
        }
    }
    for other in &network.links {
        if let Some(name) = other.name().filter(|_| other.over().is_some_and(|over| over.value == link.id)) {
            text.line("VLAN", name);
        }
    }
    // A port has no addresses of its own, unless the document says so.
    if is_port && !link.ip.is_used() && link.ip.link_local.is_none() {
        text.line("LinkLocalAddressing", "no");
        text.line("IPv6AcceptRA", "no");
    }
}

fn addresses(text: &mut Text, ip: &Ip, common: &Resolvers) {
    match (ip.dhcp4, ip.dhcp6) {
        (true, true) => text.line("DHCP", "yes"),
        (true, false) => text.line("DHCP", "ipv4"),
        (false, true) => text.line("DHCP", "ipv6"),
        (false, false) => {}
    }
    if let Some(link_local) = ip.link_local {
        let word = match (link_local.ipv4, link_local.ipv6) {
            (true, true) => "yes",
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            (false, false) => "no",
        };
        text.line("LinkLocalAddressing", word);
    }
    text.optional("IPv6AcceptRA", ip.accept_ra.map(|accept| if accept { "yes" } else { "no" }).as_ref());
    for address in &ip.addresses {
        text.line("Address", address);
    }
    let own = &ip.resolvers;
    // A link without addresses asks nobody.
    let nobody = Resolvers::default();
    let common = if ip.is_used() { common } else { &nobody };
    let mut servers: Vec<_> = Vec::new();
    for server in own.servers.iter().chain(&common.servers) {
        if !servers.contains(&server) {
            servers.push(server);
            text.line("DNS", server);
        }
    }
    let mut domains: Vec<&str> = Vec::new();
    for domain in own.domains.iter().chain(&common.domains) {
        if !domains.contains(&domain.0.as_str()) {
            domains.push(&domain.0);
        }
    }
    if !domains.is_empty() {
        text.line("Domains", domains.join(" "));
    }
}

fn route(text: &mut Text, route: &Route) {
    text.section("Route");
    text.line("Destination", route.to);
    text.optional("Gateway", route.via.as_ref());
    if route.on_link {
        text.line("GatewayOnLink", "yes");
    }
    text.optional("Metric", route.metric.as_ref());
    text.optional("Table", route.table.as_ref());
    text.optional("PreferredSource", route.from.as_ref());
}

/// By which name an interface is found.
enum Naming<'a> {
    /// The one that it has before udev gives it one.
    Original,
    /// The one that it has.
    Current,
    /// The one that it gets by us.
    Renamed(&'a str),
}

fn matched(text: &mut Text, which: &Match, naming: Naming<'_>) {
    text.section("Match");
    text.optional("PermanentMACAddress", which.mac.as_ref());
    text.optional("Driver", which.driver.as_ref().map(|driver| &driver.0));
    match (naming, &which.name) {
        (Naming::Original, Some(name)) => text.line("OriginalName", &name.0),
        (Naming::Current, Some(name)) => text.line("Name", &name.0),
        // Its permanent address finds it, whether it has its new name or not.
        (Naming::Renamed(_), _) if which.mac.is_some() => {}
        // It may be up already, and keep the name that it has.
        (Naming::Renamed(name), Some(old)) => text.line("Name", format!("{name} {}", old.0)),
        (Naming::Renamed(name), None) => text.line("Name", name),
        (Naming::Original | Naming::Current, None) => {}
    }
}

/// A file that grows.
struct Text(String);

impl Text {
    fn new(source: &str) -> Self {
        Self(format!("# Written by {}: from {source}.\n", names::AGENT_UNIT))
    }

    fn section(&mut self, name: &str) {
        let _ = writeln!(self.0, "\n[{name}]");
    }

    fn line(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key}={value}");
    }

    fn optional(&mut self, key: &str, value: Option<&impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }

    fn settings(&mut self, section: &str, settings: &[Setting]) {
        if !settings.is_empty() {
            self.section(section);
            for Setting { key, value } in settings {
                self.line(key, value);
            }
        }
    }
}
