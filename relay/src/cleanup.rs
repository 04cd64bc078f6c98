//! Deletes what is over: blobs past their time, deleted by members or acknowledged by everybody, devices that are gone, invites and their
//! tombstones; and gives the room back to the disk. In small steps, so that pushes get their
//! turn in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::time::Timestamp;

use crate::attendance::Attendance;
use crate::clock::Clock;
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::{Batch, Seen, Storage, StorageError, Sweep};
use crate::writer::millis;

/// What the clean-up works with.
pub struct Cleanup {
    /// What it cleans.
    pub storage: Arc<dyn Storage>,
    /// Who is there now.
    pub attendance: Arc<Attendance>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// The relay's clock.
    pub clock: Arc<Clock>,
    /// How often it looks.
    pub every: Duration,
    /// Whether blobs that everybody has acknowledged go before their time.
    pub delete_acked: bool,
    /// Devices that were not seen for so long hold nothing back, and are forgotten; so are groups that nobody has opened.
    pub inactive_after: Duration,
    /// When [`Self::attendance`] was last noted.
    pub noted_at: Instant,
    /// Cancelled when the relay stops.
    pub shutdown: CancellationToken,
}

impl Cleanup {
    /// Runs until the relay stops.
    pub async fn run(mut self) {
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

    async fn once(&mut self) -> Result<(), StorageError> {
        let now = self.clock.expiry();
        self.note_who_is_there().await?;
        while !self.shutdown.is_cancelled() {
            let deleted = self.storage.expire(now, limits::EXPIRE_BLOBS).await?;
            self.metrics.expired.inc_by(deleted);
            if deleted < u64::from(limits::EXPIRE_BLOBS) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let gone = Timestamp(now.0.saturating_sub(millis(self.inactive_after)));
        self.sweep(gone).await?;
        while !self.shutdown.is_cancelled() {
            let dropped = self
                .storage
                .drop_deleted(gone, limits::EXPIRE_BLOBS)
                .await?;
            if dropped < u64::from(limits::EXPIRE_BLOBS) {
                break;
            }
            tokio::task::yield_now().await;
        }
        while !self.shutdown.is_cancelled() {
            let forgotten = self.storage.forget_devices(gone, limits::FORGET_DEVICES);
            if forgotten.await? < u64::from(limits::FORGET_DEVICES) {
                break;
            }
            tokio::task::yield_now().await;
        }
        while !self.shutdown.is_cancelled() {
            let forgotten = self
                .storage
                .forget_groups(gone, limits::FORGET_GROUPS)
                .await?;
            if forgotten > 0 {
                tracing::info!(
                    groups = forgotten,
                    "forgot groups that nobody uses any more"
                );
            }
            if forgotten < u64::from(limits::FORGET_GROUPS) {
                break;
            }
            tokio::task::yield_now().await;
        }
        while !self.shutdown.is_cancelled() {
            let deleted = self.storage.expire_snapshots(now, gone).await?;
            if deleted < u64::from(limits::EXPIRE_SNAPSHOTS) {
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

    /// Notes that devices which stay connected are here. They say so themselves only when they come and when they
    /// acknowledge something, and one that is connected for months is not gone.
    async fn note_who_is_there(&mut self) -> Result<(), StorageError> {
        let due = (self.inactive_after / 4).min(limits::NOTE_ATTENDING);
        if self.noted_at.elapsed() < due {
            return Ok(());
        }
        let at = self.clock.now();
        let there = self.attendance.here();
        for some in there.chunks(limits::NOTED_AT_ONCE) {
            let seen = |(group_id, device): &(GroupId, DeviceId)| Seen {
                group_id: *group_id,
                device: *device,
                acked: 0,
                at,
            };
            let seen: Vec<Seen> = some.iter().map(seen).collect();
            let batch = Batch {
                blobs: &[],
                seen: &seen,
                quota: 0,
                now: at,
            };
            self.storage.commit(batch).await?;
            tokio::task::yield_now().await;
        }
        self.noted_at = Instant::now();
        Ok(())
    }

    /// Goes once through all groups and deletes what every active device has and a snapshot covers.
    async fn sweep(&self, active_since: Timestamp) -> Result<(), StorageError> {
        let mut after = None;
        while !self.shutdown.is_cancelled() {
            let sweep = Sweep {
                after,
                active_since,
                max_groups: limits::SWEEP_GROUPS,
                max_blobs: limits::EXPIRE_BLOBS,
                acknowledged: self.delete_acked,
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

#[cfg(test)]
mod tests {
    use zerok_sync_shared::ids::GroupId;

    use super::*;
    use crate::storage::Pending;
    use crate::storage::sqlite::SqliteStorage;
    use crate::storage::suite::{batch, open, pending};

    #[tokio::test(flavor = "multi_thread")]
    async fn pushes_get_their_turn_between_the_steps_of_a_large_clean_up() {
        const STEPS: u64 = 24;
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(folder.path()).await.unwrap());
        let (old, new) = (GroupId([1; 32]), GroupId([2; 32]));
        storage.open_group(open(old)).await.unwrap();
        storage.open_group(open(new)).await.unwrap();
        // Long past their time by any clock.
        let blobs: Vec<Pending> = (0..STEPS * u64::from(limits::EXPIRE_BLOBS))
            .map(|n| pending(old, n, 4096))
            .collect();
        for blobs in blobs.chunks(1024) {
            storage.commit(batch(blobs)).await.unwrap();
        }
        let clock = Arc::new(Clock::default());
        let mut cleanup = Cleanup {
            storage: Arc::clone(&storage),
            attendance: Arc::new(Attendance::new(Arc::clone(&clock), Arc::default())),
            metrics: Arc::default(),
            clock: Arc::clone(&clock),
            every: Duration::from_secs(3600),
            delete_acked: true,
            inactive_after: Duration::from_secs(3600),
            noted_at: Instant::now(),
            shutdown: CancellationToken::new(),
        };
        let metrics = Arc::clone(&cleanup.metrics);
        let cleaning = tokio::spawn(async move { cleanup.once().await });
        let mut pushed = 0;
        while !cleaning.is_finished() {
            let one = [pending(new, pushed, 10)];
            let commit = crate::storage::Batch {
                now: clock.now(),
                ..batch(&one)
            };
            storage.commit(commit).await.unwrap();
            pushed += 1;
        }
        cleaning.await.unwrap().unwrap();
        assert!(pushed > STEPS / 2, "{pushed} pushes in {STEPS} steps");
        assert_eq!(
            metrics.expired.get(),
            STEPS * u64::from(limits::EXPIRE_BLOBS)
        );
        let stats = storage.stats().await.unwrap();
        assert_eq!((stats.blobs, stats.bytes), (pushed, 10 * pushed));
        let database = folder.path().join(crate::storage::sqlite::FILE_NAME);
        let length = std::fs::metadata(database).unwrap().len();
        assert!(length < 4 << 20, "{length} bytes for what is left");
    }
}
