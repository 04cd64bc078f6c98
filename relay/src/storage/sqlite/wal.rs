//! Keeps the write-ahead log short.
//!
//! SQLite begins the log anew when all of it has been moved to the database and nobody reads from it. Where some reader is
//! always at work that moment never comes, and the log would grow until the disk is full. So readers register here, and a
//! log that has become long makes them wait for a moment.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::timeout;

use super::execute;
use crate::limits;
use crate::storage::StorageError;

#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    reading: RwLock<()>,
    /// Length at which to try again.
    long: AtomicU64,
}

/// A connection that reads.
pub(super) struct Reader<'a> {
    connection: PoolConnection<Sqlite>,
    _reading: RwLockReadGuard<'a, ()>,
}

impl Deref for Reader<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Wal {
    /// The log of a database.
    pub fn beside(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            path: path.into(),
            reading: RwLock::new(()),
            long: AtomicU64::new(limits::WAL_BYTES),
        }
    }

    pub async fn reader(&self, pool: &SqlitePool) -> Result<Reader<'_>, StorageError> {
        Ok(Reader {
            connection: pool.acquire().await?,
            _reading: self.reading.read().await,
        })
    }

    /// Empties a log that has become long. What cannot be done now, because another process reads or the disk is full, is
    /// tried again when it is longer still; what was committed is safe in any case.
    pub async fn keep_short(&self, writer: &mut SqliteConnection) {
        if self.len() < self.long.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(_nobody_reads) = timeout(limits::WAL_PATIENCE, self.reading.write()).await
            && let Err(error) = empty(writer).await
        {
            tracing::debug!(%error, "cannot empty the write-ahead log");
        }
        let next = self.len().saturating_add(limits::WAL_BYTES);
        self.long.store(next, Ordering::Relaxed);
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |data| data.len())
    }
}

async fn empty(writer: &mut SqliteConnection) -> Result<(), StorageError> {
    // Another process, such as a back-up, may read for minutes: pushes don't wait for it.
    execute(writer, "PRAGMA busy_timeout = 0").await?;
    let done = execute(writer, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let timeout = limits::DATABASE_TIMEOUT.as_millis();
    let restore = AssertSqlSafe(format!("PRAGMA busy_timeout = {timeout}"));
    sqlx::query(restore).execute(writer).await?;
    done
}
