//! Keeps the write-ahead log short.
//!
//! Its pages are moved to the database by a connection of its own, beside the writer, which would otherwise do it within a
//! commit now and then, and whoever pushes would wait. SQLite begins the log anew when all of it has been moved and nobody
//! reads from it. A writer that is always at work has the last pages moved in between, once the log has some length. Where
//! some reader is always at work that moment never comes, and the log would grow until the disk is full. So readers
//! register here, and a log that has become long makes them wait for a moment.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tokio::time::timeout;

use super::{execute, number};
use crate::limits;
use crate::storage::StorageError;

#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    reading: RwLock<()>,
    /// Length at which to try again.
    long: AtomicU64,
    /// How often in a row somebody read for longer than writers wait.
    waited: AtomicU32,
    mover: Arc<Mover>,
}

/// Moves pages to the database.
#[derive(Debug)]
struct Mover {
    /// `None` when it is closed.
    connection: Arc<Mutex<Option<SqliteConnection>>>,
    /// Bytes that were written since it last began, about.
    written: AtomicU64,
    /// Whether nearly all of a log that has some length was moved.
    ready: AtomicBool,
}

impl Mover {
    /// Moves what can be moved at once. What cannot, because the disk is full, is tried again after as much more was
    /// written; what was committed is safe in any case.
    ///
    /// A busy writer has written more in the meantime. When the log shall begin anew, that is moved as well, which takes
    /// less time and leaves less each time, until the rest is little enough to keep pushes waiting for.
    async fn run(&self, connection: &mut SqliteConnection) {
        for _ in 0..limits::MOVES {
            self.written.store(0, Ordering::Relaxed);
            match moved(connection).await {
                Ok(pages) if pages < limits::LOG_PAGES => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot move the write-ahead log to the database");
                    return;
                }
            }
            if self.written.load(Ordering::Relaxed) <= limits::REST_BYTES {
                break;
            }
        }
        self.ready.store(true, Ordering::Relaxed);
    }
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
    /// The log of a database, with a connection that writes nothing else.
    pub fn beside(database: &Path, connection: SqliteConnection) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            path: path.into(),
            reading: RwLock::new(()),
            long: AtomicU64::new(limits::WAL_BYTES),
            waited: AtomicU32::new(0),
            mover: Arc::new(Mover {
                connection: Arc::new(Mutex::new(Some(connection))),
                written: AtomicU64::new(0),
                ready: AtomicBool::new(false),
            }),
        }
    }

    /// So much will be written in the next transaction, about.
    pub fn writes(&self, bytes: u64) {
        self.mover.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Has pages moved beside the writer, when there are enough of them.
    fn move_pages(&self) {
        if self.mover.written.load(Ordering::Relaxed) < limits::MOVE_BYTES {
            return;
        }
        let Ok(mut slot) = Arc::clone(&self.mover.connection).try_lock_owned() else {
            return;
        };
        let mover = Arc::clone(&self.mover);
        tokio::spawn(async move {
            if let Some(connection) = slot.as_mut() {
                mover.run(connection).await;
            }
        });
    }

    /// Moves what can be moved beside the writer, and the rest when the writer has its next turn. Only a log that was moved
    /// to its end makes the file of the database shorter, and beside a busy writer there is always something more.
    pub async fn move_all(&self) -> Result<(), StorageError> {
        if let Some(connection) = self.mover.connection.lock().await.as_mut() {
            moved(connection).await?;
        }
        self.mover.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until nobody reads and no pages are being moved, and keeps it so.
    async fn alone(&self) -> impl Sized {
        (
            self.mover.connection.lock().await,
            self.reading.write().await,
        )
    }

    /// Lets go of the file.
    pub async fn close(&self) {
        if let Some(connection) = self.mover.connection.lock().await.take() {
            let _ = connection.close().await;
        }
    }

    pub async fn reader(&self, pool: &SqlitePool) -> Result<Reader<'_>, StorageError> {
        Ok(Reader {
            connection: pool.acquire().await?,
            _reading: self.reading.read().await,
        })
    }

    /// Empties a log that has become long. What cannot be done now, because somebody reads for long or the disk is full,
    /// is tried again when it is somewhat longer; what was committed is safe in any case. For reads of this process, which
    /// end, the writer then waits twice as long.
    pub async fn keep_short(&self, writer: &mut SqliteConnection) {
        self.writes(limits::WRITE_BYTES);
        self.move_pages();
        if self.mover.ready.swap(false, Ordering::Relaxed)
            && let Err(error) = moved(writer).await
        {
            tracing::debug!(%error, "cannot move the end of the write-ahead log");
        }
        if self.len() < self.long.load(Ordering::Relaxed) {
            return;
        }
        let waited = self.waited.load(Ordering::Relaxed);
        let patience = limits::WAL_PATIENCE * (1 << waited.min(limits::WAL_DOUBLINGS));
        let waited = match timeout(patience, self.alone()).await {
            Ok(_nobody_reads) => {
                if let Err(error) = empty(writer).await {
                    tracing::debug!(%error, "cannot empty the write-ahead log");
                }
                0
            }
            Err(_) => waited.saturating_add(1),
        };
        self.waited.store(waited, Ordering::Relaxed);
        let next = self.len().saturating_add(limits::WAL_STEP);
        self.long
            .store(next.max(limits::WAL_BYTES), Ordering::Relaxed);
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |data| data.len())
    }
}

/// Moves what can be moved at once, and gives how many pages the log has.
async fn moved(connection: &mut SqliteConnection) -> Result<u64, StorageError> {
    let sql = "PRAGMA wal_checkpoint(PASSIVE)";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    number(&row, 1)
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
