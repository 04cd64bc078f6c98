//! What makes room again: deleting blobs, forgetting devices, and giving free pages back. Each function is one small
//! transaction inside the caller's, so that pushes get their turn in between.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::time::Timestamp;

use super::commit::json;
use super::{bytes, int, number};
use crate::limits;
use crate::storage::{StorageError, Sweep};

/// Deletes at most `max_blobs` expired blobs.
pub(super) async fn expire(
    connection: &mut SqliteConnection,
    now: Timestamp,
    max_blobs: u32,
) -> Result<u64, StorageError> {
    let sql = "DELETE FROM blobs WHERE id IN \
               (SELECT id FROM blobs WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) \
               RETURNING group_ref, size";
    let rows = sqlx::query(sql)
        .bind(int(now.0))
        .bind(max_blobs)
        .fetch_all(&mut *connection)
        .await?;
    take_from_totals(connection, &rows).await?;
    let mut gone: HashMap<i64, i64> = HashMap::new();
    for row in &rows {
        *gone.entry(row.try_get(0)?).or_default() += 1;
    }
    let gone: Vec<(i64, i64)> = gone.into_iter().collect();
    let sql = "UPDATE groups SET row_count = max(row_count - (j.value ->> 1), 0) \
               FROM json_each(?) j WHERE groups.id = j.value ->> 0";
    sqlx::query(sql)
        .bind(json(&gone)?)
        .execute(connection)
        .await?;
    Ok(rows.len() as u64)
}

/// Groups that a sweep looked at.
#[derive(Debug)]
pub(super) struct Looked {
    /// Keys of those with something to drop, after which cursor and up to which one.
    pub ranges: Vec<[i64; 3]>,
    /// The last one; `None` if there are no more.
    pub last: Option<GroupId>,
}

/// Looks for what a sweep may drop. Only reads.
pub(super) async fn look(
    connection: &mut SqliteConnection,
    sweep: &Sweep,
) -> Result<Looked, StorageError> {
    let sql = "WITH looked AS ( \
                 SELECT g.id, g.group_id, g.dropped_to, \
                   (SELECT CASE WHEN ?4 AND count(*) >= 2 THEN min(d.acked) \
                      ELSE min(min(d.acked), coalesce((SELECT s.covers FROM snapshots s \
                        WHERE s.group_ref = g.id AND s.complete = 1), 0)) END FROM devices d \
                    WHERE d.group_ref = g.id AND d.last_seen >= ?2) AS acked \
                 FROM groups g WHERE g.group_id > ?1 ORDER BY g.group_id LIMIT ?3) \
               SELECT l.id, l.group_id, l.dropped_to, coalesce(l.acked, 0), \
                 EXISTS (SELECT 1 FROM blobs b WHERE b.group_ref = l.id \
                         AND b.cursor > l.dropped_to AND b.cursor <= l.acked) \
               FROM looked l ORDER BY l.group_id";
    let after = sweep.after.map_or_else(Vec::new, |group| group.0.to_vec());
    let rows = sqlx::query(sql)
        .bind(after)
        .bind(int(sweep.active_since.0))
        .bind(sweep.max_groups)
        .bind(sweep.acknowledged)
        .fetch_all(connection)
        .await?;
    let mut ranges = Vec::new();
    for row in &rows {
        if row.try_get::<bool, _>(4)? {
            ranges.push([row.try_get(0)?, row.try_get(2)?, row.try_get(3)?]);
        }
    }
    let last = match rows.last() {
        Some(row) => Some(GroupId(bytes(row, 1)?)),
        None => None,
    };
    Ok(Looked { ranges, last })
}

/// Drops the payloads of at most `max_blobs` of what was found.
pub(super) async fn drop_payloads(
    connection: &mut SqliteConnection,
    ranges: &[[i64; 3]],
    max_blobs: u32,
) -> Result<u64, StorageError> {
    let sql = "SELECT b.group_ref, b.size, b.cursor, b.id FROM json_each(?) j \
               JOIN blobs b ON b.group_ref = j.value ->> 0 \
                 AND b.cursor > j.value ->> 1 AND b.cursor <= j.value ->> 2 \
               ORDER BY b.group_ref, b.cursor LIMIT ?";
    let rows = sqlx::query(sql)
        .bind(json(ranges)?)
        .bind(max_blobs)
        .fetch_all(&mut *connection)
        .await?;
    let mut dropped_to: HashMap<i64, i64> = HashMap::new();
    let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
    for row in &rows {
        let cursor: i64 = row.try_get(2)?;
        let newest = dropped_to.entry(row.try_get(0)?).or_default();
        *newest = cursor.max(*newest);
        ids.push(row.try_get(3)?);
    }
    let sql = "UPDATE blobs SET payload = x'', size = 0 \
               WHERE id IN (SELECT j.value FROM json_each(?) j)";
    sqlx::query(sql)
        .bind(json(&ids)?)
        .execute(&mut *connection)
        .await?;
    let dropped_to: Vec<(i64, i64)> = dropped_to.into_iter().collect();
    let sql = "UPDATE groups SET dropped_to = j.value ->> 1 \
               FROM json_each(?) j WHERE groups.id = j.value ->> 0";
    sqlx::query(sql)
        .bind(json(&dropped_to)?)
        .execute(&mut *connection)
        .await?;
    take_from_totals(connection, &rows).await?;
    Ok(rows.len() as u64)
}

/// Takes blobs whose payload went, rows of group and former size, out of the totals of their groups. Those whose payload
/// went before are out already.
pub(super) async fn take_from_totals(
    connection: &mut SqliteConnection,
    gone: &[SqliteRow],
) -> Result<(), StorageError> {
    let mut freed: HashMap<i64, [i64; 2]> = HashMap::new();
    for row in gone {
        let size: i64 = row.try_get(1)?;
        if size > 0 {
            let [count, bytes] = freed.entry(row.try_get(0)?).or_default();
            *count += 1;
            *bytes = bytes.saturating_add(size);
        }
    }
    if freed.is_empty() {
        return Ok(());
    }
    let freed: Vec<[i64; 3]> = freed
        .into_iter()
        .map(|(key, [count, bytes])| [key, count, bytes])
        .collect();
    let sql = "UPDATE groups SET blob_count = blob_count - (j.value ->> 1), \
               bytes_used = bytes_used - (j.value ->> 2) \
               FROM json_each(?) j WHERE groups.id = j.value ->> 0";
    sqlx::query(sql)
        .bind(json(&freed)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// A few devices that were last seen before. Only reads.
pub(super) async fn gone_devices(
    connection: &mut SqliteConnection,
    seen_before: Timestamp,
    max_devices: u32,
) -> Result<Vec<(i64, String)>, StorageError> {
    let sql = "SELECT group_ref, lower(hex(device_id)) FROM devices WHERE last_seen < ? LIMIT ?";
    let rows = sqlx::query(sql)
        .bind(int(seen_before.0))
        .bind(max_devices)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Deletes those of them that have not come back in the meantime.
pub(super) async fn forget_devices(
    connection: &mut SqliteConnection,
    gone: &[(i64, String)],
    seen_before: Timestamp,
) -> Result<u64, StorageError> {
    let sql = "DELETE FROM devices WHERE last_seen < ?2 AND (group_ref, device_id) IN \
               (SELECT j.value ->> 0, unhex(j.value ->> 1) FROM json_each(?1) j)";
    let done = sqlx::query(sql)
        .bind(json(gone)?)
        .bind(int(seen_before.0))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Nothing that a device could miss hangs on such a group. One whose keys have changed is kept: without its certificates a
/// device that was revoked could found it anew.
const UNUSED: &str = "opened_at < ?1 AND epoch = 0 AND row_count = 0 \
    AND NOT EXISTS (SELECT 1 FROM blobs WHERE group_ref = groups.id) \
    AND NOT EXISTS (SELECT 1 FROM devices WHERE group_ref = groups.id) \
    AND NOT EXISTS (SELECT 1 FROM rotations WHERE group_ref = groups.id) \
    AND NOT EXISTS (SELECT 1 FROM key_packets WHERE group_ref = groups.id) \
    AND NOT EXISTS (SELECT 1 FROM deletions WHERE group_ref = groups.id) \
    AND NOT EXISTS (SELECT 1 FROM snapshots WHERE group_ref = groups.id)";

/// A few groups that have nothing and were last opened before. Only reads.
pub(super) async fn unused_groups(
    connection: &mut SqliteConnection,
    opened_before: Timestamp,
    max_groups: u32,
) -> Result<Vec<i64>, StorageError> {
    let sql = format!("SELECT id FROM groups WHERE {UNUSED} LIMIT ?2");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(int(opened_before.0))
        .bind(max_groups)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Deletes those of them that are unused still.
pub(super) async fn forget_groups(
    connection: &mut SqliteConnection,
    unused: &[i64],
    opened_before: Timestamp,
) -> Result<u64, StorageError> {
    let sql = format!(
        "DELETE FROM groups WHERE {UNUSED} AND id IN (SELECT j.value FROM json_each(?2) j)"
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(int(opened_before.0))
        .bind(json(unused)?)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Free pages beyond those that the next blobs will want.
pub(super) async fn spare_pages(connection: &mut SqliteConnection) -> Result<u64, StorageError> {
    let sql = "SELECT f.freelist_count, p.page_count \
               FROM pragma_freelist_count() f, pragma_page_count() p";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    let kept = limits::SPARE_PAGES.max(number(&row, 1)? / 32);
    Ok(number(&row, 0)?.saturating_sub(kept))
}

/// Bytes of the pages that hold something.
pub(super) async fn used_bytes(connection: &mut SqliteConnection) -> Result<u64, StorageError> {
    let sql = "SELECT p.page_count - f.freelist_count, s.page_size \
               FROM pragma_page_count() p, pragma_freelist_count() f, pragma_page_size() s";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    Ok(number(&row, 0)?.saturating_mul(number(&row, 1)?))
}

/// Gives at most [`limits::VACUUM_PAGES`] free pages back.
pub(super) async fn vacuum(
    connection: &mut SqliteConnection,
    spare: u64,
) -> Result<(), StorageError> {
    let pages = spare.min(limits::VACUUM_PAGES);
    let sql = format!("PRAGMA incremental_vacuum({pages})");
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
