//! A device of 0k-Sync, natively and in a browser: drives the engine of `zerok_sync_shared` over iroh.
//!
//! ```no_run
//! # async fn example() -> Result<(), zerok_sync_client::SyncError> {
//! use std::sync::Arc;
//! use zerok_sync_client::{Client, Config, store::MemoryStore};
//!
//! let relays = vec!["http://localhost:8080".to_owned()];
//! let client = Client::open(Config::new(relays, Arc::new(MemoryStore::default()))).await?;
//! let group = client.create_group().await?;
//! client.push(group, "hello".into(), 0).await?;
//! client.flush(group).await?;
//! # Ok(()) }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod config;
mod driver;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod invite;
mod network;
mod platform;
mod recent;
pub mod store;

pub use client::{Client, JoinOptions, Page, Pushed, ReceivedBlob, Snapshot};
pub use config::{ClientEvent, Config, EventHandler, Path};
pub use invite::{Invite, InviteOptions, InviteState, Joiner};
pub use zerok_sync_shared as shared;
pub use zerok_sync_shared::crypto::invite::ComparisonCode;
pub use zerok_sync_shared::engine::{DeviceView, GroupView, Progress, State};
pub use zerok_sync_shared::failure::SyncError;
