//! Looking groups up, making them, and noting that they are used. Each function only reads, or is one small transaction
//! inside the caller's.

use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::message::Mark;
use zerok_sync_shared::session::GroupInfo;

use super::rows::mark;
use super::{bytes, int, keys, number, wrong};
use crate::storage::OpenGroup;
use crate::storage::snapshots::lacks;

/// A group that is there.
pub(super) struct Found {
    key: i64,
    /// When it was last opened, or somewhat before.
    pub(super) opened_at: u64,
    pub(super) info: GroupInfo,
}

/// A group with what is at the cursors that were asked for.
pub(super) async fn look_up(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<Option<Found>, sqlx::Error> {
    let Some(mut found) = find(connection, open).await? else {
        return Ok(None);
    };
    if !open.marks.is_empty() {
        found.info.marks = marks(connection, found.key, &open.marks).await?;
    }
    Ok(Some(found))
}

async fn find(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<Option<Found>, sqlx::Error> {
    let sql = "SELECT id, max_cursor, epoch, access_pub, EXISTS (\
                   SELECT 1 FROM rotations WHERE group_ref = groups.id AND revoked = $2\
               ), \
               (SELECT covers FROM snapshots WHERE group_ref = groups.id AND complete = 1), dropped_to, \
               (SELECT cursor FROM blobs WHERE group_ref = groups.id AND cursor > $3 \
                ORDER BY cursor LIMIT 1), \
               founding, opened_at \
               FROM groups WHERE group_id = $1";
    let row = sqlx::query(sql)
        .bind(open.group_id.0.as_slice())
        .bind(open.device.0.as_slice())
        .bind(int(open.after_cursor))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let at = |column| -> Result<Option<u64>, sqlx::Error> {
        let cursor: Option<i64> = row.try_get(column)?;
        Ok(cursor.and_then(|cursor| u64::try_from(cursor).ok()))
    };
    let snapshot = at(5)?;
    let info = GroupInfo {
        founding: bytes(&row, 8)?,
        snapshot,
        lacking: lacks(
            open.after_cursor,
            number(&row, 1)?,
            number(&row, 6)?,
            at(7)?,
        ),
        max_cursor: number(&row, 1)?,
        epoch: u32::try_from(number(&row, 2)?).map_err(|_| wrong("an epoch is too large"))?,
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

/// Notes that a group is opened now; `false` if it is not there.
pub(super) async fn renew(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<bool, sqlx::Error> {
    let sql = "UPDATE groups SET opened_at = greatest(opened_at, $1) WHERE group_id = $2";
    let renewed = sqlx::query(sql)
        .bind(int(open.now.0))
        .bind(open.group_id.0.as_slice())
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Makes a group if there is room for it, and finds it: another session may have made it in the meantime.
pub(super) async fn make(
    connection: &mut PgConnection,
    open: &OpenGroup,
    founding: [u8; 16],
) -> Result<Option<Found>, sqlx::Error> {
    let count = sqlx::query("SELECT count(*) FROM groups")
        .fetch_one(&mut *connection)
        .await?;
    let mut made = None;
    if number(&count, 0)? < open.max_groups {
        let insert = "INSERT INTO groups (group_id, access_pub, epoch, created_at, opened_at, founding) \
                      VALUES ($1, $2, $3, $4, $4, $5) ON CONFLICT (group_id) DO NOTHING RETURNING id";
        made = sqlx::query(insert)
            .bind(open.group_id.0.as_slice())
            .bind(open.access_pub.as_slice())
            .bind(i64::from(open.epoch))
            .bind(int(open.now.0))
            .bind(founding.as_slice())
            .fetch_optional(&mut *connection)
            .await?;
    }
    if let Some(row) = made {
        for link in &open.chain {
            keys::add_link(connection, row.try_get(0)?, link, None).await?;
        }
    }
    find(connection, open).await
}

/// Moves a group to the newest epoch of a chain, and finds it.
pub(super) async fn advance(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<Option<GroupInfo>, sqlx::Error> {
    keys::advance(connection, open).await?;
    let found = look_up(connection, open).await?;
    Ok(found.map(|found| found.info))
}

/// What is at these cursors, in the order of the question.
async fn marks(
    connection: &mut PgConnection,
    group: i64,
    cursors: &[u64],
) -> Result<Vec<Mark>, sqlx::Error> {
    let sql = "SELECT b.cursor, b.blob_id, b.timestamp \
               FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (cursor, place) \
               JOIN blobs b ON b.group_ref = $2 AND b.cursor = asked.cursor ORDER BY asked.place";
    let cursors: Vec<i64> = cursors.iter().map(|cursor| int(*cursor)).collect();
    let rows = sqlx::query(sql)
        .bind(cursors)
        .bind(group)
        .fetch_all(connection)
        .await?;
    rows.iter().map(mark).collect()
}
