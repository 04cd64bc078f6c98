//! Looking groups up, making them, and noting that they are used. Each function only reads, or is one small transaction
//! inside the caller's.

use sqlx::{Row as _, SqliteConnection};
use zerok_sync_shared::message::Mark;
use zerok_sync_shared::session::GroupInfo;

use super::rows::mark;
use super::{bytes, int, keys, number};
use crate::storage::snapshots::lacks;
use crate::storage::{OpenError, OpenGroup, StorageError};

/// A group that is there.
pub(super) struct Found {
    pub(super) key: i64,
    /// When it was last opened, or somewhat before.
    pub(super) opened_at: u64,
    pub(super) info: GroupInfo,
}

/// Looks a group up. Only reads.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
) -> Result<Option<Found>, StorageError> {
    let sql = "SELECT id, max_cursor, epoch, access_pub, EXISTS (\
                   SELECT 1 FROM rotations WHERE group_ref = groups.id AND revoked = ?2\
               ), \
               (SELECT covers FROM snapshots WHERE group_ref = groups.id AND complete = 1), \
               dropped_to, \
               (SELECT cursor FROM blobs WHERE group_ref = groups.id AND cursor > ?3 \
                ORDER BY cursor LIMIT 1), \
               founding, opened_at \
               FROM groups WHERE group_id = ?1";
    let row = sqlx::query(sql)
        .bind(open.group_id.0.to_vec())
        .bind(open.device.0.to_vec())
        .bind(int(open.after_cursor))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let cursor_at = |column| -> Result<Option<u64>, StorageError> {
        let cursor: Option<i64> = row.try_get(column)?;
        Ok(cursor.and_then(|cursor| u64::try_from(cursor).ok()))
    };
    let max_cursor = number(&row, 1)?;
    let next = cursor_at(7)?;
    let info = GroupInfo {
        founding: bytes(&row, 8)?,
        snapshot: cursor_at(5)?,
        lacking: lacks(open.after_cursor, max_cursor, number(&row, 6)?, next),
        max_cursor,
        epoch: row.try_get(2)?,
        access_pub: bytes(&row, 3)?,
        marks: Vec::new(),
        revoked: row.try_get(4)?,
    };
    Ok(Some(Found {
        key: row.try_get(0)?,
        opened_at: number(&row, 9)?,
        info,
    }))
}

/// What is at these cursors of a group, in the order of the question. Only reads.
pub(super) async fn marks(
    connection: &mut SqliteConnection,
    group: i64,
    cursors: &[u64],
) -> Result<Vec<Mark>, StorageError> {
    let sql = "SELECT cursor, blob_id, timestamp FROM blobs WHERE group_ref = ? AND cursor = ?";
    let mut marks = Vec::with_capacity(cursors.len());
    for cursor in cursors {
        let query = sqlx::query(sql).bind(group).bind(int(*cursor));
        let row = query.fetch_optional(&mut *connection).await?;
        marks.extend(row.as_ref().map(mark).transpose()?);
    }
    Ok(marks)
}

/// Notes that a group is opened now; `false` if it is not there.
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
) -> Result<bool, StorageError> {
    let sql = "UPDATE groups SET opened_at = max(opened_at, ?) WHERE group_id = ?";
    let renewed = sqlx::query(sql)
        .bind(int(open.now.0))
        .bind(open.group_id.0.to_vec())
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Moves a group to the newest epoch of a chain, and finds it.
pub(super) async fn advance(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
) -> Result<Option<GroupInfo>, StorageError> {
    keys::advance(connection, open).await?;
    let found = find(connection, open).await?;
    Ok(found.map(|found| found.info))
}

/// Makes a group, unless another session has made it in the meantime; `room` is what can still be stored.
pub(super) async fn make(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
    room: u64,
) -> Result<GroupInfo, OpenError> {
    if let Some(found) = find(connection, open).await? {
        return Ok(found.info);
    }
    if room == 0 {
        return Err(OpenError::Full);
    }
    let group = insert(connection, open).await?.ok_or(OpenError::TooMany)?;
    for link in &open.chain {
        keys::add_link(connection, group, link, None).await?;
    }
    let found = find(connection, open).await?;
    Ok(found.ok_or(OpenError::Unknown)?.info)
}

/// Adds a group, and gives its key; `None` if there are as many as may be.
async fn insert(
    connection: &mut SqliteConnection,
    open: &OpenGroup,
) -> Result<Option<i64>, StorageError> {
    let count = sqlx::query("SELECT count(*) FROM groups");
    let count = number(&count.fetch_one(&mut *connection).await?, 0)?;
    if count >= open.max_groups {
        return Ok(None);
    }
    let sql = "INSERT INTO groups (group_id, access_pub, epoch, created_at, founding, opened_at) \
               VALUES (?1, ?2, ?3, ?4, randomblob(16), ?4)";
    let inserted = sqlx::query(sql)
        .bind(open.group_id.0.to_vec())
        .bind(open.access_pub.to_vec())
        .bind(open.epoch)
        .bind(int(open.now.0))
        .execute(connection)
        .await?;
    Ok(Some(inserted.last_insert_rowid()))
}
