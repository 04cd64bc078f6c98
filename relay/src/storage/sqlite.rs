//! SQLite in WAL mode with `synchronous=FULL`: one connection writes, a few read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation, InviteLookup};
use zerok_sync_shared::message::{ListedDevice, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewRotation, Page};
use zerok_sync_shared::time::Timestamp;

use super::keys::{KeptKeys, RotateError};
use super::room::{Bounds, Room};
use super::snapshots::{PutPart, PutPartError};
use super::{
    Batch, Census, Deletion, Deletions, InviteChange, Kept, OpenError, OpenGroup, Pending,
    PutInviteError, Refused, Stats, Storage, StorageError, Sweep, Swept,
};
use crate::folder::free_space;
use crate::invites::Invite;
use crate::limits;
use file_id::FileId;
use groups::Found;
use rows::{bytes, int, json_hex, number};
use wal::{Reader, Wal};

mod commit;
mod counts;
mod deletions;
mod file_id;
mod groups;
mod invites;
pub mod keeper;
mod keys;
mod read;
mod retention;
mod rows;
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
    async fn is_kept(&self, found: &Found, open: &OpenGroup) -> bool {
        if found.opened_at >= open.renew_before.0 {
            return true;
        }
        let renewed = self.write(async |connection| groups::renew(connection, open).await);
        // Where nothing can be written nothing is forgotten, and reading goes on.
        renewed.await.unwrap_or(true)
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

#[async_trait]
impl Storage for SqliteStorage {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn open_group(&self, open: OpenGroup) -> Result<GroupInfo, OpenError> {
        let found = groups::find(&mut *self.reader().await?, &open).await?;
        // It may have been forgotten just now.
        let found = match found {
            Some(found) if !self.is_kept(&found, &open).await => None,
            found => found,
        };
        if let Some(found) = found {
            let mut info = found.info;
            if info.epoch < open.epoch && !open.chain.is_empty() {
                let advanced =
                    self.write(async |connection| groups::advance(connection, &open).await);
                info = advanced.await?.ok_or(OpenError::Unknown)?;
            }
            if !open.marks.is_empty() {
                let mut reader = self.reader().await?;
                info.marks = groups::marks(&mut reader, found.key, &open.marks).await?;
            }
            return Ok(info);
        }
        if !open.create {
            return Err(OpenError::Unknown);
        }
        let made = self.write(async |connection| {
            let room = self.room(connection).await?;
            groups::make(connection, &open, room).await
        });
        let made = made.await;
        if matches!(made, Err(OpenError::Full)) {
            self.room.tell_full();
        }
        made
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
        let mut reader = self.reader().await?;
        read::page(&mut reader, group_id, after, max_blobs, max_bytes).await
    }

    async fn has(&self, group_id: GroupId, ids: Vec<BlobId>) -> Result<Vec<Mark>, StorageError> {
        read::has(&mut *self.reader().await?, group_id, &ids).await
    }

    async fn devices(
        &self,
        group_id: GroupId,
        max: usize,
    ) -> Result<Vec<ListedDevice>, StorageError> {
        read::devices(&mut *self.reader().await?, group_id, max).await
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
        counts::stats(&mut *self.reader().await?).await
    }

    async fn census(&self, active_since: Timestamp) -> Result<Census, StorageError> {
        counts::census(&mut *self.reader().await?, active_since).await
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
