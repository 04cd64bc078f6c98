//! Whether a server that was connected to has all that those before it had.
//!
//! A standby that takes over may lack the last commits, and a server may come back with an older copy of its files. So every
//! new connection asks where the server is in its log of writes before anything else goes through it: another timeline, or
//! less than before on the same one, means that something may be lost. A standby that takes over without having lost
//! anything has another timeline, too; devices come back then and find that nothing is missing.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{PgConnection, Row as _};

use super::lane;
use crate::groups::Groups;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    system: String,
    timeline: String,
    flushed: i64,
}

impl Place {
    /// Whether everything up to `before` is in it.
    fn follows(&self, before: &Self) -> bool {
        self.system == before.system
            && self.timeline == before.timeline
            && self.flushed >= before.flushed
    }
}

/// Where the server was, and who has to know when it is not what it was.
#[derive(Debug)]
pub(super) struct Lineage {
    last: Mutex<Option<Place>>,
    groups: Arc<Groups>,
}

impl Lineage {
    pub fn new(groups: Arc<Groups>) -> Self {
        Self {
            last: Mutex::new(None),
            groups,
        }
    }

    /// Asks where the server is. When this returns, all know that the database was set back, if it was.
    pub async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Before the question: another connection may have seen more in the meantime.
        let (run, before) = (self.groups.run().id, self.last());
        let Some(now) = place(connection).await? else {
            return Ok(());
        };
        if before.is_some_and(|before| !now.follows(&before)) {
            self.groups.set_back(run);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let older = last.as_ref().is_some_and(|last| last.follows(&now));
        if !older {
            *last = Some(now);
        }
        Ok(())
    }

    fn last(&self) -> Option<Place> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// `None` for a server that does not tell, because it is not PostgreSQL.
async fn place(connection: &mut PgConnection) -> Result<Option<Place>, sqlx::Error> {
    // Not the control file's timeline, which changes only some time after a standby has taken over.
    let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                 CASE WHEN pg_is_in_recovery() THEN NULL \
                   ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END, \
                 CASE WHEN pg_is_in_recovery() THEN NULL \
                   ELSE (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END";
    let row = match sqlx::query(sql).fetch_one(connection).await {
        Ok(row) => row,
        Err(error) if error.as_database_error().is_some() && !lane::is_lost(&error) => {
            tracing::debug!(%error, "the database does not tell where it is");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (Some(timeline), Some(flushed)) = (row.try_get(1)?, row.try_get(2)?) else {
        // It may be about to take over. What is read until then may lack what others were told.
        return Err(sqlx::Error::Protocol("the server is a standby".into()));
    };
    Ok(Some(Place {
        system: row.try_get(0)?,
        timeline,
        flushed,
    }))
}
