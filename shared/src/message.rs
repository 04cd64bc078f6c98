//! The messages between a device and a relay: codes, fields, and which values are allowed.
//!
//! A frame is `u32` little-endian length, then MessagePack `[code, [fields…]]`; [`crate::codec`] reads and writes it.

use bytes::Bytes;

use crate::codec::wire::{wire_struct, wire_struct_grown};
use crate::crypto::rotation;
use crate::error::ErrorCode;
use crate::ids::{BlobId, DeviceId, GroupId, Incarnation, RelayId};
use crate::limits;
use crate::time::Timestamp;

mod presence;

pub use presence::{Ephemeral, ListedDevice, Presence};

/// Highest version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;
/// Lowest version that it still serves.
pub const OLDEST_VERSION: u16 = 1;
/// ALPN of the protocol.
pub const ALPN: &[u8] = b"0k-sync/1";

/// C→R: opens a session for one group and proves membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Highest version the device speaks.
    pub version: u16,
    /// The group.
    pub group_id: GroupId,
    /// The newest epoch the device knows.
    pub epoch: u32,
    /// Public half of that epoch's access key.
    pub access_pub: [u8; 32],
    /// Rotation certificates that the relay may lack, oldest first.
    pub certificates: Vec<Bytes>,
    /// [`crate::crypto::access::hello_proof`].
    pub proof: [u8; 64],
    /// The device's bookmark on this relay, for its information; reading starts with SUBSCRIBE.
    pub after_cursor: u64,
    /// Optional features that the device understands.
    pub capabilities: Vec<String>,
    /// For relays that are not open to everybody.
    pub access_token: Option<String>,
    /// Cursors of which the device knows what is there; WELCOME tells what the relay has there.
    pub marks: Vec<u64>,
    /// Only ask whether the group is there: it is not made if it is not. Left out where it is false.
    pub probe: bool,
}

/// What is at a cursor. A relay that was set back and has grown again has something else there: blobs keep their cursor
/// and their timestamp for as long as a database lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where.
    pub cursor: u64,
    /// The blob there.
    pub blob_id: BlobId,
    /// When the relay stored it.
    pub timestamp: Timestamp,
}

/// What a relay accepts from this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLimits {
    /// Longest payload of a blob, in bytes.
    pub max_payload: u32,
    /// Seconds that blobs are kept by default.
    pub default_ttl: u64,
    /// Bytes that the group may store; 0 means no limit.
    pub group_quota: u64,
}

/// R→C: the session is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Version that both sides speak from here on.
    pub version: u16,
    /// Optional features that the relay understands.
    pub capabilities: Vec<String>,
    /// The relay's endpoint.
    pub relay_id: RelayId,
    /// The life of its database.
    pub incarnation: Incarnation,
    /// Newest cursor of the group.
    pub max_cursor: u64,
    /// The group's epoch as the relay knows it.
    pub epoch: u32,
    /// Cursor that the stored snapshot covers, when there is one.
    pub snapshot: Option<u64>,
    /// What the relay accepts.
    pub limits: RelayLimits,
    /// The relay's clock.
    pub now: Timestamp,
    /// What is at the `marks` of HELLO, without those that have expired or never were.
    pub marks: Vec<Mark>,
    /// One history that the relay's process shows: made when it starts, and anew when it finds that its database was set back.
    pub run: Option<Incarnation>,
    /// Some of what came after the device's cursor is not here any more: the device may need a snapshot.
    pub lacking: bool,
}

impl Welcome {
    /// Seconds that a blob is kept at most, whatever its sender asks for.
    #[must_use]
    pub fn max_ttl(&self) -> u64 {
        let mut names = self.capabilities.iter();
        names
            .find_map(|name| name.strip_prefix(capability::MAX_TTL)?.parse().ok())
            .unwrap_or(u64::MAX)
    }
}

/// C→R: stream every blob after a cursor, for as long as the session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe {
    /// Stream what has a higher cursor.
    pub after_cursor: u64,
    /// Payload bytes that the relay may have queued for this device at any time.
    pub window: u32,
}

/// R→C: one stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its cursor on this relay.
    pub cursor: u64,
    /// Its id.
    pub blob_id: BlobId,
    /// The device that sealed it.
    pub sender: DeviceId,
    /// The epoch of its key.
    pub epoch: u32,
    /// When the relay stored it.
    pub timestamp: Timestamp,
    /// Seconds from then for which it is kept: a device that gives it back to a relay must not make it live longer.
    pub ttl: u32,
    /// Nonce and ciphertext. Empty for what this device itself pushed in this session: it has the bytes.
    pub payload: Bytes,
}

/// C→R: store a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Its id; pushing the same id again is harmless.
    pub blob_id: BlobId,
    /// The epoch of its key.
    pub epoch: u32,
    /// Seconds to keep it; 0 leaves it to the relay.
    pub ttl: u32,
    /// Nonce and ciphertext.
    pub payload: Bytes,
    /// The device that sealed it, when it is not the one that pushes: a repair.
    pub origin: Option<DeviceId>,
}

/// R→C: a blob would survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushAck {
    /// Which one.
    pub blob_id: BlobId,
    /// Its cursor.
    pub cursor: u64,
    /// When the relay stored it.
    pub timestamp: Timestamp,
}

/// C→R: one page of blobs, for a device that does not subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Blobs after this cursor.
    pub after_cursor: u64,
    /// At most so many.
    pub limit: u32,
}

/// R→C: the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullResponse {
    /// In cursor order.
    pub blobs: Vec<Blob>,
    /// Whether another page follows.
    pub has_more: bool,
    /// Newest cursor of the group.
    pub max_cursor: u64,
}

/// Both: one part of a snapshot; see [`crate::crypto::snapshot`]. A device sends part after part, and waits for the answer
/// to each; with the last one the snapshot replaces the former.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    /// Which snapshot.
    pub snapshot_id: BlobId,
    /// Who made it; a relay takes it from the session.
    pub author: DeviceId,
    /// The epoch of its key.
    pub epoch: u32,
    /// Everything that this relay has up to this cursor is in it.
    pub covers: u64,
    /// The number of this part, from 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// Nonce and ciphertext.
    pub payload: Bytes,
}

/// R→C: a part is stored; or why it, or what GET_SNAPSHOT asked for, was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAnswer {
    /// Which part.
    pub part: u32,
    /// Nothing is stored, or there is nothing to get.
    pub refused: Option<WireError>,
}

/// C→R: change the group's keys, so that a device is out. Applied as a whole, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    /// [`crate::crypto::rotation::Certificate`] of the epoch that begins.
    pub certificate: Bytes,
    /// The device has everything up to here. Newer blobs of somebody who gets no packet make the relay refuse: the author
    /// does not know that member yet.
    pub after_cursor: u64,
    /// The member list, sealed.
    pub members: Bytes,
    /// For everybody who stays, the author included.
    pub packets: Vec<(DeviceId, Bytes)>,
}

/// C→R: let go of a blob's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// The blob.
    pub blob_id: BlobId,
    /// At once, which only its sender may ask for; otherwise when every active device has acknowledged it.
    pub force: bool,
}

/// R→C: how the group's keys have changed since the device was here. The session ends after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPacket {
    /// The certificates that follow the device's epoch.
    pub certificates: Vec<Bytes>,
    /// The newest member list, sealed.
    pub members: Bytes,
    /// The newest secret, sealed to the device; empty in an answer to CHAIN.
    pub packet: Bytes,
}

/// C→R: the newest epoch's keys for its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackets {
    /// The member list, sealed.
    pub members: Bytes,
    /// For members that the relay may have no packet for.
    pub packets: Vec<(DeviceId, Bytes)>,
}

/// A message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// 0x01
    Hello(Hello),
    /// 0x02
    Welcome(Welcome),
    /// 0x10
    Push(Push),
    /// 0x11
    PushAck(PushAck),
    /// 0x12
    Subscribe(Subscribe),
    /// 0x13
    Blob(Blob),
    /// 0x14: everything that was stored when SUBSCRIBE arrived has been sent
    CaughtUp {
        /// Newest cursor at that moment.
        max_cursor: u64,
    },
    /// 0x15: all up to here are durable on this device
    Ack {
        /// Highest of them.
        cursor: u64,
    },
    /// 0x20
    Pull(Pull),
    /// 0x21
    PullResponse(PullResponse),
    /// 0x22: which of these are stored?
    Has {
        /// At most [`limits::MAX_HAS_IDS`].
        blob_ids: Vec<BlobId>,
    },
    /// 0x23: these of them are
    HasResponse {
        /// Those of the question that are stored, and where.
        marks: Vec<Mark>,
    },
    /// 0x40
    Delete(Delete),
    /// 0x42: the relay lets go of the blob, or never had it. Told to the device that asked.
    Deleted {
        /// The blob.
        blob_id: BlobId,
    },
    /// 0x30
    Presence(Presence),
    /// 0x32
    Ephemeral(Ephemeral),
    /// 0x41
    Snapshot(SnapshotPart),
    /// 0x43
    SnapshotAnswer(SnapshotAnswer),
    /// 0x44: send a part of the newest snapshot
    GetSnapshot {
        /// Which part, from 0.
        part: u32,
    },
    /// 0x50
    Revoke(Revoke),
    /// 0x51: this device is out. The session ends after it.
    Revoked {
        /// The certificates that follow the device's epoch; one of them revokes it.
        certificates: Vec<Bytes>,
    },
    /// 0x52
    KeyPacket(KeyPacket),
    /// 0x53: which devices does the group have? From then on the relay tells who comes and goes, and forwards EPHEMERAL.
    Devices,
    /// 0x54: those that were here last
    DevicesResponse {
        /// At most [`limits::MAX_LISTED_DEVICES`], in no order.
        devices: Vec<ListedDevice>,
    },
    /// 0x55: the member list of the newest epoch and packets for its members, for a relay that learned of the epoch from a
    /// chain in HELLO. It keeps what it has already.
    KeyPackets(KeyPackets),
    /// 0x56: send the certificates after an epoch, to a device that has the keys but not the chain
    Chain {
        /// The epoch.
        after_epoch: u32,
    },
    /// 0x7F: the sender is done; the other side closes cleanly
    Bye {
        /// For people.
        reason: String,
    },
    /// 0xFF
    Error(WireError),
}

/// R→C: something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// Why.
    pub code: ErrorCode,
    /// What to do about it, for people.
    pub message: String,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
}

wire_struct_grown!(
    Hello {
        version,
        group_id,
        epoch,
        access_pub,
        certificates,
        proof,
        after_cursor,
        capabilities,
        access_token,
        marks,
    } + probe
);
wire_struct!(Mark {
    cursor,
    blob_id,
    timestamp
});
wire_struct!(RelayLimits {
    max_payload,
    default_ttl,
    group_quota
});
wire_struct_grown!(
    Welcome {
        version,
        capabilities,
        relay_id,
        incarnation,
        max_cursor,
        epoch,
        snapshot,
        limits,
        now,
        marks,
        lacking,
    } + run
);
wire_struct!(Subscribe {
    after_cursor,
    window
});
wire_struct!(Blob {
    cursor,
    blob_id,
    sender,
    epoch,
    timestamp,
    ttl,
    payload
});
wire_struct!(Push {
    blob_id,
    epoch,
    ttl,
    payload,
    origin
});
wire_struct!(PushAck {
    blob_id,
    cursor,
    timestamp
});
wire_struct!(Pull {
    after_cursor,
    limit
});
wire_struct!(PullResponse {
    blobs,
    has_more,
    max_cursor
});
wire_struct!(Delete { blob_id, force });
wire_struct!(SnapshotPart {
    snapshot_id,
    author,
    epoch,
    covers,
    part,
    parts,
    payload
});
wire_struct!(SnapshotAnswer { part, refused });
wire_struct!(Revoke {
    certificate,
    after_cursor,
    members,
    packets
});
wire_struct!(KeyPackets { members, packets });
wire_struct!(KeyPacket {
    certificates,
    members,
    packet
});
wire_struct!(WireError {
    code,
    message,
    retry_after_ms
});

impl WireError {
    /// An error without a waiting time.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// Optional features, by the names that HELLO and WELCOME list.
pub mod capability {
    /// A relay with it takes DELETE.
    pub const DELETE: &str = "delete";
    /// DEVICES is answered, and EPHEMERAL is forwarded.
    pub const PRESENCE: &str = "presence";
    /// A relay with it keeps snapshots.
    pub const SNAPSHOTS: &str = "snapshots";
    /// With a number of seconds after it: blobs are kept for so long at most, whatever PUSH asks for.
    pub const MAX_TTL: &str = "max-ttl=";
}

/// The codes of the frames, in one table.
pub mod code {
    #![allow(missing_docs, reason = "each is the code of the message of its name")]
    pub const HELLO: u8 = 0x01;
    pub const WELCOME: u8 = 0x02;
    pub const PUSH: u8 = 0x10;
    pub const PUSH_ACK: u8 = 0x11;
    pub const SUBSCRIBE: u8 = 0x12;
    pub const BLOB: u8 = 0x13;
    pub const CAUGHT_UP: u8 = 0x14;
    pub const ACK: u8 = 0x15;
    pub const PULL: u8 = 0x20;
    pub const PULL_RESPONSE: u8 = 0x21;
    pub const HAS: u8 = 0x22;
    pub const HAS_RESPONSE: u8 = 0x23;
    pub const DELETE: u8 = 0x40;
    pub const DELETED: u8 = 0x42;
    pub const PRESENCE: u8 = 0x30;
    pub const EPHEMERAL: u8 = 0x32;
    pub const SNAPSHOT: u8 = 0x41;
    pub const SNAPSHOT_ANSWER: u8 = 0x43;
    pub const GET_SNAPSHOT: u8 = 0x44;
    pub const REVOKE_DEVICE: u8 = 0x50;
    pub const DEVICE_REVOKED: u8 = 0x51;
    pub const KEY_PACKET: u8 = 0x52;
    pub const DEVICES: u8 = 0x53;
    pub const DEVICES_RESPONSE: u8 = 0x54;
    pub const KEY_PACKETS: u8 = 0x55;
    pub const CHAIN: u8 = 0x56;
    pub const BYE: u8 = 0x7F;
    pub const ERROR: u8 = 0xFF;
}

impl Message {
    /// Its code on the wire.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Hello(_) => code::HELLO,
            Self::Welcome(_) => code::WELCOME,
            Self::Push(_) => code::PUSH,
            Self::PushAck(_) => code::PUSH_ACK,
            Self::Subscribe(_) => code::SUBSCRIBE,
            Self::Blob(_) => code::BLOB,
            Self::CaughtUp { .. } => code::CAUGHT_UP,
            Self::Ack { .. } => code::ACK,
            Self::Pull(_) => code::PULL,
            Self::PullResponse(_) => code::PULL_RESPONSE,
            Self::Has { .. } => code::HAS,
            Self::HasResponse { .. } => code::HAS_RESPONSE,
            Self::Delete(_) => code::DELETE,
            Self::Deleted { .. } => code::DELETED,
            Self::Presence(_) => code::PRESENCE,
            Self::Ephemeral(_) => code::EPHEMERAL,
            Self::Snapshot(_) => code::SNAPSHOT,
            Self::SnapshotAnswer(_) => code::SNAPSHOT_ANSWER,
            Self::GetSnapshot { .. } => code::GET_SNAPSHOT,
            Self::Revoke(_) => code::REVOKE_DEVICE,
            Self::Revoked { .. } => code::DEVICE_REVOKED,
            Self::KeyPacket(_) => code::KEY_PACKET,
            Self::Devices => code::DEVICES,
            Self::DevicesResponse { .. } => code::DEVICES_RESPONSE,
            Self::KeyPackets(_) => code::KEY_PACKETS,
            Self::Chain { .. } => code::CHAIN,
            Self::Bye { .. } => code::BYE,
            Self::Error(_) => code::ERROR,
        }
    }

    /// The first limit that a decoded message breaks, if any.
    pub(crate) fn broken_limit(&self) -> Option<&'static str> {
        let capabilities_fit = |list: &[String]| {
            list.len() <= limits::MAX_CAPABILITIES
                && list
                    .iter()
                    .all(|name| name.len() <= limits::MAX_CAPABILITY_LEN)
        };
        let chain_fits = |chain: &[Bytes]| {
            chain.len() <= limits::MAX_CERTIFICATES
                && chain
                    .iter()
                    .all(|link| link.len() <= limits::MAX_CERTIFICATE)
        };
        let packets_fit = |packets: &[(DeviceId, Bytes)]| {
            packets.len() <= limits::MAX_MEMBERS
                && packets
                    .iter()
                    .all(|(_, packet)| packet.len() == rotation::PACKET_LEN)
        };
        let members_fit = |members: &Bytes| members.len() <= limits::MAX_SEALED_MEMBERS;
        let broken = |ok: bool, what| if ok { None } else { Some(what) };
        match self {
            Self::Hello(hello) => broken(capabilities_fit(&hello.capabilities), "capabilities")
                .or(broken(chain_fits(&hello.certificates), "certificates"))
                .or(broken(hello.marks.len() <= limits::MAX_MARKS, "marks"))
                .or(broken(
                    hello
                        .access_token
                        .as_ref()
                        .is_none_or(|t| t.len() <= limits::MAX_ACCESS_TOKEN),
                    "access_token",
                )),
            Self::Welcome(welcome) => {
                broken(capabilities_fit(&welcome.capabilities), "capabilities")
                    .or(broken(welcome.marks.len() <= limits::MAX_MARKS, "marks"))
            }
            Self::Has { blob_ids } => broken(blob_ids.len() <= limits::MAX_HAS_IDS, "blob_ids"),
            Self::HasResponse { marks } => broken(marks.len() <= limits::MAX_HAS_IDS, "marks"),
            Self::PullResponse(page) => {
                broken(page.blobs.len() <= limits::MAX_PULL_BLOBS as usize, "blobs")
            }
            Self::Bye { reason: text } | Self::Error(WireError { message: text, .. }) => {
                broken(text.len() <= limits::MAX_TEXT, "text")
            }
            Self::Snapshot(snapshot) => broken(
                snapshot.parts <= limits::MAX_SNAPSHOT_PARTS && snapshot.part < snapshot.parts,
                "parts",
            ),
            Self::GetSnapshot { part } => broken(*part < limits::MAX_SNAPSHOT_PARTS, "part"),
            Self::SnapshotAnswer(SnapshotAnswer {
                refused: Some(error),
                ..
            }) => broken(error.message.len() <= limits::MAX_TEXT, "text"),
            Self::Revoke(revoke) => broken(
                revoke.certificate.len() <= limits::MAX_CERTIFICATE,
                "certificate",
            )
            .or(broken(members_fit(&revoke.members), "members"))
            .or(broken(packets_fit(&revoke.packets), "packets")),
            Self::Revoked { certificates } => broken(chain_fits(certificates), "certificates"),
            Self::KeyPacket(packet) => broken(chain_fits(&packet.certificates), "certificates")
                .or(broken(members_fit(&packet.members), "members"))
                .or(broken(
                    packet.packet.is_empty() || packet.packet.len() == rotation::PACKET_LEN,
                    "packet",
                )),
            Self::KeyPackets(keys) => broken(members_fit(&keys.members), "members")
                .or(broken(packets_fit(&keys.packets), "packets")),
            Self::Blob(blob) => broken(blob.payload.len() <= limits::MAX_PAYLOAD, "payload"),
            Self::Ephemeral(said) => broken(
                said.payload.len() <= limits::MAX_EPHEMERAL_PAYLOAD,
                "payload",
            ),
            Self::DevicesResponse { devices } => {
                broken(devices.len() <= limits::MAX_LISTED_DEVICES, "devices")
            }
            // The relay's own limit decides, and is named in the answer; the frame bounds it here.
            Self::Push(_)
            | Self::PushAck(_)
            | Self::Subscribe(_)
            | Self::CaughtUp { .. }
            | Self::Ack { .. }
            | Self::Delete(_)
            | Self::Deleted { .. }
            | Self::SnapshotAnswer(_)
            | Self::Chain { .. }
            | Self::Presence(_)
            | Self::Devices
            | Self::Pull(_) => None,
        }
    }
}
