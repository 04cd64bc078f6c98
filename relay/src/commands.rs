//! What `zerok-relay` does besides running a relay. Everything but `restore` and `gc --vacuum` works beside a running one.

pub mod backup;
pub mod check;
pub mod gc;
mod manifest;
mod progress;
pub mod restore;
pub mod stats;
mod words;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::Serialize;
use zerok_sync_shared::time::Timestamp;

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(now).unwrap_or(u64::MAX))
}

fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    Ok(text + "\n")
}
