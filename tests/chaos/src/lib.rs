//! Real processes under faults: a relay, native devices and pages in Chromium, with a bad network between them.
//!
//! **The parts.** [`net`] is the network: proxies for TCP and UDP, and for each device a lane with faults. [`device`] is a process
//! that is told what to do by lines of JSON ([`protocol`]): `zerok-chaos-device`, or a browser behind
//! `tests/browser/chaos/device.ts`. [`fleet`] puts them together, kills and hangs and fills disks, and at the end settles:
//! faults heal, everything runs again, all devices converge, and the invariants are checked, leaks included. [`runner`] runs scenarios
//! beside each other, [`report`] tells people and programs what came of it.
//!
//! **Adding a scenario.** Write an `async` function over a [`fleet::Fleet`] and put a [`scenario::Scenario`] with its number
//! into the table of its group, a file in `scenarios/`; a new group is a new file and a line in `scenarios.rs`. The function
//! starts devices ([`fleet::Fleet::group`]), makes something go wrong, lets devices push meanwhile, and returns in
//! whatever state: never heals for the sake of the checks, never checks the invariants itself. What it expects beyond them it says
//! with `ensure!` and a message that a person understands. Windows of time in which something is wrong are noted by
//! [`fleet::Fleet::fault`] and [`fleet::Fleet::begin`], and are what the plots shade.
//!
//! **Peers that break the protocol** need no device process: `zerok_sync_tests::raw::Peer` speaks whatever it is told, to
//! `fleet.relay.direct_url()` or, to suffer faults, to `fleet.url()`, where it gets the lane of
//! [`fleet::Fleet::others`]. What the relay has to log as ERROR then is told by [`fleet::Fleet::expect_error`].
//!
//! **Waiting.** Fault windows have durations; everything else waits for conditions and gives up after [`PATIENCE`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is for tests: a broken promise ends them"
)]

use std::time::Duration;

pub mod device;
pub mod disk;
pub mod fleet;
pub mod net;
pub mod page;
pub mod protocol;
pub mod report;
pub mod runner;
pub mod sample;
pub mod scenario;
pub mod scenarios;
pub mod soak;

/// Whatever is waited for gives up after this: a deadline against hanging, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(90);
