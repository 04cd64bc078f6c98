//! A loop that commits rows to SQLite as durably as the relay, with nothing to do with networks, keys or duplicates.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a measurement"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::Connection;

use crate::raw::blob_id;

/// Which table the bare loop fills.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// A payload and nothing else.
    Minimal,
    /// The columns and indexes of the relay's.
    OfTheRelay,
}

/// A loop that does nothing but commit rows.
#[derive(Debug)]
pub struct Bare {
    database: Connection,
    schema: Schema,
    groups: u64,
    payload: usize,
    rows: u64,
}

/// What a loop did.
#[derive(Debug, Default)]
pub struct Loop {
    /// Rows that it committed.
    pub rows: u64,
    /// In which time.
    pub took: Duration,
}

impl Loop {
    /// Rows a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.took.as_secs_f64()
    }

    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.took += other.took;
    }
}

impl Bare {
    /// A new database, whose rows belong to so many groups and are so long.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path, schema: Schema, groups: u64, payload: usize) -> Result<Self> {
        let database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        // Whatever the relay has set to be faster, the loop has as well.
        database.pragma_update(None, "cache_size", -64 * 1024)?;
        database.pragma_update(None, "wal_autocheckpoint", 4096)?;
        let mode: String = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: u32 =
            database.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        anyhow::ensure!(
            mode == "wal" && synchronous == 2,
            "{mode}, synchronous {synchronous}"
        );
        database.execute_batch(match schema {
            Schema::Minimal => "CREATE TABLE blobs (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
            Schema::OfTheRelay => {
                "CREATE TABLE blobs (id INTEGER PRIMARY KEY, group_ref INTEGER NOT NULL, cursor INTEGER NOT NULL,
                     blob_id BLOB NOT NULL, sender BLOB NOT NULL, epoch INTEGER NOT NULL, timestamp INTEGER NOT NULL,
                     expires_at INTEGER NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
                 CREATE UNIQUE INDEX blobs_by_cursor ON blobs (group_ref, cursor);
                 CREATE UNIQUE INDEX blobs_by_id ON blobs (group_ref, blob_id);
                 CREATE INDEX blobs_by_expiry ON blobs (expires_at)"
            }
        })?;
        Ok(Self {
            database,
            schema,
            groups: groups.max(1),
            payload,
            rows: 0,
        })
    }

    /// Commits batches of the mean size for that time.
    ///
    /// # Errors
    /// When the database fails.
    pub fn run(&mut self, time: Duration, mean_batch: f64) -> Result<Loop> {
        let payload: Vec<u8> = (0..self.payload as u64)
            .map(|at| ((at * at * 2_654_435_761) >> 13) as u8)
            .collect();
        let batch = mean_batch.round().max(1.0) as u64;
        let (started, before) = (Instant::now(), self.rows);
        while started.elapsed() < time {
            self.database.execute_batch("BEGIN IMMEDIATE")?;
            match self.schema {
                Schema::Minimal => {
                    let mut insert = self
                        .database
                        .prepare_cached("INSERT INTO blobs (payload) VALUES (?)")?;
                    for _ in 0..batch {
                        insert.execute([&payload])?;
                    }
                }
                Schema::OfTheRelay => {
                    let sql = "INSERT INTO blobs (group_ref, cursor, blob_id, sender, epoch, timestamp, expires_at, \
                               size, payload) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)";
                    let mut insert = self.database.prepare_cached(sql)?;
                    for row in self.rows..self.rows + batch {
                        let mut sender = [7_u8; 32];
                        sender[0] = (row % self.groups) as u8;
                        let id = blob_id(((row % self.groups) << 48) | row).0;
                        let (group, cursor) =
                            ((row % self.groups) as i64, (row / self.groups) as i64);
                        let now = 1_800_000_000_000_i64 + started.elapsed().as_millis() as i64;
                        let expires = now + 2_592_000_000;
                        insert.execute(rusqlite::params![
                            group,
                            cursor,
                            id,
                            sender,
                            now,
                            expires,
                            self.payload as i64,
                            payload
                        ])?;
                    }
                }
            }
            self.database.execute_batch("COMMIT")?;
            self.rows += batch;
        }
        Ok(Loop {
            rows: self.rows - before,
            took: started.elapsed(),
        })
    }
}
