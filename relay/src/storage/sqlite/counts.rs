//! Numbers for people and for curves. Nothing here writes.

use sqlx::SqliteConnection;
use zerok_sync_shared::time::Timestamp;

use super::{int, number};
use crate::storage::{Census, LAG_BOUNDS, Stats, StorageError};

/// What is stored.
pub(super) async fn stats(connection: &mut SqliteConnection) -> Result<Stats, StorageError> {
    let sql =
        "SELECT count(*), coalesce(sum(blob_count), 0), coalesce(sum(bytes_used), 0) FROM groups";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    Ok(Stats {
        groups: number(&row, 0)?,
        blobs: number(&row, 1)?,
        bytes: number(&row, 2)?,
    })
}

/// What is stored, and how far the devices are that were seen since.
pub(super) async fn census(
    connection: &mut SqliteConnection,
    active_since: Timestamp,
) -> Result<Census, StorageError> {
    let sql = "
        SELECT count(*), coalesce(sum(lag), 0),
               count(*) FILTER (WHERE lag <= ?2), count(*) FILTER (WHERE lag <= ?3),
               count(*) FILTER (WHERE lag <= ?4), count(*) FILTER (WHERE lag <= ?5),
               count(*) FILTER (WHERE lag <= ?6), count(*) FILTER (WHERE lag <= ?7)
        FROM (
            SELECT max(g.max_cursor - d.acked, 0) AS lag
            FROM devices d JOIN groups g ON g.id = d.group_ref WHERE d.last_seen >= ?1
        )";
    let mut query = sqlx::query(sql).bind(int(active_since.0));
    for bound in LAG_BOUNDS {
        query = query.bind(int(bound));
    }
    let row = query.fetch_one(&mut *connection).await?;
    let mut census = Census {
        stats: stats(connection).await?,
        active_devices: number(&row, 0)?,
        lag_sum: number(&row, 1)?,
        ..Census::default()
    };
    for (at, up_to) in census.lag_up_to.iter_mut().enumerate() {
        *up_to = number(&row, at + 2)?;
    }
    Ok(census)
}
