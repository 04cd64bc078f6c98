//! Identifiers. All are byte strings of fixed length; `Display` is lower-case hex, `Debug` shows only the first bytes.

use core::fmt;
use core::str::FromStr;

use crate::Entropy;
use crate::codec::wire::wire_as;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), data_encoding::HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| InvalidId { expected: $len })?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId { expected: $len })
            }
        }

        wire_as!($name as [u8; $len], |id| id.0, $name);
    };
}

id!(
    /// A device, or a relay's endpoint: its Ed25519 public key, proven by TLS on every connection.
    DeviceId, 32
);
id!(
    /// The devices that share data: SHA-256 of the access public key of epoch 0.
    GroupId, 32
);
id!(
    /// One blob: chosen by its sender, the idempotency key within its group. Any 16 bytes; [`BlobIds`] draws them.
    BlobId, 16
);
id!(
    /// One life of a relay's database.
    Incarnation, 16
);
id!(
    /// Where an invite lies on a relay.
    InviteLookup, 16
);

impl Incarnation {
    /// The life of one group in this database: a group that was forgotten and founded anew is another one.
    #[must_use]
    pub fn of_group(mut self, founding: [u8; 16]) -> Self {
        for (byte, of_group) in self.0.iter_mut().zip(founding) {
            *byte ^= of_group;
        }
        self
    }
}

/// A relay's endpoint is a device id of its own.
pub type RelayId = DeviceId;

/// Draws the ids of the blobs that a device pushes to one group: a number that begins anywhere and grows by one, big-endian,
/// and then eight random bytes.
///
/// Ids that were drawn one after the other lie side by side in a relay's index, so that storing them changes few of its pages.
/// The random half alone makes them unique and keeps others from taking an id before it is used. One of these for each
/// group: holes between the numbers would tell its members what a device does elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlobIds {
    next: Option<u64>,
}

impl BlobIds {
    /// An id that was never drawn before.
    pub fn draw(&mut self, entropy: &mut dyn Entropy) -> BlobId {
        let number = self
            .next
            .unwrap_or_else(|| u64::from_le_bytes(crate::random(entropy)));
        // After the last number comes the first; nothing depends on the order.
        self.next = Some(number.wrapping_add(1));
        let mut id = [0; BlobId::LEN];
        let (counted, random) = id.split_at_mut(size_of::<u64>());
        counted.copy_from_slice(&number.to_be_bytes());
        entropy.fill(random);
        BlobId(id)
    }
}

/// Text or bytes that are not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes, as twice as many hex digits")]
pub struct InvalidId {
    /// Length that the id has.
    pub expected: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn blob_ids_are_unique_and_ascend_in_steps_of_one() {
        let mut state = 7u8;
        let mut entropy = |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(5).wrapping_add(3);
                *byte = state;
            }
        };
        let mut ids = BlobIds::default();
        let drawn: Vec<BlobId> = (0..1_000).map(|_| ids.draw(&mut entropy)).collect();
        assert!(drawn.is_sorted());
        let number = |id: &BlobId| u64::from_be_bytes(*id.0.first_chunk().unwrap());
        assert!(
            drawn
                .windows(2)
                .all(|pair| number(&pair[0]) + 1 == number(&pair[1]))
        );

        // Another run begins elsewhere, and its random halves are others.
        let mut again = BlobIds::default();
        let mut all: BTreeSet<BlobId> = drawn.iter().copied().collect();
        all.extend((0..1_000).map(|_| again.draw(&mut entropy)));
        assert_eq!(all.len(), 2_000);
        let halves: BTreeSet<&[u8]> = drawn[..64].iter().map(|id| &id.0[8..]).collect();
        assert!(halves.len() > 1, "the second half is drawn for each id");
    }

    #[test]
    fn a_number_that_wraps_is_harmless() {
        let mut ids = BlobIds {
            next: Some(u64::MAX),
        };
        let mut entropy = |bytes: &mut [u8]| bytes.fill(9);
        let drawn = [(); 3].map(|()| ids.draw(&mut entropy));
        assert_eq!(drawn[0].0[..8], [255; 8]);
        assert_eq!((drawn[1].0[7], drawn[2].0[7]), (0, 1));
        assert!(drawn.iter().all(|id| id.0[8..] == [9; 8]));
    }
}
