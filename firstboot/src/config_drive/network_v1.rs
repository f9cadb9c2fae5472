//! NoCloud's `network-config` of version 1: a list of devices, each with its subnets.
//!
//! Format: cloud-init's "Networking config Version 1".

use std::net::IpAddr;

use super::document::{Keyed, Reading, Table, quoted};
use super::network::{Ip, Kind, Link, Match, Network, Ports, Resolvers, Route, Written};
use super::network_data::{address, destination};
use super::settings;
use super::values::{Domain, InterfaceName, Mac, Parse, Pattern, Prefixed, VlanId};
use super::yaml::Node;

/// Reads it; none: it says that the network is left as it is.
pub fn parse(mut table: Table, reading: &mut Reading<'_>) -> Option<Network> {
    if is_disabled(&mut table, reading) {
        return None;
    }
    let mut network = Network::default();
    let mut resolvers = Vec::new();
    for device in table.tables("config", reading) {
        entry(device, &mut network, &mut resolvers, reading);
    }
    for (interface, found) in resolvers {
        match network.link_mut(&interface.value) {
            Some(link) => add(&mut link.ip.resolvers, found),
            None => reading.wrong(interface.at, &interface.key, "a link that this file describes", &quoted(&interface.value)),
        }
    }
    table.leave(reading);
    Some(network)
}

/// `config: disabled`
pub fn is_disabled(table: &mut Table, reading: &mut Reading<'_>) -> bool {
    let Some(word) = table.take_if("config", |text| text == "disabled") else { return false };
    reading.remark(word.at, &word.key, "the drive leaves the network as it is");
    true
}

/// Resolvers of the one link that they name.
type OfInterface = (Keyed<String>, Resolvers);

/// One entry of the list.
fn entry(mut table: Table, network: &mut Network, resolvers: &mut Vec<OfInterface>, reading: &mut Reading<'_>) -> Option<()> {
    let kind = table.needed_text("type", reading)?;
    match kind.value.as_str() {
        "nameserver" => {
            let found =
                Resolvers { servers: words(table.list("address"), reading), domains: words(table.list("search"), reading) };
            match table.text("interface", reading) {
                Some(interface) => resolvers.push((interface, found)),
                None => add(&mut network.resolvers, found),
            }
            table.leave(reading);
        }
        "route" => network.routes.extend(route(table, reading)),
        "physical" | "bond" | "vlan" | "bridge" => network.links.extend(device(&kind.value, table, reading)),
        other => reading.left.push(format!("{} ({})", table.key, quoted(other))),
    }
    Some(())
}

fn device(kind: &str, mut table: Table, reading: &mut Reading<'_>) -> Option<Link> {
    let (key, at) = (table.key.clone(), table.at);
    let id = table.needed_text("name", reading)?;
    let name = id.value.clone();
    let interface = id.parsed::<InterfaceName>(reading);
    let mac = table.parsed::<Mac>("mac_address", reading);
    let mtu = table.parsed("mtu", reading);
    let mut params = table.table("params", reading);
    let kind = match kind {
        "physical" => match mac {
            Some(_) => Kind::Physical { which: Match { mac, ..Match::default() }, rename: interface },
            None => {
                let name = interface.and_then(|name| Pattern::parse(&name.to_string()));
                Kind::Physical { which: Match { name, ..Match::default() }, rename: None }
            }
        },
        "bond" => {
            let ports = ports(table.list("bond_interfaces"), reading);
            let primary = params.as_mut().and_then(|params| primary(params, reading));
            let settings = params.take().map(|params| settings::bond(params, reading)).unwrap_or_default();
            Kind::Bond { name: interface?, ports, settings, primary }
        }
        "vlan" => {
            let over = table.needed_text("vlan_link", reading).map(Written::from);
            let id = table.needed::<VlanId>("vlan_id", reading);
            Kind::Vlan { name: interface?, id: id?, over: over? }
        }
        _ => {
            let ports = ports(table.list("bridge_interfaces"), reading);
            let settings = params.take().map(|params| settings::bridge(params, reading)).unwrap_or_default();
            Kind::Bridge { name: interface?, ports, settings }
        }
    };
    if let Some(params) = params {
        params.leave(reading);
    }
    let mut link = Link { mtu, ..Link::new(name, key, at, kind) };
    // Hardware has its own.
    link.mac = mac.filter(|_| !matches!(link.kind, Kind::Physical { .. }));
    link.ip.accept_ra = table.flag("accept-ra", reading);
    for subnet in table.tables("subnets", reading) {
        self::subnet(subnet, &mut link.ip, reading);
    }
    table.leave(reading);
    Some(link)
}

/// Links by their names.
pub fn ports(list: Vec<Keyed<Node>>, reading: &mut Reading<'_>) -> Ports {
    list.into_iter().filter_map(|port| port.text(reading)).map(Written::from).collect()
}

/// A bond's port that is used while it can be, by any of its names.
pub fn primary(params: &mut Table, reading: &mut Reading<'_>) -> Option<Written<String>> {
    let names = ["primary", "bond-primary", "bond_primary"];
    names.into_iter().filter_map(|name| params.text(name, reading)).next().map(Written::from)
}

fn subnet(mut table: Table, ip: &mut Ip, reading: &mut Reading<'_>) -> Option<()> {
    let kind = table.needed_text("type", reading)?;
    // `auto` is how all are.
    if table.take_if("control", |text| text == "auto").is_none() && table.has("control") {
        reading.left.push(table.path("control"));
        table.take("control");
    }
    match kind.value.as_str() {
        "dhcp" | "dhcp4" => ip.dhcp4 = true,
        "dhcp6" | "ipv6_dhcpv6-stateful" | "ipv6_dhcpv6-stateless" => {
            ip.dhcp6 = true;
            ip.accept_ra.get_or_insert(true);
        }
        "ipv6_slaac" => ip.accept_ra = Some(true),
        "manual" => {}
        "static" | "static4" | "static6" => {
            let mask = table.text("netmask", reading);
            if let Some(address) = address(&mut table, "address", mask.as_ref().map(|mask| mask.value.as_str()), reading) {
                ip.addresses.push(address.value);
            }
            let (key, at) = (table.path("gateway"), table.at);
            let metric = table.parsed("metric", reading);
            if let Some(via) = table.parsed::<IpAddr>("gateway", reading) {
                ip.routes.push(Written { key, at, value: Route { metric, ..Route::default_via(via) } });
            }
        }
        other => reading.wrong(kind.at, &kind.key, "dhcp, dhcp4, dhcp6, static, static6, ipv6_slaac or manual", &quoted(other)),
    }
    for route in table.tables("routes", reading) {
        ip.routes.extend(self::route(route, reading));
    }
    let found =
        Resolvers { servers: words(table.list("dns_nameservers"), reading), domains: words(table.list("dns_search"), reading) };
    add(&mut ip.resolvers, found);
    // They follow from the address.
    for name in ["broadcast", "ipv4", "ipv6"] {
        table.take(name);
    }
    table.leave(reading);
    Some(())
}

/// A route: `destination` or `network`, `netmask`, `gateway` and `metric`.
fn route(mut table: Table, reading: &mut Reading<'_>) -> Option<Written<Route>> {
    let (key, at) = (table.key.clone(), table.at);
    let name = if table.has("network") { "network" } else { "destination" };
    let to = destination(&mut table, name, reading);
    let via = table.parsed::<IpAddr>("gateway", reading);
    let metric = table.parsed("metric", reading);
    table.end(reading);
    let to: Prefixed = to?;
    if via.is_some_and(|via| via.is_ipv4() != to.address.is_ipv4()) {
        reading.wrong(at, &key, "a destination and a gateway of the same IP", "two");
    }
    Some(Written { key, at, value: Route { metric, ..Route::new(to, via) } })
}

/// Values of a list, or several in one text.
fn words<T: Parse>(list: Vec<Keyed<Node>>, reading: &mut Reading<'_>) -> Vec<T> {
    let mut values = Vec::new();
    for Keyed { key, at, value } in list.into_iter().filter_map(|item| item.text(reading)).collect::<Vec<_>>() {
        for word in value.split([' ', ',']).filter(|word| !word.is_empty()) {
            values.extend(Keyed { key: key.clone(), at, value: word.to_owned() }.parsed::<T>(reading));
        }
    }
    values
}

fn add(resolvers: &mut Resolvers, found: Resolvers) {
    let Resolvers { servers, domains }: Resolvers = found;
    resolvers.servers.extend(servers);
    resolvers.domains.extend::<Vec<Domain>>(domains);
}
