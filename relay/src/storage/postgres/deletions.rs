//! What members have deleted: marked, and dropped once everybody has read past it; or dropped at once. Blobs are locked
//! before groups, as by everything else that drops payloads.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::time::Timestamp;

use super::retention::{Freed, take_from_totals};
use super::{bytes, int};
use crate::storage::{Deletion, Deletions};

/// Marks a blob, or drops its payload.
pub(super) async fn delete(
    connection: &mut PgConnection,
    deletion: &Deletion,
) -> Result<Deletions, sqlx::Error> {
    let sql = "SELECT group_ref, size, cursor, sender FROM blobs \
               WHERE group_ref = (SELECT id FROM groups WHERE group_id = $1) AND blob_id = $2 FOR UPDATE";
    let row = sqlx::query(sql)
        .bind(deletion.group_id.0.as_slice())
        .bind(deletion.blob_id.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else {
        return Ok(Deletions::Done);
    };
    if deletion.force && bytes::<32>(&row, 3)? != deletion.by.0 {
        return Ok(Deletions::NotOwner);
    }
    let (group, cursor): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
    if row.try_get::<i32, _>(1)? == 0 {
        return Ok(Deletions::Done);
    }
    let sqls: &[&str] = if deletion.force {
        &[
            "UPDATE blobs SET payload = ''::bytea, size = 0 WHERE group_ref = $1 AND cursor = $2",
            "DELETE FROM deletions WHERE group_ref = $1 AND cursor = $2",
        ]
    } else {
        &["INSERT INTO deletions (group_ref, cursor) VALUES ($1, $2) ON CONFLICT DO NOTHING"]
    };
    for sql in sqls {
        sqlx::query(*sql)
            .bind(group)
            .bind(cursor)
            .execute(&mut *connection)
            .await?;
    }
    if deletion.force {
        let mut freed = BTreeMap::new();
        Freed::of(&mut freed, &row)?;
        take_from_totals(connection, freed).await?;
    }
    Ok(Deletions::Done)
}

/// Drops the payloads of at most `max_blobs` marked blobs that every active device has, and the marks. Some may have expired.
pub(super) async fn drop_due(
    connection: &mut PgConnection,
    active_since: Timestamp,
    max_blobs: u32,
) -> Result<u64, sqlx::Error> {
    let sql = "WITH ready AS ( \
                   SELECT m.group_ref, \
                          (SELECT min(d.acked) FROM devices d \
                           WHERE d.group_ref = m.group_ref AND d.last_seen >= $1) AS acked \
                   FROM (SELECT DISTINCT group_ref FROM deletions) m \
               ), due AS ( \
                   SELECT p.group_ref, p.cursor FROM ready r \
                   JOIN deletions p ON p.group_ref = r.group_ref AND p.cursor <= coalesce(r.acked, $3) \
                   ORDER BY p.group_ref, p.cursor LIMIT $2 \
               ), there AS ( \
                   SELECT b.group_ref, b.cursor, b.size FROM due \
                   JOIN blobs b ON b.group_ref = due.group_ref AND b.cursor = due.cursor \
                   ORDER BY b.group_ref, b.cursor FOR UPDATE OF b \
               ), dropped AS ( \
                   UPDATE blobs SET payload = ''::bytea, size = 0 FROM there \
                   WHERE blobs.group_ref = there.group_ref AND blobs.cursor = there.cursor \
               ), unmarked AS ( \
                   DELETE FROM deletions USING due \
                   WHERE deletions.group_ref = due.group_ref AND deletions.cursor = due.cursor \
               ) \
               SELECT due.group_ref, coalesce(there.size, 0) FROM due \
               LEFT JOIN there ON there.group_ref = due.group_ref AND there.cursor = due.cursor";
    let rows = sqlx::query(sql)
        .bind(int(active_since.0))
        .bind(i64::from(max_blobs))
        .bind(i64::MAX)
        .fetch_all(&mut *connection)
        .await?;
    let mut freed = BTreeMap::new();
    for row in &rows {
        Freed::of(&mut freed, row)?;
    }
    take_from_totals(connection, freed).await?;
    Ok(rows.len() as u64)
}
