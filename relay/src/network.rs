//! Where clients come from: whom an address belongs to, which proxies are believed, and where a relayed client sits.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use iroh::EndpointId;
use iroh::endpoint::IncomingAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) mod proxies;
pub(crate) mod seats;

/// An address of which only the part that one customer is given counts: all of IPv4, the first 64 bits of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    prefix: u64,
    internal: bool,
}

impl Network {
    /// The one that an address is in.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let prefix = match address.to_canonical() {
            IpAddr::V4(ip) => 0xFFFF_u64 << 32 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        Self {
            prefix,
            internal: is_internal(address),
        }
    }

    /// Whether it may stand for many customers: the own machine, a private network, the inside of a NAT.
    ///
    /// Behind a proxy or a container's port mapping that tells no addresses everybody seems to come from such a one.
    #[must_use]
    pub const fn is_internal(self) -> bool {
        self.internal
    }
}

/// Addresses are never printed.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network([redacted])")
    }
}

fn is_internal(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Proxies whose word on the client's address is taken: a range of addresses, or the name of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// `loopback`: the own machine.
    Loopback,
    /// `private`: the ranges that are not routed on the internet, the own machine included.
    Private,
    /// An address, or a range in the form `203.0.113.0/24`.
    Range(IpNet),
}

impl TrustedProxy {
    /// Whether this is one of them.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Loopback => address.is_loopback(),
            Self::Private => is_internal(address),
            Self::Range(range) => range.contains(&address),
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "private" => Ok(Self::Private),
            _ => text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(Self::Range)
                .map_err(|_| {
                    format!("{text} is not an address, a range such as 203.0.113.0/24, loopback or private")
                }),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Private => f.write_str("private"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

impl Serialize for TrustedProxy {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Where the endpoints that are connected through WebSockets come from.
///
/// A QUIC connection that comes through the embedded iroh relay has no address of its own, only that of the WebSocket
/// which carries it.
#[derive(Debug, Clone, Default)]
pub struct Relayed(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    of: HashMap<EndpointId, Vec<(u64, Option<Network>)>>,
    next: u64,
}

impl Relayed {
    /// Notes where an endpoint is, for as long as the answer lives.
    #[must_use]
    pub fn enter(&self, endpoint: EndpointId, network: Option<Network>) -> Entered {
        let mut places = self.lock();
        let number = places.next;
        places.next += 1;
        places
            .of
            .entry(endpoint)
            .or_default()
            .push((number, network));
        drop(places);
        Entered {
            relayed: self.clone(),
            endpoint,
            number,
        }
    }

    /// Where a connection comes from. `None` if nobody can tell: the client left, or is behind a trusted proxy that does
    /// not say whom it speaks for.
    #[must_use]
    pub fn network(&self, address: &IncomingAddr) -> Option<Network> {
        match address {
            IncomingAddr::Ip(address) => Some(Network::of(address.ip())),
            IncomingAddr::Relay { endpoint_id, .. } => {
                // Packets go to the newest WebSocket of an endpoint, so that is where it is.
                let places = self.lock();
                places.of.get(endpoint_id)?.last()?.1
            }
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint that is connected.
#[derive(Debug)]
pub struct Entered {
    relayed: Relayed,
    endpoint: EndpointId,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut places = self.relayed.lock();
        if let Some(open) = places.of.get_mut(&self.endpoint) {
            open.retain(|(number, _)| *number != self.number);
            if open.is_empty() {
                places.of.remove(&self.endpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_customer_is_one_network() {
        let same = |a, b| Network::of(ip(a)) == Network::of(ip(b));
        assert!(same("203.0.113.7", "::ffff:203.0.113.7"));
        assert!(!same("203.0.113.7", "203.0.113.8"));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert_eq!(
            format!("{:?}", Network::of(ip("203.0.113.7"))),
            "Network([redacted])"
        );
    }

    #[test]
    fn internal_networks_are_told_from_the_internet() {
        for internal in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.1.7",
            "169.254.1.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(Network::of(ip(internal)).is_internal(), "{internal}");
        }
        for outside in [
            "203.0.113.7",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "8.8.8.8",
        ] {
            assert!(!Network::of(ip(outside)).is_internal(), "{outside}");
        }
    }

    #[test]
    fn trusted_proxies_are_ranges_addresses_and_names() {
        let covers =
            |proxy: &str, address| proxy.parse::<TrustedProxy>().unwrap().covers(ip(address));
        assert!(covers("203.0.113.0/24", "203.0.113.200"));
        assert!(!covers("203.0.113.0/24", "203.0.114.1"));
        assert!(covers("203.0.113.7", "::ffff:203.0.113.7"));
        assert!(covers("2001:db8::/32", "2001:db8:1::1"));
        assert!(covers("loopback", "127.0.0.1") && !covers("loopback", "10.0.0.1"));
        assert!(covers("private", "10.0.0.1") && !covers("private", "8.8.8.8"));
        for wrong in ["", "cloudflare", "203.0.113.0/33", "proxy.example"] {
            assert!(wrong.parse::<TrustedProxy>().is_err(), "{wrong}");
        }
        for text in ["loopback", "private", "203.0.113.0/24"] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_relayed_endpoint_is_where_its_newest_websocket_is() {
        let relayed = Relayed::default();
        let id = iroh::SecretKey::from_bytes(&[7; 32]).public();
        let at = IncomingAddr::Relay {
            url: "http://localhost/".parse().unwrap(),
            endpoint_id: id,
        };
        assert_eq!(relayed.network(&at), None);
        let (first, second) = (
            Network::of(ip("203.0.113.1")),
            Network::of(ip("203.0.113.2")),
        );
        let old = relayed.enter(id, Some(first));
        let new = relayed.enter(id, Some(second));
        assert_eq!(relayed.network(&at), Some(second));
        drop(new);
        assert_eq!(relayed.network(&at), Some(first));
        drop(old);
        assert_eq!(relayed.network(&at), None);
        assert!(relayed.lock().of.is_empty());
    }
}
