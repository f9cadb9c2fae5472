//! OpenStack's `network_data.json`: links, networks on them, and services.
//!
//! Format: Nova's `doc/api_schemas/network_data.json`; `bond_miimon` and `bond_xmit_hash_policy` beside it as Ironic writes them.
//! Links have no names there that an interface could have: hardware keeps its own, a bond is `bond0`, and a VLAN `bond0.7`, or
//! `vlan7` on what has no name yet.

use std::net::IpAddr;

use super::document::{Keyed, Reading, Table, quoted};
use super::network::{Ip, Kind, Link, MOST_LINKS, Match, Network, Route, Written};
use super::settings;
use super::values::{InterfaceName, Mac, Parse, Prefixed, VlanId};

/// Links that are an interface of the machine, whatever the host that runs it has on its side.
const PHYSICAL: [&str; 13] =
    ["phy", "ethernet", "vif", "ovs", "bgpovs", "bridge", "tap", "dvs", "hw_veb", "hyperv", "vhostuser", "cascading", "macvtap"];

/// Reads it.
pub fn parse(mut table: Table, reading: &mut Reading<'_>) -> Option<Network> {
    let mut network = Network::default();
    let links = table.tables("links", reading);
    if links.len() > MOST_LINKS {
        reading.wrong(table.at, "links", &format!("at most {MOST_LINKS}"), &links.len().to_string());
        return None;
    }
    for link in links {
        if let Some(link) = self::link(link, &network, reading) {
            network.links.push(link);
        }
    }
    name_vlans(&mut network);
    for ip in table.tables("networks", reading) {
        self::ip(ip, &mut network, reading);
    }
    network.resolvers.servers = services(&mut table, reading);
    table.leave(reading);
    Some(network)
}

fn link(mut table: Table, network: &Network, reading: &mut Reading<'_>) -> Option<Link> {
    let (key, at) = (table.key.clone(), table.at);
    let id = table.needed_text("id", reading)?.value;
    let kind = table.needed_text("type", reading)?;
    let mtu = table.parsed("mtu", reading);
    // Neutron's name of the port.
    table.take("vif_id");
    let link = match kind.value.as_str() {
        "bond" => {
            let mac = table.parsed::<Mac>("ethernet_mac_address", reading);
            let count = network.links.iter().filter(|link| matches!(link.kind, Kind::Bond { .. })).count();
            let ports = table.list("bond_links");
            let ports = ports.into_iter().filter_map(|port| port.text(reading)).map(Written::from).collect();
            let name = InterfaceName::parse(&format!("bond{count}"))?;
            // All keys that are left are the bond's.
            let settings = settings::bond(table, reading);
            let kind = Kind::Bond { name, ports, settings, primary: None };
            Link { mac, mtu, ..Link::new(id, key, at, kind) }
        }
        "vlan" => {
            let over = Written::from(table.needed_text("vlan_link", reading)?);
            let number = table.needed::<VlanId>("vlan_id", reading)?;
            let mac = table.parsed::<Mac>("vlan_mac_address", reading);
            table.leave(reading);
            // What it is called is known when all links are.
            let name = InterfaceName::parse(&format!("vlan{number}"))?;
            Link { mac, mtu, ..Link::new(id, key, at, Kind::Vlan { name, id: number, over }) }
        }
        other => {
            if !PHYSICAL.contains(&other) {
                reading.remark(kind.at, &kind.key, &format!("{} is taken as a physical interface", quoted(other)));
            }
            let mac = table.needed::<Mac>("ethernet_mac_address", reading)?;
            table.leave(reading);
            let which = Match { mac: Some(mac), ..Match::default() };
            Link { mtu, ..Link::new(id, key, at, Kind::Physical { which, rename: None }) }
        }
    };
    Some(link)
}

/// `bond0.7`, where the other link has a name and both fit; `vlan7`, and a number more when there are several on hardware.
fn name_vlans(network: &mut Network) {
    for index in 0..network.links.len() {
        let Kind::Vlan { id, over, .. } = &network.links[index].kind else { continue };
        let id = *id;
        let of_parent = network.link(&over.value).filter(|over| matches!(over.kind, Kind::Bond { .. }));
        let dotted = of_parent.and_then(Link::name).and_then(|parent| InterfaceName::parse(&format!("{parent}.{id}")));
        let taken = |name: &InterfaceName| network.links[..index].iter().any(|link| link.name() == Some(name));
        let numbered = (1..).map(|count| if count == 1 { format!("vlan{id}") } else { format!("vlan{id}.{count}") });
        let mut free =
            numbered.take(network.links.len() + 1).filter_map(|name| InterfaceName::parse(&name)).filter(|name| !taken(name));
        let chosen = dotted.filter(|name| !taken(name)).or_else(|| free.next());
        if let (Some(chosen), Kind::Vlan { name, .. }) = (chosen, &mut network.links[index].kind) {
            *name = chosen;
        }
    }
}

/// A network of the third layer, on a link.
fn ip(mut table: Table, network: &mut Network, reading: &mut Reading<'_>) -> Option<()> {
    for name in ["id", "network_id"] {
        table.take(name);
    }
    let link = table.needed_text("link", reading)?;
    let kind = table.needed_text("type", reading)?;
    let Some(target) = network.link_mut(&link.value) else {
        reading.wrong(link.at, &link.key, "a link that this file describes", &quoted(&link.value));
        return None;
    };
    let ip = &mut target.ip;
    match kind.value.as_str() {
        "ipv4_dhcp" => ip.dhcp4 = true,
        "ipv6_dhcp" | "ipv6_dhcpv6-stateful" | "ipv6_dhcpv6-stateless" => (ip.dhcp6, ip.accept_ra) = (true, Some(true)),
        "ipv6_slaac" => ip.accept_ra = Some(true),
        "ipv4" | "ipv6" => fixed(&mut table, kind.value == "ipv6", ip, reading),
        other => reading.wrong(kind.at, &kind.key, "ipv4, ipv4_dhcp, ipv6, ipv6_dhcp or ipv6_slaac", &quoted(other)),
    }
    if kind.value != "ipv4" && kind.value != "ipv6" {
        // What a subnet has of these comes by DHCP and from routers.
        for name in ["ip_address", "netmask", "gateway"] {
            table.take(name);
        }
    }
    for route in table.tables("routes", reading) {
        ip.routes.extend(self::route(route, reading));
    }
    ip.resolvers.servers.extend(services(&mut table, reading));
    ip.resolvers.servers.extend(table.parsed_list::<IpAddr>("dns_nameservers", reading));
    table.leave(reading);
    Some(())
}

/// A fixed address; routers are not asked for others then.
fn fixed(table: &mut Table, is_ipv6: bool, ip: &mut Ip, reading: &mut Reading<'_>) {
    let mask = table.text("netmask", reading);
    if let Some(address) = address(table, "ip_address", mask.as_ref().map(|mask| mask.value.as_str()), reading) {
        if address.value.address.is_ipv6() == is_ipv6 {
            ip.addresses.push(address.value);
        } else {
            let needed = if is_ipv6 { "an IPv6 address" } else { "an IPv4 address" };
            reading.wrong(address.at, &address.key, needed, &quoted(&address.value.to_string()));
        }
    }
    if is_ipv6 && ip.accept_ra.is_none() {
        ip.accept_ra = Some(false);
    }
    let (key, at) = (table.path("gateway"), table.at);
    if let Some(via) = table.parsed::<IpAddr>("gateway", reading) {
        ip.routes.push(Written { key, at, value: Route::default_via(via) });
    }
}

/// An address of a host with its prefix: written behind it, or a mask beside it.
pub fn address(table: &mut Table, key: &str, mask: Option<&str>, reading: &mut Reading<'_>) -> Option<Written<Prefixed>> {
    let Keyed { key, at, value } = table.needed_text(key, reading)?;
    let text = value.trim();
    let whole = text.contains('/') || mask.is_some();
    let parsed = Prefixed::of(text, mask).filter(|address| whole && address.is_of_a_host());
    if parsed.is_none() {
        let found = mask
            .filter(|_| !text.contains('/'))
            .map_or_else(|| quoted(text), |mask| format!("{} and {}", quoted(text), quoted(mask)));
        reading.wrong(at, &key, "an address of a host with its prefix or netmask, like 192.0.2.10/24", &found);
    }
    Some(Written { key, at, value: parsed? })
}

/// A route: `network`, `netmask` and `gateway`.
fn route(mut table: Table, reading: &mut Reading<'_>) -> Option<Written<Route>> {
    let to = destination(&mut table, "network", reading);
    let via = table.needed::<IpAddr>("gateway", reading);
    let (key, at) = (table.key.clone(), table.at);
    // Resolvers of a route are in the schema, and nowhere else.
    table.leave(reading);
    let (to, via) = (to?, via?);
    if to.address.is_ipv4() != via.is_ipv4() {
        reading.wrong(at, &key, "a network and a gateway of the same IP", &quoted(&format!("{to} via {via}")));
    }
    Some(Written { key, at, value: Route::new(to, Some(via)) })
}

/// A network at `key`, its prefix behind it or its mask at `netmask`; without both: one host.
pub fn destination(table: &mut Table, key: &str, reading: &mut Reading<'_>) -> Option<Prefixed> {
    let mask = table.text("netmask", reading);
    let Keyed { key, at, value } = table.needed_text(key, reading)?;
    let parsed = Prefixed::of(value.trim(), mask.as_ref().map(|mask| mask.value.trim()));
    if parsed.is_none() {
        let found = mask.map_or_else(|| quoted(&value), |mask| format!("{} and {}", quoted(&value), quoted(&mask.value)));
        reading.wrong(at, &key, "a network like 192.0.2.0/24", &found);
    }
    parsed
}

/// Addresses of services that are resolvers.
fn services(table: &mut Table, reading: &mut Reading<'_>) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for mut service in table.tables("services", reading) {
        let is_dns = service.text("type", reading).is_some_and(|kind| kind.value == "dns");
        if is_dns {
            servers.extend(service.needed::<IpAddr>("address", reading));
            service.leave(reading);
        } else {
            reading.left.push(service.key);
        }
    }
    servers
}

impl From<Keyed<String>> for Written<String> {
    fn from(Keyed { key, at, value }: Keyed<String>) -> Self {
        Self { key, at, value }
    }
}
