//! From a batch to statements.

use sqlx::SqliteConnection;
use zerok_sync_shared::codec;
use zerok_sync_shared::store::{Batch, Write};

use super::clamped;
use super::failure::Failure;

/// Carries out every write, or gives the reason why one is impossible; the transaction is the caller's.
pub(super) async fn carry_out(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<(), Failure> {
    for write in &batch.writes {
        one(connection, write).await?;
    }
    Ok(())
}

async fn one(connection: &mut SqliteConnection, write: &Write) -> Result<(), Failure> {
    match write {
        Write::State { group, state } => {
            let sql = "INSERT INTO groups (group_id, state) VALUES (?, ?)
                       ON CONFLICT (group_id) DO UPDATE SET state = excluded.state";
            sqlx::query(sql)
                .bind(group.0.to_vec())
                .bind(codec::to_bytes(state.as_ref()))
                .execute(connection)
                .await?;
        }
        Write::Membership { group, membership } => {
            let done = sqlx::query("UPDATE groups SET membership = ? WHERE group_id = ?")
                .bind(codec::to_bytes(membership.as_ref()))
                .bind(group.0.to_vec())
                .execute(connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(Failure::Refused(
                    "a membership is of a group that is not there",
                ));
            }
        }
        Write::Append {
            group,
            record,
            unsent,
        } => {
            let position = clamped(record.position);
            let length = clamped(record.payload.len() as u64);
            // Only where the log ends: a gap or an unknown group inserts nothing.
            let sql = "INSERT INTO log (group_ref, position, length, record)
                       SELECT id, ?2, ?3, ?4 FROM groups WHERE group_id = ?1
                       AND ?2 = 1 + (SELECT coalesce(max(position), 0) FROM log WHERE group_ref = groups.id)";
            let done = sqlx::query(sql)
                .bind(group.0.to_vec())
                .bind(position)
                .bind(length)
                .bind(codec::to_bytes(record))
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(Failure::Refused("an append is not at the end of its log"));
            }
            if *unsent {
                let sql = "INSERT INTO unsent (group_ref, position, length)
                           SELECT id, ?2, ?3 FROM groups WHERE group_id = ?1";
                sqlx::query(sql)
                    .bind(group.0.to_vec())
                    .bind(position)
                    .bind(length)
                    .execute(connection)
                    .await?;
            }
        }
        Write::Replace {
            group,
            record,
            unsent,
        } => {
            let position = clamped(record.position);
            let length = clamped(record.payload.len() as u64);
            let sql = "UPDATE log SET length = ?3, record = ?4
                       WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) AND position = ?2";
            let done = sqlx::query(sql)
                .bind(group.0.to_vec())
                .bind(position)
                .bind(length)
                .bind(codec::to_bytes(record))
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(Failure::Refused("a replaced entry is not in the log"));
            }
            if *unsent {
                let sql = "UPDATE unsent SET length = ?3
                           WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) AND position = ?2";
                sqlx::query(sql)
                    .bind(group.0.to_vec())
                    .bind(position)
                    .bind(length)
                    .execute(connection)
                    .await?;
            }
        }
        Write::Sent {
            group,
            position,
            cursor,
            timestamp,
        } => {
            let position = clamped(*position);
            let sql = "INSERT OR REPLACE INTO sent (group_ref, position, cursor, timestamp)
                       SELECT group_ref, position, ?3, ?4 FROM log
                       WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) AND position = ?2";
            let done = sqlx::query(sql)
                .bind(group.0.to_vec())
                .bind(position)
                .bind(cursor.cast_signed())
                .bind(timestamp.0.cast_signed())
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(Failure::Refused("a sent blob is not in the log"));
            }
            let sql = "DELETE FROM unsent
                       WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) AND position = ?2";
            sqlx::query(sql)
                .bind(group.0.to_vec())
                .bind(position)
                .execute(connection)
                .await?;
        }
        Write::Remove { group } => {
            // Its log, and what is beside it, goes with it.
            sqlx::query("DELETE FROM groups WHERE group_id = ?")
                .bind(group.0.to_vec())
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}
