//! What the keeper of a relay does with its database, also while the relay runs: copy it, look into it, give storage
//! back to the disk. Beside a running relay nothing here holds a lock for long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use zerok_sync_shared::ids::Incarnation;
use zerok_sync_shared::time::Timestamp;

use super::{FILE_NAME, StorageError, bytes, execute, int, number};
use crate::limits;

/// Bounds by which [`Contents::sizes`] sorts groups, in bytes.
pub const SIZE_BOUNDS: [u64; 5] = [0, 1 << 20, 10 << 20, 100 << 20, 1 << 30];
/// How many of the largest groups are told of.
const LARGEST: u32 = 5;

/// A connection beside that of the relay.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    connection: SqliteConnection,
}

/// Which migrations a database has and which this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Of the database.
    pub found: i64,
    /// Of this program.
    pub known: i64,
}

/// Sizes of the files, and of what is unused in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the database.
    pub used: u64,
    /// Bytes in it that hold nothing.
    pub free: u64,
}

/// What a database holds, as one moment sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Groups.
    pub groups: u64,
    /// Blobs.
    pub blobs: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// For each of [`SIZE_BOUNDS`]: groups and their bytes, from the bound before up to this one; last those above all.
    pub sizes: [(u64, u64); SIZE_BOUNDS.len() + 1],
    /// Bytes of the largest groups.
    pub largest: Vec<u64>,
    /// Devices, whenever they were seen.
    pub devices: u64,
    /// Devices seen since each of the times that were asked for.
    pub devices_since: Vec<u64>,
    /// Invites that can be claimed or are claimed.
    pub invites: u64,
    /// When the oldest blob came.
    pub oldest: Option<Timestamp>,
    /// When the next blob is due to be deleted.
    pub next_expiry: Option<Timestamp>,
    /// Blobs that are due already.
    pub due: u64,
}

impl Keeper {
    /// Opens the database of a folder, which has to be there.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub async fn open(folder: &Path) -> Result<Self, StorageError> {
        let path = folder.join(FILE_NAME);
        Self::open_file(path).await
    }

    /// Opens a database by its own name.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub async fn open_file(path: PathBuf) -> Result<Self, StorageError> {
        if !path.is_file() {
            let text = format!("there is no database {}", path.display());
            return Err(StorageError(text));
        }
        let connection = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(limits::DATABASE_TIMEOUT)
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
            .connect()
            .await?;
        Ok(Self { path, connection })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The migrations.
    ///
    /// # Errors
    /// When this is not the database of a relay.
    pub async fn schema(&mut self) -> Result<Schema, StorageError> {
        let sql = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
        let row = self.row(sql).await.map_err(|error| {
            let text = format!(
                "{} is not the database of a relay: {error}",
                self.path.display()
            );
            StorageError(text)
        })?;
        let known = sqlx::migrate!("migrations/sqlite")
            .iter()
            .map(|migration| migration.version)
            .max();
        Ok(Schema {
            found: int(number(&row, 0)?),
            known: known.unwrap_or_default(),
        })
    }

    /// The life of the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn incarnation(&mut self) -> Result<Incarnation, StorageError> {
        let row = self.row("SELECT incarnation FROM meta").await?;
        Ok(Incarnation(bytes(&row, 0)?))
    }

    /// Writes a copy of the database, as one moment sees it, to a new file. Pushes go on meanwhile.
    ///
    /// # Errors
    /// When the file is there already, or cannot be written.
    pub async fn copy_to(&mut self, path: &Path) -> Result<(), StorageError> {
        let path = path.to_str();
        let path = path.ok_or_else(|| StorageError("the path is not UTF-8".into()))?;
        let copy = sqlx::query("VACUUM INTO ?").bind(path);
        copy.execute(&mut self.connection).await?;
        Ok(())
    }

    /// What is damaged, in SQLite's words; empty if nothing is. `thorough` also compares the indexes with the rows.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub async fn damage(&mut self, thorough: bool) -> Result<Vec<String>, StorageError> {
        let sql = if thorough {
            "PRAGMA integrity_check(5)"
        } else {
            "PRAGMA quick_check(5)"
        };
        let rows = sqlx::query_scalar::<_, String>(sql);
        let mut lines = rows.fetch_all(&mut self.connection).await?;
        lines.retain(|line| line != "ok");
        Ok(lines)
    }

    /// How large the file is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn space(&mut self) -> Result<Space, StorageError> {
        let sql = "SELECT page_count, freelist_count, page_size \
                   FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let row = self.row(sql).await?;
        let size = number(&row, 2)?;
        Ok(Space {
            used: number(&row, 0)?.saturating_mul(size),
            free: number(&row, 1)?.saturating_mul(size),
        })
    }

    /// Gives some free pages back to the disk, in a transaction of its own. The file is shorter after
    /// [`checkpoint`](Self::checkpoint).
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn give_back(&mut self, pages: u64) -> Result<(), StorageError> {
        let sql = format!("PRAGMA incremental_vacuum({pages})");
        let query = sqlx::query(AssertSqlSafe(sql));
        query.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Moves what was written to the database file, as far as nobody has to wait for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn checkpoint(&mut self) -> Result<(), StorageError> {
        execute(&mut self.connection, "PRAGMA wal_checkpoint(PASSIVE)").await
    }

    /// Writes the whole database anew. Nobody else may use it.
    ///
    /// # Errors
    /// When it cannot be written; nothing has changed then.
    pub async fn rewrite(&mut self) -> Result<(), StorageError> {
        execute(&mut self.connection, "VACUUM").await?;
        execute(&mut self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").await
    }

    /// What there is, as one moment sees it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn contents(
        &mut self,
        now: Timestamp,
        seen_since: &[Timestamp],
    ) -> Result<Contents, StorageError> {
        execute(&mut self.connection, "BEGIN").await?;
        let contents = self.read_contents(now, seen_since).await;
        execute(&mut self.connection, "COMMIT").await?;
        contents
    }

    async fn read_contents(
        &mut self,
        now: Timestamp,
        seen_since: &[Timestamp],
    ) -> Result<Contents, StorageError> {
        let mut contents = Contents::default();
        let connection = &mut self.connection;
        let rows =
            sqlx::query("SELECT bytes_used, blob_count FROM groups").fetch_all(&mut *connection);
        for row in rows.await? {
            let size = number(&row, 0)?;
            contents.groups += 1;
            contents.bytes += size;
            contents.blobs += number(&row, 1)?;
            let at = SIZE_BOUNDS.partition_point(|bound| *bound < size);
            contents.sizes[at].0 += 1;
            contents.sizes[at].1 += size;
        }
        let sql =
            "SELECT bytes_used FROM groups WHERE bytes_used > 0 ORDER BY bytes_used DESC LIMIT ?";
        let rows = sqlx::query(sql).bind(LARGEST).fetch_all(&mut *connection);
        for row in rows.await? {
            contents.largest.push(number(&row, 0)?);
        }
        for since in [Timestamp(0)].iter().chain(seen_since) {
            // The same device in two groups is two rows, and one device.
            let sql = "SELECT count(DISTINCT device_id) FROM devices WHERE last_seen >= ?";
            let query = sqlx::query(sql).bind(int(since.0));
            let row = query.fetch_one(&mut *connection).await?;
            contents.devices_since.push(number(&row, 0)?);
        }
        contents.devices = contents.devices_since.remove(0);
        let sql = "SELECT count(*) FROM invites WHERE expires_at > ? AND state < 2";
        let query = sqlx::query(sql).bind(int(now.0));
        contents.invites = number(&query.fetch_one(&mut *connection).await?, 0)?;
        // Rows are appended in the order they come.
        let sql = "SELECT timestamp FROM blobs ORDER BY id LIMIT 1";
        contents.oldest = optional_time(connection, sql).await?;
        let sql = "SELECT expires_at FROM blobs ORDER BY expires_at LIMIT 1";
        contents.next_expiry = optional_time(connection, sql).await?;
        let query =
            sqlx::query("SELECT count(*) FROM blobs WHERE expires_at <= ?").bind(int(now.0));
        contents.due = number(&query.fetch_one(&mut *connection).await?, 0)?;
        Ok(contents)
    }

    /// When the newest blob came.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn newest(&mut self) -> Result<Option<Timestamp>, StorageError> {
        let sql = "SELECT timestamp FROM blobs ORDER BY id DESC LIMIT 1";
        optional_time(&mut self.connection, sql).await
    }

    async fn row(&mut self, sql: &'static str) -> Result<SqliteRow, StorageError> {
        Ok(sqlx::query(sql).fetch_one(&mut self.connection).await?)
    }

    /// Lets go of the file.
    ///
    /// # Errors
    /// When what was written cannot be moved to it.
    pub async fn close(self) -> Result<(), StorageError> {
        Ok(self.connection.close().await?)
    }
}

async fn optional_time(
    connection: &mut SqliteConnection,
    sql: &'static str,
) -> Result<Option<Timestamp>, StorageError> {
    let row = sqlx::query(sql).fetch_optional(connection).await?;
    let time = row.map(|row| number(&row, 0)).transpose()?;
    Ok(time.map(Timestamp))
}
