//! Every byte that comes from outside, as fuzz targets: what peers, relays, invite links, HTTP clients and configuration
//! files can contain.
//!
//! A target takes any bytes and panics when a promise is broken. `cargo xtask fuzz` lets libFuzzer look for such bytes; a
//! plain test runs the inputs in `corpus/`, so whatever was found once stays found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is for tests: a broken promise ends them"
)]

mod source;
mod targets;

pub use targets::{TARGETS, Target, find};
