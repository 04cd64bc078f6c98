//! The transaction that stores a batch.
//!
//! Every statement is a trip to the server and back, so rows go many at a time, as arrays.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use zerok_sync_shared::ids::{BlobId, GroupId};
use zerok_sync_shared::session::Stored;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, number};
use crate::storage::plan::{Insert, Totals, plan};
use crate::storage::{Batch, Kept, Refused};

/// What a batch did.
pub(super) struct Committed {
    pub answers: Vec<Result<Kept, Refused>>,
    /// Groups that have new blobs, and their newest cursors.
    pub grown: Vec<(GroupId, u64)>,
}

/// Stores a batch inside the caller's transaction.
pub(super) async fn commit(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    room: u64,
) -> Result<Committed, sqlx::Error> {
    let mut totals = lock_groups(connection, batch).await?;
    let mut stored = known(connection, batch, &totals).await?;
    let (answers, inserts) = plan(batch, &mut totals, &mut stored, room);
    insert(connection, batch, &inserts, &totals).await?;
    seen(connection, batch).await?;
    let changed = totals.iter().filter(|(_, totals)| totals.changed);
    let grown = changed.map(|(group, totals)| (*group, totals.max_cursor));
    Ok(Committed {
        answers,
        grown: grown.collect(),
    })
}

/// Locks the rows of the batch's groups, in one order for all nodes, so that no two wait for each other.
async fn lock_groups(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
) -> Result<HashMap<GroupId, Totals>, sqlx::Error> {
    let ids: HashSet<&[u8]> = batch
        .blobs
        .iter()
        .map(|pending| pending.blob.group_id.0.as_slice())
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT id, group_id, max_cursor, bytes_used, blob_count, row_count FROM groups \
               WHERE group_id = ANY($1) ORDER BY id FOR UPDATE";
    let rows = sqlx::query(sql)
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let totals = Totals {
                key: int(number(row, 0)?),
                max_cursor: number(row, 2)?,
                bytes_used: number(row, 3)?,
                blob_count: number(row, 4)?,
                row_count: number(row, 5)?,
                changed: false,
            };
            Ok((GroupId(bytes(row, 1)?), totals))
        })
        .collect()
}

/// What exists already of the ids of the batch. A statement of its own after the locks: one that had also waited for them
/// would not see what another node stored in the meantime.
async fn known(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    totals: &HashMap<GroupId, Totals>,
) -> Result<HashMap<(i64, BlobId), Stored>, sqlx::Error> {
    let (mut groups, mut ids) = (Vec::new(), Vec::new());
    for pending in batch.blobs {
        if let Some(group) = totals.get(&pending.blob.group_id) {
            groups.push(group.key);
            ids.push(pending.blob.blob_id.0.as_slice());
        }
    }
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT b.group_ref, b.blob_id, b.cursor, b.timestamp \
               FROM unnest($1::bigint[], $2::bytea[]) AS asked (group_ref, blob_id) \
               JOIN blobs b ON b.group_ref = asked.group_ref AND b.blob_id = asked.blob_id";
    let rows = sqlx::query(sql)
        .bind(groups)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let id = (int(number(row, 0)?), BlobId(bytes(row, 1)?));
            let stored = Stored {
                cursor: number(row, 2)?,
                timestamp: Timestamp(number(row, 3)?),
            };
            Ok((id, stored))
        })
        .collect()
}

/// Adds the rows and brings the totals up to date.
async fn insert(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    inserts: &[Insert],
    totals: &HashMap<GroupId, Totals>,
) -> Result<(), sqlx::Error> {
    if inserts.is_empty() {
        return Ok(());
    }
    let (mut groups, mut cursors, mut epochs, mut expires, mut sizes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut ids, mut senders, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for row in inserts {
        let Some(pending) = batch.blobs.get(row.at) else {
            continue;
        };
        let blob = &pending.blob;
        let ttl = blob.ttl.saturating_mul(1000);
        groups.push(row.group);
        cursors.push(int(row.cursor));
        ids.push(blob.blob_id.0.as_slice());
        senders.push(blob.sender.0.as_slice());
        epochs.push(i64::from(blob.epoch));
        expires.push(int(batch.now.0.saturating_add(ttl)));
        sizes.push(i32::try_from(blob.payload.len()).unwrap_or(i32::MAX));
        payloads.push(blob.payload.as_ref());
    }
    let changed: Vec<&Totals> = totals.values().filter(|group| group.changed).collect();
    let column = |value: fn(&Totals) -> i64| -> Vec<i64> {
        changed.iter().map(|group| value(group)).collect()
    };
    let sql = "WITH added AS ( \
                   INSERT INTO blobs (group_ref, cursor, blob_id, sender, epoch, timestamp, expires_at, size, payload) \
                   SELECT b.group_ref, b.cursor, b.blob_id, b.sender, b.epoch, $9, b.expires_at, b.size, b.payload \
                   FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[], \
                               $7::integer[], $8::bytea[]) \
                       AS b (group_ref, cursor, blob_id, sender, epoch, expires_at, size, payload) \
               ) \
               UPDATE groups SET max_cursor = t.max_cursor, bytes_used = t.bytes_used, blob_count = t.blob_count, \
                   row_count = t.row_count \
               FROM unnest($10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]) \
                   AS t (id, max_cursor, bytes_used, blob_count, row_count) \
               WHERE groups.id = t.id";
    sqlx::query(sql)
        .bind(groups)
        .bind(cursors)
        .bind(ids)
        .bind(senders)
        .bind(epochs)
        .bind(expires)
        .bind(sizes)
        .bind(payloads)
        .bind(int(batch.now.0))
        .bind(column(|group| group.key))
        .bind(column(|group| int(group.max_cursor)))
        .bind(column(|group| int(group.bytes_used)))
        .bind(column(|group| int(group.blob_count)))
        .bind(column(|group| int(group.row_count)))
        .execute(connection)
        .await?;
    Ok(())
}

async fn seen(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if batch.seen.is_empty() {
        return Ok(());
    }
    let (mut groups, mut devices, mut acked, mut at) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for seen in batch.seen {
        groups.push(seen.group_id.0.as_slice());
        devices.push(seen.device.0.as_slice());
        acked.push(int(seen.acked));
        at.push(int(seen.at.0));
    }
    // In one order for all nodes; a device may have been at two of them. One that was revoked before this was written must
    // hold nothing back again.
    let sql = "INSERT INTO devices (group_ref, device_id, acked, last_seen) \
               SELECT g.id, s.device_id, max(s.acked), max(s.at) \
               FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) \
                   AS s (group_id, device_id, acked, at) \
               JOIN groups g ON g.group_id = s.group_id \
               WHERE NOT EXISTS (SELECT 1 FROM rotations r \
                   WHERE r.group_ref = g.id AND r.revoked = s.device_id) \
               GROUP BY g.id, s.device_id ORDER BY g.id, s.device_id \
               ON CONFLICT (group_ref, device_id) DO UPDATE SET \
               acked = greatest(devices.acked, excluded.acked), \
               last_seen = greatest(devices.last_seen, excluded.last_seen)";
    sqlx::query(sql)
        .bind(groups)
        .bind(devices)
        .bind(acked)
        .bind(at)
        .execute(connection)
        .await?;
    Ok(())
}
