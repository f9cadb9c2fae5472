//! What must be so in a network before anything of it is written: every name that is used is a link's, no two links are the same, and
//! nothing is a part of itself.

use std::net::IpAddr;

use super::document::{Reading, quoted};
use super::network::{Ip, Kind, Link, MOST_LINKS, Match, Network, Route, Written};
use super::values::Prefixed;

/// The network with each route at its link, or none when something is wrong with it.
pub fn checked(mut network: Network, reading: &mut Reading<'_>) -> Option<Network> {
    if let Some(link) = network.links.get(MOST_LINKS) {
        reading.wrong(link.at, &link.key, &format!("at most {MOST_LINKS} links"), &network.links.len().to_string());
        return None;
    }
    names(&network, reading);
    references(&network, reading);
    matches(&network, reading);
    mtus(&network, reading);
    ports_without_ip(&mut network, reading);
    place_routes(&mut network, reading);
    for link in &mut network.links {
        reach(link, reading);
    }
    reading.faults.is_empty().then_some(network)
}

/// Each link has a name of its own.
fn names(network: &Network, reading: &mut Reading<'_>) {
    for (index, link) in network.links.iter().enumerate() {
        let before = &network.links[..index];
        if before.iter().any(|other| other.id == link.id) {
            reading.wrong(link.at, &link.key, "a name of its own", &quoted(&link.id));
        } else if let Some(name) = link.name().filter(|name| before.iter().any(|other| other.name() == Some(name))) {
            reading.wrong(link.at, &link.key, "an interface's name of its own", &quoted(&name.to_string()));
        }
    }
}

/// What is used is there, a port of one only, and not above itself.
fn references(network: &Network, reading: &mut Reading<'_>) {
    let mut ports: Vec<&str> = Vec::new();
    for link in &network.links {
        let primary = if let Kind::Bond { primary, .. } = &link.kind { primary.as_ref() } else { None };
        for used in link.ports().iter().chain(link.over()) {
            if network.link(&used.value).is_none() {
                reading.wrong(used.at, &used.key, "a link that this file describes", &quoted(&used.value));
            }
        }
        if let Some(primary) = primary.filter(|primary| link.ports().iter().all(|port| port.value != primary.value)) {
            reading.wrong(primary.at, &primary.key, "a port of this bond", &quoted(&primary.value));
        }
        for port in link.ports() {
            if ports.contains(&port.value.as_str()) {
                reading.wrong(port.at, &port.key, "a link that is no other's port", &quoted(&port.value));
            }
            ports.push(&port.value);
        }
    }
    for link in &network.links {
        if is_above_itself(network, link) {
            reading.wrong(link.at, &link.key, "a link that is no part of itself", &quoted(&link.id));
        }
    }
}

/// Follows what a link is made of, no longer than there are links.
fn is_above_itself(network: &Network, link: &Link) -> bool {
    let below = |link: &Link| link.ports().iter().chain(link.over()).map(|used| used.value.clone()).collect::<Vec<_>>();
    let (mut next, mut seen) = (below(link), Vec::new());
    while let Some(id) = next.pop() {
        if id == link.id {
            return true;
        }
        if !seen.contains(&id) {
            next.extend(network.link(&id).map(below).unwrap_or_default());
            seen.push(id);
        }
    }
    false
}

/// No interface is described twice.
fn matches(network: &Network, reading: &mut Reading<'_>) {
    let mut known: Vec<&Match> = Vec::new();
    for link in &network.links {
        let Kind::Physical { which, .. } = &link.kind else { continue };
        if known.contains(&which) {
            reading.wrong(link.at, &link.key, "an interface that no other entry describes", &quoted(&link.id));
        }
        known.push(which);
    }
}

/// A part has no larger packets than the whole.
fn mtus(network: &Network, reading: &mut Reading<'_>) {
    for link in &network.links {
        let whole = link.over().and_then(|over| network.link(&over.value)).and_then(|whole| whole.mtu);
        if let (Some(part), Some(whole)) = (link.mtu, whole)
            && part > whole
        {
            let needed = format!("an MTU of at most {whole}, that of the link that it is a part of");
            reading.wrong(link.at, &link.key, &needed, &part.to_string());
        }
    }
}

/// A bond's port has no addresses of its own; networkd would give it none either.
fn ports_without_ip(network: &mut Network, reading: &mut Reading<'_>) {
    let bonds = network.links.iter().filter(|link| matches!(link.kind, Kind::Bond { .. }));
    let ports: Vec<String> = bonds.flat_map(|bond| bond.ports()).map(|port| port.value.clone()).collect();
    for link in network.links.iter_mut().filter(|link| ports.contains(&link.id)) {
        if link.ip.is_used() || !link.ip.routes.is_empty() {
            reading.remark(link.at, &link.key, "what it says of addresses is not honoured: it is a port of a bond");
        }
        link.ip = Ip::default();
    }
}

/// A route that names no link is that link's which has an address in the gateway's network, else the first one's with a fixed address.
fn place_routes(network: &mut Network, reading: &mut Reading<'_>) {
    for route in std::mem::take(&mut network.routes) {
        let via = route.value.via;
        let same = |address: &Prefixed| via.is_none_or(|via| address.address.is_ipv4() == via.is_ipv4());
        let near = network.links.iter().position(|link| via.is_some_and(|via| holds(link, via)));
        let place = near.or_else(|| network.links.iter().position(|link| link.ip.addresses.iter().any(same)));
        match place.and_then(|index| network.links.get_mut(index)) {
            Some(link) => link.ip.routes.push(route),
            None => reading.wrong(route.at, &route.key, "a link with an address that reaches its gateway", "none"),
        }
    }
}

fn holds(link: &Link, via: IpAddr) -> bool {
    link.ip.addresses.iter().any(|address| address.holds(via))
}

/// A gateway that no fixed address reaches is taken to be on the link: networkd would give the whole link up.
fn reach(link: &mut Link, reading: &mut Reading<'_>) {
    let far = |route: &Route| route.via.filter(|via| !route.on_link && !is_link_local(*via));
    let mut changed = Vec::new();
    for (index, Written { key, at, value }) in link.ip.routes.iter().enumerate() {
        let Some(via) = far(value).filter(|via| !holds(link, *via)) else { continue };
        if !(if via.is_ipv4() { link.ip.dhcp4 } else { link.ip.dhcp6 || link.ip.accept_ra == Some(true) }) {
            reading.remark(*at, key, &format!("{via} is in no network of this link, and taken to be reached directly"));
        }
        changed.push(index);
    }
    for index in changed {
        link.ip.routes[index].value.on_link = true;
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
