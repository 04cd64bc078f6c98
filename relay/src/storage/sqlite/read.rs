//! What devices read: blobs, which of them are there, and each other. Nothing here writes.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::{Blob, ListedDevice, Mark};
use zerok_sync_shared::session::Page;
use zerok_sync_shared::time::Timestamp;

use super::rows::mark;
use super::{bytes, int, json_hex, number};
use crate::limits;
use crate::storage::StorageError;

/// A page: group, after which cursor, how many rows and one more, bytes of payload, rows to walk over. One statement, so that
/// the page and max_cursor are of one moment. Payloads of rows past the bytes are not loaded; the row more tells whether there
/// is more.
const READ: &str = "
    WITH of_group AS (
        SELECT g.id, g.max_cursor, (
            SELECT cursor FROM blobs WHERE group_ref = g.id AND cursor > max(?2, g.dropped_to)
            ORDER BY cursor LIMIT 1
        ) AS first FROM groups g WHERE g.group_id = ?1
    ), wanted AS (
        SELECT id, cursor, size FROM blobs
        WHERE group_ref = (SELECT id FROM of_group) AND cursor >= (SELECT first FROM of_group)
          AND cursor < (SELECT first FROM of_group) + ?5 AND size > 0
        ORDER BY cursor LIMIT ?3
    ), page AS (
        SELECT id, size, sum(size) OVER (ORDER BY cursor) AS total FROM wanted
    )
    SELECT g.max_cursor, p.id, b.cursor, b.blob_id, b.sender, b.epoch, b.timestamp, b.expires_at,
           b.payload, g.first
    FROM of_group g
    LEFT JOIN page p
    LEFT JOIN blobs b ON b.id = p.id AND (p.total <= ?4 OR p.total = p.size)";

/// A page of blobs after a cursor.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    after: u64,
    max_blobs: u32,
    max_bytes: usize,
) -> Result<Page, StorageError> {
    let rows = sqlx::query(READ)
        .bind(group_id.0.to_vec())
        .bind(int(after))
        .bind(i64::from(max_blobs) + 1)
        .bind(int(max_bytes as u64))
        .bind(int(limits::WALKED_ROWS))
        .fetch_all(connection)
        .await?;
    let mut max_cursor = 0;
    let mut first = None;
    let mut found = 0;
    let mut blobs = Vec::with_capacity(rows.len());
    for row in &rows {
        max_cursor = number(row, 0)?;
        first = row.try_get::<Option<i64>, _>(9)?;
        if row.try_get::<Option<i64>, _>(1)?.is_some() {
            found += 1;
        }
        if row.try_get::<Option<i64>, _>(2)?.is_some() {
            blobs.push(blob(row)?);
        }
    }
    blobs.sort_unstable_by_key(|blob| blob.cursor);
    blobs.truncate(max_blobs as usize);
    let first = first.and_then(|first| u64::try_from(first).ok());
    Ok(crate::storage::page(blobs, found, first, max_cursor))
}

fn blob(row: &SqliteRow) -> Result<Blob, StorageError> {
    let timestamp = Timestamp(number(row, 6)?);
    let lives = Timestamp(number(row, 7)?).since(timestamp);
    Ok(Blob {
        cursor: number(row, 2)?,
        blob_id: BlobId(bytes(row, 3)?),
        sender: DeviceId(bytes(row, 4)?),
        epoch: row.try_get(5)?,
        timestamp,
        ttl: u32::try_from(lives.as_secs()).unwrap_or(u32::MAX),
        payload: row.try_get::<Vec<u8>, _>(8)?.into(),
    })
}

/// Which of these the group has, in the order of the question.
pub(super) async fn has(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    ids: &[BlobId],
) -> Result<Vec<Mark>, StorageError> {
    let sql = "SELECT b.cursor, b.blob_id, b.timestamp FROM json_each(?1) j \
               JOIN blobs b ON b.blob_id = unhex(j.value) \
               WHERE b.group_ref = (SELECT id FROM groups WHERE group_id = ?2) ORDER BY j.key";
    let rows = sqlx::query(sql)
        .bind(json_hex(ids.iter().map(|id| id.0.as_slice())))
        .bind(group_id.0.to_vec())
        .fetch_all(connection)
        .await?;
    rows.iter().map(mark).collect()
}

/// The devices that were last here.
pub(super) async fn devices(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    max: usize,
) -> Result<Vec<ListedDevice>, StorageError> {
    let sql = "SELECT d.device_id, d.last_seen, d.acked FROM devices d \
               WHERE d.group_ref = (SELECT id FROM groups WHERE group_id = ?1) \
               ORDER BY d.last_seen DESC LIMIT ?2";
    let rows = sqlx::query(sql)
        .bind(group_id.0.to_vec())
        .bind(int(max as u64))
        .fetch_all(connection)
        .await?;
    rows.iter().map(listed_device).collect()
}

fn listed_device(row: &SqliteRow) -> Result<ListedDevice, StorageError> {
    Ok(ListedDevice {
        device: DeviceId(bytes(row, 0)?),
        last_seen: Timestamp(number(row, 1)?),
        acked: number(row, 2)?,
        online: false,
    })
}
