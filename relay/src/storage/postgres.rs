//! PostgreSQL, or a server that speaks its protocol, for several relays that share it.
//!
//! No extensions, no rights beyond those on its own tables. Writers are *lanes*, each a connection of its own, so that
//! neither the clean-up nor an invite waits behind a large batch; readers are a pool.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewRotation, Page};
use zerok_sync_shared::time::Timestamp;

use super::keys::{KeptKeys, RotateError};
use super::room::Bounds;
use super::snapshots::{PutPart, PutPartError};
use super::{
    Batch, Census, Deletion, Deletions, InviteChange, Kept, OpenError, OpenGroup, PutInviteError,
    Refused, Stats, Storage, StorageError, Sweep, Swept,
};
use crate::cluster::Announcements;
use crate::groups::Groups;
use crate::invites::Invite;
use crate::limits;

mod commit;
mod counts;
mod deletions;
mod groups;
mod invites;
mod keys;
mod lane;
mod lineage;
mod nodes;
mod notices;
mod read;
mod retention;
mod room;
mod rows;
mod snapshots;
#[cfg(test)]
mod tests;

use groups::Found;
use lane::{Lane, Retry, in_transaction};
use lineage::Lineage;
pub(crate) use nodes::NodeRow;
pub(crate) use notices::{Heard, Listener};
use room::SharedRoom;
use rows::{bytes, int, number, wrong};

/// The PostgreSQL storage.
pub struct PostgresStorage {
    options: PgConnectOptions,
    incarnation: Incarnation,
    /// Pushes.
    commits: Lane,
    /// Groups, invites, the clean-up.
    others: Lane,
    /// What the nodes tell each other.
    between_nodes: Lane,
    readers: PgPool,
    announcements: Arc<Announcements>,
    lineage: Arc<Lineage>,
    room: SharedRoom,
}

impl std::fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold the password.
        f.write_str("PostgresStorage")
    }
}

impl PostgresStorage {
    /// Opens a database by its URL, and makes its tables if they are not there. `groups` are told when it is set back.
    ///
    /// # Errors
    /// When it cannot be reached, may not be used, or comes from a newer version.
    pub async fn open(url: &str, groups: &Arc<Groups>) -> Result<Self, StorageError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("zerok-relay")
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
        let lineage = Arc::new(Lineage::new(Arc::clone(groups)));
        let mut connection = lane::connect(&options, &lineage).await?;
        // A migration may take longer than any other statement, and so may waiting for a node that migrates.
        lane::without_timeout(&mut connection).await?;
        sqlx::migrate!("migrations/postgres")
            .run(&mut connection)
            .await
            .map_err(|error| StorageError(format!("it cannot be used: {error}")))?;
        let incarnation = incarnation(&mut connection).await?;
        let _ = connection.close().await;
        let readers =
            PgPoolOptions::new()
                .max_connections(limits::POSTGRES_READERS)
                .acquire_timeout(limits::DATABASE_TIMEOUT)
                .test_before_acquire(false)
                .before_acquire(|connection, about| {
                    Box::pin(async move {
                        // One that was used just now is alive; asking it again and again would double every read.
                        Ok(about.idle_for < limits::TRUST_CONNECTION
                            || connection.ping().await.is_ok())
                    })
                })
                .after_connect(prepared(&lineage))
                .connect_lazy_with(options.clone());
        Ok(Self {
            incarnation,
            commits: Lane::new(options.clone(), Arc::clone(&lineage)),
            others: Lane::new(options.clone(), Arc::clone(&lineage)),
            between_nodes: Lane::new(options.clone(), Arc::clone(&lineage)),
            readers,
            announcements: Arc::default(),
            options,
            lineage,
            room: SharedRoom::default(),
        })
    }

    /// The same with a bound of what all nodes together store: what is new is refused when it is reached.
    #[must_use]
    pub fn bounded(mut self, max_storage: u64) -> Self {
        self.room = SharedRoom::new(Bounds {
            max_storage,
            min_free_disk: 0,
        });
        self
    }

    /// Bytes that can still be stored.
    async fn room(&self) -> Result<u64, StorageError> {
        if let Some(left) = self.room.known() {
            return Ok(left);
        }
        let used = reading!(self.readers, |connection| room::used_bytes(connection))?;
        Ok(self.room.measured(used))
    }

    /// Whether a group that was found is there still, noted as opened from now on if that is due.
    async fn is_kept(&self, found: &Found, open: &OpenGroup) -> bool {
        if found.opened_at >= open.renew_before.0 {
            return true;
        }
        let renewed: Result<bool, StorageError> =
            in_transaction!(self.others, Retry::Lost, |connection| groups::renew(
                connection, open
            ));
        // Where nothing can be written nothing is forgotten, and reading goes on.
        renewed.unwrap_or(true)
    }

    /// What other nodes have to be told of.
    pub(crate) fn announcements(&self) -> Arc<Announcements> {
        Arc::clone(&self.announcements)
    }
}

/// Reads on a connection of the pool, and again on another one if that turns out to be gone.
macro_rules! reading {
    ($readers:expr, |$connection:ident| $work:expr) => {{
        let attempts = async {
            let mut attempt = 0;
            loop {
                let mut pooled = $readers.acquire().await?;
                let $connection: &mut PgConnection = &mut pooled;
                let error = match $work.await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                attempt += 1;
                if !lane::is_lost(&error) || attempt >= limits::DATABASE_ATTEMPTS {
                    return Err(StorageError::from(error));
                }
                pooled.close_on_drop();
            }
        };
        lane::in_time(attempts).await
    }};
}
use reading;

/// What every connection of a pool begins with.
fn prepared(
    lineage: &Arc<Lineage>,
) -> impl for<'c> Fn(&'c mut PgConnection, PoolConnectionMetadata) -> BoxFuture<'c, sqlx::Result<()>>
+ use<> {
    let lineage = Arc::clone(lineage);
    move |connection, _| {
        let lineage = Arc::clone(&lineage);
        Box::pin(async move { lane::prepare(connection, &lineage).await })
    }
}

fn random() -> Result<[u8; 16], StorageError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| StorageError("the system gives no random bytes".into()))?;
    Ok(random)
}

/// The life of the database; the first node that asks begins it.
async fn incarnation(connection: &mut PgConnection) -> Result<Incarnation, StorageError> {
    let random = random()?;
    let sql = "INSERT INTO meta (id, incarnation) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
    sqlx::query(sql)
        .bind(random.as_slice())
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query("SELECT incarnation FROM meta")
        .fetch_one(connection)
        .await?;
    Ok(Incarnation(bytes(&row, 0)?))
}

#[async_trait]
impl Storage for PostgresStorage {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn open_group(&self, open: OpenGroup) -> Result<GroupInfo, OpenError> {
        let found = reading!(self.readers, |connection| groups::look_up(
            connection, &open
        ))?;
        // It may have been forgotten just now.
        let found = match found {
            Some(found) if !self.is_kept(&found, &open).await => None,
            found => found.map(|found| found.info),
        };
        match found {
            Some(info) if info.epoch < open.epoch && !open.chain.is_empty() => {
                let advanced =
                    in_transaction!(self.others, Retry::Lost, |connection| groups::advance(
                        connection, &open
                    ))?;
                let info = advanced.ok_or(OpenError::Unknown)?;
                self.announcements.changed(open.group_id, info.epoch);
                return Ok(info);
            }
            Some(info) => return Ok(info),
            None if !open.create => return Err(OpenError::Unknown),
            None => {}
        }
        if self.room().await? == 0 {
            self.room.tell_full();
            return Err(OpenError::Full);
        }
        let founding = random()?;
        let made = in_transaction!(self.others, Retry::Lost, |connection| groups::make(
            connection, &open, founding
        ))?;
        made.map(|made| made.info).ok_or(OpenError::TooMany)
    }

    async fn rotate(&self, rotation: NewRotation) -> Result<(), RotateError> {
        // Not after a lost connection: whether it was this one that was kept, its author learns from the keys.
        in_transaction!(self.others, Retry::Undone, |connection| keys::rotate(
            connection, &rotation
        ))??;
        let epoch = rotation.certificate.claims.epoch;
        self.announcements.changed(rotation.group_id, epoch);
        Ok(())
    }

    async fn keys_since(
        &self,
        group_id: GroupId,
        device: DeviceId,
        after_epoch: u32,
    ) -> Result<KeysSince, StorageError> {
        reading!(self.readers, |connection| keys::since(
            connection,
            group_id,
            device,
            after_epoch
        ))
    }

    async fn keep_keys(&self, keys: KeptKeys) -> Result<(), StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| keys::keep(
            connection, &keys
        ))
    }

    async fn commit(&self, batch: Batch<'_>) -> Result<Vec<Result<Kept, Refused>>, StorageError> {
        let room = match batch.blobs {
            [] => u64::MAX,
            _ => self.room().await?,
        };
        // A batch whose answer was lost is safe to store again: what is there keeps its cursor.
        let committed = in_transaction!(self.commits, Retry::Lost, |connection| commit::commit(
            connection, &batch, room
        ))?;
        self.room.took(&batch, &committed.answers);
        self.announcements.add(&committed.grown);
        Ok(committed.answers)
    }

    async fn read(
        &self,
        group_id: GroupId,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
    ) -> Result<Page, StorageError> {
        reading!(self.readers, |connection| read::page(
            connection, group_id, after, max_blobs, max_bytes
        ))
    }

    async fn has(&self, group_id: GroupId, ids: Vec<BlobId>) -> Result<Vec<Mark>, StorageError> {
        reading!(self.readers, |connection| read::has(
            connection, group_id, &ids
        ))
    }

    async fn devices(
        &self,
        group_id: GroupId,
        max: usize,
    ) -> Result<Vec<ListedDevice>, StorageError> {
        reading!(self.readers, |connection| read::devices(
            connection, group_id, max
        ))
    }

    async fn expire(&self, now: Timestamp, max_blobs: u32) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| retention::expire(
            connection, now, max_blobs
        ))
    }

    async fn delete_acked(&self, sweep: Sweep) -> Result<Swept, StorageError> {
        let looked = reading!(self.readers, |connection| retention::look(
            connection, &sweep
        ))?;
        let deleted = if looked.is_empty() {
            0
        } else {
            in_transaction!(self.others, Retry::Lost, |connection| {
                retention::drop_payloads(connection, &looked, sweep.max_blobs)
            })?
        };
        Ok(sweep.result(deleted, looked.last))
    }

    async fn delete(&self, deletion: Deletion) -> Result<Deletions, StorageError> {
        let deleted = in_transaction!(self.others, Retry::Lost, |connection| deletions::delete(
            connection, &deletion
        ))?;
        if deleted == Deletions::Done && deletion.force {
            self.announcements.erased(deletion.group_id);
        }
        Ok(deleted)
    }

    async fn drop_deleted(
        &self,
        active_since: Timestamp,
        max_blobs: u32,
    ) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| deletions::drop_due(
            connection,
            active_since,
            max_blobs
        ))
    }

    async fn put_snapshot_part(&self, put: PutPart) -> Result<(), PutPartError> {
        let room = self.room().await?;
        let size = put.new.part.payload.len() as u64;
        let put = in_transaction!(self.others, Retry::Lost, |connection| snapshots::put(
            connection, &put, room
        ))?;
        match put {
            Ok(()) => self.room.add(size),
            Err(PutPartError::Full) => self.room.tell_full(),
            Err(_) => {}
        }
        put
    }

    async fn snapshot_part(
        &self,
        group_id: GroupId,
        part: u32,
    ) -> Result<Option<SnapshotPart>, StorageError> {
        reading!(self.readers, |connection| snapshots::get(
            connection, group_id, part
        ))
    }

    async fn expire_snapshots(
        &self,
        now: Timestamp,
        abandoned_before: Timestamp,
    ) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| snapshots::expire(
            connection,
            now,
            abandoned_before
        ))
    }

    async fn forget_devices(
        &self,
        seen_before: Timestamp,
        max_devices: u32,
    ) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| {
            retention::forget_devices(connection, seen_before, max_devices)
        })
    }

    async fn forget_groups(
        &self,
        opened_before: Timestamp,
        max_groups: u32,
    ) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| {
            retention::forget_groups(connection, opened_before, max_groups)
        })
    }

    /// The server does that by itself.
    async fn shrink(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    async fn put_invite(
        &self,
        invite: &Invite,
        max: u64,
        now: Timestamp,
    ) -> Result<(), PutInviteError> {
        // Not after a lost connection: an invite that is there already could be this one.
        in_transaction!(self.others, Retry::Undone, |connection| invites::put(
            connection, invite, max, now
        ))?
    }

    async fn invite(&self, lookup: InviteLookup) -> Result<Option<Invite>, StorageError> {
        reading!(self.readers, |connection| invites::get(
            connection, lookup, false
        ))
    }

    async fn change_invite(
        &self,
        lookup: InviteLookup,
        mut change: InviteChange<'_>,
    ) -> Result<bool, StorageError> {
        // Whoever claims twice is the same claimant, so a second time after a lost connection is fine.
        in_transaction!(self.others, Retry::Lost, |connection| invites::change(
            connection,
            lookup,
            &mut change
        ))
    }

    async fn expire_invites(&self, now: Timestamp) -> Result<(), StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| invites::expire(
            connection, now
        ))
    }

    async fn stats(&self) -> Result<Stats, StorageError> {
        reading!(self.readers, |connection| counts::stats(connection))
    }

    async fn census(&self, active_since: Timestamp) -> Result<Census, StorageError> {
        reading!(self.readers, |connection| counts::census(
            connection,
            active_since
        ))
    }

    async fn check(&self) -> Result<(), StorageError> {
        // Something that is really written.
        let sql = "UPDATE meta SET checked_at = checked_at + 1";
        in_transaction!(self.others, Retry::Lost, |connection| sqlx::query(sql)
            .execute(connection))?;
        Ok(())
    }

    async fn close(&self) {
        let closing = async {
            self.commits.close().await;
            self.others.close().await;
            self.between_nodes.close().await;
            self.readers.close().await;
        };
        // A server that does not answer keeps nobody from stopping.
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, closing).await;
    }
}
