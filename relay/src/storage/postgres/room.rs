//! How much of its bound the database has used up. Counting that reads every group, so it is known a little late: from a
//! count a while ago, and from what this node has stored since.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;
use tokio::time::Instant;

use super::{int, number};
use crate::limits;
use crate::storage::plan::charged;
use crate::storage::room::{Bounds, Room};
use crate::storage::{Batch, Kept, Refused};

#[derive(Debug, Default)]
pub(super) struct SharedRoom {
    room: Room,
    counted: Mutex<Option<Counted>>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    used: u64,
    at: Instant,
}

impl SharedRoom {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            room: Room::new(bounds),
            counted: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left; `None` if it has to be counted.
    pub fn known(&self) -> Option<u64> {
        if self.room.bounds.max_storage == 0 {
            return Some(u64::MAX);
        }
        let counted = (*self.lock())?;
        let left = self.room.left(counted.used, None);
        let (seldom, often) = limits::MEASURE_STORAGE;
        // Less than the largest blob: what waits may be refused.
        let is_full = left < zerok_sync_shared::limits::MAX_PAYLOAD as u64;
        let every = if is_full { often } else { seldom };
        (counted.at.elapsed() < every).then_some(left)
    }

    /// What is left where so much is used.
    pub fn measured(&self, used: u64) -> u64 {
        let at = Instant::now();
        *self.lock() = Some(Counted { used, at });
        self.room.left(used, None)
    }

    /// So much more is used.
    pub fn add(&self, bytes: u64) {
        if let Some(counted) = &mut *self.lock() {
            counted.used = counted.used.saturating_add(bytes);
        }
    }

    /// A batch was stored, or refused.
    pub fn took(&self, batch: &Batch<'_>, answers: &[Result<Kept, Refused>]) {
        let new = batch.blobs.iter().zip(answers);
        let new = new.filter(|(_, answer)| answer.is_ok_and(|kept| kept.new));
        let sizes = new.map(|(pending, _)| charged(pending.blob.payload.len() as u64, 1));
        self.add(sizes.sum());
        if answers.contains(&Err(Refused::Full)) {
            self.tell_full();
        }
    }

    pub fn tell_full(&self) {
        self.room.tell_full();
    }
}

/// What all groups count together.
pub(super) async fn used_bytes(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let sql = "SELECT coalesce(sum(bytes_used + row_count * $1), 0)::bigint FROM groups";
    let row = sqlx::query(sql)
        .bind(int(limits::ROW_BYTES))
        .fetch_one(connection)
        .await?;
    number(&row, 0)
}
