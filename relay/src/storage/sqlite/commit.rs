//! The transaction that stores a batch.
//!
//! Every statement costs a trip to the connection's thread, so rows go many at a time and the number of statements of a
//! transaction hardly depends on its size.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, SqliteConnection};
use zerok_sync_shared::ids::{BlobId, GroupId};
use zerok_sync_shared::session::Stored;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, json_hex, number};
use crate::storage::plan::{Insert, Totals, plan};
use crate::storage::{Batch, Kept, Refused, StorageError};

/// Rows of the INSERT statements, largest first; few, so that all stay prepared.
const ROWS: [usize; 4] = [256, 32, 4, 1];

static INSERTS: LazyLock<[Arc<str>; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        let values = vec!["(?,?,?,?,?,?,?,?,?)"; rows].join(",");
        format!(
            "INSERT INTO blobs \
             (group_ref, cursor, blob_id, sender, epoch, timestamp, expires_at, size, payload) \
             VALUES {values}"
        )
        .into()
    })
});

/// Stores a batch inside the caller's transaction.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    room: u64,
) -> Result<Vec<Result<Kept, Refused>>, StorageError> {
    let mut totals = groups(connection, batch).await?;
    let mut stored = known(connection, batch, &totals).await?;
    let (answers, inserts) = plan(batch, &mut totals, &mut stored, room);
    insert(connection, batch, &inserts).await?;
    update_totals(connection, &totals).await?;
    seen(connection, batch).await?;
    Ok(answers)
}

async fn groups(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<HashMap<GroupId, Totals>, StorageError> {
    let ids: HashSet<GroupId> = batch
        .blobs
        .iter()
        .map(|pending| pending.blob.group_id)
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT g.id, g.group_id, g.max_cursor, g.bytes_used, g.blob_count, g.row_count \
               FROM json_each(?) j JOIN groups g ON g.group_id = unhex(j.value)";
    let rows = sqlx::query(sql)
        .bind(json_hex(ids.iter().map(|id| id.0.as_slice())))
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

/// What exists already of the ids of the batch.
async fn known(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    totals: &HashMap<GroupId, Totals>,
) -> Result<HashMap<(i64, BlobId), Stored>, StorageError> {
    use std::fmt::Write as _;
    let mut json = String::from("[");
    for pending in batch.blobs {
        if let Some(group) = totals.get(&pending.blob.group_id) {
            let comma = if json.len() > 1 { "," } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(json, "{comma}[{},\"{}\"]", group.key, pending.blob.blob_id);
        }
    }
    json.push(']');
    let sql = "SELECT b.group_ref, b.blob_id, b.cursor, b.timestamp FROM json_each(?) j \
               JOIN blobs b ON b.group_ref = j.value ->> 0 AND b.blob_id = unhex(j.value ->> 1)";
    let rows = sqlx::query(sql).bind(json).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let id = (int(number(row, 0)?), BlobId(bytes(row, 1)?));
            let timestamp = Timestamp(number(row, 3)?);
            Ok((
                id,
                Stored {
                    cursor: number(row, 2)?,
                    timestamp,
                },
            ))
        })
        .collect()
}

async fn insert(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    inserts: &[Insert],
) -> Result<(), StorageError> {
    let mut rest = inserts;
    for (rows, sql) in ROWS.iter().zip(INSERTS.iter()) {
        while let Some((rows, after)) = rest.split_at_checked(*rows) {
            rest = after;
            let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
            for row in rows {
                let Some(pending) = batch.blobs.get(row.at) else {
                    continue;
                };
                let blob = &pending.blob;
                let ttl = blob.ttl.saturating_mul(1000);
                query = query
                    .bind(row.group)
                    .bind(int(row.cursor))
                    .bind(blob.blob_id.0.to_vec())
                    .bind(blob.sender.0.to_vec())
                    .bind(blob.epoch)
                    .bind(int(batch.now.0))
                    .bind(int(batch.now.0.saturating_add(ttl)))
                    .bind(int(blob.payload.len() as u64))
                    .bind(blob.payload.to_vec());
            }
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn update_totals(
    connection: &mut SqliteConnection,
    totals: &HashMap<GroupId, Totals>,
) -> Result<(), StorageError> {
    let rows: Vec<[i64; 5]> = totals
        .values()
        .filter(|group| group.changed)
        .map(|group| {
            [
                group.key,
                int(group.max_cursor),
                int(group.bytes_used),
                int(group.blob_count),
                int(group.row_count),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE groups SET max_cursor = j.value ->> 1, bytes_used = j.value ->> 2, \
               blob_count = j.value ->> 3, row_count = j.value ->> 4 FROM json_each(?) j WHERE groups.id = j.value ->> 0";
    sqlx::query(sql)
        .bind(json(&rows)?)
        .execute(connection)
        .await?;
    Ok(())
}

async fn seen(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StorageError> {
    if batch.seen.is_empty() {
        return Ok(());
    }
    let rows: Vec<(String, String, i64, i64)> = batch
        .seen
        .iter()
        .map(|seen| {
            (
                seen.group_id.to_string(),
                seen.device.to_string(),
                int(seen.acked),
                int(seen.at.0),
            )
        })
        .collect();
    // A device that was revoked before this was written must hold nothing back again.
    let sql = "INSERT INTO devices (group_ref, device_id, acked, last_seen) \
               SELECT g.id, unhex(j.value ->> 1), j.value ->> 2, j.value ->> 3 \
               FROM json_each(?) j JOIN groups g ON g.group_id = unhex(j.value ->> 0) \
               WHERE NOT EXISTS (SELECT 1 FROM rotations r \
                   WHERE r.group_ref = g.id AND r.revoked = unhex(j.value ->> 1)) \
               ON CONFLICT (group_ref, device_id) DO UPDATE SET \
               acked = max(acked, excluded.acked), last_seen = max(last_seen, excluded.last_seen)";
    sqlx::query(sql)
        .bind(json(&rows)?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn json<T: serde::Serialize>(rows: &[T]) -> Result<String, StorageError> {
    serde_json::to_string(rows).map_err(|error| StorageError(error.to_string()))
}
