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
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::timeout;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{Blob, ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewRotation, Page};
use zerok_sync_shared::time::Timestamp;

use super::keys::{KeptKeys, RotateError};
use super::room::Bounds;
use super::snapshots::{PutPart, PutPartError, lacks};
use super::{
    Batch, Census, Deletion, Deletions, InviteChange, Kept, LAG_BOUNDS, OpenError, OpenGroup,
    PutInviteError, Refused, Stats, Storage, StorageError, Sweep, Swept, page,
};
use crate::cluster::Announcements;
use crate::groups::Groups;
use crate::invites::Invite;
use crate::limits;

mod commit;
mod deletions;
mod invites;
mod keys;
mod lane;
mod lineage;
mod nodes;
mod notices;
mod retention;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;

use lane::{Lane, Retry, in_transaction};
use lineage::Lineage;
pub(crate) use nodes::NodeRow;
pub(crate) use notices::{Heard, Listener};
use room::SharedRoom;

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

impl PostgresStorage {
    /// Whether a group that was found is there still, noted as opened from now on if that is due.
    async fn is_kept(&self, found: &Found, open: &OpenGroup) -> bool {
        if found.opened_at >= open.renew_before.0 {
            return true;
        }
        let renewed: Result<bool, StorageError> =
            in_transaction!(self.others, Retry::Lost, |connection| renew(
                connection, open
            ));
        // Where nothing can be written nothing is forgotten, and reading goes on.
        renewed.unwrap_or(true)
    }
}

#[async_trait]
impl Storage for PostgresStorage {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn open_group(&self, open: OpenGroup) -> Result<GroupInfo, OpenError> {
        let found = reading!(self.readers, |connection| look_up(connection, &open))?;
        // It may have been forgotten just now.
        let found = match found {
            Some(found) if !self.is_kept(&found, &open).await => None,
            found => found.map(|found| found.info),
        };
        match found {
            Some(info) if info.epoch < open.epoch && !open.chain.is_empty() => {
                let advanced = in_transaction!(self.others, Retry::Lost, |connection| advance(
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
        let made = in_transaction!(self.others, Retry::Lost, |connection| make_group(
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
        // One statement, so that the page and max_cursor are of one moment. Payloads of rows past `max_bytes` are not
        // sent; one row more than asked for tells whether there is more.
        let sql = "
            SELECT g.max_cursor, p.cursor, p.blob_id, p.sender, p.epoch, p.timestamp, p.expires_at,
                   CASE WHEN p.total <= $4 OR p.total = p.size THEN p.payload END, f.cursor
            FROM groups g
            LEFT JOIN LATERAL (
                SELECT cursor FROM blobs WHERE group_ref = g.id AND cursor > greatest($2, g.dropped_to)
                ORDER BY cursor LIMIT 1
            ) f ON true
            LEFT JOIN LATERAL (
                SELECT w.*, sum(w.size) OVER (ORDER BY w.cursor) AS total FROM (
                    SELECT * FROM blobs WHERE group_ref = g.id AND cursor >= f.cursor
                      AND cursor < f.cursor + $5 AND size > 0
                    ORDER BY cursor LIMIT $3
                ) w
            ) p ON true
            WHERE g.group_id = $1
            ORDER BY p.cursor";
        let rows = reading!(self.readers, |connection| sqlx::query(sql)
            .bind(group_id.0.as_slice())
            .bind(int(after))
            .bind(i64::from(max_blobs) + 1)
            .bind(int(max_bytes as u64))
            .bind(int(limits::WALKED_ROWS))
            .fetch_all(connection))?;
        Ok(read_page(&rows, max_blobs as usize)?)
    }

    async fn has(&self, group_id: GroupId, ids: Vec<BlobId>) -> Result<Vec<Mark>, StorageError> {
        let sql = "
            SELECT b.cursor, b.blob_id, b.timestamp
            FROM unnest($1::bytea[]) WITH ORDINALITY AS asked (blob_id, place)
            JOIN blobs b ON b.blob_id = asked.blob_id
            WHERE b.group_ref = (SELECT id FROM groups WHERE group_id = $2) ORDER BY asked.place";
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
        let rows = reading!(self.readers, |connection| sqlx::query(sql)
            .bind(&ids)
            .bind(group_id.0.as_slice())
            .fetch_all(connection))?;
        let marks: Result<Vec<_>, _> = rows.iter().map(mark).collect();
        Ok(marks?)
    }

    async fn devices(
        &self,
        group_id: GroupId,
        max: usize,
    ) -> Result<Vec<ListedDevice>, StorageError> {
        let sql = "
            SELECT d.device_id, d.last_seen, d.acked FROM devices d
            WHERE d.group_ref = (SELECT id FROM groups WHERE group_id = $1)
            ORDER BY d.last_seen DESC LIMIT $2";
        let rows = reading!(self.readers, |connection| sqlx::query(sql)
            .bind(group_id.0.as_slice())
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .fetch_all(connection))?;
        let devices: Result<Vec<_>, _> = rows.iter().map(listed_device).collect();
        Ok(devices?)
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

    /// The server does that by itself.
    async fn forget_groups(
        &self,
        opened_before: Timestamp,
        max_groups: u32,
    ) -> Result<u64, StorageError> {
        in_transaction!(self.others, Retry::Lost, |connection| {
            retention::forget_groups(connection, opened_before, max_groups)
        })
    }

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
        let sql = "SELECT count(*), coalesce(sum(blob_count), 0)::bigint, \
                   coalesce(sum(bytes_used), 0)::bigint FROM groups";
        let row = reading!(self.readers, |connection| sqlx::query(sql)
            .fetch_one(connection))?;
        Ok(Stats {
            groups: number(&row, 0)?,
            blobs: number(&row, 1)?,
            bytes: number(&row, 2)?,
        })
    }

    async fn census(&self, active_since: Timestamp) -> Result<Census, StorageError> {
        let sql = "
            SELECT count(*), coalesce(sum(lag), 0)::bigint,
                   count(*) FILTER (WHERE lag <= $2), count(*) FILTER (WHERE lag <= $3),
                   count(*) FILTER (WHERE lag <= $4), count(*) FILTER (WHERE lag <= $5),
                   count(*) FILTER (WHERE lag <= $6), count(*) FILTER (WHERE lag <= $7)
            FROM (
                SELECT greatest(g.max_cursor - d.acked, 0) AS lag
                FROM devices d JOIN groups g ON g.id = d.group_ref WHERE d.last_seen >= $1
            ) AS active";
        let row = reading!(self.readers, |connection| {
            let query = sqlx::query(sql).bind(int(active_since.0));
            let query = LAG_BOUNDS
                .into_iter()
                .fold(query, |query, bound| query.bind(int(bound)));
            query.fetch_one(connection)
        })?;
        let mut census = Census {
            stats: self.stats().await?,
            active_devices: number(&row, 0)?,
            lag_sum: number(&row, 1)?,
            ..Census::default()
        };
        for (at, up_to) in census.lag_up_to.iter_mut().enumerate() {
            *up_to = number(&row, at + 2)?;
        }
        Ok(census)
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

/// A group with what is at the cursors that were asked for.
async fn look_up(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<Option<Found>, sqlx::Error> {
    let Some(mut found) = find_group(connection, open).await? else {
        return Ok(None);
    };
    if !open.marks.is_empty() {
        found.info.marks = marks(connection, found.key, &open.marks).await?;
    }
    Ok(Some(found))
}

/// Notes that a group is opened now; `false` if it is not there.
async fn renew(connection: &mut PgConnection, open: &OpenGroup) -> Result<bool, sqlx::Error> {
    let sql = "UPDATE groups SET opened_at = greatest(opened_at, $1) WHERE group_id = $2";
    let renewed = sqlx::query(sql)
        .bind(int(open.now.0))
        .bind(open.group_id.0.as_slice())
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Makes a group if there is room for it, and finds it: another session may have made it in the meantime.
async fn make_group(
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
    find_group(connection, open).await
}

/// Moves a group to the newest epoch of a chain, and finds it.
async fn advance(
    connection: &mut PgConnection,
    open: &OpenGroup,
) -> Result<Option<GroupInfo>, sqlx::Error> {
    keys::advance(connection, open).await?;
    let found = look_up(connection, open).await?;
    Ok(found.map(|found| found.info))
}

/// A group that is there.
struct Found {
    key: i64,
    /// When it was last opened, or somewhat before.
    opened_at: u64,
    info: GroupInfo,
}

async fn find_group(
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

fn read_page(rows: &[PgRow], max_blobs: usize) -> Result<Page, sqlx::Error> {
    let mut max_cursor = 0;
    let mut first = None;
    let mut found = 0;
    let mut blobs = Vec::with_capacity(rows.len());
    for row in rows {
        max_cursor = number(row, 0)?;
        first = row.try_get::<Option<i64>, _>(8)?;
        if row.try_get::<Option<i64>, _>(1)?.is_none() {
            continue;
        }
        found += 1;
        if blobs.len() < max_blobs
            && let Some(payload) = row.try_get::<Option<Vec<u8>>, _>(7)?
        {
            blobs.push(blob(row, payload)?);
        }
    }
    let first = first.and_then(|first| u64::try_from(first).ok());
    Ok(page(blobs, found, first, max_cursor))
}

fn blob(row: &PgRow, payload: Vec<u8>) -> Result<Blob, sqlx::Error> {
    let timestamp = Timestamp(number(row, 5)?);
    let lives = Timestamp(number(row, 6)?).since(timestamp);
    Ok(Blob {
        cursor: number(row, 1)?,
        blob_id: BlobId(bytes(row, 2)?),
        sender: DeviceId(bytes(row, 3)?),
        epoch: u32::try_from(number(row, 4)?).map_err(|_| wrong("an epoch is too large"))?,
        timestamp,
        ttl: u32::try_from(lives.as_secs()).unwrap_or(u32::MAX),
        payload: payload.into(),
    })
}

fn listed_device(row: &PgRow) -> Result<ListedDevice, sqlx::Error> {
    Ok(ListedDevice {
        device: DeviceId(bytes(row, 0)?),
        last_seen: Timestamp(number(row, 1)?),
        acked: number(row, 2)?,
        online: false,
    })
}

fn mark(row: &PgRow) -> Result<Mark, sqlx::Error> {
    Ok(Mark {
        cursor: number(row, 0)?,
        blob_id: BlobId(bytes(row, 1)?),
        timestamp: Timestamp(number(row, 2)?),
    })
}

/// PostgreSQL's integers are signed; ours beyond that range mean "as large as can be".
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn number(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| wrong("a number is negative"))
}

fn bytes<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    let value: &[u8] = row.try_get(column)?;
    value
        .try_into()
        .map_err(|_| wrong("a byte string has a wrong length"))
}

/// The database holds something that the relay did not write.
fn wrong(text: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(text.into())
}
