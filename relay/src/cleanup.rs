//! Deletes what is over: blobs past their time or acknowledged by everybody, devices that are gone, invites and their
//! tombstones; and gives the room back to the disk. In small steps, so that pushes get their
//! turn in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::time::Timestamp;

use crate::clock::Clock;
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::{Storage, StorageError, Sweep};
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
    /// Whether blobs that everybody has acknowledged go before their time.
    pub delete_acked: bool,
    /// Devices that were not seen for so long hold nothing back, and are forgotten.
    pub inactive_after: Duration,
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
        while !self.shutdown.is_cancelled() {
            let deleted = self.storage.expire(now, limits::EXPIRE_BLOBS).await?;
            self.metrics.expired.inc_by(deleted);
            if deleted < u64::from(limits::EXPIRE_BLOBS) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let gone = Timestamp(now.0.saturating_sub(millis(self.inactive_after)));
        if self.delete_acked {
            self.sweep(gone).await?;
        }
        while !self.shutdown.is_cancelled() {
            let forgotten = self.storage.forget_devices(gone, limits::FORGET_DEVICES);
            if forgotten.await? < u64::from(limits::FORGET_DEVICES) {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.storage.expire_invites(now).await?;
        while !self.shutdown.is_cancelled() && self.storage.shrink().await? {
            tokio::task::yield_now().await;
        }
        let active_since = Timestamp(now.0.saturating_sub(millis(limits::ACTIVE)));
        self.metrics
            .counted(&self.storage.census(active_since).await?);
        Ok(())
    }

    /// Goes once through all groups and deletes what every active device has.
    async fn sweep(&self, active_since: Timestamp) -> Result<(), StorageError> {
        let mut after = None;
        while !self.shutdown.is_cancelled() {
            let sweep = Sweep {
                after,
                active_since,
                max_groups: limits::SWEEP_GROUPS,
                max_blobs: limits::EXPIRE_BLOBS,
            };
            let swept = self.storage.delete_acked(sweep).await?;
            self.metrics.acknowledged.inc_by(swept.deleted);
            if swept.done {
                break;
            }
            after = swept.after;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
