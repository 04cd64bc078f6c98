//! The protocol of 0k-Sync: identifiers, frames, keys, sealing, and both sides as state machines.
//!
//! Nothing here does I/O, reads a clock or makes randomness: time and random bytes are passed in, so that the same
//! bytes come out natively, in WebAssembly and in a simulation.
//!
//! - [`ids`], [`message`], [`codec`], [`mod@error`], [`limits`], [`time`]: the wire
//! - [`crypto`]: key derivation, sealing of blobs and invites, proof of membership
//! - [`engine`]: the device; [`session`]: the relay's side of one stream
//! - [`map`]: small maps in order
//! - [`store`]: what a device keeps, and the writes that change it
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod codec;
pub mod crypto;
pub mod engine;
pub mod error;
pub mod failure;
pub mod ids;
pub mod limits;
pub mod map;
pub mod message;
pub mod session;
pub mod store;
pub mod time;
#[cfg(test)]
mod vectors;

/// Random bytes from outside, for the code here that needs some.
pub trait Entropy {
    /// Fills `bytes` with random bytes fit for keys.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// `N` random bytes.
pub fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
