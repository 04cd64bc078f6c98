//! What both storages do alike with snapshots.

use zerok_sync_shared::session::NewSnapshotPart;
use zerok_sync_shared::time::Timestamp;

use super::StorageError;
use crate::limits;
use crate::writer::millis;

/// A part to store.
#[derive(Debug, Clone)]
pub struct PutPart {
    /// The part.
    pub new: NewSnapshotPart,
    /// Bytes that the group may store; 0 means no limit.
    pub quota: u64,
    /// The relay's clock.
    pub now: Timestamp,
}

/// Why a part was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutPartError {
    /// A newer snapshot is there, or other keys, or not what it covers.
    #[error("the snapshot is not of what the group has now")]
    Stale,
    /// It says of its snapshot something else than the part that began it.
    #[error("the part is not of the snapshot that was begun")]
    Differs,
    /// The group's storage is used up.
    #[error("the quota is used up")]
    Quota,
    /// That of all groups together is.
    #[error("there is no room left")]
    Full,
    /// The group is not there, or the parts before this one are not.
    #[error("the parts before are missing")]
    Unknown,
    /// The group has too many unfinished ones.
    #[error("too many snapshots are on their way")]
    Busy,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What there is before a part is stored.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    /// What the group counts against its quota.
    pub used: u64,
    /// The group's newest cursor.
    pub max_cursor: u64,
    /// The group's epoch.
    pub epoch: u64,
    /// The author was revoked.
    pub revoked: bool,
    /// Cursor that the group's snapshot covers; 0 if there is none, or if it is this one.
    pub covers: u64,
    /// What is stored of the same snapshot; `None` if it has not begun.
    pub own: Option<Begun>,
    /// Snapshots of others that are on their way.
    pub unfinished: u64,
}

/// A snapshot as its first part began it. Later parts are held to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub epoch: u64,
    pub covers: u64,
    pub parts: u64,
    /// Parts that are stored.
    pub stored: u64,
}

/// What to do with a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is there.
    Nothing,
    /// Begin a snapshot with it.
    Begin,
    /// Add it.
    Add,
}

/// Decides about a part; `room` is what all groups together may have more.
pub(super) fn plan(put: &PutPart, before: &Before, room: u64) -> Result<Plan, PutPartError> {
    let part = &put.new.part;
    let (number, epoch) = (u64::from(part.part), u64::from(part.epoch));
    if let Some(own) = before.own {
        let same = (own.epoch, own.covers, own.parts) == (epoch, part.covers, part.parts.into());
        if !same || number >= own.parts {
            return Err(PutPartError::Differs);
        }
        if number < own.stored {
            return Ok(Plan::Nothing);
        }
    }
    // The session knows an epoch and a newest cursor too, but only those that its node has heard of.
    let possible = before.epoch == epoch && !before.revoked && part.covers <= before.max_cursor;
    if !possible || before.covers > part.covers {
        return Err(PutPartError::Stale);
    }
    let plan = match before.own {
        Some(own) if number == own.stored => Plan::Add,
        None if number == 0 => Plan::Begin,
        _ => return Err(PutPartError::Unknown),
    };
    if plan == Plan::Begin && before.unfinished >= limits::UNFINISHED_SNAPSHOTS {
        return Err(PutPartError::Busy);
    }
    let size = part.payload.len() as u64;
    if put.quota != 0 && before.used.saturating_add(size) > put.quota {
        return Err(PutPartError::Quota);
    }
    if size > room {
        return Err(PutPartError::Full);
    }
    Ok(plan)
}

/// A snapshot that was begun before and is not complete is given up.
pub(super) fn unfinished_before(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(millis(limits::UNFINISHED_AGE)))
}

/// Whether something after a cursor is not stored any more, dropped or expired: `next` is what follows there.
pub(super) fn lacks(after: u64, max_cursor: u64, dropped_to: u64, next: Option<u64>) -> bool {
    max_cursor > after && (dropped_to > after || next != after.checked_add(1))
}
