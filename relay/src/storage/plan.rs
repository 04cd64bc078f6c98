//! What a transaction of pushes does, decided from what is stored: cursors, duplicates, quota, refusals.

use std::collections::{HashMap, HashSet};

use zerok_sync_shared::ids::{BlobId, GroupId};
use zerok_sync_shared::session::Stored;

use super::{Batch, Kept, Refused};
use crate::limits;

/// The running totals of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    /// The storage's own key of the group.
    pub key: i64,
    pub max_cursor: u64,
    pub bytes_used: u64,
    pub blob_count: u64,
    /// Rows, also of blobs whose payload is gone.
    pub row_count: u64,
    pub changed: bool,
}

/// What a group's payloads and rows count against its quota.
pub(super) const fn charged(bytes_used: u64, row_count: u64) -> u64 {
    bytes_used.saturating_add(row_count.saturating_mul(limits::ROW_BYTES))
}

/// A row to insert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Insert {
    /// Index into the batch.
    pub at: usize,
    pub group: i64,
    pub cursor: u64,
}

/// Answers for every blob of the batch, and the rows that make them true. `totals` are changed to what they become;
/// `stored` holds what exists already of the batch's ids, and `room` is what all groups together may have more.
pub(super) fn plan(
    batch: &Batch<'_>,
    totals: &mut HashMap<GroupId, Totals>,
    stored: &mut HashMap<(i64, BlobId), Stored>,
    mut room: u64,
) -> (Vec<Result<Kept, Refused>>, Vec<Insert>) {
    let mut refused = HashSet::new();
    let mut inserts = Vec::with_capacity(batch.blobs.len());
    let mut answers = Vec::with_capacity(batch.blobs.len());
    for (at, pending) in batch.blobs.iter().enumerate() {
        let answer = if refused.contains(&pending.session) {
            Err(Refused::AfterRefusal)
        } else if let Some(group) = totals.get_mut(&pending.blob.group_id) {
            let id = (group.key, pending.blob.blob_id);
            let size = pending.blob.payload.len() as u64;
            let cost = charged(size, 1);
            let used = charged(group.bytes_used, group.row_count);
            if let Some(known) = stored.get(&id) {
                Ok(Kept {
                    stored: *known,
                    new: false,
                })
            } else if batch.quota != 0 && used.saturating_add(cost) > batch.quota {
                Err(Refused::Quota)
            } else if cost > room {
                Err(Refused::Full)
            } else {
                group.max_cursor += 1;
                group.bytes_used += size;
                group.blob_count += 1;
                group.row_count += 1;
                room -= cost;
                group.changed = true;
                let place = Stored {
                    cursor: group.max_cursor,
                    timestamp: batch.now,
                };
                stored.insert(id, place);
                inserts.push(Insert {
                    at,
                    group: group.key,
                    cursor: place.cursor,
                });
                Ok(Kept {
                    stored: place,
                    new: true,
                })
            }
        } else {
            Err(Refused::UnknownGroup)
        };
        if answer.is_err() {
            refused.insert(pending.session);
        }
        answers.push(answer);
    }
    (answers, inserts)
}
