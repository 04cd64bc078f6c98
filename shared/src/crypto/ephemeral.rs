//! Sealing of what is said to those who are there now: like a blob (nonce, XChaCha20-Poly1305 with the blob key, PADMÉ), in
//! a domain of its own, so that neither is ever taken for the other.
//!
//! Nobody counts these messages, so a relay could send one twice or much later. Inside is therefore a random number of the
//! sender's run and a count within it: [`Heard`] takes of each run only what is newer than all before.

use std::collections::VecDeque;

use bytes::Bytes;

use super::blob::{Kind, OpenError};
use super::keys::EpochKeys;
use super::{domain, envelope};
use crate::codec::wire::wire_struct;
use crate::ids::{DeviceId, GroupId};
use crate::{Entropy, limits};

/// The inside of such a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// [`Kind::Ephemeral`].
    pub kind: Kind,
    /// The sender's run: random, another one each time that the device starts.
    pub run: [u8; 16],
    /// Its place among the messages of that run, rising.
    pub count: u64,
    /// The data.
    pub body: Bytes,
}

wire_struct!(Plain {
    kind,
    run,
    count,
    body
});

/// The outside, bound to the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The group.
    pub group_id: GroupId,
    /// The epoch of the key.
    pub epoch: u32,
    /// The device that sealed it.
    pub sender: DeviceId,
}

impl Address {
    fn associated_data(&self) -> Vec<u8> {
        [
            domain::EPHEMERAL,
            self.group_id.as_bytes(),
            &self.epoch.to_le_bytes(),
            self.sender.as_bytes(),
        ]
        .concat()
    }
}

/// Seals a message.
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

/// Opens a message.
///
/// # Errors
/// [`OpenError`]
pub fn open(keys: &EpochKeys, address: &Address, payload: &[u8]) -> Result<Plain, OpenError> {
    let plain: Plain = envelope::open(keys, address.epoch, &address.associated_data(), payload)?;
    if plain.kind != Kind::Ephemeral || plain.body.len() > limits::MAX_EPHEMERAL {
        return Err(OpenError::Malformed);
    }
    Ok(plain)
}

/// What was heard of one sender: its last runs, the newest at the end, and the count that each has reached.
#[derive(Debug, Default)]
pub struct Heard(VecDeque<([u8; 16], u64)>);

impl Heard {
    /// Whether a message is newer than all of its run that were heard; from then on it was heard.
    pub fn is_new(&mut self, run: [u8; 16], count: u64) -> bool {
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| *known == run) {
            let new = count > *last;
            *last = count.max(*last);
            return new;
        }
        if self.0.len() >= limits::MAX_SENDER_RUNS {
            self.0.pop_front();
        }
        self.0.push_back((run, count));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::blob;
    use crate::crypto::keys::Secret;
    use crate::ids::BlobId;
    use proptest::prelude::*;

    fn keys() -> EpochKeys {
        EpochKeys::derive(4, Secret::new([8; 32]))
    }

    fn address() -> Address {
        Address {
            group_id: GroupId([1; 32]),
            epoch: 4,
            sender: DeviceId([2; 32]),
        }
    }

    fn plain(body: Bytes) -> Plain {
        Plain {
            kind: Kind::Ephemeral,
            run: [5; 16],
            count: u64::MAX,
            body,
        }
    }

    fn sealed(plain: &Plain) -> Bytes {
        seal(&keys(), &address(), plain, &mut |bytes: &mut [u8]| {
            bytes.fill(7)
        })
    }

    #[test]
    fn it_is_bound_to_its_group_epoch_and_sender() {
        let said = plain("here".into());
        let payload = sealed(&said);
        let good = address();
        assert_eq!(open(&keys(), &good, &payload), Ok(said));
        for wrong in [
            Address {
                group_id: GroupId([9; 32]),
                ..good
            },
            Address {
                sender: DeviceId([9; 32]),
                ..good
            },
        ] {
            assert_eq!(open(&keys(), &wrong, &payload), Err(OpenError::Forged));
        }
        let later = Address { epoch: 5, ..good };
        let other = EpochKeys::derive(5, Secret::new([8; 32]));
        assert_eq!(open(&other, &later, &payload), Err(OpenError::Forged));
        assert_eq!(
            open(&keys(), &later, &payload),
            Err(OpenError::UnknownEpoch)
        );
    }

    #[test]
    fn a_blob_is_never_taken_for_a_message_nor_a_message_for_a_blob() {
        let payload = sealed(&plain("here".into()));
        for id in [[0; 16], [2; 16], [3; 16]] {
            let as_blob = blob::Address {
                group_id: address().group_id,
                epoch: 4,
                sender: address().sender,
                blob_id: BlobId(id),
            };
            assert_eq!(
                blob::open(&keys(), &as_blob, &payload),
                Err(OpenError::Forged)
            );
            for kind in [Kind::App, Kind::Ephemeral] {
                let inside = blob::Plain {
                    kind,
                    seq: 1,
                    witness: None,
                    body: "milk".into(),
                };
                let stored = blob::seal(&keys(), &as_blob, &inside, &mut |bytes: &mut [u8]| {
                    bytes.fill(7)
                });
                assert_eq!(open(&keys(), &address(), &stored), Err(OpenError::Forged));
            }
        }
        let other_kind = Plain {
            kind: Kind::App,
            ..plain("milk".into())
        };
        assert_eq!(
            open(&keys(), &address(), &sealed(&other_kind)),
            Err(OpenError::Malformed)
        );
    }

    #[test]
    fn the_longest_message_fits_and_a_longer_one_is_not_taken() {
        let longest = sealed(&plain(vec![1; limits::MAX_EPHEMERAL].into()));
        assert_eq!(longest.len(), limits::MAX_EPHEMERAL_PAYLOAD);
        assert!(open(&keys(), &address(), &longest).is_ok());
        let longer = sealed(&plain(vec![1; limits::MAX_EPHEMERAL + 1].into()));
        assert_eq!(
            open(&keys(), &address(), &longer),
            Err(OpenError::Malformed)
        );
    }

    #[test]
    fn of_each_run_only_what_is_newer_is_new() {
        let mut heard = Heard::default();
        let (first, second) = ([1; 16], [2; 16]);
        assert!(heard.is_new(first, 1) && heard.is_new(first, 4));
        assert!(!heard.is_new(first, 4) && !heard.is_new(first, 2));
        assert!(heard.is_new(second, 1));
        // One that was delayed while the device started again.
        assert!(heard.is_new(first, 5) && !heard.is_new(first, 5));
        for run in 3..3 + limits::MAX_SENDER_RUNS {
            assert!(heard.is_new([run as u8; 16], 1));
        }
        assert_eq!(heard.0.len(), limits::MAX_SENDER_RUNS);
        assert!(heard.is_new(second, 1), "forgotten: what the text says");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(&keys(), &address(), &bytes).is_err());
        }
    }
}
