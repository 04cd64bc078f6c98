//! Deletes what is over: blobs past their time, invites and their tombstones. In small steps, so that pushes get their
//! turn in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::time::Timestamp;

use crate::clock::Clock;
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::{Storage, StorageError};
use crate::writer::millis;

/// What the clean-up works with.
pub struct Cleanup {
    /// What it cleans.
    pub storage: Arc<dyn Storage>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// The relay's clock.
    pub clock: Arc<Clock>,
    /// How often it looks.
    pub every: Duration,
    /// Cancelled when the relay stops.
    pub shutdown: CancellationToken,
}

impl Cleanup {
    /// Runs until the relay stops.
    pub async fn run(self) {
        let mut tick = interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.save_clock();
            if let Err(error) = self.once().await {
                // The writer has said so already if it is the disk.
                tracing::warn!(%error, "cannot delete what has expired; trying again later");
            }
        }
    }

    fn save_clock(&self) {
        if let Err(error) = self.clock.save() {
            // The writer says so if it is the disk.
            tracing::debug!(%error, "cannot remember the time");
        }
    }

    async fn once(&self) -> Result<(), StorageError> {
        let now = self.clock.expiry();
        loop {
            let deleted = self.storage.expire(now, limits::EXPIRE_BLOBS).await?;
            self.metrics.expired.inc_by(deleted);
            if deleted < u64::from(limits::EXPIRE_BLOBS) || self.shutdown.is_cancelled() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.storage.expire_invites(now).await?;
        let active_since = Timestamp(now.0.saturating_sub(millis(limits::ACTIVE)));
        self.metrics
            .counted(&self.storage.census(active_since).await?);
        Ok(())
    }
}
