//! Bad networks in user space: proxies for TCP and UDP that stand between every device and the relay.
//!
//! All devices use one URL and one UDP address, as in real life: a proxy finds out by itself whose packets it forwards
//! ([`owner`]) and gives each device a [`lane::Lane`] with faults of its own.

pub mod dice;
pub mod faults;
pub mod filter;
pub mod lane;
pub mod owner;
pub mod shaper;
pub mod tcp;
pub mod udp;
