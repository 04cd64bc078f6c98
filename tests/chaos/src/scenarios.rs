//! What happens to fleets, one file for each group. `docs/chaos.md` says how to add one.

use crate::scenario::Scenario;

mod bandwidth;
mod blobs;
mod concurrency;
mod connections;
mod convergence;
mod encryption;
mod handshake;
mod hybrid;
mod latency;
mod loss;
mod protocol;
mod resources;
mod states;
mod storage;

/// All groups, in the order of the report.
pub const ALL: &[&[Scenario]] = &[
    latency::ALL,
    loss::ALL,
    connections::ALL,
    bandwidth::ALL,
    states::ALL,
    concurrency::ALL,
    convergence::ALL,
    blobs::ALL,
    storage::ALL,
    handshake::ALL,
    encryption::ALL,
    hybrid::ALL,
    protocol::ALL,
    resources::ALL,
];
