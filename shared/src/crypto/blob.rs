//! Sealing of blobs: `payload = nonce || XChaCha20-Poly1305(key, nonce, AAD, padded plaintext)`.
//!
//! The associated data binds a blob to its group, epoch, sender and id, so a relay that alters, re-attributes, moves or
//! swaps blobs is caught by the tag. The plaintext is MessagePack `[kind, seq, witness, body]`, then zeros up to the
//! PADMÉ length.

use bytes::Bytes;

use super::keys::EpochKeys;
use super::{domain, envelope};
use crate::codec::wire::{wire_as, wire_struct};
use crate::ids::{BlobId, DeviceId, GroupId, Incarnation, RelayId};
use crate::{Entropy, limits};

/// What a blob is for. A blob of one kind is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data of the app.
    App,
    /// A device's entry in the roster.
    Roster,
    /// A state that stands in for all blobs before it.
    Snapshot,
    /// Forwarded, never stored.
    Ephemeral,
    /// A [`super::tombstone::Tombstone`], or nothing in the place of a blob that was deleted before it was sent.
    Tombstone,
    /// A kind of a newer version: kept, counted, not shown to the app.
    Unknown(u8),
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::App => 0,
            Self::Roster => 1,
            Self::Snapshot => 2,
            Self::Ephemeral => 3,
            Self::Tombstone => 4,
            Self::Unknown(number) => number,
        }
    }
}

impl From<u8> for Kind {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::App,
            1 => Self::Roster,
            2 => Self::Snapshot,
            3 => Self::Ephemeral,
            4 => Self::Tombstone,
            other => Self::Unknown(other),
        }
    }
}

wire_as!(Kind as u8, |kind| kind.number(), Kind::from);

/// What the sender had seen of a relay's history: equal cursors with different heads prove a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The relay.
    pub relay_id: RelayId,
    /// The life of its database.
    pub incarnation: Incarnation,
    /// Up to where.
    pub cursor: u64,
    /// The running hash there.
    pub head: [u8; 32],
}

/// The inside of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// What it is for.
    pub kind: Kind,
    /// The sender's sequence, from 1.
    pub seq: u64,
    /// What the sender had seen of the relay, if it says so.
    pub witness: Option<Witness>,
    /// The data.
    pub body: Bytes,
}

wire_struct!(Witness {
    relay_id,
    incarnation,
    cursor,
    head
});
wire_struct!(Plain {
    kind,
    seq,
    witness,
    body
});

/// The outside of a blob, bound to its inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The group.
    pub group_id: GroupId,
    /// The epoch of the key.
    pub epoch: u32,
    /// The device that sealed it.
    pub sender: DeviceId,
    /// The blob.
    pub blob_id: BlobId,
}

impl Address {
    fn associated_data(&self) -> Vec<u8> {
        [
            domain::BLOB,
            self.group_id.as_bytes(),
            &self.epoch.to_le_bytes(),
            self.sender.as_bytes(),
            self.blob_id.as_bytes(),
        ]
        .concat()
    }
}

/// A payload that is not what its address says, or not from a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The tag does not fit: altered, re-attributed, moved, or sealed with another key.
    #[error("the blob was altered, or is not from this group")]
    Forged,
    /// Sealed by a member, but not in the form of this version.
    #[error("the blob has a form that this version does not know")]
    Malformed,
    /// The key of its epoch is not on this device.
    #[error("the blob is of an epoch whose key this device does not have")]
    UnknownEpoch,
}

/// Seals a blob.
#[must_use]
pub fn seal(
    keys: &EpochKeys,
    address: &Address,
    plain: &Plain,
    entropy: &mut dyn Entropy,
) -> Bytes {
    let len = plain.body.len() + limits::MAX_ENVELOPE;
    envelope::seal(keys, &address.associated_data(), plain, len, entropy)
}

/// Opens a blob.
///
/// # Errors
/// [`OpenError`]
pub fn open(keys: &EpochKeys, address: &Address, payload: &[u8]) -> Result<Plain, OpenError> {
    let plain: Plain = envelope::open(keys, address.epoch, &address.associated_data(), payload)?;
    if plain.seq == 0 {
        return Err(OpenError::Malformed);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::crypto::keys::Secret;
    use proptest::prelude::*;

    fn address() -> Address {
        Address {
            group_id: GroupId([1; 32]),
            epoch: 4,
            sender: DeviceId([2; 32]),
            blob_id: BlobId([3; 16]),
        }
    }

    fn sealed(body: &'static [u8]) -> (EpochKeys, Bytes) {
        let keys = EpochKeys::derive(4, Secret::new([8; 32]));
        let plain = Plain {
            kind: Kind::App,
            seq: 1,
            witness: None,
            body: Bytes::from_static(body),
        };
        let payload = seal(&keys, &address(), &plain, &mut |bytes: &mut [u8]| {
            bytes.fill(7)
        });
        (keys, payload)
    }

    #[test]
    fn every_part_of_the_address_is_bound() {
        let (keys, payload) = sealed(b"milk");
        let good = address();
        assert_eq!(open(&keys, &good, &payload).unwrap().body, "milk");
        for wrong in [
            Address {
                group_id: GroupId([9; 32]),
                ..good
            },
            Address {
                sender: DeviceId([9; 32]),
                ..good
            },
            Address {
                blob_id: BlobId([9; 16]),
                ..good
            },
        ] {
            assert_eq!(open(&keys, &wrong, &payload), Err(OpenError::Forged));
        }
        let other_epoch = EpochKeys::derive(5, Secret::new([8; 32]));
        assert_eq!(
            open(&other_epoch, &Address { epoch: 5, ..good }, &payload),
            Err(OpenError::Forged)
        );
        assert_eq!(
            open(&other_epoch, &good, &payload),
            Err(OpenError::UnknownEpoch)
        );
    }

    #[test]
    fn every_bit_is_protected() {
        let (keys, payload) = sealed(b"milk");
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&keys, &address(), &flipped), Err(OpenError::Forged));
        }
        for len in 0..payload.len() {
            assert_eq!(
                open(&keys, &address(), &payload[..len]),
                Err(OpenError::Forged)
            );
        }
    }

    #[test]
    fn the_longest_body_fits_the_longest_payload() {
        let keys = EpochKeys::derive(4, Secret::new([8; 32]));
        let witness = Witness {
            relay_id: DeviceId([1; 32]),
            incarnation: Incarnation([1; 16]),
            cursor: u64::MAX,
            head: [1; 32],
        };
        let plain = Plain {
            kind: Kind::App,
            seq: u64::MAX,
            witness: Some(witness),
            body: vec![1; limits::MAX_BODY].into(),
        };
        let payload = seal(&keys, &address(), &plain, &mut |bytes: &mut [u8]| {
            bytes.fill(7)
        });
        assert!(payload.len() <= limits::MAX_PAYLOAD, "{}", payload.len());
        assert_eq!(open(&keys, &address(), &payload).unwrap(), plain);
        let envelope = codec::to_bytes(&Plain {
            body: Bytes::new(),
            ..plain
        })
        .len()
            + 8;
        assert!(envelope <= limits::MAX_ENVELOPE, "{envelope}");
    }

    proptest! {
        #[test]
        fn round_trips(body in proptest::collection::vec(any::<u8>(), 0..5000), seq in 1u64.., kind in any::<u8>(), nonce in any::<u8>()) {
            let keys = EpochKeys::derive(4, Secret::new([8; 32]));
            let plain = Plain { kind: Kind::from(kind), seq, witness: None, body: body.into() };
            let payload = seal(&keys, &address(), &plain, &mut |bytes: &mut [u8]| bytes.fill(nonce));
            prop_assert_eq!(open(&keys, &address(), &payload).unwrap(), plain);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = EpochKeys::derive(4, Secret::new([8; 32]));
            prop_assert!(open(&keys, &address(), &bytes).is_err());
        }
    }
}
