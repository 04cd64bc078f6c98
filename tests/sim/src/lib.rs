//! A whole fleet in one thread, from one seed: real engines and real relay sessions on simulated storage and network.
//!
//! Every step is one event that the seed draws: a frame arrives, a write becomes durable, a connection is cut, a device or
//! the relay crashes and loses what was not durable. At the end the faults stop, everything settles, and the checker
//! compares what every device has with what was promised.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "everything here is for tests: a broken promise ends them"
)]

mod device;
mod relay;
mod rng;
mod world;

pub use rng::Rng;
pub use world::{Faults, World};
