//! NoCloud's `network-config` of version 2: what netplan has of Ethernet, bonds, bridges and VLANs.
//!
//! Format: cloud-init's "Networking config Version 2", and netplan's reference where the former passes things on to it.

use std::net::IpAddr;

use super::document::{Keyed, Reading, Table, quoted};
use super::network::{Ip, Kind, Link, LinkLocal, Match, Network, Route, Written};
use super::network_v1::{ports, primary};
use super::settings::{self, Setting};
use super::values::{InterfaceName, Mac, Parse, Pattern, Prefixed, VlanId};
use super::yaml::Node;

/// Reads it.
pub fn parse(mut table: Table, reading: &mut Reading<'_>) -> Network {
    let mut network = Network::default();
    renderer(&mut table, reading);
    let sections: [(&str, Device); 4] = [("ethernets", ethernet), ("bonds", bond), ("bridges", bridge), ("vlans", vlan)];
    for (section, device) in sections {
        let Some(mut devices) = table.table(section, reading) else { continue };
        renderer(&mut devices, reading);
        for (id, node) in devices.entries() {
            // `eno1:` with nothing behind it is one without anything.
            let (key, at) = (node.key.clone(), node.at);
            let device_table = if node.is_null() { Some(Table::empty(&key, at)) } else { Table::of(node.value, &key, reading) };
            network.links.extend(device_table.and_then(|table| self::link(id, table, device, reading)));
        }
    }
    table.leave(reading);
    network
}

/// What a section's devices are.
type Device = fn(&str, &mut Table, &mut Reading<'_>) -> Option<Kind>;

/// systemd-networkd is ours; another renderer's name is all that is not honoured.
fn renderer(table: &mut Table, reading: &mut Reading<'_>) {
    if table.take_if("renderer", |text| text == "networkd").is_none()
        && let Some(renderer) = table.text("renderer", reading)
    {
        reading.left.push(format!("{} ({})", renderer.key, quoted(&renderer.value)));
    }
}

fn link(id: String, mut table: Table, device: Device, reading: &mut Reading<'_>) -> Option<Link> {
    let (key, at) = (table.key.clone(), table.at);
    renderer(&mut table, reading);
    let kind = device(&id, &mut table, reading);
    let mac = table.parsed::<Mac>("macaddress", reading);
    let mtu = table.parsed("mtu", reading);
    let optional = table.flag("optional", reading).unwrap_or_default();
    let ip = ip(&mut table, reading);
    table.leave(reading);
    Some(Link { mac, mtu, optional, ip, ..Link::new(id, key, at, kind?) })
}

fn ethernet(id: &str, table: &mut Table, reading: &mut Reading<'_>) -> Option<Kind> {
    let rename = table.parsed::<InterfaceName>("set-name", reading);
    let Some(mut rules) = table.table("match", reading) else {
        let name = Pattern::parse(id);
        if name.is_none() {
            reading.wrong(table.at, &table.key, Pattern::NEEDED, &quoted(id));
        }
        return Some(Kind::Physical { which: Match { name: Some(name?), ..Match::default() }, rename });
    };
    if !["macaddress", "name", "driver"].iter().any(|key| rules.has(key)) {
        reading.wrong(rules.at, &rules.key, "macaddress, name or driver", "none of them");
    }
    let which = Match {
        mac: rules.parsed("macaddress", reading),
        name: rules.parsed("name", reading),
        driver: rules.parsed("driver", reading),
    };
    // One less would match more.
    rules.end(reading);
    Some(Kind::Physical { which, rename })
}

fn bond(id: &str, table: &mut Table, reading: &mut Reading<'_>) -> Option<Kind> {
    let name = name(id, table, reading);
    let ports = ports(table.list("interfaces"), reading);
    let mut parameters = table.table("parameters", reading);
    let primary = parameters.as_mut().and_then(|parameters| primary(parameters, reading));
    let settings = parameters.map(|parameters| settings::bond(parameters, reading)).unwrap_or_default();
    Some(Kind::Bond { name: name?, ports, settings, primary })
}

fn bridge(id: &str, table: &mut Table, reading: &mut Reading<'_>) -> Option<Kind> {
    let name = name(id, table, reading);
    let ports = ports(table.list("interfaces"), reading);
    let parameters = table.table("parameters", reading);
    let mut settings = parameters.map(|parameters| settings::bridge(parameters, reading)).unwrap_or_default();
    // Netplan's default, not the kernel's.
    if !settings.iter().any(|setting| setting.key == "STP") {
        settings.push(Setting { key: "STP", value: "yes".to_owned() });
    }
    Some(Kind::Bridge { name: name?, ports, settings })
}

fn vlan(id: &str, table: &mut Table, reading: &mut Reading<'_>) -> Option<Kind> {
    let name = name(id, table, reading);
    let number = table.needed::<VlanId>("id", reading);
    let over = table.needed_text("link", reading).map(Written::from);
    Some(Kind::Vlan { name: name?, id: number?, over: over? })
}

/// What does not exist yet is called as the document calls it.
fn name(id: &str, table: &Table, reading: &mut Reading<'_>) -> Option<InterfaceName> {
    let name = InterfaceName::parse(id);
    if name.is_none() {
        reading.wrong(table.at, &table.key, InterfaceName::NEEDED, &quoted(id));
    }
    name
}

fn ip(table: &mut Table, reading: &mut Reading<'_>) -> Ip {
    let mut ip = Ip {
        dhcp4: table.flag("dhcp4", reading).unwrap_or_default(),
        dhcp6: table.flag("dhcp6", reading).unwrap_or_default(),
        accept_ra: table.flag("accept-ra", reading),
        link_local: link_local(table, reading),
        ..Ip::default()
    };
    ip.dhcp4_settings = table.table("dhcp4-overrides", reading).map(|table| settings::dhcp4(table, reading)).unwrap_or_default();
    ip.dhcp6_settings = table.table("dhcp6-overrides", reading).map(|table| settings::dhcp6(table, reading)).unwrap_or_default();
    if table.take_if("dhcp-identifier", |text| text == "mac").is_some() {
        ip.dhcp4_settings.push(Setting { key: "ClientIdentifier", value: "mac".to_owned() });
    }
    for item in table.list("addresses") {
        ip.addresses.extend(address(item, reading));
    }
    for (name, is_ipv4) in [("gateway4", true), ("gateway6", false)] {
        let Some(text) = table.text(name, reading) else { continue };
        let (key, at, found) = (text.key.clone(), text.at, quoted(&text.value));
        match text.parsed::<IpAddr>(reading) {
            Some(via) if via.is_ipv4() == is_ipv4 => {
                ip.routes.push(Written { key, at, value: Route::default_via(via) });
            }
            Some(_) => reading.wrong(at, &key, if is_ipv4 { "an IPv4 address" } else { "an IPv6 address" }, &found),
            None => {}
        }
    }
    for route in table.tables("routes", reading) {
        ip.routes.extend(self::route(route, reading));
    }
    if let Some(mut resolvers) = table.table("nameservers", reading) {
        ip.resolvers.servers = resolvers.parsed_list("addresses", reading);
        ip.resolvers.domains = resolvers.parsed_list("search", reading);
        resolvers.leave(reading);
    }
    ip
}

/// The kinds that there shall be; an empty list: none.
fn link_local(table: &mut Table, reading: &mut Reading<'_>) -> Option<LinkLocal> {
    let list = table.take("link-local")?;
    let mut kinds = LinkLocal { ipv4: false, ipv6: false };
    for kind in list.items().into_iter().filter_map(|item| item.text(reading)).collect::<Vec<_>>() {
        match kind.value.as_str() {
            "ipv4" => kinds.ipv4 = true,
            "ipv6" => kinds.ipv6 = true,
            other => reading.wrong(kind.at, &kind.key, "ipv4 or ipv6", &quoted(other)),
        }
    }
    Some(kinds)
}

/// An address with its prefix; with options, it is the one key of a table.
fn address(item: Keyed<Node>, reading: &mut Reading<'_>) -> Option<Prefixed> {
    let (key, at) = (item.key.clone(), item.at);
    let text = match item.as_table() {
        Ok(table) => {
            let (name, options) = table.entries().into_iter().next()?;
            reading.left.push(options.key);
            name
        }
        Err(item) => item.text(reading)?.value,
    };
    let parsed = Prefixed::of(text.trim(), None).filter(|address| text.contains('/') && address.is_of_a_host());
    if parsed.is_none() {
        reading.wrong(at, &key, "an address of a host with its prefix, like 192.0.2.10/24", &quoted(&text));
    }
    parsed
}

/// A route. A key that is not honoured is wrong: the route would be another.
fn route(mut table: Table, reading: &mut Reading<'_>) -> Option<Written<Route>> {
    let (key, at) = (table.key.clone(), table.at);
    let to = table.needed_text("to", reading);
    let via = table.parsed::<IpAddr>("via", reading);
    let from = table.parsed::<IpAddr>("from", reading);
    let metric = table.parsed("metric", reading);
    let routing_table = table.parsed("table", reading);
    let on_link = table.flag("on-link", reading).unwrap_or_default();
    table.end(reading);
    let to = to?;
    let parsed = match (to.value.trim(), via) {
        ("default", Some(via)) => Some(Route::default_via(via).to),
        (text, _) => Prefixed::of(text, None),
    };
    let parsed = parsed.filter(|to| via.is_none_or(|via| via.is_ipv4() == to.address.is_ipv4()));
    if parsed.is_none() {
        reading.wrong(to.at, &to.key, "\"default\" or a network like 192.0.2.0/24, of the same IP as via", &quoted(&to.value));
    }
    Some(Written { key, at, value: Route { metric, table: routing_table, from, on_link, ..Route::new(parsed?, via) } })
}
