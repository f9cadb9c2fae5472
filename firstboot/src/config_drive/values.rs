//! Addresses, names and numbers of a network that can be right. What is none of them never gets into a file of systemd-networkd, so
//! neither can a line feed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A value that is written as a text.
pub trait Parse: Sized {
    /// What a fault says that was needed.
    const NEEDED: &'static str;
    /// The value, if the text is one.
    fn parse(text: &str) -> Option<Self>;
}

/// A hardware address of Ethernet. Shown as the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl Parse for Mac {
    const NEEDED: &'static str = "a hardware address like 52:54:00:12:34:56";

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split([':', '-']);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        (parts.next().is_none() && bytes != [0; 6] && bytes != [0xff; 6]).then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The name of an interface that is to be: what the kernel and systemd take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName(String);

impl Parse for InterfaceName {
    const NEEDED: &'static str = "an interface's name: 1 to 15 letters, digits and \"._-\", not only digits";

    fn parse(text: &str) -> Option<Self> {
        let allowed = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
        let reserved = ["all", "default", ".", "..", "lo"].contains(&text) || text.bytes().all(|c| c.is_ascii_digit());
        (allowed && !reserved && text.len() <= 15).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which names of interfaces or drivers: `*`, `?` and `[...]` as in a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub(super) String);

impl Parse for Pattern {
    const NEEDED: &'static str = "a name or a pattern like enp2*";

    fn parse(text: &str) -> Option<Self> {
        let allowed = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-*?[]".contains(&c));
        (allowed && !text.is_empty() && text.len() <= 64).then(|| Self(text.to_owned()))
    }
}

/// The name of a domain, as resolvers take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub(super) String);

impl Parse for Domain {
    const NEEDED: &'static str = "a domain's name";

    fn parse(text: &str) -> Option<Self> {
        let label = |label: &str| {
            let letters = label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
            letters && !label.is_empty() && label.len() <= 63
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        (name.len() <= 253 && name.split('.').all(label)).then(|| Self(name.to_owned()))
    }
}

impl Parse for IpAddr {
    const NEEDED: &'static str = "an IP address";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|address: &Self| is_of_a_host(*address))
    }
}

fn is_of_a_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// An address and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixed {
    /// The address.
    pub address: IpAddr,
    /// At most 32 or 128.
    pub bits: u8,
}

impl Prefixed {
    /// `address/24`, `address/255.255.255.0`, or an address whose mask stands beside it.
    pub fn of(text: &str, mask: Option<&str>) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, mask),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = bits.map_or(Some(width(address)), |bits| mask_bits(bits, address))?;
        Some(Self { address, bits })
    }

    /// Whether a host can have this address in this network.
    pub fn is_of_a_host(self) -> bool {
        let edge =
            self.bits < 31 && self.address.is_ipv4() && (self.host() == 0 || self.host() == u128::from(u32::MAX >> self.bits));
        self.bits > 0 && is_of_a_host(self.address) && !self.address.is_loopback() && !edge
    }

    /// Whether `other` is in this network.
    pub fn holds(self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4() && Self { address: other, ..self }.network() == self.network()
    }

    /// The network, without the host's bits.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !low(32, self.bits) as u32)),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !low(128, self.bits))),
        };
        Self { address, ..self }
    }

    fn host(self) -> u128 {
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()) & low(32, self.bits),
            IpAddr::V6(address) => address.to_bits() & low(128, self.bits),
        }
    }
}

/// The bits behind the first `bits` of `width`.
fn low(width: u8, bits: u8) -> u128 {
    1u128.checked_shl(u32::from(width.saturating_sub(bits))).map_or(u128::MAX, |bit| bit - 1)
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `24`, `255.255.255.0` or `ffff:ffff::`.
fn mask_bits(text: &str, address: IpAddr) -> Option<u8> {
    let (bits, leading) = match (text.parse::<IpAddr>(), address) {
        (Ok(IpAddr::V4(mask)), IpAddr::V4(_)) => (mask.to_bits().count_ones(), mask.to_bits().leading_ones()),
        (Ok(IpAddr::V6(mask)), IpAddr::V6(_)) => (mask.to_bits().count_ones(), mask.to_bits().leading_ones()),
        (Ok(_), _) => return None,
        (Err(_), _) => {
            let bits = text.parse().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()))?;
            (bits, bits)
        }
    };
    u8::try_from(bits).ok().filter(|&count| bits == leading && count <= width(address))
}

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Parse for bool {
    const NEEDED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> Number<LEAST, MOST> {
    fn within(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (LEAST..=MOST).contains(number)).map(Self)
    }
}

/// Bytes of the largest packet: IPv4 needs 68, and 65,536 is the loopback interface's.
pub type Mtu = Number<68, 65_536>;
/// The number of a VLAN; 0 and 4095 are none.
pub type VlanId = Number<1, 4094>;
/// Which of several routes is taken: the one with the least.
pub type Metric = Number<0, { u32::MAX }>;
/// A routing table.
pub type RoutingTable = Number<1, { u32::MAX - 1 }>;

impl Parse for Mtu {
    const NEEDED: &'static str = "an MTU from 68 to 65536";

    fn parse(text: &str) -> Option<Self> {
        Self::within(text)
    }
}

impl Parse for VlanId {
    const NEEDED: &'static str = "the number of a VLAN, from 1 to 4094";

    fn parse(text: &str) -> Option<Self> {
        Self::within(text)
    }
}

impl Parse for Metric {
    const NEEDED: &'static str = "a metric: a whole number";

    fn parse(text: &str) -> Option<Self> {
        Self::within(text)
    }
}

impl Parse for RoutingTable {
    const NEEDED: &'static str = "the number of a routing table";

    fn parse(text: &str) -> Option<Self> {
        Self::within(text)
    }
}

impl<const LEAST: u32, const MOST: u32> fmt::Display for Number<LEAST, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Domain, InterfaceName, Mac, Mtu, Parse, Pattern, Prefixed, VlanId};

    #[test]
    fn what_can_be_right_is_taken_and_written_as_systemd_has_it() {
        assert_eq!(Mac::parse("52-54-00-AB-cd-0f").unwrap().to_string(), "52:54:00:ab:cd:0f");
        for (text, mask, shown) in [
            ("192.168.1.10/24", None, "192.168.1.10/24"),
            ("192.168.1.10/255.255.255.0", None, "192.168.1.10/24"),
            ("192.168.1.10", Some("255.255.252.0"), "192.168.1.10/22"),
            ("192.168.1.10", Some("24"), "192.168.1.10/24"),
            ("192.168.1.10/32", Some("255.0.0.0"), "192.168.1.10/32"),
            ("2001:DB8::1", Some("ffff:ffff:ffff:ffff::"), "2001:db8::1/64"),
            ("0.0.0.0", Some("0.0.0.0"), "0.0.0.0/0"),
            ("::", Some("::"), "::/0"),
            ("10.0.0.1", None, "10.0.0.1/32"),
        ] {
            assert_eq!(Prefixed::of(text, mask).map(|value| value.to_string()).as_deref(), Some(shown), "{text} {mask:?}");
        }
        let network = Prefixed::of("10.1.2.3/12", None).unwrap();
        assert_eq!(network.network().to_string(), "10.0.0.0/12");
        assert!(network.holds("10.15.0.1".parse().unwrap()) && !network.holds("10.16.0.1".parse().unwrap()));
        let six = Prefixed::of("2001:db8::1:2/112", None).unwrap();
        assert_eq!((six.network().to_string(), six.holds("10.0.0.1".parse().unwrap())), ("2001:db8::1:0/112".into(), false));
        assert_eq!(Prefixed::of("::1/0", None).unwrap().network().to_string(), "::/0");
        assert_eq!(Domain::parse("example.org.").unwrap().0, "example.org");
    }

    #[test]
    fn what_cannot_be_right_is_not() {
        for text in [
            "52:54:00:12:34",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:56:78",
            "5254.0012.3456",
            "00:00:00:00:00:00",
            "+2:54:00:12:34:56",
        ] {
            assert!(Mac::parse(text).is_none(), "{text}");
        }
        for text in ["", "a b", "sixteen-letters0", "eth0/1", "42", "..", "all", "a\nb", "eth%d"] {
            assert!(InterfaceName::parse(text).is_none(), "{text}");
        }
        for text in
            ["10.0.0.0/33", "10.0.0.1/255.0.255.0", "10.0.0.1/ffff::", "10.0.0.256/24", "::1/129", "10.0.0.1/", "10.0.0.1/+8", ""]
        {
            assert!(Prefixed::of(text, None).is_none(), "{text}");
        }
        for text in
            ["10.0.0.0/8", "10.255.255.255/8", "127.0.0.1/8", "224.0.0.1/24", "0.0.0.0/0", "::/64", "::1/128", "10.0.0.1/0"]
        {
            assert!(!Prefixed::of(text, None).unwrap().is_of_a_host(), "{text}");
        }
        for text in ["10.0.0.0/31", "10.0.0.1/32", "2001:db8::/64", "169.254.1.1/16"] {
            assert!(Prefixed::of(text, None).unwrap().is_of_a_host(), "{text}");
        }
        assert!(["0", "4095", "-1", "1.5", "+1", ""].iter().all(|text| VlanId::parse(text).is_none()));
        assert!(["67", "65537", "99999999999", "1500 "].iter().all(|text| Mtu::parse(text).is_none()));
        assert!(["a..b", "-x y", "a\nb", ""].iter().all(|text| Domain::parse(text).is_none()));
        assert!(["", "a b", "!a", "a\nb"].iter().all(|text| Pattern::parse(text).is_none()));
        assert!(
            ["0.0.0.0", "255.255.255.255", "ff02::1", "10.0.0.1/8"].iter().all(|text| <IpAddr as Parse>::parse(text).is_none())
        );
    }
}
