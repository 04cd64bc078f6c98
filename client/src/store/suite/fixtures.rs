//! What the cases write.

use bytes::Bytes;
use zerok_sync_shared::crypto::blob::Kind;
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::crypto::roster::SignedEntry;
use zerok_sync_shared::crypto::rotation::{self, Member, Reason};
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::crypto::tombstone::Tombstone;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation};
use zerok_sync_shared::message::Mark;
use zerok_sync_shared::store::{
    Batch, Bookmark, Grave, GroupState, Head, HeldSnapshot, Known, LogRecord, Membership,
    Sequences, Wish, Write,
};
use zerok_sync_shared::time::Timestamp;

/// A group id.
#[must_use]
pub const fn group(number: u8) -> GroupId {
    GroupId([number; 32])
}

/// The id that follows.
pub(super) const fn neighbour(GroupId(mut id): GroupId) -> GroupId {
    id[31] += 1;
    GroupId(id)
}

/// A batch of these writes.
#[must_use]
pub fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch {
        writes: writes.into_iter().collect(),
    }
}

/// Makes the group, with a small state.
#[must_use]
pub fn state(group: GroupId) -> Write {
    Write::State {
        group,
        state: Box::new(GroupState::default()),
    }
}

/// Appends a record with a payload of `length` bytes, which waits to be sent.
#[must_use]
pub fn append(group: GroupId, position: u64, length: usize) -> Write {
    Write::Append {
        group,
        record: record(position, length),
        unsent: true,
    }
}

/// The record that [`append`] appends.
#[must_use]
pub fn record(position: u64, length: usize) -> LogRecord {
    let mut blob_id = [0; 16];
    blob_id[..8].copy_from_slice(&position.to_be_bytes());
    LogRecord {
        position,
        blob_id: BlobId(blob_id),
        sender: DeviceId([3; 32]),
        epoch: 4,
        seq: position,
        kind: Kind::App,
        ttl: 5,
        cursor: 0,
        timestamp: Timestamp(1_000_000 + position),
        payload: payload(position, length),
    }
}

/// Noise that differs by position and that no store can compress, like ciphertext.
fn payload(position: u64, length: usize) -> Bytes {
    let noise = |at: usize| {
        let mixed = (at as u64 ^ position << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 32).to_le_bytes()[0]
    };
    (0..length).map(noise).collect()
}

pub(super) fn sent(group: GroupId, position: u64) -> Write {
    Write::Sent {
        group,
        position,
        cursor: 1_000 + position,
        timestamp: Timestamp(2_000_000 + position),
    }
}

/// A state that uses all of its fields.
pub(super) fn full_state() -> GroupState {
    let (near, far) = (DeviceId([8; 32]), DeviceId([9; 32]));
    let mut seen = Sequences::up_to(5);
    seen.insert(9);
    let bookmark = Bookmark {
        incarnation: Incarnation([6; 16]),
        cursor: u64::MAX,
        held_to: 3,
        newest: Some(Known {
            mark: Mark {
                cursor: 8,
                blob_id: BlobId([7; 16]),
                timestamp: Timestamp(9),
            },
            expires: Timestamp(10),
        }),
        longest: None,
        head: Some(Head {
            cursor: 7,
            head: [8; 32],
        }),
    };
    GroupState {
        position: 0,
        seen: [(near, seen), (far, Sequences::up_to(u64::MAX))].into(),
        pins: [("https://relay.example".to_owned(), near)].into(),
        bookmarks: [
            (near, bookmark),
            (
                far,
                Bookmark {
                    held_to: 0,
                    newest: None,
                    head: None,
                    ..bookmark
                },
            ),
        ]
        .into(),
        last_synced: Some(Timestamp(1_700_000_000_000)),
        own_seq: 12,
        entries: vec![4],
        hidden: vec![2, 4],
        graves: vec![Grave {
            tombstone: Tombstone {
                blob_id: BlobId([6; 16]),
                sender: near,
                seq: 3,
                forced: true,
            },
            by: near,
            epoch: 1,
        }],
        snapshots: vec![HeldSnapshot {
            first: 5,
            parts: 2,
            place: 3,
            seen: [(near, Sequences::up_to(2))].into(),
        }],
        lacking: true,
    }
}

/// A membership that uses all of its fields.
pub(super) fn full_membership() -> Membership {
    let device = DeviceKeys::derive(&Secret::new([4; 32]));
    let (mut entropy, now) = (|bytes: &mut [u8]| bytes.fill(3), Timestamp(7));
    let founding = EpochKeys::derive(0, Secret::new([1; 32]));
    let group = founding.founded_group();
    let entry = SignedEntry::sign(group, &device, "Laptop", "Linux", now);
    let gone = DeviceId([9; 32]);
    let rotation = rotation::rotate(
        &founding,
        group,
        &device,
        &Secret::new([5; 32]),
        (Some(gone), Reason::Lost),
        [&entry.entry].into_iter(),
        &mut entropy,
    );
    Membership {
        epochs: vec![(0, Secret::new([1; 32])), (1, Secret::new([2; 32]))],
        relays: vec![
            "https://relay.example".to_owned(),
            "https://ünïcode.example/path".to_owned(),
        ],
        founded: true,
        tokens: AccessToken::new("0kt_x")
            .map(|token| ("https://relay.example".to_owned(), token))
            .into_iter()
            .collect(),
        members: vec![Member {
            device: device.id(),
            exchange: entry.entry.exchange_hash(),
        }],
        roster: [(device.id(), entry)].into(),
        rotations: vec![rotation.certificate],
        sealed_members: rotation.members,
        wishes: vec![Wish {
            device: gone,
            reason: Reason::Compromised,
            seed: Secret::new([6; 32]),
        }],
        expelled: true,
        former_names: [(DeviceId([6; 32]), "Old phone".to_owned())].into(),
    }
}
