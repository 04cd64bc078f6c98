//! The relay: one process, one TCP port, one UDP port, one folder.
//!
//! - [`relay`]: start and stop; [`config`]: what can be set; [`limits`]: what is bounded; [`folder`]: where its files are
//! - [`probe`], [`service`]: for containers and systemd
//! - [`http`]: the TCP port: API, web app, and the WebSocket of the embedded iroh relay
//! - [`network`]: where clients come from, and the proxies between
//! - [`tls`]: certificates for the TCP port
//! - [`endpoint`], [`driver`]: connections and sessions; the decisions are in [`zerok_sync_shared::session`]
//! - [`writer`], [`storage`], [`groups`]: from a push to the disk and on to the subscribers
//! - `attendance`: who is there now, and what they say to each other
//! - [`metrics`], [`history`]: what operators see
//! - `cluster`: several relays on one PostgreSQL database
//! - [`access`]: who may use the relay; [`invites`]: who may read and use up an invite
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod access;
mod attendance;
pub mod budget;
mod cleanup;
pub mod clock;
mod cluster;
pub mod config;
pub mod deployment;
mod driver;
mod endpoint;
pub mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod history;
pub mod http;
pub mod identity;
pub mod invites;
pub mod limits;
mod metrics;
pub mod network;
pub mod probe;
pub mod rates;
pub mod relay;
mod restart;
pub mod service;
pub mod storage;
pub mod tls;
mod writer;

pub use config::Config;
pub use relay::{Relay, StartError};
