//! What members have deleted: marked, and dropped once everybody has read past it; or dropped at once.

use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::time::Timestamp;

use super::commit::json;
use super::retention::take_from_totals;
use super::{bytes, int};
use crate::storage::{Deletion, Deletions, StorageError};

/// Marks a blob, or drops its payload.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    deletion: &Deletion,
) -> Result<Deletions, StorageError> {
    let sql = "SELECT group_ref, size, cursor, sender, id FROM blobs \
               WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?) AND blob_id = ?";
    let rows = sqlx::query(sql)
        .bind(deletion.group_id.0.to_vec())
        .bind(deletion.blob_id.0.to_vec())
        .fetch_all(&mut *connection)
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Deletions::Done);
    };
    if deletion.force && bytes::<32>(row, 3)? != deletion.by.0 {
        return Ok(Deletions::NotOwner);
    }
    let (group, cursor): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
    if row.try_get::<i64, _>(1)? == 0 {
        return Ok(Deletions::Done);
    }
    if deletion.force {
        sqlx::query("UPDATE blobs SET payload = x'', size = 0 WHERE id = ?")
            .bind(row.try_get::<i64, _>(4)?)
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM deletions WHERE group_ref = ? AND cursor = ?")
            .bind(group)
            .bind(cursor)
            .execute(&mut *connection)
            .await?;
        take_from_totals(connection, &rows).await?;
    } else {
        sqlx::query(
            "INSERT INTO deletions (group_ref, cursor) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(group)
        .bind(cursor)
        .execute(connection)
        .await?;
    }
    Ok(Deletions::Done)
}

/// A few marked blobs, group and cursor, that every active device has. Only reads.
pub(super) async fn due(
    connection: &mut SqliteConnection,
    active_since: Timestamp,
    max_blobs: u32,
) -> Result<Vec<[i64; 2]>, StorageError> {
    let sql = "WITH ready AS ( \
                 SELECT m.group_ref, \
                   (SELECT min(d.acked) FROM devices d \
                    WHERE d.group_ref = m.group_ref AND d.last_seen >= ?1) AS acked \
                 FROM (SELECT DISTINCT group_ref FROM deletions) m) \
               SELECT p.group_ref, p.cursor FROM ready r JOIN deletions p \
                 ON p.group_ref = r.group_ref AND p.cursor <= coalesce(r.acked, ?3) LIMIT ?2";
    let rows = sqlx::query(sql)
        .bind(int(active_since.0))
        .bind(max_blobs)
        .bind(i64::MAX)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok([row.try_get(0)?, row.try_get(1)?]))
        .collect()
}

/// Drops their payloads, and the marks. Some may have expired.
pub(super) async fn drop_due(
    connection: &mut SqliteConnection,
    due: &[[i64; 2]],
) -> Result<(), StorageError> {
    let due = json(due)?;
    let sql = "SELECT b.group_ref, b.size, b.id FROM json_each(?) j \
               JOIN blobs b ON b.group_ref = j.value ->> 0 AND b.cursor = j.value ->> 1";
    let rows = sqlx::query(sql)
        .bind(&due)
        .fetch_all(&mut *connection)
        .await?;
    let ids = rows.iter().map(|row| row.try_get(2));
    let ids: Vec<i64> = ids.collect::<Result<_, sqlx::Error>>()?;
    let sql = "UPDATE blobs SET payload = x'', size = 0 \
               WHERE id IN (SELECT j.value FROM json_each(?) j)";
    sqlx::query(sql)
        .bind(json(&ids)?)
        .execute(&mut *connection)
        .await?;
    let sql = "DELETE FROM deletions WHERE (group_ref, cursor) IN \
               (SELECT j.value ->> 0, j.value ->> 1 FROM json_each(?) j)";
    sqlx::query(sql)
        .bind(&due)
        .execute(&mut *connection)
        .await?;
    take_from_totals(connection, &rows).await
}
