//! What devices read: blobs, which of them are there, and each other. Nothing here writes.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::{Blob, ListedDevice, Mark};
use zerok_sync_shared::session::Page;
use zerok_sync_shared::time::Timestamp;

use super::rows::mark;
use super::{bytes, int, number, wrong};
use crate::limits;

/// A page: group, after which cursor, how many rows and one more, bytes of payload, rows to walk over. One statement, so that
/// the page and max_cursor are of one moment. Payloads of rows past the bytes are not sent; the row more tells whether there
/// is more.
const READ: &str = "
    SELECT g.max_cursor, p.cursor, p.blob_id, p.sender, p.epoch, p.timestamp, p.expires_at,
           CASE WHEN p.total <= $4 OR p.total = p.size THEN p.payload END, f.cursor
    FROM groups g
    LEFT JOIN LATERAL (
        SELECT cursor FROM blobs WHERE group_ref = g.id AND cursor > greatest($2, g.dropped_to)
        ORDER BY cursor LIMIT 1
    ) f ON true
    LEFT JOIN LATERAL (
        SELECT w.*, sum(w.size) OVER (ORDER BY w.cursor) AS total FROM (
            SELECT * FROM blobs WHERE group_ref = g.id AND cursor >= f.cursor
              AND cursor < f.cursor + $5 AND size > 0
            ORDER BY cursor LIMIT $3
        ) w
    ) p ON true
    WHERE g.group_id = $1
    ORDER BY p.cursor";

/// A page of blobs after a cursor.
pub(super) async fn page(
    connection: &mut PgConnection,
    group_id: GroupId,
    after: u64,
    max_blobs: u32,
    max_bytes: usize,
) -> Result<Page, sqlx::Error> {
    let rows = sqlx::query(READ)
        .bind(group_id.0.as_slice())
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
        first = row.try_get::<Option<i64>, _>(8)?;
        if row.try_get::<Option<i64>, _>(1)?.is_none() {
            continue;
        }
        found += 1;
        if blobs.len() < max_blobs as usize
            && let Some(payload) = row.try_get::<Option<Vec<u8>>, _>(7)?
        {
            blobs.push(blob(row, payload)?);
        }
    }
    let first = first.and_then(|first| u64::try_from(first).ok());
    Ok(crate::storage::page(blobs, found, first, max_cursor))
}

fn blob(row: &PgRow, payload: Vec<u8>) -> Result<Blob, sqlx::Error> {
    let timestamp = Timestamp(number(row, 5)?);
    let lives = Timestamp(number(row, 6)?).since(timestamp);
    Ok(Blob {
        cursor: number(row, 1)?,
        blob_id: BlobId(bytes(row, 2)?),
        sender: DeviceId(bytes(row, 3)?),
        epoch: u32::try_from(number(row, 4)?).map_err(|_| wrong("an epoch is too large"))?,
        timestamp,
        ttl: u32::try_from(lives.as_secs()).unwrap_or(u32::MAX),
        payload: payload.into(),
    })
}

/// Which of these the group has, in the order of the question.
pub(super) async fn has(
    connection: &mut PgConnection,
    group_id: GroupId,
    ids: &[BlobId],
) -> Result<Vec<Mark>, sqlx::Error> {
    let sql = "SELECT b.cursor, b.blob_id, b.timestamp \
               FROM unnest($1::bytea[]) WITH ORDINALITY AS asked (blob_id, place) \
               JOIN blobs b ON b.blob_id = asked.blob_id \
               WHERE b.group_ref = (SELECT id FROM groups WHERE group_id = $2) ORDER BY asked.place";
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
    let rows = sqlx::query(sql)
        .bind(&ids)
        .bind(group_id.0.as_slice())
        .fetch_all(connection)
        .await?;
    rows.iter().map(mark).collect()
}

/// The devices that were last here.
pub(super) async fn devices(
    connection: &mut PgConnection,
    group_id: GroupId,
    max: usize,
) -> Result<Vec<ListedDevice>, sqlx::Error> {
    let sql = "SELECT d.device_id, d.last_seen, d.acked FROM devices d \
               WHERE d.group_ref = (SELECT id FROM groups WHERE group_id = $1) \
               ORDER BY d.last_seen DESC LIMIT $2";
    let rows = sqlx::query(sql)
        .bind(group_id.0.as_slice())
        .bind(int(max as u64))
        .fetch_all(connection)
        .await?;
    rows.iter().map(listed_device).collect()
}

fn listed_device(row: &PgRow) -> Result<ListedDevice, sqlx::Error> {
    Ok(ListedDevice {
        device: DeviceId(bytes(row, 0)?),
        last_seen: Timestamp(number(row, 1)?),
        acked: number(row, 2)?,
        online: false,
    })
}
