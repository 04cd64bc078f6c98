//! What goes into the engine and what comes out of it.

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::crypto::rotation::Reason;
use crate::failure::SyncError;
use crate::ids::{BlobId, DeviceId, GroupId, RelayId};
use crate::message::Message;
use crate::store::{Batch, LogRecord, Membership};

/// Names one stream, and with it one attempt at a session. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names a request of the app; the engine only gives it back.
pub type Token = u64;

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The app pushes a blob.
    Push {
        /// To this group.
        group: GroupId,
        /// The data.
        body: Bytes,
        /// Seconds to keep it at a relay; 0 leaves it to the relay.
        ttl: u32,
        /// Answered by [`Output::Pushed`] or [`Output::Refused`].
        token: Token,
    },
    /// The app founds or joins a group.
    AddGroup {
        /// The group.
        group: GroupId,
        /// The keys and where it lives. For a device that is in the group already, newer keys count.
        membership: Box<Membership>,
        /// Answered by [`Output::Done`] or [`Output::Refused`].
        token: Token,
    },
    /// The app says something to the devices that are there now. Nothing answers: without a relay, or under load, nobody
    /// hears it.
    Broadcast {
        /// In this group.
        group: GroupId,
        /// The data, at most [`crate::limits::MAX_EPHEMERAL`].
        body: Bytes,
    },
    /// The app leaves a group.
    RemoveGroup {
        /// The group.
        group: GroupId,
        /// Answered by [`Output::Done`] or [`Output::Refused`].
        token: Token,
    },
    /// The app revokes another device.
    Revoke {
        /// In this group.
        group: GroupId,
        /// The device.
        device: DeviceId,
        /// Why.
        reason: Reason,
        /// Answered by [`Output::Done`] when it is certain to happen, or by [`Output::Refused`].
        token: Token,
    },
    /// The app gives this device another name.
    Rename {
        /// In this group.
        group: GroupId,
        /// For people.
        name: String,
        /// Answered by [`Output::Done`] or [`Output::Refused`].
        token: Token,
    },
    /// The app deletes a blob, here and everywhere.
    Delete {
        /// In this group.
        group: GroupId,
        /// The blob.
        blob_id: BlobId,
        /// Whether relays are asked to erase it before everybody has heard of it, which only its sender may.
        force: bool,
        /// Answered by [`Output::Done`] or [`Output::Refused`].
        token: Token,
    },
    /// The app gives its state when it is asked, or does so no longer.
    ProvideSnapshots {
        /// For this group.
        group: GroupId,
        /// Whether it does.
        available: bool,
    },
    /// The answer to [`Event::SnapshotWanted`].
    Snapshot {
        /// The group.
        group: GroupId,
        /// Which request.
        request: u64,
        /// The app's state; nothing if it has none to give now.
        state: Option<Bytes>,
    },
    /// [`Output::Connect`] succeeded.
    Connected {
        /// To the relay with this URL.
        relay: String,
        /// Which is this endpoint.
        relay_id: RelayId,
        /// TLS exporter of the connection.
        exporter: [u8; 32],
    },
    /// There are other nodes behind the URL than the one that is connected: when it says that it is going, the device goes on
    /// at another one instead of waiting for it.
    OtherNodes {
        /// The relay's URL.
        relay: String,
    },
    /// [`Output::Connect`] failed, or the connection was lost.
    Disconnected {
        /// The relay.
        relay: String,
        /// Why.
        error: SyncError,
    },
    /// A frame arrived.
    Frame {
        /// On this stream.
        stream: StreamId,
        /// The frame.
        message: Result<Message, DecodeError>,
    },
    /// A stream ended, by the relay or because it broke.
    StreamEnded {
        /// Which one.
        stream: StreamId,
    },
    /// The write under way is durable, or did not happen.
    Written(Result<(), SyncError>),
    /// The answer to [`Output::Load`].
    Loaded {
        /// The group.
        group: GroupId,
        /// What for.
        purpose: LoadPurpose,
        /// The records, in order.
        records: Result<Vec<LogRecord>, SyncError>,
    },
    /// The network of this device changed; `online` is false when there is none at all.
    NetworkChanged {
        /// Whether there is a network.
        online: bool,
    },
    /// [`Engine::next_wake`] has come.
    Tick,
}

/// What records are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadPurpose {
    /// To send what waits.
    Outbox,
    /// To give back to a relay what it lost.
    Repair,
    /// To find what was deleted.
    Deletion,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to a relay.
    Connect {
        /// Its URL.
        relay: String,
    },
    /// Close the connection to a relay.
    Disconnect {
        /// Its URL.
        relay: String,
    },
    /// Open a stream on the connection to a relay.
    OpenStream {
        /// Its name.
        stream: StreamId,
        /// The relay.
        relay: String,
    },
    /// Send a message.
    Send {
        /// On this stream.
        stream: StreamId,
        /// The message.
        message: Message,
    },
    /// Finish a stream after what was sent.
    CloseStream {
        /// Which one.
        stream: StreamId,
    },
    /// Write this, all or nothing; answer with [`Input::Written`].
    Write(Batch),
    /// Read log records; answer with [`Input::Loaded`].
    Load {
        /// The group.
        group: GroupId,
        /// What for.
        purpose: LoadPurpose,
        /// Records after this position.
        after: u64,
        /// At most so many.
        max_records: usize,
        /// At most so many payload bytes, but at least one record if there is one.
        max_bytes: usize,
    },
    /// The blob is durable here.
    Pushed {
        /// Of the push.
        token: Token,
        /// Its id.
        blob_id: BlobId,
        /// Its place in the log.
        position: u64,
    },
    /// The request was carried out.
    Done {
        /// Of the request.
        token: Token,
    },
    /// The request was refused; nothing of it happened.
    Refused {
        /// Of the request.
        token: Token,
        /// Why.
        error: SyncError,
    },
    /// Tell the app.
    Event(Event),
}

/// What an app is told beside the changes of views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This device is now in the group.
    GroupJoined(GroupId),
    /// This device has forgotten the group.
    GroupLeft(GroupId),
    /// A relay has the blob durably.
    Pushed {
        /// The group.
        group: GroupId,
        /// The blob.
        blob_id: BlobId,
        /// Its place in the log.
        position: u64,
        /// Its cursor at the relay.
        cursor: u64,
    },
    /// The first blob of a device.
    DeviceJoined {
        /// The group.
        group: GroupId,
        /// The device.
        device: DeviceId,
        /// What it calls itself, if it has said so.
        name: Option<String>,
    },
    /// A device was revoked: whoever stays has new keys. It may be this one.
    DeviceRevoked {
        /// The group.
        group: GroupId,
        /// Who is out.
        device: DeviceId,
        /// Who revoked it.
        by: DeviceId,
        /// Why.
        reason: Reason,
        /// The first epoch without it.
        epoch: u32,
    },
    /// A blob was deleted, and is erased here.
    Deleted {
        /// The group.
        group: GroupId,
        /// The blob.
        blob_id: BlobId,
        /// The device that deleted it.
        by: DeviceId,
        /// Where it was in the log.
        position: u64,
        /// Whether it was to be gone from relays at once.
        forced: bool,
    },
    /// Another device says something to those who are there now.
    Broadcast {
        /// The group.
        group: GroupId,
        /// Who.
        sender: DeviceId,
        /// What.
        data: Bytes,
    },
    /// The app's state is wanted, with everything that is in the log now; answered by [`Input::Snapshot`].
    SnapshotWanted {
        /// Of this group.
        group: GroupId,
        /// To be named in the answer.
        request: u64,
        /// The newest place in the log: the state has to have everything up to it.
        place: u64,
    },
    /// A snapshot of another device is here: [`crate::store::GroupState::snapshot`].
    Snapshot {
        /// Of this group.
        group: GroupId,
    },
    /// Blobs that no relay has any more.
    Gap {
        /// The group.
        group: GroupId,
        /// Whose.
        sender: DeviceId,
        /// First missing sequence.
        from: u64,
        /// Last missing sequence.
        to: u64,
    },
    /// Something went wrong, and the rest goes on.
    Error {
        /// In this group, or in general.
        group: Option<GroupId>,
        /// What.
        error: SyncError,
        /// At this cursor, when it is about one blob.
        cursor: Option<u64>,
    },
}
