//! Our one model of a network: what the three formats of config drives become before anything is written.

use std::net::IpAddr;

use super::document::At;
use super::settings::Setting;
use super::values::{Domain, InterfaceName, Mac, Metric, Mtu, Pattern, Prefixed, RoutingTable, VlanId};

/// More links are a mistake.
pub const MOST_LINKS: usize = 512;

/// All that a document says.
#[derive(Default)]
pub struct Network {
    /// In the order in which they are written.
    pub links: Vec<Link>,
    /// Resolvers of all links.
    pub resolvers: Resolvers,
    /// Routes that name no link.
    pub routes: Vec<Written<Route>>,
}

/// Something and where it is written.
pub struct Written<T> {
    /// In the document.
    pub key: String,
    /// In the file.
    pub at: At,
    /// What is written.
    pub value: T,
}

/// An interface, or several that are alike.
pub struct Link {
    /// What the document calls it.
    pub id: String,
    /// In the document.
    pub key: String,
    /// In the file.
    pub at: At,
    /// What it is.
    pub kind: Kind,
    /// The hardware address that it gets.
    pub mac: Option<Mac>,
    /// Bytes of its largest packet.
    pub mtu: Option<Mtu>,
    /// Nobody waits for it at boot.
    pub optional: bool,
    /// What it has of IP.
    pub ip: Ip,
}

/// What a link is.
pub enum Kind {
    /// Interfaces that are there.
    Physical {
        /// Which.
        which: Match,
        /// The name that it gets.
        rename: Option<InterfaceName>,
    },
    /// Several links as one.
    Bond {
        /// Its name.
        name: InterfaceName,
        /// Links, by what the document calls them.
        ports: Ports,
        /// How.
        settings: Vec<Setting>,
        /// The port that is used while it can be.
        primary: Option<Written<String>>,
    },
    /// A part of another link.
    Vlan {
        /// Its name.
        name: InterfaceName,
        /// Its number.
        id: VlanId,
        /// The other link, by what the document calls it.
        over: Written<String>,
    },
    /// A switch.
    Bridge {
        /// Its name.
        name: InterfaceName,
        /// Links, by what the document calls them.
        ports: Ports,
        /// How.
        settings: Vec<Setting>,
    },
}

/// Links by what the document calls them.
pub type Ports = Vec<Written<String>>;

/// Which interfaces: all of it must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The address that the hardware has.
    pub mac: Option<Mac>,
    /// The name that it has.
    pub name: Option<Pattern>,
    /// The kernel's driver.
    pub driver: Option<Pattern>,
}

/// What a link has of IP.
#[derive(Default)]
pub struct Ip {
    /// Asks for an IPv4 address.
    pub dhcp4: bool,
    /// Asks for IPv6 addresses.
    pub dhcp6: bool,
    /// Whether routers are listened to; none: as it comes.
    pub accept_ra: Option<bool>,
    /// Which link-local addresses there are; none: as it comes.
    pub link_local: Option<LinkLocal>,
    /// Fixed ones.
    pub addresses: Vec<Prefixed>,
    /// In the order in which they are written.
    pub routes: Vec<Written<Route>>,
    /// Of this link.
    pub resolvers: Resolvers,
    /// What of an answer over IPv4 is used, and how.
    pub dhcp4_settings: Vec<Setting>,
    /// What of an answer over IPv6 is used, and how.
    pub dhcp6_settings: Vec<Setting>,
}

/// Link-local addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLocal {
    /// 169.254.0.0/16
    pub ipv4: bool,
    /// fe80::/10
    pub ipv6: bool,
}

/// Who knows names.
#[derive(Clone, Default)]
pub struct Resolvers {
    /// Their addresses.
    pub servers: Vec<IpAddr>,
    /// Domains in which short names are looked up.
    pub domains: Vec<Domain>,
}

/// A way to other networks.
#[derive(Clone, Debug)]
pub struct Route {
    /// Without the host's bits.
    pub to: Prefixed,
    /// Over whom; none: they are on the link.
    pub via: Option<IpAddr>,
    /// The least is taken.
    pub metric: Option<Metric>,
    /// Of the routing tables.
    pub table: Option<RoutingTable>,
    /// The address that packets are sent from.
    pub from: Option<IpAddr>,
    /// `via` is reached although no address of the link is in its network.
    pub on_link: bool,
}

impl Route {
    /// All that is not elsewhere.
    pub fn default_via(via: IpAddr) -> Self {
        let to = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        Self::new(Prefixed::of(to, None).unwrap_or(Prefixed { address: via, bits: 0 }.network()), Some(via))
    }

    /// To a network.
    pub fn new(to: Prefixed, via: Option<IpAddr>) -> Self {
        Self { to: to.network(), via, metric: None, table: None, from: None, on_link: false }
    }
}

impl Network {
    /// The link that the document calls so.
    pub fn link(&self, id: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.id == id)
    }

    /// The same, to change it.
    pub fn link_mut(&mut self, id: &str) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }
}

impl Link {
    /// One without IP.
    pub fn new(id: String, key: String, at: At, kind: Kind) -> Self {
        Self { id, key, at, kind, mac: None, mtu: None, optional: false, ip: Ip::default() }
    }

    /// Its name, where the document says it.
    pub fn name(&self) -> Option<&InterfaceName> {
        match &self.kind {
            Kind::Physical { rename, .. } => rename.as_ref(),
            Kind::Bond { name, .. } | Kind::Vlan { name, .. } | Kind::Bridge { name, .. } => Some(name),
        }
    }

    /// The links that are its ports.
    pub fn ports(&self) -> &[Written<String>] {
        match &self.kind {
            Kind::Bond { ports, .. } | Kind::Bridge { ports, .. } => ports,
            Kind::Physical { .. } | Kind::Vlan { .. } => &[],
        }
    }

    /// The link that it is a part of.
    pub fn over(&self) -> Option<&Written<String>> {
        if let Kind::Vlan { over, .. } = &self.kind { Some(over) } else { None }
    }
}

impl Ip {
    /// Whether it has any address, or asks for one.
    pub fn is_used(&self) -> bool {
        self.dhcp4 || self.dhcp6 || !self.addresses.is_empty() || self.accept_ra == Some(true)
    }
}
