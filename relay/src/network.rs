//! Where clients come from.

use std::net::IpAddr;

/// An address of which only the part that one customer is given counts: all of IPv4, the first 64 bits of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(u64);

impl Network {
    /// The one that an address is in.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(ip) => 0xFFFF_u64 << 32 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        })
    }
}
