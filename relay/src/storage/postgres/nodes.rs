//! The table of the relays that share the database.

use std::net::SocketAddr;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use zerok_sync_shared::ids::{DeviceId, RelayId};
use zerok_sync_shared::time::Timestamp;

use super::lane::{self, Retry, in_transaction};
use super::{PostgresStorage, bytes, int, number, reading};
use crate::limits;
use crate::storage::StorageError;
use crate::writer::millis;

/// One relay of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRow {
    pub endpoint_id: RelayId,
    /// Where browsers reach it.
    pub relay_url: String,
    /// Where native devices reach it.
    pub udp_addrs: Vec<SocketAddr>,
}

impl PostgresStorage {
    /// The database's clock. A look at where the server is, too: how far it was then is what it may not fall behind.
    pub(crate) async fn now(&self) -> Result<Timestamp, StorageError> {
        reading!(self.readers, |connection| async {
            self.lineage.check(connection).await?;
            now(connection).await
        })
    }

    /// Says that a node lives, and gives all that live, this one among them. Nodes whose clocks differ still agree: the
    /// time is the database's.
    pub(crate) async fn heartbeat(&self, own: &NodeRow) -> Result<Vec<NodeRow>, StorageError> {
        in_transaction!(self.between_nodes, Retry::Lost, |connection| beat(
            connection, own
        ))
    }

    /// Says that a node is going.
    pub(crate) async fn leave(&self, own: RelayId) -> Result<(), StorageError> {
        let sql = "DELETE FROM nodes WHERE endpoint_id = $1";
        in_transaction!(self.between_nodes, Retry::Lost, |connection| sqlx::query(
            sql
        )
        .bind(own.0.as_slice())
        .execute(connection))?;
        Ok(())
    }
}

async fn now(connection: &mut PgConnection) -> Result<Timestamp, sqlx::Error> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    Ok(Timestamp(number(&row, 0)?))
}

async fn beat(connection: &mut PgConnection, own: &NodeRow) -> Result<Vec<NodeRow>, sqlx::Error> {
    let now = now(&mut *connection).await?;
    let before = |time| int(now.0.saturating_sub(millis(time)));
    let addresses: Vec<String> = own.udp_addrs.iter().map(ToString::to_string).collect();
    let sql = "INSERT INTO nodes (endpoint_id, relay_url, udp_addrs, heartbeat) \
               VALUES ($1, $2, $3, $4) ON CONFLICT (endpoint_id) DO UPDATE SET \
               relay_url = excluded.relay_url, udp_addrs = excluded.udp_addrs, \
               heartbeat = excluded.heartbeat";
    sqlx::query(sql)
        .bind(own.endpoint_id.0.as_slice())
        .bind(&own.relay_url)
        .bind(addresses)
        .bind(int(now.0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM nodes WHERE heartbeat < $1")
        .bind(before(limits::NODE_FORGOTTEN))
        .execute(&mut *connection)
        .await?;
    let sql = "SELECT endpoint_id, relay_url, udp_addrs FROM nodes \
               WHERE heartbeat >= $1 ORDER BY endpoint_id LIMIT $2";
    let rows = sqlx::query(sql)
        .bind(before(limits::NODE_STALE))
        .bind(i64::from(limits::MAX_NODES))
        .fetch_all(connection)
        .await?;
    rows.iter().map(node).collect()
}

fn node(row: &PgRow) -> Result<NodeRow, sqlx::Error> {
    let addresses: Vec<String> = row.try_get(2)?;
    Ok(NodeRow {
        endpoint_id: DeviceId(bytes(row, 0)?),
        relay_url: row.try_get(1)?,
        udp_addrs: addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    })
}
