//! NOTIFY and LISTEN: how a node hears that another one has stored something.

use sqlx::PgConnection;
use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use tokio::time::timeout;
use zerok_sync_shared::ids::GroupId;

use super::lane::{self, Retry, in_transaction};
use super::{PostgresStorage, bytes, number, prepared, reading, wrong};
use crate::groups::News;
use crate::limits;
use crate::storage::StorageError;

/// Of what is stored; and of what is not.
const CHANNEL: &str = "zerok_relay";
const LIVE_CHANNEL: &str = "zerok_relay_live";

/// What came of listening.
pub(crate) enum Heard {
    /// Somebody said this.
    Notice(String),
    /// Somebody said this of what is not stored.
    Live(String),
    /// For a while nobody was listening; it goes on now.
    Missed,
}

/// A connection that listens.
pub(crate) struct Listener(PgListener);

impl Listener {
    /// Waits for what comes next.
    pub async fn next(&mut self) -> Result<Heard, StorageError> {
        Ok(match self.0.try_recv().await? {
            Some(notice) if notice.channel() == LIVE_CHANNEL => {
                Heard::Live(notice.payload().to_owned())
            }
            Some(notice) => Heard::Notice(notice.payload().to_owned()),
            None => Heard::Missed,
        })
    }
}

impl PostgresStorage {
    /// Begins to listen; `None` on a server that has no notices.
    pub(crate) async fn listen(&self) -> Result<Option<Listener>, StorageError> {
        // A pool of its own for one connection that is never given back, as sqlx wants it.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limits::DATABASE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(prepared(&self.lineage))
            .connect_lazy_with(self.options.clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen_all([CHANNEL, LIVE_CHANNEL]).await?;
            Ok(listener)
        };
        match timeout(limits::DATABASE_TIMEOUT, listening).await {
            Ok(Ok(listener)) => Ok(Some(Listener(listener))),
            // Feature not supported, syntax error.
            Ok(Err(error)) if matches!(lane::code(&error), Some("0A000" | "42601")) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StorageError("the database does not answer".into())),
        }
    }

    /// Tells all nodes. Not within the transaction that stored the blobs: PostgreSQL lets only one transaction with a
    /// notice commit at a time, so the nodes would wait for each other's disk writes.
    pub(crate) async fn notify(&self, notices: &[String]) -> Result<(), StorageError> {
        self.say(CHANNEL, notices).await
    }

    /// Tells all nodes what is not stored.
    pub(crate) async fn notify_live(&self, notices: &[String]) -> Result<(), StorageError> {
        self.say(LIVE_CHANNEL, notices).await
    }

    async fn say(&self, channel: &str, notices: &[String]) -> Result<(), StorageError> {
        let sql = "SELECT pg_notify($1, said) FROM unnest($2::text[]) AS said";
        in_transaction!(self.between_nodes, Retry::Lost, |connection| sqlx::query(
            sql
        )
        .bind(channel)
        .bind(notices)
        .execute(connection))?;
        Ok(())
    }

    /// The newest cursors and epochs of these groups.
    pub(crate) async fn newest(
        &self,
        groups: &[GroupId],
    ) -> Result<Vec<(GroupId, News)>, StorageError> {
        let ids: Vec<&[u8]> = groups.iter().map(|group| group.0.as_slice()).collect();
        let sql = "SELECT group_id, max_cursor, epoch FROM groups WHERE group_id = ANY($1)";
        let rows = reading!(self.readers, |connection| sqlx::query(sql)
            .bind(&ids)
            .fetch_all(connection))?;
        let newest = |row: &PgRow| {
            let epoch =
                u32::try_from(number(row, 2)?).map_err(|_| wrong("an epoch is too large"))?;
            let cursor = number(row, 1)?;
            Ok((GroupId(bytes(row, 0)?), News { cursor, epoch }))
        };
        let newest: Result<_, sqlx::Error> = rows.iter().map(newest).collect();
        Ok(newest?)
    }
}
