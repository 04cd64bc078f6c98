//! A whole fleet in one thread, from one seed: real engines and real relay sessions on simulated storage and network.
//!
//! The world is a queue of happenings, each at a moment of simulated time: a frame arrives, a write becomes durable, a
//! connection is lost at one of its ends, a device or the relay crashes and loses what was not durable. Nothing runs
//! between two happenings, so an idle day costs as much as an idle second. Every run draws from its seed which faults
//! happen in it (swarm testing: Groce et al., ISSTA 2012), how many devices and groups there are, and how busy they are.
//! While it runs, and again after the faults have stopped and everything has settled, the checker compares what every
//! device has with what its app was promised.
//!
//! | file | subject |
//! |---|---|
//! | `run` | one seed: draw, run, settle, check; and the smallest mix of faults that still fails |
//! | `world` | the queue; below it `app` what apps do, `chaos` what goes wrong, `devices` and `serving` both sides, `wire` what is between |
//! | `network` | connections, streams, what is under way on them |
//! | `device`, `disk` | a device: an engine, and what survives its crashes |
//! | `relay`, `database` | a relay: sessions, a group commit, and what survives its crashes |
//! | `ledger` | what was promised, and the invariants |
//! | `coverage` | which events met which states |
//!
//! A new fault is a variant of [`Fault`] and an arm in `world/chaos`; a new action of apps goes into `world/app`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "everything here is for tests: a broken promise ends them"
)]

mod coverage;
mod database;
mod device;
mod disk;
mod faults;
mod ledger;
mod network;
mod relay;
mod rng;
mod run;
mod trace;
mod world;

pub use coverage::Coverage;
pub use faults::{Fault, Faults};
pub use rng::Rng;
pub use run::{Failure, Plan, Report, minimise, run};
pub use trace::Detail;
