//! SQLite in WAL mode with `synchronous=FULL`: one connection writes, a few read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{Blob, ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewRotation, Page};
use zerok_sync_shared::time::Timestamp;

use super::keys::{KeptKeys, RotateError};
use super::room::{Bounds, Room};
use super::snapshots::{PutPart, PutPartError, lacks};
use super::{
    Batch, Census, Deletion, Deletions, InviteChange, Kept, LAG_BOUNDS, OpenError, OpenGroup,
    Pending, PutInviteError, Refused, Stats, Storage, StorageError, Sweep, Swept, page,
};
use crate::folder::free_space;
use crate::invites::Invite;
use crate::limits;
use wal::{Reader, Wal};

mod commit;
mod deletions;
mod invites;
pub mod keeper;
mod keys;
mod retention;
mod snapshots;
#[cfg(test)]
mod tests;
mod wal;

/// Name of the database in the data folder.
pub const FILE_NAME: &str = "relay.db";

/// The SQLite storage.
#[derive(Debug)]
pub struct SqliteStorage {
    path: PathBuf,
    options: SqliteConnectOptions,
    /// What the path pointed to when it was opened.
    file: FileId,
    incarnation: Incarnation,
    /// `None` after a failure that left the connection in doubt; the next writer opens another.
    writer: Mutex<Option<SqliteConnection>>,
    /// What writes something else than pushes waits here for its turn, so that pushes wait for one of those at most.
    others: Mutex<()>,
    /// The same for pieces of snapshots.
    pieces: Mutex<()>,
    readers: SqlitePool,
    wal: Wal,
    room: Room,
}

impl SqliteStorage {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or comes from a newer version.
    pub async fn open(folder: &Path) -> Result<Self, StorageError> {
        let path = folder.join(FILE_NAME);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would lose acknowledged pushes in a power cut.
            .synchronous(SqliteSynchronous::Full)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .foreign_keys(true)
            .busy_timeout(limits::DATABASE_TIMEOUT)
            // Done beside the writer instead.
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", limits::WAL_BYTES.to_string())
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
        let mut writer = options.connect().await?;
        sqlx::migrate!("migrations/sqlite")
            .run(&mut writer)
            .await
            .map_err(|error| StorageError::from_database(&error))?;
        let row = sqlx::query("SELECT incarnation FROM meta")
            .fetch_one(&mut writer)
            .await?;
        let incarnation = Incarnation(bytes(&row, 0)?);
        let readers = SqlitePoolOptions::new()
            .max_connections(limits::READERS)
            .acquire_timeout(limits::DATABASE_TIMEOUT)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await?;
        let file = FileId::of(&path)?;
        let writer = Mutex::new(Some(writer));
        let wal = Wal::beside(&path, options.connect().await?);
        Ok(Self {
            path,
            options,
            file,
            incarnation,
            writer,
            others: Mutex::new(()),
            pieces: Mutex::new(()),
            readers,
            wal,
            room: Room::default(),
        })
    }

    /// The same with bounds: what is new is refused when they are reached.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Self {
        self.room = Room::new(bounds);
        self
    }

    /// Bytes that can still be stored.
    async fn room(&self, connection: &mut SqliteConnection) -> Result<u64, StorageError> {
        let Bounds {
            max_storage,
            min_free_disk,
        } = self.room.bounds;
        let used = match max_storage {
            0 => 0,
            _ => retention::used_bytes(connection).await?,
        };
        let folder = self.path.parent().filter(|_| min_free_disk > 0);
        Ok(self.room.left(used, folder.and_then(free_space)))
    }

    /// Whether the database is still the file at its path. SQLite would go on writing to one that was deleted or
    /// replaced, and everything acknowledged from then on would be gone with the process.
    fn check_file(&self) -> Result<(), StorageError> {
        if FileId::of(&self.path)? == self.file {
            Ok(())
        } else {
            Err(StorageError(
                "the database file was replaced; restart the relay".into(),
            ))
        }
    }

    async fn reader(&self) -> Result<Reader<'_>, StorageError> {
        self.wal.reader(&self.readers).await
    }

    /// What is at a cursor.
    async fn mark(&self, group_ref: i64, cursor: u64) -> Result<Option<Mark>, StorageError> {
        let sql = "SELECT cursor, blob_id, timestamp FROM blobs WHERE group_ref = ? AND cursor = ?";
        let query = sqlx::query(sql).bind(group_ref).bind(int(cursor));
        let row = query.fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(mark).transpose()
    }

    /// Deletes what is left of snapshots that nobody wants any more.
    async fn clear_snapshots(&self) -> Result<(), StorageError> {
        loop {
            let unwanted = snapshots::unwanted(&mut *self.reader().await?).await?;
            let Some(unwanted) = unwanted else {
                return Ok(());
            };
            self.write_piece(async |connection| snapshots::clear(connection, unwanted).await)
                .await?;
        }
    }

    /// Whether a group that was found is there still, noted as opened from now on if that is due.
    async fn is_kept(&self, found: &SqliteRow, open: &OpenGroup) -> Result<bool, StorageError> {
        if number(found, 9)? >= open.renew_before.0 {
            return Ok(true);
        }
        let renewed = self.write::<_, StorageError>(async |connection| {
            let sql = "UPDATE groups SET opened_at = max(opened_at, ?) WHERE group_id = ?";
            let renew = sqlx::query(sql).bind(int(open.now.0));
            let renew = renew.bind(open.group_id.0.to_vec()).execute(connection);
            Ok(renew.await?.rows_affected() > 0)
        });
        // Where nothing can be written nothing is forgotten, and reading goes on.
        Ok(renewed.await.unwrap_or(true))
    }

    /// The same as [`Self::commit_one`] for what is no push.
    async fn write<T, E: From<StorageError>>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = self.others.lock().await;
        self.commit_one(work).await
    }

    /// The same for a piece of a snapshot, after which snapshots rest: they can wait, and pushes find the disk free.
    async fn write_piece<T, E: From<StorageError>>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = self.pieces.lock().await;
        let started = Instant::now();
        let written = self.write(work).await;
        sleep(limits::PIECE_REST * started.elapsed()).await;
        written
    }

    /// Runs `work` in a transaction of the writing connection: all of it is kept, or nothing.
    async fn commit_one<T, E: From<StorageError>>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.check_file()?;
        let mut slot = self.writer.lock().await;
        // Taken out, so that a transaction that is given up half-way cannot be found by the next one.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(StorageError::from)?,
        };
        let result = in_transaction(&mut connection, work).await;
        let clean = result.is_ok() || rolled_back(&mut connection).await;
        if clean {
            self.wal.keep_short(&mut connection).await;
            *slot = Some(connection);
        }
        result
    }
}

async fn in_transaction<T, E: From<StorageError>>(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
) -> Result<T, E> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    let value = work(connection).await?;
    execute(connection, "COMMIT").await?;
    Ok(value)
}

/// Ends what is left of a failed transaction. SQLite has ended it by itself after some failures.
async fn rolled_back(connection: &mut SqliteConnection) -> bool {
    match execute(connection, "ROLLBACK").await {
        Ok(()) => true,
        Err(error) => error.0.contains("no transaction is active"),
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StorageError> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// A page: group, after which cursor, how many rows and one more, bytes of payload, rows to walk over. One statement, so that
/// the page and max_cursor are of one moment. Payloads of rows past the bytes are not loaded; the row more tells whether there
/// is more.
const READ: &str = "
    WITH of_group AS (
        SELECT g.id, g.max_cursor, (
            SELECT cursor FROM blobs WHERE group_ref = g.id AND cursor > max(?2, g.dropped_to)
            ORDER BY cursor LIMIT 1
        ) AS first FROM groups g WHERE g.group_id = ?1
    ), wanted AS (
        SELECT id, cursor, size FROM blobs
        WHERE group_ref = (SELECT id FROM of_group) AND cursor >= (SELECT first FROM of_group)
          AND cursor < (SELECT first FROM of_group) + ?5 AND size > 0
        ORDER BY cursor LIMIT ?3
    ), page AS (
        SELECT id, size, sum(size) OVER (ORDER BY cursor) AS total FROM wanted
    )
    SELECT g.max_cursor, p.id, b.cursor, b.blob_id, b.sender, b.epoch, b.timestamp, b.expires_at,
           b.payload, g.first
    FROM of_group g
    LEFT JOIN page p
    LEFT JOIN blobs b ON b.id = p.id AND (p.total <= ?4 OR p.total = p.size)";

#[async_trait]
impl Storage for SqliteStorage {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn open_group(&self, open: OpenGroup) -> Result<GroupInfo, OpenError> {
        let find = "SELECT id, max_cursor, epoch, access_pub, EXISTS (\
                        SELECT 1 FROM rotations WHERE group_ref = groups.id AND revoked = ?2\
                    ), \
                    (SELECT covers FROM snapshots WHERE group_ref = groups.id AND complete = 1), \
                    dropped_to, \
                    (SELECT cursor FROM blobs WHERE group_ref = groups.id AND cursor > ?3 \
                     ORDER BY cursor LIMIT 1), \
                    founding, opened_at \
                    FROM groups WHERE group_id = ?1";
        let find = || {
            let query = sqlx::query(find).bind(open.group_id.0.to_vec());
            let query = query.bind(open.device.0.to_vec());
            query.bind(int(open.after_cursor))
        };
        let group_info = |row: &SqliteRow| group_info(row, open.after_cursor);
        let found = find()
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(StorageError::from)?;
        // It may have been forgotten just now.
        let found = match found {
            Some(row) if !self.is_kept(&row, &open).await? => None,
            found => found,
        };
        if let Some(row) = found {
            let mut info = group_info(&row)?;
            if info.epoch < open.epoch && !open.chain.is_empty() {
                let find = &find;
                info = self
                    .write::<_, StorageError>(async |connection| {
                        keys::advance(connection, &open).await?;
                        group_info(&find().fetch_one(connection).await?)
                    })
                    .await?;
            }
            let group_ref: i64 = row.try_get(0).map_err(StorageError::from)?;
            for cursor in &open.marks {
                info.marks.extend(self.mark(group_ref, *cursor).await?);
            }
            return Ok(info);
        }
        if !open.create {
            return Err(OpenError::Unknown);
        }
        self.write(async |connection| {
            let count = sqlx::query("SELECT count(*) FROM groups").fetch_one(&mut *connection);
            let count = number(&count.await.map_err(StorageError::from)?, 0)?;
            let before = find().fetch_optional(&mut *connection).await;
            let is_new = before.map_err(StorageError::from)?.is_none();
            if is_new && self.room(connection).await? == 0 {
                self.room.tell_full();
                return Err(OpenError::Full);
            }
            if count < open.max_groups && is_new {
                let insert = "INSERT INTO groups (group_id, access_pub, epoch, created_at, founding, opened_at) \
                              VALUES (?1, ?2, ?3, ?4, randomblob(16), ?4)";
                sqlx::query(insert)
                    .bind(open.group_id.0.to_vec())
                    .bind(open.access_pub.to_vec())
                    .bind(open.epoch)
                    .bind(int(open.now.0))
                    .execute(&mut *connection)
                    .await
                    .map_err(StorageError::from)?;
                let group = sqlx::query("SELECT last_insert_rowid()").fetch_one(&mut *connection);
                let group = group.await.map_err(StorageError::from)?;
                let group: i64 = group.try_get(0).map_err(StorageError::from)?;
                for link in &open.chain {
                    keys::add_link(connection, group, link, None).await?;
                }
            }
            // Another session may have made it in the meantime.
            let found = find().fetch_optional(&mut *connection).await;
            let found = found.map_err(StorageError::from)?;
            Ok(group_info(&found.ok_or(OpenError::TooMany)?)?)
        })
        .await
    }

    async fn rotate(&self, rotation: NewRotation) -> Result<(), RotateError> {
        self.write(async |connection| keys::rotate(connection, &rotation).await)
            .await
    }

    async fn keys_since(
        &self,
        group_id: GroupId,
        device: DeviceId,
        after_epoch: u32,
    ) -> Result<KeysSince, StorageError> {
        let mut reader = self.reader().await?;
        keys::since(&mut reader, group_id, device, after_epoch).await
    }

    async fn keep_keys(&self, keys: KeptKeys) -> Result<(), StorageError> {
        self.write(async |connection| keys::keep(connection, &keys).await)
            .await
    }

    async fn commit(&self, batch: Batch<'_>) -> Result<Vec<Result<Kept, Refused>>, StorageError> {
        let bytes = |pending: &Pending| pending.blob.payload.len() + limits::WAITING_BLOB;
        let bytes: usize = batch.blobs.iter().map(bytes).sum();
        self.wal.writes(bytes as u64);
        let answers = self
            .commit_one::<_, StorageError>(async |connection| {
                let room = match batch.blobs {
                    [] => u64::MAX,
                    _ => self.room(connection).await?,
                };
                commit::commit(connection, &batch, room).await
            })
            .await?;
        if answers.contains(&Err(Refused::Full)) {
            self.room.tell_full();
        }
        Ok(answers)
    }

    async fn read(
        &self,
        group_id: GroupId,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
    ) -> Result<Page, StorageError> {
        let rows = sqlx::query(READ)
            .bind(group_id.0.to_vec())
            .bind(int(after))
            .bind(i64::from(max_blobs) + 1)
            .bind(int(max_bytes as u64))
            .bind(int(limits::WALKED_ROWS))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let mut max_cursor = 0;
        let mut first = None;
        let mut found = 0;
        let mut blobs = Vec::with_capacity(rows.len());
        for row in &rows {
            max_cursor = number(row, 0)?;
            first = row.try_get::<Option<i64>, _>(9)?;
            if row.try_get::<Option<i64>, _>(1)?.is_some() {
                found += 1;
            }
            if row.try_get::<Option<i64>, _>(2)?.is_some() {
                blobs.push(blob(row)?);
            }
        }
        blobs.sort_unstable_by_key(|blob| blob.cursor);
        blobs.truncate(max_blobs as usize);
        let first = first.and_then(|first| u64::try_from(first).ok());
        Ok(page(blobs, found, first, max_cursor))
    }

    async fn has(&self, group_id: GroupId, ids: Vec<BlobId>) -> Result<Vec<Mark>, StorageError> {
        let sql = "
            SELECT b.cursor, b.blob_id, b.timestamp FROM json_each(?1) j
            JOIN blobs b ON b.blob_id = unhex(j.value)
            WHERE b.group_ref = (SELECT id FROM groups WHERE group_id = ?2) ORDER BY j.key";
        let rows = sqlx::query(sql)
            .bind(json_hex(ids.iter().map(|id| id.0.as_slice())))
            .bind(group_id.0.to_vec())
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(mark).collect()
    }

    async fn devices(
        &self,
        group_id: GroupId,
        max: usize,
    ) -> Result<Vec<ListedDevice>, StorageError> {
        let sql = "
            SELECT d.device_id, d.last_seen, d.acked FROM devices d
            WHERE d.group_ref = (SELECT id FROM groups WHERE group_id = ?1)
            ORDER BY d.last_seen DESC LIMIT ?2";
        let rows = sqlx::query(sql)
            .bind(group_id.0.to_vec())
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(listed_device).collect()
    }

    async fn expire(&self, now: Timestamp, max_blobs: u32) -> Result<u64, StorageError> {
        self.write(async |connection| retention::expire(connection, now, max_blobs).await)
            .await
    }

    async fn delete_acked(&self, sweep: Sweep) -> Result<Swept, StorageError> {
        let looked = retention::look(&mut *self.reader().await?, &sweep).await?;
        let deleted = if looked.ranges.is_empty() {
            0
        } else {
            let ranges = &looked.ranges;
            self.write(async |connection| {
                retention::drop_payloads(connection, ranges, sweep.max_blobs).await
            })
            .await?
        };
        Ok(sweep.result(deleted, looked.last))
    }

    async fn delete(&self, deletion: Deletion) -> Result<Deletions, StorageError> {
        self.write(async |connection| deletions::delete(connection, &deletion).await)
            .await
    }

    async fn drop_deleted(
        &self,
        active_since: Timestamp,
        max_blobs: u32,
    ) -> Result<u64, StorageError> {
        let mut reader = self.reader().await?;
        let due = deletions::due(&mut reader, active_since, max_blobs).await?;
        drop(reader);
        if !due.is_empty() {
            self.write(async |connection| deletions::drop_due(connection, &due).await)
                .await?;
        }
        Ok(due.len() as u64)
    }
    async fn put_snapshot_part(&self, put: PutPart) -> Result<(), PutPartError> {
        self.wal.writes(put.new.part.payload.len() as u64);
        for piece in 0..snapshots::pieces(&put) {
            let stored = self.write_piece(async |connection| {
                let room = self.room(connection).await?;
                snapshots::put(connection, &put, piece, room).await
            });
            let stored = stored.await;
            if matches!(stored, Err(PutPartError::Full)) {
                self.room.tell_full();
            }
            stored?;
        }
        self.clear_snapshots().await.map_err(PutPartError::from)
    }

    async fn snapshot_part(
        &self,
        group_id: GroupId,
        part: u32,
    ) -> Result<Option<SnapshotPart>, StorageError> {
        snapshots::get(&mut *self.reader().await?, group_id, part).await
    }

    async fn expire_snapshots(
        &self,
        now: Timestamp,
        abandoned_before: Timestamp,
    ) -> Result<u64, StorageError> {
        let expiring = self
            .write(async |connection| snapshots::expire(connection, now, abandoned_before).await);
        let expired = expiring.await?;
        self.clear_snapshots().await?;
        Ok(expired)
    }

    async fn forget_devices(
        &self,
        seen_before: Timestamp,
        max_devices: u32,
    ) -> Result<u64, StorageError> {
        let mut reader = self.reader().await?;
        let gone = retention::gone_devices(&mut reader, seen_before, max_devices).await?;
        drop(reader);
        if gone.is_empty() {
            return Ok(0);
        }
        self.write(async |connection| {
            retention::forget_devices(connection, &gone, seen_before).await
        })
        .await
    }

    async fn forget_groups(
        &self,
        opened_before: Timestamp,
        max_groups: u32,
    ) -> Result<u64, StorageError> {
        let mut reader = self.reader().await?;
        let unused = retention::unused_groups(&mut reader, opened_before, max_groups).await?;
        drop(reader);
        if unused.is_empty() {
            return Ok(0);
        }
        self.write(async |connection| {
            retention::forget_groups(connection, &unused, opened_before).await
        })
        .await
    }

    async fn shrink(&self) -> Result<bool, StorageError> {
        let spare = retention::spare_pages(&mut *self.reader().await?).await?;
        if spare == 0 {
            return Ok(false);
        }
        self.write(async |connection| retention::vacuum(connection, spare).await)
            .await?;
        let more = spare > limits::VACUUM_PAGES;
        if !more {
            // Only now does the file become shorter.
            self.wal.move_all().await?;
            self.write::<_, StorageError>(async |_| Ok(())).await?;
        }
        Ok(more)
    }

    async fn put_invite(
        &self,
        invite: &Invite,
        max: u64,
        now: Timestamp,
    ) -> Result<(), PutInviteError> {
        self.write(async |connection| invites::put(connection, invite, max, now).await)
            .await
    }

    async fn invite(&self, lookup: InviteLookup) -> Result<Option<Invite>, StorageError> {
        let mut connection = self.reader().await?;
        invites::get(&mut connection, lookup).await
    }

    async fn change_invite(
        &self,
        lookup: InviteLookup,
        change: InviteChange<'_>,
    ) -> Result<bool, StorageError> {
        self.write(async |connection| invites::change(connection, lookup, change).await)
            .await
    }

    async fn expire_invites(&self, now: Timestamp) -> Result<(), StorageError> {
        self.write(async |connection| invites::expire(connection, now).await)
            .await
    }

    async fn stats(&self) -> Result<Stats, StorageError> {
        let sql = "SELECT count(*), coalesce(sum(blob_count), 0), coalesce(sum(bytes_used), 0) FROM groups";
        let row = sqlx::query(sql)
            .fetch_one(&mut *self.reader().await?)
            .await?;
        Ok(Stats {
            groups: number(&row, 0)?,
            blobs: number(&row, 1)?,
            bytes: number(&row, 2)?,
        })
    }

    async fn census(&self, active_since: Timestamp) -> Result<Census, StorageError> {
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
        let row = query.fetch_one(&mut *self.reader().await?).await?;
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
        // Something that needs room, and is really written.
        let fill = "INSERT INTO probe (filler) VALUES (zeroblob(65536))";
        self.write::<_, StorageError>(async |connection| execute(connection, fill).await)
            .await?;
        self.write(async |connection| execute(connection, "DELETE FROM probe").await)
            .await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.wal.close().await;
        if let Some(mut connection) = self.writer.lock().await.take() {
            let _ = execute(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
            let _ = connection.close().await;
        }
    }
}

fn group_info(row: &SqliteRow, after: u64) -> Result<GroupInfo, StorageError> {
    let covers: Option<i64> = row.try_get(5)?;
    let covers = covers.and_then(|covers| u64::try_from(covers).ok());
    let next: Option<i64> = row.try_get(7)?;
    let next = next.and_then(|next| u64::try_from(next).ok());
    Ok(GroupInfo {
        founding: bytes(row, 8)?,
        snapshot: covers,
        lacking: lacks(after, number(row, 1)?, number(row, 6)?, next),
        max_cursor: number(row, 1)?,
        epoch: row.try_get(2)?,
        access_pub: bytes(row, 3)?,
        marks: Vec::new(),
        revoked: row.try_get(4)?,
    })
}

fn listed_device(row: &SqliteRow) -> Result<ListedDevice, StorageError> {
    Ok(ListedDevice {
        device: DeviceId(bytes(row, 0)?),
        last_seen: Timestamp(number(row, 1)?),
        acked: number(row, 2)?,
        online: false,
    })
}

fn mark(row: &SqliteRow) -> Result<Mark, StorageError> {
    Ok(Mark {
        cursor: number(row, 0)?,
        blob_id: BlobId(bytes(row, 1)?),
        timestamp: Timestamp(number(row, 2)?),
    })
}

fn blob(row: &SqliteRow) -> Result<Blob, StorageError> {
    let timestamp = Timestamp(number(row, 6)?);
    let lives = Timestamp(number(row, 7)?).since(timestamp);
    Ok(Blob {
        cursor: number(row, 2)?,
        blob_id: BlobId(bytes(row, 3)?),
        sender: DeviceId(bytes(row, 4)?),
        epoch: row.try_get(5)?,
        timestamp,
        ttl: u32::try_from(lives.as_secs()).unwrap_or(u32::MAX),
        payload: row.try_get::<Vec<u8>, _>(8)?.into(),
    })
}

/// SQLite's integers are signed; ours beyond that range mean "as large as can be".
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, StorageError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| StorageError("a number is negative".into()))
}

fn bytes<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], StorageError> {
    let value: &[u8] = row.try_get(column)?;
    value
        .try_into()
        .map_err(|_| StorageError("a byte string has a wrong length".into()))
}

/// A JSON array of hex strings, with which one prepared statement asks for any number of ids.
fn json_hex<'a>(ids: impl Iterator<Item = &'a [u8]>) -> String {
    let mut json = String::from("[");
    for id in ids {
        if json.len() > 1 {
            json.push(',');
        }
        json.push('"');
        data_encoding::HEXLOWER.encode_append(id, &mut json);
        json.push('"');
    }
    json.push(']');
    json
}

/// Which file a path points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> Result<Self, StorageError> {
        let data = std::fs::metadata(path)
            .map_err(|error| StorageError(format!("the database file is gone: {error}")))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(Self(data.dev(), data.ino()))
        }
        #[cfg(not(unix))]
        {
            let _ = data;
            Ok(Self(0, 0))
        }
    }
}
