//! What a device keeps, and the writes that change it.
//!
//! A store holds, per group, one [`GroupState`] record, one [`Membership`] record and a log of [`LogRecord`]s; and once, the
//! device's own secret key. All that is secret is in the membership and in that key.
//! It never looks inside them. Everything that has to happen together is in one [`Batch`].

use bytes::Bytes;

use crate::codec::wire::{wire_struct, wire_struct_grown};
use crate::crypto::blob::{Address, Kind};
use crate::crypto::tombstone::Tombstone;
use crate::ids::{BlobId, DeviceId, GroupId, Incarnation, RelayId};
use crate::map::SortedMap;
use crate::message::Mark;
use crate::time::Timestamp;

pub use membership::{Membership, Wish};
pub use sequences::Sequences;

mod membership;
mod sequences;

/// One entry of a group's log on this device, as sealed as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Place in this device's log: from 1, gapless.
    pub position: u64,
    /// The blob.
    pub blob_id: BlobId,
    /// The device that sealed it.
    pub sender: DeviceId,
    /// The epoch of its key.
    pub epoch: u32,
    /// The sender's sequence.
    pub seq: u64,
    /// What it is for. A blob of the app that was deleted has become a tombstone.
    pub kind: Kind,
    /// Seconds to keep it at a relay; 0 leaves it to the relay.
    pub ttl: u32,
    /// Cursor on the relay that stored it first as far as this device knows; 0 while that has not happened.
    pub cursor: u64,
    /// When that relay stored it; until then, when it was pushed here.
    pub timestamp: Timestamp,
    /// Nonce and ciphertext; empty once it was deleted.
    pub payload: Bytes,
}

wire_struct!(LogRecord {
    position,
    blob_id,
    sender,
    epoch,
    seq,
    kind,
    ttl,
    cursor,
    timestamp,
    payload,
});
wire_struct_grown!(
    Bookmark {
        incarnation,
        cursor,
        held_to,
        newest,
        longest,
    } + head
);
wire_struct!(Head { cursor, head });
wire_struct!(Known { mark, expires });
wire_struct!(Grave {
    tombstone,
    by,
    epoch
});
wire_struct_grown!(
    GroupState {
        position,
        seen,
        pins,
        bookmarks,
        last_synced,
        own_seq,
        entries,
        hidden,
        snapshots,
        lacking,
    } + graves
);
wire_struct!(HeldSnapshot {
    first,
    parts,
    place,
    seen
});

impl LogRecord {
    /// What the payload is bound to.
    #[must_use]
    pub const fn address(&self, group_id: GroupId) -> Address {
        Address {
            group_id,
            epoch: self.epoch,
            sender: self.sender,
            blob_id: self.blob_id,
        }
    }
}

/// A blob of which this device knows where a relay has it: a relay that has something else there was set back, even if it
/// has grown since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What is where.
    pub mark: Mark,
    /// When the relay deletes it, on the relay's clock.
    pub expires: Timestamp,
}

/// How far this device has read a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark {
    /// The life of the relay's database that the cursor belongs to.
    pub incarnation: Incarnation,
    /// Everything up to here is in the log.
    pub cursor: u64,
    /// The relay is known to hold the log up to this position. What follows is not yet sent, or came from another relay.
    pub held_to: u64,
    /// The blob at the highest cursor that this device has heard of, as BLOB or as PUSH_ACK.
    pub newest: Option<Known>,
    /// The newest of those that live longest: it still proves something when the newest has expired.
    pub longest: Option<Known>,
    /// The running hash of the relay's history, if all of it up to there is known.
    pub head: Option<Head>,
}

/// The running hash of a relay's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Up to where.
    pub cursor: u64,
    /// The hash.
    pub head: [u8; 32],
}

/// A blob of the log that somebody has deleted and that has yet to be found and erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grave {
    /// What was deleted.
    pub tombstone: Tombstone,
    /// By whom.
    pub by: DeviceId,
    /// The epoch of the keys that it was sealed with.
    pub epoch: u32,
}

/// The small, often changed part of what a device knows of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Newest position of the log.
    pub position: u64,
    /// Sequences seen, own ones among them.
    pub seen: SortedMap<DeviceId, Sequences>,
    /// Identity of the relay that was last met at each URL.
    pub pins: SortedMap<String, RelayId>,
    /// How far each relay was read. Of relays that share a database, the one that was met last has the bookmark.
    pub bookmarks: SortedMap<RelayId, Bookmark>,
    /// When everything a relay had was last here.
    pub last_synced: Option<Timestamp>,
    /// Own sequences up to here are taken, even if the log does not have them: by a membership that ended. All that stays of
    /// a group that the device leaves; a device that came back and began at 1 again would have its blobs taken for old ones.
    pub own_seq: u64,
    /// Positions of own roster entries and tombstones that wait to be sent: no app has pushed them, so none is told of them.
    pub entries: Vec<u64>,
    /// Positions of everything in the log that is not, and never was, a blob of the app.
    pub hidden: Vec<u64>,
    /// What is to be erased.
    pub graves: Vec<Grave>,
    /// The snapshots that were taken in, the newest last. Those that a newer one has all of are not among them.
    pub snapshots: Vec<HeldSnapshot>,
    /// Something may be missing that no hole shows, because a relay had deleted it and no snapshot was there for it.
    pub lacking: bool,
}

/// Where a snapshot is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSnapshot {
    /// Position of its first part.
    pub first: u64,
    /// Its parts, without the header, one after the other.
    pub parts: u32,
    /// Everything in the log up to this position is in it.
    pub place: u64,
    /// What it stands in for.
    pub seen: SortedMap<DeviceId, Sequences>,
}

impl GroupState {
    /// That of a group in which only some own sequences are taken.
    #[must_use]
    pub fn new(own_seq: u64) -> Self {
        Self {
            own_seq,
            ..Self::default()
        }
    }
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes the group or replaces its state.
    State {
        /// The group.
        group: GroupId,
        /// Its new state.
        state: Box<GroupState>,
    },
    /// Replaces the membership of a group that is there.
    Membership {
        /// The group.
        group: GroupId,
        /// Its new membership.
        membership: Box<Membership>,
    },
    /// Adds to the end of the log.
    Append {
        /// The group.
        group: GroupId,
        /// The entry.
        record: LogRecord,
        /// Whether it also waits to be sent.
        unsent: bool,
    },
    /// Puts another record in the place of the one at its position, of which cursor and timestamp stay. Nothing of what was
    /// there may be left.
    Replace {
        /// The group.
        group: GroupId,
        /// The entry.
        record: LogRecord,
        /// Whether it waits to be sent, as the one before did.
        unsent: bool,
    },
    /// A relay has stored a blob of the log: sets cursor and timestamp, and it waits no longer.
    Sent {
        /// The group.
        group: GroupId,
        /// Where it is in the log.
        position: u64,
        /// Its cursor.
        cursor: u64,
        /// When the relay stored it.
        timestamp: Timestamp,
    },
    /// Forgets a group and its log.
    Remove {
        /// The group.
        group: GroupId,
    },
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In this order.
    pub writes: Vec<Write>,
}

/// What is read when a device starts: everything but the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// The group.
    pub group: GroupId,
    /// Its state.
    pub state: GroupState,
    /// None once the device has left the group.
    pub membership: Option<Membership>,
    /// Positions that wait to be sent with the lengths of their payloads, in order.
    pub unsent: Vec<(u64, u32)>,
}
