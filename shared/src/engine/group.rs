//! One group on this device: what is durable, what waits to become durable, and the session with a relay.

use std::collections::VecDeque;

use bytes::Bytes;

use super::choice::Choice;
use super::deletes::Deletes;
use super::forks::Trail;
use super::keys::{Change, expulsion};
use super::outbox::Outbox;
use super::presence::Attendance;
use super::roster::Rename;
use super::session::Session;
use super::snapshots::{Snapshots, Taken};
use super::{Context, StreamId, Token};
use crate::crypto::keys::EpochKeys;
use crate::failure::SyncError;
use crate::ids::{BlobIds, DeviceId, GroupId, Incarnation, RelayId};
use crate::limits;
use crate::map::{SortedMap, SortedSet};
use crate::message::{Blob, Mark, PushAck};
use crate::store::{GroupState, Membership, Sequences, Wish};
use crate::time::Timestamp;

/// A push of the app that is not durable yet.
#[derive(Debug)]
pub(super) struct PendingPush {
    pub(super) body: Bytes,
    pub(super) ttl: u32,
    pub(super) token: Token,
}

/// Something of the session's relay that is not durable yet. The order is the relay's.
#[derive(Debug)]
pub(super) enum Received {
    /// The relay was met for the first time or has lost its past (no bookmark is right for it), or answers at a new URL, or
    /// has the past of another one, whose bookmark it takes over.
    Met {
        relay_url: String,
        incarnation: Incarnation,
        bookmark_of: Option<RelayId>,
    },
    /// What follows may be what was read already, or not: the bookmark's end is not proven.
    StartsAgain,
    Blob(Blob),
    Snapshot(Box<Taken>),
    Ack {
        position: u64,
        ack: PushAck,
        ttl: u32,
    },
    CaughtUp {
        max_cursor: u64,
    },
    /// The relay is known to hold the log up to here, because these are where they are.
    Repaired {
        up_to: u64,
        /// With their times to live.
        marks: Vec<(Mark, u32)>,
    },
}

impl Received {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Blob(blob) => blob.payload.len() + 128,
            Self::Snapshot(taken) => taken.len(),
            _ => 64,
        }
    }
}

pub(super) struct Group {
    pub(super) id: GroupId,
    /// What the store holds.
    pub(super) state: GroupState,
    pub(super) blob_ids: BlobIds,
    pub(super) membership: Membership,
    /// Those of the membership's epochs.
    pub(super) keys: Vec<EpochKeys>,
    /// What a relay told of newer keys, and the app's requests that change the membership: not durable yet.
    pub(super) change: Option<Change>,
    pub(super) wishes: Vec<(Wish, Token)>,
    /// Whose revocation is given up because it cannot be carried out.
    pub(super) refused_wish: Option<DeviceId>,
    pub(super) rename: Option<Rename>,
    pub(super) deletes: Deletes,
    /// Rotations of this device that were sent in this epoch.
    pub(super) rotation_attempts: u32,
    /// The relay in use lacks rotations: the next HELLO brings them.
    pub(super) send_chain: bool,
    pub(super) outbox: Outbox,
    pub(super) pushes: VecDeque<PendingPush>,
    pub(super) inbox: VecDeque<Received>,
    pub(super) inbox_bytes: usize,
    /// How many items of the inbox the write under way covers.
    pub(super) staging: usize,
    pub(super) session: Option<Session>,
    pub(super) snapshots: Snapshots,
    /// When to try a session again, and how many attempts failed.
    pub(super) retry_at: Option<Timestamp>,
    pub(super) failures: u32,
    /// The relay in use has asked to be left alone until then.
    not_before: Option<Timestamp>,
    pub(super) last_error: Option<SyncError>,
    /// Holes in the sequences of senders that the app was told of since the start.
    pub(super) told_gaps: SortedMap<DeviceId, Vec<(u64, u64)>>,
    /// Senders of whom the app was told that blobs came out of order.
    pub(super) told_late: SortedSet<DeviceId>,
    pub(super) attendance: Attendance,
    /// What was read last of the relay in use.
    pub(super) trail: Trail,
    /// Relays of which the app was told that they have shown different histories.
    pub(super) told_forks: SortedSet<RelayId>,
    pub(super) choice: Choice,
}

impl Group {
    pub(super) fn load(
        id: GroupId,
        state: GroupState,
        membership: Membership,
        unsent: Vec<(u64, u32)>,
    ) -> Self {
        let keys = membership
            .epochs
            .iter()
            .map(|(epoch, secret)| EpochKeys::derive(*epoch, secret.clone()));
        let last_error = membership.expelled.then(expulsion);
        Self {
            id,
            keys: keys.collect(),
            outbox: Outbox::new(unsent),
            state,
            blob_ids: BlobIds::default(),
            membership,
            change: None,
            wishes: Vec::new(),
            refused_wish: None,
            rename: None,
            deletes: Deletes::default(),
            rotation_attempts: 0,
            send_chain: false,
            pushes: VecDeque::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            staging: 0,
            session: None,
            snapshots: Snapshots::default(),
            retry_at: None,
            failures: 0,
            not_before: None,
            last_error,
            told_gaps: SortedMap::new(),
            told_late: SortedSet::default(),
            attendance: Attendance::default(),
            trail: Trail::default(),
            told_forks: SortedSet::default(),
            choice: Choice::default(),
        }
    }

    /// The highest own sequence that is taken.
    pub(super) fn own_seq(&self, device: DeviceId) -> u64 {
        let seen = self.state.seen.get(&device);
        seen.map_or(0, Sequences::highest).max(self.state.own_seq)
    }

    pub(super) fn current_keys(&self) -> Option<&EpochKeys> {
        self.keys.last()
    }

    pub(super) fn keys_of(&self, epoch: u32) -> Option<&EpochKeys> {
        self.keys.iter().find(|keys| keys.epoch() == epoch)
    }

    pub(super) fn has_intents(&self, device: DeviceId) -> bool {
        !self.pushes.is_empty()
            || !self.inbox.is_empty()
            || self.change.is_some()
            || !self.wishes.is_empty()
            || self.refused_wish.is_some()
            || self.deletes.has_intents()
            || self.entry_due(device)
    }

    /// Whether the app waits for a write.
    pub(super) fn app_waits(&self) -> bool {
        !self.pushes.is_empty()
            || !self.wishes.is_empty()
            || self.rename.is_some()
            || self.deletes.app_waits()
    }

    pub(super) fn wants_frames(&self) -> bool {
        self.inbox_bytes < limits::MAX_UNWRITTEN_BYTES
            && self.state.graves.len() < limits::MAX_GRAVES
    }

    pub(super) fn receive(&mut self, item: Received) {
        self.inbox_bytes += item.len();
        self.inbox.push_back(item);
    }

    /// The session is gone; gives its stream.
    pub(super) fn drop_session(&mut self) -> Option<StreamId> {
        let session = self.session.take()?;
        self.attendance.lost();
        self.outbox.rewind();
        self.forget_received(self.staging);
        Some(session.stream)
    }

    /// Drops what a lost session brought, but for the first `keep`: the next session brings it again, and what one life
    /// of a relay sent must not be mixed with what the next one sends.
    pub(super) fn forget_received(&mut self, keep: usize) {
        self.inbox.truncate(keep);
        self.inbox_bytes = self.inbox.iter().map(Received::len).sum();
    }

    pub(super) fn retry_now(&mut self) {
        self.forget_wait();
        self.failures = 0;
    }

    pub(super) const fn forget_wait(&mut self) {
        self.retry_at = None;
        self.not_before = None;
    }

    /// Waits from now on, because the relay has asked for it or by the device's own choice.
    pub(super) fn retry_after(&mut self, at: Timestamp, asked: bool) {
        self.retry_at = Some(at);
        self.not_before = asked.then_some(at);
    }

    /// The network is another one: what the device chose to wait is over, what the relay has asked for is not.
    pub(super) const fn on_network(&mut self) {
        self.retry_at = self.not_before;
        self.failures = 0;
    }

    pub(super) fn wants_session(&self, now: Timestamp) -> bool {
        self.session.is_none()
            && self.staging == 0
            && self.change.is_none()
            && !self.membership.expelled
            && self.retry_at.is_none_or(|at| at <= now)
    }

    pub(super) fn next_wake(&self, connected: bool) -> Option<Timestamp> {
        match &self.session {
            Some(session) => session.next_wake(),
            None => self.retry_at.filter(|_| {
                connected && self.staging == 0 && self.change.is_none() && !self.membership.expelled
            }),
        }
    }

    /// Reports an error of the session and remembers it for the status.
    pub(super) fn fail(&mut self, error: SyncError, context: &mut Context<'_>) {
        self.last_error = Some(error.clone());
        context.error(self.id, error, None);
    }
}
