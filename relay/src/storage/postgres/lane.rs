//! A connection that writes: transactions, one after the other, tried again where that is sound.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use super::lineage::Lineage;
use crate::limits;
use crate::storage::StorageError;

/// What is set for every connection, if the server knows it. A server that is not PostgreSQL may lack some.
///
/// The planner is kept to look-ups by index. It plans a statement once and keeps the plan: one that was made while a table
/// was still empty would go on reading the whole table when it has a million rows. An acknowledged push must survive a power
/// cut, so a `synchronous_commit` that is off is switched on; stricter settings stay.
static SETTINGS: LazyLock<String> = LazyLock::new(|| {
    let time = limits::STATEMENT_TIMEOUT.as_millis();
    format!(
        "SELECT set_config(known.name, wanted.setting, false) FROM (VALUES \
         ('statement_timeout', '{time}'), ('idle_in_transaction_session_timeout', '{time}'), \
         ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'), \
         ('synchronous_commit', 'on')) AS wanted (name, setting) \
         JOIN pg_settings AS known ON known.name = wanted.name \
         WHERE known.name <> 'synchronous_commit' OR known.setting = 'off'"
    )
});

/// Makes a new connection behave as [`SETTINGS`] says, after a look at whose it is.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    lineage: &Lineage,
) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(SETTINGS.as_str())).await?;
    lineage.check(connection).await
}

/// Lets statements of this connection take their time.
pub(super) async fn without_timeout(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute("SET statement_timeout = 0").await?;
    Ok(())
}

/// One writing connection, and a queue of those that want to write.
#[derive(Debug)]
pub(super) struct Lane {
    options: PgConnectOptions,
    lineage: Arc<Lineage>,
    /// `None` before the first use, and after a failure that left the connection in doubt.
    connection: Mutex<Option<PgConnection>>,
}

/// Which failures are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Those after which nothing has happened.
    Undone,
    /// Also a connection that was lost: the transaction may have been committed, and doing it again changes nothing.
    Lost,
}

impl Lane {
    pub fn new(options: PgConnectOptions, lineage: Arc<Lineage>) -> Self {
        Self {
            options,
            lineage,
            connection: Mutex::new(None),
        }
    }

    /// Waits for the turn of this transaction, which [`in_transaction`] carries out.
    pub async fn enter(&self, retry: Retry) -> Turn<'_> {
        Turn {
            options: &self.options,
            lineage: &self.lineage,
            slot: self.connection.lock().await,
            connection: None,
            retry,
            attempts: 0,
        }
    }

    pub async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = connection.close().await;
        }
    }
}

/// Connects, and waits for a server that is just starting.
pub(super) async fn connect(
    options: &PgConnectOptions,
    lineage: &Lineage,
) -> Result<PgConnection, sqlx::Error> {
    let deadline = Instant::now() + limits::DATABASE_TIMEOUT;
    let mut attempt = 0;
    loop {
        let error = match options.connect().await {
            Ok(mut connection) => match prepare(&mut connection, lineage).await {
                Ok(()) => return Ok(connection),
                Err(error) => error,
            },
            Err(error) => error,
        };
        attempt += 1;
        let wait = pause(attempt);
        if !is_lost(&error) || Instant::now() + wait >= deadline {
            return Err(error);
        }
        sleep(wait).await;
    }
}

/// One transaction, and its attempts.
pub(super) struct Turn<'a> {
    options: &'a PgConnectOptions,
    lineage: &'a Lineage,
    slot: MutexGuard<'a, Option<PgConnection>>,
    /// Taken out of its place, so that a transaction that is given up half-way cannot be found by the next one.
    connection: Option<PgConnection>,
    retry: Retry,
    attempts: u32,
}

impl Turn<'_> {
    /// Begins an attempt.
    pub async fn begin(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let mut connection = match self.slot.take() {
            Some(connection) => connection,
            None => connect(self.options, self.lineage).await?,
        };
        // Whoever has waited for a lock has to see what its last holder wrote, so not on a snapshot from before.
        connection
            .execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await?;
        Ok(self.connection.insert(connection))
    }

    /// Ends an attempt: keeps all of it, or nothing. `None` if it is to be made again.
    pub async fn end<T>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> Result<Option<T>, StorageError> {
        let connection = self.connection.take();
        let (error, connection) = match (result, connection) {
            (Ok(value), Some(mut connection)) => match connection.execute("COMMIT").await {
                Ok(_) => {
                    *self.slot = Some(connection);
                    return Ok(Some(value));
                }
                Err(error) => (error, Some(connection)),
            },
            (Ok(_), None) => return Err(StorageError("no transaction was begun".into())),
            (Err(error), connection) => (error, connection),
        };
        let lost = is_lost(&error);
        if let Some(mut connection) = connection
            && !lost
            && connection.execute("ROLLBACK").await.is_ok()
        {
            *self.slot = Some(connection);
        }
        self.attempts += 1;
        let again = is_conflict(&error) || (lost && self.retry == Retry::Lost);
        if !again || self.attempts >= limits::DATABASE_ATTEMPTS {
            return Err(error.into());
        }
        sleep(pause(self.attempts)).await;
        Ok(None)
    }
}

/// Runs work in a transaction of a [`Lane`], again after a failure that its [`Retry`] allows. A macro, because the future
/// of a function that takes an asynchronous closure is not known to be `Send`.
macro_rules! in_transaction {
    ($lane:expr, $retry:expr, |$connection:ident| $work:expr) => {{
        let attempts = async {
            let mut turn = $lane.enter($retry).await;
            loop {
                let result = match turn.begin().await {
                    Ok($connection) => $work.await,
                    Err(error) => Err(error),
                };
                if let Some(value) = turn.end(result).await? {
                    return Ok(value);
                }
            }
        };
        $crate::storage::postgres::lane::in_time(attempts).await
    }};
}
pub(super) use in_transaction;

/// Gives up on a server that does not answer.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    timeout(limits::DATABASE_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(StorageError("the database does not answer".into())))
}

/// Whether the server undid the transaction because of another one: a serialization failure or a deadlock.
fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(code(error), Some("40001" | "40P01"))
}

/// Whether the server or the way to it went away, or is not there yet.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, shut-downs, a server that starts, one that has no room for us yet.
        _ => code(error).is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P0") || code == "53300"
        }),
    }
}

/// The server's code of an error.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?;
    error
        .try_downcast_ref::<PgDatabaseError>()
        .map(PgDatabaseError::code)
}

/// Twice as long each time, and never quite the same, so that two that collided do not collide again.
fn pause(attempt: u32) -> Duration {
    let mut random = [0];
    // Without randomness the waits are equal, no worse.
    let _ = getrandom::fill(&mut random);
    let jitter = Duration::from_millis(u64::from(random[0]) / 8);
    Duration::from_millis(10 << attempt.min(6)) + jitter
}
