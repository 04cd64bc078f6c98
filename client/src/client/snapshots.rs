//! Snapshots: giving the app's state when it is asked for, and reading the one that stands in for what is not in the log.

use bytes::{Bytes, BytesMut};
use zerok_sync_shared::failure::SyncError;
use zerok_sync_shared::ids::GroupId;

use super::{Client, open_record};
use crate::driver::Command;

/// A state of the app that another device has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the app of that device gave.
    pub data: Bytes,
    /// Everything in this device's log up to this position is in it; what follows comes on top, and may be in it as well.
    pub position: u64,
}

impl Client {
    /// Says whether the app answers `ClientEvent::SnapshotWanted` for a group. Not kept: to be said after each start, once the app
    /// has read [`Client::snapshots`].
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`
    pub fn provide_snapshots(&self, group: GroupId, available: bool) -> Result<(), SyncError> {
        self.mirror(group)?;
        let command = Command::ProvideSnapshots { group, available };
        let _ = self.inner.commands.send(command);
        Ok(())
    }

    /// Answers a request of `ClientEvent::SnapshotWanted`: with the app's state, or with nothing. The state must have everything
    /// up to the position of the request, and what [`Client::snapshots`] gave when it came: it stands in for both, and whoever gets it never
    /// hears of what it lacks. An app that is behind gives nothing; it is asked again. An answer that comes too late is dropped.
    pub fn give_snapshot(&self, group: GroupId, request: u64, state: Option<Bytes>) {
        let command = Command::GiveSnapshot {
            group,
            request,
            state,
        };
        let _ = self.inner.commands.send(command);
    }

    /// The snapshots that were taken in, the newest last: where there are any, the log alone is not everything. Rarely more
    /// than one: they are kept beside each other while none has all of another.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, `STORAGE_FAILED`
    pub async fn snapshots(&self, group: GroupId) -> Result<Vec<Snapshot>, SyncError> {
        let mirror = self.mirror(group)?;
        let mut snapshots = Vec::with_capacity(mirror.view.snapshots.len());
        for held in &mirror.view.snapshots {
            let mut data = BytesMut::new();
            // One at a time: a part has a megabyte.
            for place in held.first..held.first.saturating_add(held.parts.into()) {
                for record in self.read(group, place - 1, 1, 1).await? {
                    let part = open_record(group, record, &mirror.keys, self.inner.device)?;
                    data.extend_from_slice(&part.data);
                }
            }
            snapshots.push(Snapshot {
                data: data.freeze(),
                position: mirror.view.places.position_of(held.place),
            });
        }
        Ok(snapshots)
    }
}
