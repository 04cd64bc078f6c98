//! Snapshots. Each function is one small transaction inside the caller's, or only reads.

use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::SnapshotPart;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int, number};
use crate::limits;
use crate::storage::StorageError;
use crate::storage::plan::charged;
use crate::storage::snapshots::{
    Before, Begun, Plan, PutPart, PutPartError, plan, unfinished_before,
};

/// Into how many pieces a part goes.
pub(super) fn pieces(put: &PutPart) -> usize {
    put.new
        .part
        .payload
        .len()
        .div_ceil(limits::SNAPSHOT_PIECE)
        .max(1)
}

/// Stores a piece of a part, after those before it. With the last piece the part is there; the last part makes the snapshot
/// the group's.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    put: &PutPart,
    piece: usize,
    room: u64,
) -> Result<(), PutPartError> {
    let part = &put.new.part;
    let Some((group, mut before)) = group(connection, put.new.group_id, part.author).await? else {
        return Err(PutPartError::Unknown);
    };
    if part.part == 0 {
        // Of the same device only the newest goes on; what nobody finishes makes room.
        let sql = "SELECT id FROM snapshots WHERE group_ref = ? AND complete = 0 \
                   AND snapshot_id <> ? AND (author = ? OR created_at < ?)";
        let rows = sqlx::query(sql)
            .bind(group)
            .bind(part.snapshot_id.0.to_vec())
            .bind(part.author.0.to_vec())
            .bind(int(unfinished_before(put.now).0))
            .fetch_all(&mut *connection)
            .await
            .map_err(StorageError::from)?;
        for row in rows {
            let gone = row.try_get(0).map_err(StorageError::from)?;
            remove(connection, group, gone).await?;
        }
    }
    let sql = "SELECT id, complete, covers, stored, snapshot_id, author, epoch, parts FROM snapshots \
               WHERE group_ref = ? AND complete < 2";
    let rows = sqlx::query(sql)
        .bind(group)
        .fetch_all(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    let mut own = None;
    let mut former = None;
    for row in &rows {
        let id: i64 = row.try_get(0).map_err(StorageError::from)?;
        let same = bytes(row, 4)? == part.snapshot_id.0 && bytes(row, 5)? == part.author.0;
        if same {
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
    let plan = plan(put, &before, room)?;
    if plan == Plan::Nothing {
        return Ok(());
    }
    let id = match own {
        Some(id) => id,
        None => begin(connection, group, put).await?,
    };
    let size = int(part.payload.len() as u64);
    let bytes = part.payload.chunks(limits::SNAPSHOT_PIECE).nth(piece);
    // There is one already where storing the part was given up half-way.
    let insert = "INSERT OR REPLACE INTO snapshot_parts (snapshot_ref, part, piece, payload) \
                  VALUES (?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(id)
        .bind(part.part)
        .bind(int(piece as u64))
        .bind(bytes.unwrap_or_default())
        .execute(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    if piece + 1 < pieces(put) {
        return Ok(());
    }
    // Storing a longer one may have been given up before.
    sqlx::query("DELETE FROM snapshot_parts WHERE snapshot_ref = ? AND part = ? AND piece > ?")
        .bind(id)
        .bind(part.part)
        .bind(int(piece as u64))
        .execute(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    let complete = part.part + 1 == part.parts;
    if complete && let Some(former) = former {
        remove(connection, group, former).await?;
    }
    let update =
        "UPDATE snapshots SET stored = stored + 1, size = size + ?, complete = ? WHERE id = ?";
    sqlx::query(update)
        .bind(size)
        .bind(i64::from(complete))
        .bind(id)
        .execute(&mut *connection)
        .await
        .map_err(StorageError::from)?;
    Ok(use_bytes(connection, group, size).await?)
}

async fn group(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    author: DeviceId,
) -> Result<Option<(i64, Before)>, StorageError> {
    let sql = "SELECT g.id, g.bytes_used, g.max_cursor, g.epoch, EXISTS (\
                   SELECT 1 FROM rotations r WHERE r.group_ref = g.id AND r.revoked = ?2), g.row_count \
               FROM groups g WHERE g.group_id = ?1";
    let row = sqlx::query(sql)
        .bind(group_id.0.to_vec())
        .bind(author.0.to_vec())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let before = Before {
        used: charged(number(&row, 1)?, number(&row, 5)?),
        max_cursor: number(&row, 2)?,
        epoch: number(&row, 3)?,
        revoked: number(&row, 4)? != 0,
        ..Before::default()
    };
    Ok(Some((row.try_get(0)?, before)))
}

async fn begin(
    connection: &mut SqliteConnection,
    group: i64,
    put: &PutPart,
) -> Result<i64, StorageError> {
    let part = &put.new.part;
    let insert = "INSERT INTO snapshots \
                  (group_ref, snapshot_id, author, epoch, covers, parts, stored, size, complete, created_at) \
                  VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, ?)";
    let done = sqlx::query(insert)
        .bind(group)
        .bind(part.snapshot_id.0.to_vec())
        .bind(part.author.0.to_vec())
        .bind(part.epoch)
        .bind(int(part.covers))
        .bind(part.parts)
        .bind(int(put.now.0))
        .execute(connection)
        .await?;
    Ok(done.last_insert_rowid())
}

async fn use_bytes(
    connection: &mut SqliteConnection,
    group: i64,
    more: i64,
) -> Result<(), StorageError> {
    sqlx::query("UPDATE groups SET bytes_used = max(bytes_used + ?, 0) WHERE id = ?")
        .bind(more)
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}

/// Nobody wants it any more. It counts for nothing from now on, and goes with [`clear`].
async fn remove(
    connection: &mut SqliteConnection,
    group: i64,
    id: i64,
) -> Result<(), StorageError> {
    let row = sqlx::query("SELECT size FROM snapshots WHERE id = ? AND complete < 2")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let size: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    sqlx::query("UPDATE snapshots SET complete = 2, size = 0 WHERE id = ?")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    use_bytes(connection, group, -size).await
}

/// A snapshot that nobody wants any more. Only reads.
pub(super) async fn unwanted(
    connection: &mut SqliteConnection,
) -> Result<Option<i64>, StorageError> {
    let sql = "SELECT id FROM snapshots WHERE complete = 2 ORDER BY id LIMIT 1";
    let row = sqlx::query(sql).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Deletes some of its pieces, and it with the last of them.
pub(super) async fn clear(
    connection: &mut SqliteConnection,
    unwanted: i64,
) -> Result<(), StorageError> {
    let sql = "DELETE FROM snapshot_parts WHERE rowid IN \
               (SELECT rowid FROM snapshot_parts WHERE snapshot_ref = ? LIMIT ?)";
    let deleted = sqlx::query(sql)
        .bind(unwanted)
        .bind(limits::CLEARED_PIECES)
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() < u64::from(limits::CLEARED_PIECES) {
        sqlx::query("DELETE FROM snapshots WHERE id = ?")
            .bind(unwanted)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// A part of the group's snapshot.
pub(super) async fn get(
    connection: &mut SqliteConnection,
    group_id: GroupId,
    part: u32,
) -> Result<Option<SnapshotPart>, StorageError> {
    let sql = "SELECT s.snapshot_id, s.author, s.epoch, s.covers, s.parts, p.payload \
               FROM groups g JOIN snapshots s ON s.group_ref = g.id AND s.complete = 1 \
               JOIN snapshot_parts p ON p.snapshot_ref = s.id \
               WHERE g.group_id = ? AND p.part = ? ORDER BY p.piece";
    let rows = sqlx::query(sql)
        .bind(group_id.0.to_vec())
        .bind(part)
        .fetch_all(connection)
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let mut payload = Vec::new();
    for piece in &rows {
        payload.extend_from_slice(piece.try_get(5)?);
    }
    Ok(Some(SnapshotPart {
        snapshot_id: BlobId(bytes(row, 0)?),
        author: DeviceId(bytes(row, 1)?),
        epoch: row.try_get(2)?,
        covers: number(row, 3)?,
        part,
        parts: row.try_get(4)?,
        payload: payload.into(),
    }))
}

/// Deletes what nobody finishes, and the snapshots of groups that nobody has been to since.
pub(super) async fn expire(
    connection: &mut SqliteConnection,
    now: Timestamp,
    abandoned_before: Timestamp,
) -> Result<u64, StorageError> {
    let sql = "SELECT s.id, s.group_ref FROM snapshots s \
               WHERE (s.complete = 0 AND s.created_at < ?1) OR (s.complete < 2 AND s.created_at < ?2 AND NOT EXISTS (\
                   SELECT 1 FROM devices d WHERE d.group_ref = s.group_ref)) LIMIT ?3";
    let rows = sqlx::query(sql)
        .bind(int(unfinished_before(now).0))
        .bind(int(abandoned_before.0))
        .bind(limits::EXPIRE_SNAPSHOTS)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        remove(connection, row.try_get(1)?, row.try_get(0)?).await?;
    }
    Ok(rows.len() as u64)
}
