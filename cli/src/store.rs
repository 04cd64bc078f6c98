//! A device's data in a folder: SQLite in WAL mode with `synchronous=FULL`. One connection writes, a few read.
//!
//! **One owner.** The file `lock` is locked for as long as the store is open; the system lets go of it when the process
//! ends, however it ends.
//!
//! **Secrets.** The device key and the secrets of groups are stored as they are. Whoever can read the user's files can
//! read them; other users can't: every file is made with mode 0600. What is removed is overwritten.

use std::path::{Path, PathBuf};
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row, SqliteConnection};
use tokio::sync::Mutex;
use zerok_sync_client::store::{Loaded, Store, StoreError};
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, GroupState, LogRecord, StoredGroup, Write};
use zerok_sync_shared::time::Timestamp;

use failure::Failure;
use files::{FileId, Lock};

mod commit;
mod failure;
mod files;

/// Connections that read.
const READERS: u32 = 2;
/// A connection that is not to be had by then has failed: only a checkpoint makes others wait.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of the database in its folder.
const DATABASE: &str = "device.db";
/// Name of the file that the owner has locked.
const LOCK: &str = "lock";

/// A [`Store`] in a folder of this machine.
///
/// A commit whose future is dropped before it is done is undone, unless SQLite was already writing it.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    options: SqliteConnectOptions,
    /// What the path pointed to when it was opened.
    file: FileId,
    /// `None` after a failure that left the connection in doubt; the next writer opens another.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    /// Held while the store is open.
    lock: SyncMutex<Option<Lock>>,
}

impl SqliteStore {
    /// Opens the store in a folder, or makes both. A new folder is this user's alone.
    ///
    /// # Errors
    /// [`StoreError::Taken`] while somebody has it open; [`StoreError::Full`]; [`StoreError::Failed`] with what is wrong:
    /// the folder can't be written, or the data is damaged or was written by a newer version.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| failure::of_io(folder, &error);
        files::make_folder(folder).map_err(failed)?;
        let lock = Lock::take(&folder.join(LOCK))
            .map_err(failed)?
            .ok_or(StoreError::Taken)?;
        let path = folder.join(DATABASE);
        // SQLite gives its own files the mode of this one.
        drop(files::open_private(&path).map_err(failed)?);
        let options = writer_options(&path);
        let outside = |failure: Failure| failure.outside(&path);
        let mut writer = options
            .connect()
            .await
            .map_err(|error| outside(error.into()))?;
        if let Err(error) = sqlx::migrate!().run(&mut writer).await {
            return Err(match error {
                MigrateError::Execute(error) => outside(error.into()),
                MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                    StoreError::Failed(format!(
                        "{} was written by a newer version of this program; update it",
                        path.display()
                    ))
                }
                other => StoreError::Failed(format!("{}: {other}", path.display())),
            });
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(DATABASE_TIMEOUT)
            .connect_with(connect_options(&path).pragma("query_only", "ON"))
            .await
            .map_err(|error| outside(error.into()))?;
        let file = FileId::of(&path).map_err(failed)?;
        Ok(Self {
            path,
            options,
            file,
            writer: Mutex::new(Some(writer)),
            readers,
            lock: SyncMutex::new(Some(lock)),
        })
    }

    /// The owner has the right to the file, and it is still the one at its path. SQLite would go on writing to a file
    /// that was deleted, and what it acknowledged would be gone with the process.
    fn check_file(&self) -> Result<(), Failure> {
        if self.held().is_none() {
            return Err(Failure::Refused("the store is closed"));
        }
        match FileId::of(&self.path) {
            Ok(found) if found == self.file => Ok(()),
            _ => Err(Failure::Refused(
                "the database was deleted or replaced; start the program again",
            )),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction of the writing connection: all of it is kept, or nothing. `then` follows on the same
    /// connection once it is durable, and may fail.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failure>,
        then: impl AsyncFnOnce(&mut SqliteConnection),
    ) -> Result<T, Failure> {
        let mut slot = self.writer.lock().await;
        self.check_file()?;
        // Taken out, so that a transaction that is given up half-way cannot be found by the next one.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        let result = in_transaction(&mut connection, work).await;
        if result.is_ok() {
            then(&mut connection).await;
        }
        if result.is_ok() || rolled_back(&mut connection).await {
            *slot = Some(connection);
        }
        result
    }

    fn outside(&self) -> impl Fn(Failure) -> StoreError {
        |failure| failure.outside(&self.path)
    }

    async fn load_all(&self) -> Result<Loaded, Failure> {
        self.check_file()?;
        // One transaction, so that everything is of one moment.
        let mut reading = self.readers.begin().await?;
        let device_key = read_device_key(&mut reading).await?;
        let rows =
            sqlx::query("SELECT id, group_id, state, membership FROM groups ORDER BY group_id")
                .fetch_all(&mut *reading)
                .await?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in &rows {
            let unsent = sqlx::query(
                "SELECT position, length FROM unsent WHERE group_ref = ? ORDER BY position",
            )
            .bind(row.try_get::<i64, _>(0)?)
            .fetch_all(&mut *reading)
            .await?;
            let unsent = unsent
                .iter()
                .map(|row| Ok((number(row, 0)?, row.try_get(1)?)))
                .collect::<Result<_, Failure>>()?;
            let group =
                GroupId::try_from(row.try_get::<&[u8], _>(1)?).map_err(|_| Failure::Unreadable)?;
            let state: GroupState =
                codec::from_bytes(row.try_get(2)?).map_err(|_| Failure::Unreadable)?;
            let membership = row
                .try_get::<Option<&[u8]>, _>(3)?
                .map(codec::from_bytes)
                .transpose()
                .map_err(|_| Failure::Unreadable)?;
            groups.push(StoredGroup {
                group,
                state,
                membership,
                unsent,
            });
        }
        Ok(Loaded { device_key, groups })
    }

    async fn read_page(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, Failure> {
        self.check_file()?;
        // Records past the limit are not loaded, only their lengths.
        let sql = "
            WITH wanted AS (
                SELECT id, group_ref, position, length FROM log
                WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) AND position > ?2
                ORDER BY position LIMIT ?3
            ), page AS (
                SELECT id, group_ref, position,
                       sum(length) OVER before AS total, row_number() OVER before AS number
                FROM wanted WINDOW before AS (ORDER BY position)
            )
            SELECT l.record, s.cursor, s.timestamp
            FROM page p
            JOIN log l ON l.id = p.id
            LEFT JOIN sent s ON s.group_ref = p.group_ref AND s.position = p.position
            WHERE p.total <= ?4 OR p.number = 1
            ORDER BY p.position";
        let rows = sqlx::query(sql)
            .bind(group.0.to_vec())
            .bind(clamped(after))
            .bind(clamped(max_records as u64))
            .bind(clamped(max_bytes as u64))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(record).collect()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.load_all().await.map_err(self.outside())
    }

    async fn keep_device_key(&self, key: &Secret) -> Result<Secret, StoreError> {
        let keep = async |connection: &mut SqliteConnection| {
            sqlx::query("INSERT INTO device (id, key) VALUES (1, ?) ON CONFLICT (id) DO NOTHING")
                .bind(key.expose().to_vec())
                .execute(&mut *connection)
                .await?;
            read_device_key(connection)
                .await?
                .ok_or(Failure::Unreadable)
        };
        self.write(keep, async |_| {}).await.map_err(self.outside())
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let removes = batch
            .writes
            .iter()
            .any(|write| matches!(write, Write::Remove { .. } | Write::Replace { .. }));
        let work =
            async |connection: &mut SqliteConnection| commit::carry_out(connection, batch).await;
        let then = async |connection: &mut SqliteConnection| {
            if removes {
                forget(connection).await;
            }
        };
        self.write(work, then).await.map_err(self.outside())
    }

    async fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        self.read_page(group, after, max_records, max_bytes)
            .await
            .map_err(self.outside())
    }

    async fn close(&self) {
        let mut writer = self.writer.lock().await;
        self.readers.close().await;
        if let Some(mut connection) = writer.take() {
            let _ = execute(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
            let _ = connection.close().await;
        }
        // Last: the next owner must find nobody at work.
        self.held().take();
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .pragma("temp_store", "MEMORY")
        .busy_timeout(DATABASE_TIMEOUT)
        .log_statements(tracing::log::LevelFilter::Off)
        .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
}

/// Setting these waits for who writes, so only the one who writes does.
fn writer_options(path: &Path) -> SqliteConnectOptions {
    connect_options(path)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would lose what was acknowledged in a power cut, and on macOS so would an ordinary fsync.
        .synchronous(SqliteSynchronous::Full)
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        .pragma("secure_delete", "ON")
        .foreign_keys(true)
}

/// Gives the room of removed rows back, and takes what was in them out of the WAL.
async fn forget(connection: &mut SqliteConnection) {
    let _ = execute(connection, "PRAGMA incremental_vacuum").await;
    let _ = execute(connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
}

async fn in_transaction<T>(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    let value = work(connection).await?;
    execute(connection, "COMMIT").await?;
    Ok(value)
}

/// Ends what is left of a failed transaction. SQLite has ended it by itself after some failures.
async fn rolled_back(connection: &mut SqliteConnection) -> bool {
    match execute(connection, "ROLLBACK").await {
        Ok(()) => true,
        Err(error) => error.is_outside_transaction(),
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Failure> {
    // All rows: a pragma is carried out as they are read.
    sqlx::query(sql).fetch_all(connection).await?;
    Ok(())
}

async fn read_device_key(connection: &mut SqliteConnection) -> Result<Option<Secret>, Failure> {
    let row = sqlx::query("SELECT key FROM device")
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let key: &[u8] = row.try_get(0)?;
    let key = key.try_into().map_err(|_| Failure::Unreadable)?;
    Ok(Some(Secret::new(key)))
}

fn record(row: &SqliteRow) -> Result<LogRecord, Failure> {
    let mut record: LogRecord =
        codec::from_bytes(row.try_get(0)?).map_err(|_| Failure::Unreadable)?;
    if let (Some(cursor), Some(timestamp)) = (row.try_get(1)?, row.try_get(2)?) {
        record.cursor = i64::cast_unsigned(cursor);
        record.timestamp = Timestamp(i64::cast_unsigned(timestamp));
    }
    Ok(record)
}

/// SQLite's integers are signed. For positions and limits, where what is beyond means "as large as can be".
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, Failure> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| Failure::Unreadable)
}
