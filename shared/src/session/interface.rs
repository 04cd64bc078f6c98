//! What goes into a session and what comes out of it, and the shapes in which it talks about what the storage has.

use crate::codec::DecodeError;
use crate::crypto::rotation::Certificate;
#[cfg(doc)]
use crate::ids::Incarnation;
use crate::ids::{BlobId, DeviceId, GroupId};
use crate::message::{
    Blob, Delete, Ephemeral, ListedDevice, Mark, Message, Presence, SnapshotPart, WireError,
};
#[cfg(doc)]
use crate::session::Session;
use crate::time::Timestamp;

/// A group as the storage has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Random, made with the group; see [`Incarnation::of_group`].
    pub founding: [u8; 16],
    /// Newest cursor.
    pub max_cursor: u64,
    /// Newest epoch.
    pub epoch: u32,
    /// Public access key of that epoch.
    pub access_pub: [u8; 32],
    /// What is at the cursors that the device asked for.
    pub marks: Vec<Mark>,
    /// Whether the device that asks was revoked.
    pub revoked: bool,
    /// Cursor that the stored snapshot covers, if there is one.
    pub snapshot: Option<u64>,
    /// Whether something after the device's cursor is not stored any more.
    pub lacking: bool,
}

/// A part of a snapshot for the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshotPart {
    /// Its group.
    pub group_id: GroupId,
    /// The part.
    pub part: SnapshotPart,
}

/// A rotation for the storage, checked as far as that can be done without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRotation {
    /// Its group.
    pub group_id: GroupId,
    /// The link of the chain.
    pub certificate: Certificate,
    /// The author knows everything up to here.
    pub after_cursor: u64,
    /// The member list, sealed.
    pub members: bytes::Bytes,
    /// A packet for each member.
    pub packets: Vec<(DeviceId, bytes::Bytes)>,
}

/// How a group's keys have changed since an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysSince {
    /// The certificates that follow it, encoded.
    pub certificates: Vec<bytes::Bytes>,
    /// The newest member list, sealed; empty if the relay does not have it.
    pub members: bytes::Bytes,
    /// The newest packet of the device that asks.
    pub packet: Option<bytes::Bytes>,
}

/// A blob for the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlob {
    /// Its group.
    pub group_id: GroupId,
    /// Its id.
    pub blob_id: BlobId,
    /// The device that sealed it.
    pub sender: DeviceId,
    /// The epoch of its key.
    pub epoch: u32,
    /// Seconds to keep it, never 0.
    pub ttl: u64,
    /// Nonce and ciphertext.
    pub payload: bytes::Bytes,
}

/// Where a blob was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its cursor.
    pub cursor: u64,
    /// When it was stored first.
    pub timestamp: Timestamp,
}

/// Blobs in cursor order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The blobs.
    pub blobs: Vec<Blob>,
    /// Nothing between the start of the page and this cursor is missing from it. With no blobs and more to come, reading goes on
    /// after it.
    pub up_to: u64,
    /// Whether more is stored after `up_to`.
    pub has_more: bool,
    /// Newest cursor of the group.
    pub max_cursor: u64,
}

/// What a page was read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The subscription.
    Stream,
    /// A PULL.
    Pull,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A frame arrived.
    Frame(Result<Message, DecodeError>),
    /// The answer to [`Output::OpenGroup`], with the relay's clock.
    GroupOpened(Result<GroupInfo, WireError>, Timestamp),
    /// The answer to the oldest unanswered [`Output::Store`].
    Stored(Result<Stored, WireError>),
    /// The answer to [`Output::Read`].
    Read(Purpose, Result<Page, WireError>),
    /// The answer to [`Output::Has`].
    HasResult(Result<Vec<Mark>, WireError>),
    /// The answer to [`Output::Delete`].
    Deleted(Result<(), WireError>),
    /// The answer to [`Output::Devices`], or the list once more, because more has changed than could be told one by one.
    Devices(Result<Vec<ListedDevice>, WireError>),
    /// Another device of the group came or went.
    Presence(Presence),
    /// Another device of the group says something.
    Said(Ephemeral),
    /// An EPHEMERAL came too soon after many others, and was dropped.
    EphemeralDropped(WireError),
    /// The answer to [`Output::StoreSnapshot`].
    SnapshotStored(Result<(), WireError>),
    /// The answer to [`Output::ReadSnapshot`].
    SnapshotRead(Result<Option<SnapshotPart>, WireError>),
    /// The answer to [`Output::Keys`].
    Keys(Result<KeysSince, WireError>),
    /// The answer to [`Output::Rotate`].
    Rotated(Result<(), WireError>),
    /// The group has this newest epoch.
    EpochChanged(u32),
    /// The group has a new newest cursor.
    Grown(u64),
    /// Everything sent so far has been taken by the stream.
    Flushed,
    /// [`Session::deadline`] has passed.
    DeadlinePassed,
    /// The device may not go on: its access was taken back, or the relay's past is another one by now.
    Revoked(WireError),
    /// A frame came too soon after many others, and was dropped.
    RateLimited(WireError),
    /// The relay is stopping; the device is told when to come back.
    Shutdown {
        /// In milliseconds, and not the same for every session.
        retry_after_ms: u64,
    },
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(Message),
    /// Look the group up; create it if `create` and it is not there.
    OpenGroup {
        /// The group.
        group_id: GroupId,
        /// Proven public access key.
        access_pub: [u8; 32],
        /// Its epoch.
        epoch: u32,
        /// Whether the group may be made: the key is that of epoch 0, or the chain leads from that to it; and the device does
        /// not only ask.
        create: bool,
        /// The checked chain of all rotations up to the epoch, for a relay that lacks some; or nothing.
        chain: Vec<Certificate>,
        /// Cursors of which the device wants to know what is there.
        marks: Vec<u64>,
        /// The device's bookmark: whether something after it is lacking.
        after_cursor: u64,
    },
    /// Store a blob.
    Store(NewBlob),
    /// Read blobs after a cursor.
    Read {
        /// What for.
        purpose: Purpose,
        /// After which cursor.
        after: u64,
        /// At most so many, and at least one if there is one.
        max_blobs: u32,
        /// At most so many payload bytes, but at least one blob.
        max_bytes: usize,
    },
    /// Which of these are stored?
    Has(Vec<BlobId>),
    /// Let go of a blob's payload, if it is there.
    Delete {
        /// The group.
        group_id: GroupId,
        /// Which blob, and whether at once.
        delete: Delete,
    },
    /// Which devices does the group have?
    Devices,
    /// Forward this to the other devices of the group that are there now.
    Broadcast(Ephemeral),
    /// Store a part of a snapshot; the last one makes it the group's snapshot.
    StoreSnapshot(Box<NewSnapshotPart>),
    /// Read a part of the group's snapshot.
    ReadSnapshot {
        /// The group.
        group_id: GroupId,
        /// Which part.
        part: u32,
    },
    /// How have the keys changed since this epoch, and what is there for the device?
    Keys {
        /// The group.
        group_id: GroupId,
        /// The epoch that the device has.
        after_epoch: u32,
    },
    /// Change the keys, as a whole or not at all.
    Rotate(Box<NewRotation>),
    /// Keep these keys of the newest epoch, where there are none.
    KeepKeys {
        /// The group.
        group_id: GroupId,
        /// The epoch.
        epoch: u32,
        /// The member list, sealed.
        members: bytes::Bytes,
        /// Packets.
        packets: Vec<(DeviceId, bytes::Bytes)>,
    },
    /// The device holds everything up to this cursor.
    Acked(u64),
    /// Finish the stream after what was sent.
    Close,
}
