//! What makes room again: deleting blobs, dropping payloads, forgetting devices. Each function is one small transaction
//! inside the caller's. Whoever deletes locks blobs before groups, and nodes that do so at the same time take different
//! ones.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::time::Timestamp;

use super::{bytes, int};
use crate::storage::Sweep;

/// Deletes at most `max_blobs` expired blobs.
pub(super) async fn expire(
    connection: &mut PgConnection,
    now: Timestamp,
    max_blobs: u32,
) -> Result<u64, sqlx::Error> {
    let sql = "WITH due AS ( \
                   SELECT group_ref, cursor FROM blobs WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED \
               ) \
               DELETE FROM blobs USING due \
               WHERE blobs.group_ref = due.group_ref AND blobs.cursor = due.cursor \
               RETURNING blobs.group_ref, blobs.size";
    let rows = sqlx::query(sql)
        .bind(int(now.0))
        .bind(i64::from(max_blobs))
        .fetch_all(&mut *connection)
        .await?;
    let mut freed = BTreeMap::new();
    for row in &rows {
        Freed::of(&mut freed, row)?.rows += 1;
    }
    take_from_totals(connection, freed).await?;
    Ok(rows.len() as u64)
}

/// Groups that a sweep looked at.
#[derive(Debug)]
pub(super) struct Looked {
    /// Keys of those with something to drop.
    groups: Vec<i64>,
    /// After which cursor.
    after: Vec<i64>,
    /// Up to which one.
    up_to: Vec<i64>,
    /// The last one; `None` if there are no more.
    pub last: Option<GroupId>,
}

impl Looked {
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Looks for what a sweep may drop. Only reads.
pub(super) async fn look(
    connection: &mut PgConnection,
    sweep: &Sweep,
) -> Result<Looked, sqlx::Error> {
    let sql = "SELECT l.id, l.group_id, l.dropped_to, l.acked \
               FROM ( \
                   SELECT g.id, g.group_id, g.dropped_to, \
                          (SELECT CASE WHEN $4 AND count(*) >= 2 THEN min(d.acked) \
                             ELSE least(min(d.acked), coalesce((SELECT s.covers FROM snapshots s \
                               WHERE s.group_ref = g.id AND s.complete = 1), 0)) END \
                           FROM devices d \
                           WHERE d.group_ref = g.id AND d.last_seen >= $2 HAVING count(*) >= 1) AS acked \
                   FROM groups g WHERE g.group_id > $1 ORDER BY g.group_id LIMIT $3 \
               ) l ORDER BY l.group_id";
    let after = sweep.after.map_or_else(Vec::new, |group| group.0.to_vec());
    let rows = sqlx::query(sql)
        .bind(after)
        .bind(int(sweep.active_since.0))
        .bind(i64::from(sweep.max_groups))
        .bind(sweep.acknowledged)
        .fetch_all(connection)
        .await?;
    let mut looked = Looked {
        groups: Vec::new(),
        after: Vec::new(),
        up_to: Vec::new(),
        last: None,
    };
    for row in &rows {
        let dropped_to: i64 = row.try_get(2)?;
        if let Some(acked) = row.try_get::<Option<i64>, _>(3)?
            && acked > dropped_to
        {
            looked.groups.push(row.try_get(0)?);
            looked.after.push(dropped_to);
            looked.up_to.push(acked);
        }
        looked.last = Some(GroupId(bytes(row, 1)?));
    }
    Ok(looked)
}

/// Drops the payloads of at most `max_blobs` of what was found.
pub(super) async fn drop_payloads(
    connection: &mut PgConnection,
    looked: &Looked,
    max_blobs: u32,
) -> Result<u64, sqlx::Error> {
    let sql = "WITH due AS ( \
                   SELECT b.group_ref, b.cursor, b.size \
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (group_ref, after, up_to) \
                   JOIN blobs b ON b.group_ref = r.group_ref AND b.cursor > r.after AND b.cursor <= r.up_to \
                   ORDER BY b.group_ref, b.cursor LIMIT $4 FOR UPDATE OF b SKIP LOCKED \
               ), dropped AS ( \
                   UPDATE blobs SET payload = ''::bytea, size = 0 FROM due \
                   WHERE blobs.group_ref = due.group_ref AND blobs.cursor = due.cursor \
               ) \
               SELECT group_ref, size, cursor FROM due";
    let rows = sqlx::query(sql)
        .bind(&looked.groups)
        .bind(&looked.after)
        .bind(&looked.up_to)
        .bind(i64::from(max_blobs))
        .fetch_all(&mut *connection)
        .await?;
    let mut freed = BTreeMap::new();
    for row in &rows {
        let cursor: i64 = row.try_get(2)?;
        let group = Freed::of(&mut freed, row)?;
        group.dropped_to = cursor.max(group.dropped_to);
    }
    take_from_totals(connection, freed).await?;
    Ok(rows.len() as u64)
}

/// What a group no longer holds.
#[derive(Debug, Default)]
pub(super) struct Freed {
    count: i64,
    bytes: i64,
    /// Those that went with everything.
    rows: i64,
    dropped_to: i64,
}

impl Freed {
    /// Adds a row of group and former size. Blobs whose payload went before are out of the totals already.
    pub(super) fn of<'a>(
        freed: &'a mut BTreeMap<i64, Self>,
        row: &PgRow,
    ) -> Result<&'a mut Self, sqlx::Error> {
        let size: i32 = row.try_get(1)?;
        let group = freed.entry(row.try_get(0)?).or_default();
        if size > 0 {
            group.count += 1;
            group.bytes += i64::from(size);
        }
        Ok(group)
    }
}

/// Locks the groups in one order for all nodes and brings their totals up to date.
pub(super) async fn take_from_totals(
    connection: &mut PgConnection,
    freed: BTreeMap<i64, Freed>,
) -> Result<(), sqlx::Error> {
    if freed.is_empty() {
        return Ok(());
    }
    let groups: Vec<i64> = freed.keys().copied().collect();
    let column = |value: fn(&Freed) -> i64| -> Vec<i64> { freed.values().map(value).collect() };
    let sql = "SELECT id FROM groups WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    sqlx::query(sql)
        .bind(&groups)
        .execute(&mut *connection)
        .await?;
    let sql = "UPDATE groups SET blob_count = blob_count - f.count, bytes_used = bytes_used - f.size, \
                      row_count = greatest(row_count - f.rows, 0), \
                      dropped_to = greatest(groups.dropped_to, f.dropped_to) \
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
                   AS f (id, count, size, dropped_to, rows) \
               WHERE groups.id = f.id";
    sqlx::query(sql)
        .bind(&groups)
        .bind(column(|group| group.count))
        .bind(column(|group| group.bytes))
        .bind(column(|group| group.dropped_to))
        .bind(column(|group| group.rows))
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets at most `max_devices` devices that were last seen before.
pub(super) async fn forget_devices(
    connection: &mut PgConnection,
    seen_before: Timestamp,
    max_devices: u32,
) -> Result<u64, sqlx::Error> {
    let sql = "WITH gone AS ( \
                   SELECT group_ref, device_id FROM devices WHERE last_seen < $1 \
                   LIMIT $2 FOR UPDATE SKIP LOCKED \
               ) \
               DELETE FROM devices USING gone \
               WHERE devices.group_ref = gone.group_ref AND devices.device_id = gone.device_id";
    let done = sqlx::query(sql)
        .bind(int(seen_before.0))
        .bind(i64::from(max_devices))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Forgets at most `max_groups` groups that have nothing and were last opened before. One whose keys have changed is kept:
/// without its certificates a device that was revoked could found it anew.
pub(super) async fn forget_groups(
    connection: &mut PgConnection,
    opened_before: Timestamp,
    max_groups: u32,
) -> Result<u64, sqlx::Error> {
    let sql = "WITH unused AS ( \
                   SELECT id FROM groups WHERE opened_at < $1 AND epoch = 0 AND row_count = 0 \
                   AND NOT EXISTS (SELECT 1 FROM blobs WHERE group_ref = groups.id) \
                   AND NOT EXISTS (SELECT 1 FROM devices WHERE group_ref = groups.id) \
                   AND NOT EXISTS (SELECT 1 FROM rotations WHERE group_ref = groups.id) \
                   AND NOT EXISTS (SELECT 1 FROM key_packets WHERE group_ref = groups.id) \
                   AND NOT EXISTS (SELECT 1 FROM deletions WHERE group_ref = groups.id) \
                   AND NOT EXISTS (SELECT 1 FROM snapshots WHERE group_ref = groups.id) \
                   LIMIT $2 FOR UPDATE SKIP LOCKED \
               ) \
               DELETE FROM groups USING unused WHERE groups.id = unused.id";
    let done = sqlx::query(sql)
        .bind(int(opened_before.0))
        .bind(i64::from(max_groups))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
