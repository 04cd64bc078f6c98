//! Snapshots. Each function is one small transaction inside the caller's, or only reads. Whoever writes holds the lock of
//! the group's row.

use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::SnapshotPart;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, number, wrong};
use crate::limits;
use crate::storage::plan::charged;
use crate::storage::snapshots::{
    Before, Begun, Plan, PutPart, PutPartError, plan, unfinished_before,
};

/// Stores a part; the last one makes the snapshot the group's.
pub(super) async fn put(
    connection: &mut PgConnection,
    put: &PutPart,
    room: u64,
) -> Result<Result<(), PutPartError>, sqlx::Error> {
    let part = &put.new.part;
    let sql = "SELECT id, bytes_used, max_cursor, epoch, row_count FROM groups \
               WHERE group_id = $1 FOR UPDATE";
    let row = sqlx::query(sql)
        .bind(put.new.group_id.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else {
        return Ok(Err(PutPartError::Unknown));
    };
    let group: i64 = row.try_get(0)?;
    // Apart from the lock: a statement that waited for it would still see only the rotations of before.
    let sql = "SELECT 1 FROM rotations WHERE group_ref = $1 AND revoked = $2 LIMIT 1";
    let revoked = sqlx::query(sql)
        .bind(group)
        .bind(part.author.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let mut before = Before {
        used: charged(number(&row, 1)?, number(&row, 4)?),
        max_cursor: number(&row, 2)?,
        epoch: number(&row, 3)?,
        revoked: revoked.is_some(),
        ..Before::default()
    };
    if part.part == 0 {
        // Of the same device only the newest goes on; what nobody finishes makes room.
        let sql = "SELECT id FROM snapshots WHERE group_ref = $1 AND complete = 0 \
                   AND snapshot_id <> $2 AND (author = $3 OR created_at < $4)";
        let rows = sqlx::query(sql)
            .bind(group)
            .bind(part.snapshot_id.0.as_slice())
            .bind(part.author.0.as_slice())
            .bind(int(unfinished_before(put.now).0))
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            remove(connection, group, row.try_get(0)?).await?;
        }
    }
    let sql = "SELECT id, complete, covers, stored, snapshot_id, author, epoch, parts FROM snapshots \
               WHERE group_ref = $1";
    let rows = sqlx::query(sql)
        .bind(group)
        .fetch_all(&mut *connection)
        .await?;
    let mut own = None;
    let mut former = None;
    for row in &rows {
        let id: i64 = row.try_get(0)?;
        if bytes(row, 4)? == part.snapshot_id.0 && bytes(row, 5)? == part.author.0 {
            own = Some(id);
            before.own = Some(Begun {
                epoch: number(row, 6)?,
                covers: number(row, 2)?,
                parts: number(row, 7)?,
                stored: number(row, 3)?,
            });
        } else if number(row, 1)? == 1 {
            former = Some(id);
            before.covers = number(row, 2)?;
        } else {
            before.unfinished += 1;
        }
    }
    match plan(put, &before, room) {
        Ok(Plan::Nothing) => return Ok(Ok(())),
        Ok(Plan::Begin | Plan::Add) => {}
        Err(error) => return Ok(Err(error)),
    }
    let id = match own {
        Some(id) => id,
        None => begin(connection, group, put).await?,
    };
    let size = int(part.payload.len() as u64);
    let insert = "INSERT INTO snapshot_parts (snapshot_ref, part, payload) VALUES ($1, $2, $3)";
    sqlx::query(insert)
        .bind(id)
        .bind(i64::from(part.part))
        .bind(part.payload.as_ref())
        .execute(&mut *connection)
        .await?;
    let complete = part.part + 1 == part.parts;
    if complete && let Some(former) = former {
        remove(connection, group, former).await?;
    }
    let update =
        "UPDATE snapshots SET stored = stored + 1, size = size + $1, complete = $2 WHERE id = $3";
    sqlx::query(update)
        .bind(size)
        .bind(i64::from(complete))
        .bind(id)
        .execute(&mut *connection)
        .await?;
    use_bytes(connection, group, size).await?;
    Ok(Ok(()))
}

async fn begin(
    connection: &mut PgConnection,
    group: i64,
    put: &PutPart,
) -> Result<i64, sqlx::Error> {
    let part = &put.new.part;
    let insert = "INSERT INTO snapshots \
                  (group_ref, snapshot_id, author, epoch, covers, parts, stored, size, complete, created_at) \
                  VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, $7) RETURNING id";
    let row = sqlx::query(insert)
        .bind(group)
        .bind(part.snapshot_id.0.as_slice())
        .bind(part.author.0.as_slice())
        .bind(i64::from(part.epoch))
        .bind(int(part.covers))
        .bind(i64::from(part.parts))
        .bind(int(put.now.0))
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

async fn use_bytes(
    connection: &mut PgConnection,
    group: i64,
    more: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE groups SET bytes_used = greatest(bytes_used + $1, 0) WHERE id = $2")
        .bind(more)
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove(connection: &mut PgConnection, group: i64, id: i64) -> Result<(), sqlx::Error> {
    let row = sqlx::query("DELETE FROM snapshots WHERE id = $1 RETURNING size")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let size: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    use_bytes(connection, group, -size).await
}

/// A part of the group's snapshot.
pub(super) async fn get(
    connection: &mut PgConnection,
    group_id: GroupId,
    part: u32,
) -> Result<Option<SnapshotPart>, sqlx::Error> {
    let sql = "SELECT s.snapshot_id, s.author, s.epoch, s.covers, s.parts, p.payload \
               FROM groups g JOIN snapshots s ON s.group_ref = g.id AND s.complete = 1 \
               JOIN snapshot_parts p ON p.snapshot_ref = s.id \
               WHERE g.group_id = $1 AND p.part = $2";
    let row = sqlx::query(sql)
        .bind(group_id.0.as_slice())
        .bind(i64::from(part))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let small =
        |column| u32::try_from(number(&row, column)?).map_err(|_| wrong("a number is too large"));
    Ok(Some(SnapshotPart {
        snapshot_id: BlobId(bytes(&row, 0)?),
        author: DeviceId(bytes(&row, 1)?),
        epoch: small(2)?,
        covers: number(&row, 3)?,
        part,
        parts: small(4)?,
        payload: row.try_get::<Vec<u8>, _>(5)?.into(),
    }))
}

/// Deletes what nobody finishes, and the snapshots of groups that nobody has been to since.
pub(super) async fn expire(
    connection: &mut PgConnection,
    now: Timestamp,
    abandoned_before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let due = due(connection, now, abandoned_before).await?;
    remove_due(connection, &due, now, abandoned_before).await
}

/// What is to be deleted, as far as one can see without the locks of the groups: their rows and those of the snapshots.
pub(super) async fn due(
    connection: &mut PgConnection,
    now: Timestamp,
    abandoned_before: Timestamp,
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    // Groups before snapshots, as whoever stores a part does.
    let sql = "SELECT g.id, s.id FROM snapshots s JOIN groups g ON g.id = s.group_ref \
               WHERE (s.complete = 0 AND s.created_at < $1) OR (s.created_at < $2 AND NOT EXISTS (\
                   SELECT 1 FROM devices d WHERE d.group_ref = s.group_ref)) \
               ORDER BY g.id LIMIT $3 FOR UPDATE OF g SKIP LOCKED";
    sqlx::query_as(sql)
        .bind(int(unfinished_before(now).0))
        .bind(int(abandoned_before.0))
        .bind(i64::from(limits::EXPIRE_SNAPSHOTS))
        .fetch_all(connection)
        .await
}

/// Deletes what is still to be deleted, now that the groups are locked: a snapshot may have got its last part, and a group
/// a device, between the look and the lock.
pub(super) async fn remove_due(
    connection: &mut PgConnection,
    due: &[(i64, i64)],
    now: Timestamp,
    abandoned_before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let sql = "DELETE FROM snapshots s WHERE s.id = $1 \
                 AND ((s.complete = 0 AND s.created_at < $2) OR (s.created_at < $3 AND NOT EXISTS (\
                   SELECT 1 FROM devices d WHERE d.group_ref = s.group_ref))) RETURNING s.size";
    let mut removed = 0;
    for (group, id) in due {
        let row = sqlx::query(sql)
            .bind(id)
            .bind(int(unfinished_before(now).0))
            .bind(int(abandoned_before.0))
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { continue };
        use_bytes(connection, *group, -row.try_get::<i64, _>(0)?).await?;
        removed += 1;
    }
    Ok(removed)
}
