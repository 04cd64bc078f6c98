//! Whatever comes in, each gets a clear error with its code, the rest goes on, and nothing stored is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/frames.rs"]
mod frames;
#[path = "bad_input/invites.rs"]
mod invites;
#[path = "bad_input/membership.rs"]
mod membership;
#[path = "bad_input/quota.rs"]
mod quota;
#[path = "bad_input/relays.rs"]
mod relays;
#[path = "bad_input/requests.rs"]
mod requests;
#[path = "bad_input/tampering.rs"]
mod tampering;
