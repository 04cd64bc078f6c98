//! Sealing of snapshots: a state of the app that stands in for blobs, in parts of which each is sealed like a blob.
//!
//! Part 0 is the header, the others are the app's bytes. A part has the blob id
//! `SHA-256("0k-sync/1 snapshot part" || snapshot id || part u32 || parts u32)[..16]` and the sequence `part + 1`, so that
//! the tag of a blob binds it to its group, epoch, author and place. The header says what the snapshot stands in for and is
//! signed by its author's device key: blobs can be sealed in any member's name by whoever has the epoch's key, a snapshot,
//! for which others are thrown away, cannot.

use bytes::Bytes;

use super::blob::{self, Address, Kind, OpenError, Plain};
use super::device::{DeviceKeys, signed};
use super::domain;
use super::keys::EpochKeys;
use super::roster::SignedEntry;
use crate::codec;
use crate::codec::wire::wire_struct;
use crate::ids::{BlobId, DeviceId, GroupId, Incarnation, RelayId};
use crate::map::SortedMap;
use crate::store::Sequences;
use crate::{Entropy, limits};

/// What a snapshot stands in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The relay that it was made for.
    pub relay_id: RelayId,
    /// The life of its database.
    pub incarnation: Incarnation,
    /// Everything that this relay has up to this cursor is in it.
    pub cursor: u64,
    /// The blobs that are in it.
    pub seen: SortedMap<DeviceId, Sequences>,
    /// What the members say of themselves.
    pub roster: Vec<SignedEntry>,
    /// Bytes of the app's state.
    pub len: u64,
    /// SHA-256 of the SHA-256 of each part of the app's state: [`hash_of`].
    pub hash: [u8; 32],
}

/// A header and its author's signature under it.
struct Signed {
    header: Header,
    signature: [u8; 64],
}

wire_struct!(Header {
    relay_id,
    incarnation,
    cursor,
    seen,
    roster,
    len,
    hash
});
wire_struct!(Signed { header, signature });

/// Which snapshot, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Its group.
    pub group_id: GroupId,
    /// Who made it.
    pub author: DeviceId,
    /// Its id, drawn by its author.
    pub snapshot_id: BlobId,
    /// The epoch of its key.
    pub epoch: u32,
    /// Parts, the header among them.
    pub parts: u32,
}

/// Parts that an app's state of so many bytes takes, with the header.
#[must_use]
pub fn parts_of(len: usize) -> u32 {
    u32::try_from(len.div_ceil(limits::MAX_BODY)).map_or(u32::MAX, |parts| parts.saturating_add(1))
}

/// The parts of an app's state, in order.
pub fn bodies(state: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (1..parts_of(state.len())).map(|part| body_of(state, part))
}

fn body_of(state: &Bytes, part: u32) -> Bytes {
    let from = (part.saturating_sub(1) as usize)
        .saturating_mul(limits::MAX_BODY)
        .min(state.len());
    let to = from.saturating_add(limits::MAX_BODY).min(state.len());
    state.slice(from..to)
}

/// The hash of an app's state, from those of its parts.
#[must_use]
pub fn hash_of(parts: &[[u8; 32]]) -> [u8; 32] {
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
    zerok_sync_aead::sha256(&parts)
}

impl Name {
    /// What a part is sealed for.
    #[must_use]
    pub fn address(&self, part: u32) -> Address {
        let hash = zerok_sync_aead::sha256(&[
            domain::SNAPSHOT_PART,
            self.snapshot_id.as_bytes(),
            &part.to_le_bytes(),
            &self.parts.to_le_bytes(),
        ]);
        let mut id = [0; BlobId::LEN];
        id.copy_from_slice(&hash[..BlobId::LEN]);
        Address {
            group_id: self.group_id,
            epoch: self.epoch,
            sender: self.author,
            blob_id: BlobId(id),
        }
    }

    fn text(&self, header: &Header) -> Vec<u8> {
        [
            domain::SNAPSHOT,
            self.group_id.as_bytes(),
            self.snapshot_id.as_bytes(),
            &self.epoch.to_le_bytes(),
            &self.parts.to_le_bytes(),
            &codec::to_bytes(header),
        ]
        .concat()
    }

    fn seal(&self, keys: &EpochKeys, part: u32, body: Bytes, entropy: &mut dyn Entropy) -> Bytes {
        let plain = Plain {
            kind: Kind::Snapshot,
            seq: u64::from(part) + 1,
            witness: None,
            body,
        };
        blob::seal(keys, &self.address(part), &plain, entropy)
    }

    /// The sealed header; `None` if it does not fit one part.
    #[must_use]
    pub fn seal_header(
        &self,
        keys: &EpochKeys,
        author: &DeviceKeys,
        header: Header,
        entropy: &mut dyn Entropy,
    ) -> Option<Bytes> {
        let signature = author.sign(&self.text(&header));
        let body = codec::to_bytes(&Signed { header, signature });
        (body.len() <= limits::MAX_BODY).then(|| self.seal(keys, 0, body.into(), entropy))
    }

    /// One sealed part of the app's state, counted from 1.
    #[must_use]
    pub fn seal_part(
        &self,
        keys: &EpochKeys,
        part: u32,
        state: &Bytes,
        entropy: &mut dyn Entropy,
    ) -> Bytes {
        self.seal(keys, part, body_of(state, part), entropy)
    }

    /// Opens the header.
    ///
    /// # Errors
    /// [`OpenError`]; `Forged` also where the signature is not the author's.
    pub fn open_header(&self, keys: &EpochKeys, payload: &[u8]) -> Result<Header, OpenError> {
        let body = self.open_part(keys, 0, payload)?;
        let read: Signed = codec::from_bytes(&body).map_err(|_| OpenError::Malformed)?;
        let text = self.text(&read.header);
        if !signed(&self.author.0, &text, &read.signature) {
            return Err(OpenError::Forged);
        }
        let len = usize::try_from(read.header.len).unwrap_or(usize::MAX);
        let canonical = read.header.seen.values().all(Sequences::is_canonical);
        if len > limits::MAX_SNAPSHOT || parts_of(len) != self.parts || !canonical {
            return Err(OpenError::Malformed);
        }
        Ok(read.header)
    }

    /// Opens one part.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_part(
        &self,
        keys: &EpochKeys,
        part: u32,
        payload: &[u8],
    ) -> Result<Bytes, OpenError> {
        let plain = blob::open(keys, &self.address(part), payload)?;
        if plain.kind != Kind::Snapshot || plain.seq != u64::from(part) + 1 {
            return Err(OpenError::Malformed);
        }
        Ok(plain.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::Secret;

    fn fill(bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn made() -> (EpochKeys, DeviceKeys, Name, Header, Bytes) {
        let keys = EpochKeys::derive(3, Secret::new([8; 32]));
        let author = DeviceKeys::derive(&Secret::new([9; 32]));
        let state = Bytes::from(vec![5; limits::MAX_BODY + 3]);
        let name = Name {
            group_id: GroupId([1; 32]),
            author: author.id(),
            snapshot_id: BlobId([2; 16]),
            epoch: 3,
            parts: parts_of(state.len()),
        };
        let header = Header {
            relay_id: DeviceId([3; 32]),
            incarnation: Incarnation([4; 16]),
            cursor: 77,
            seen: [(author.id(), Sequences::up_to(5))].into_iter().collect(),
            roster: Vec::new(),
            len: state.len() as u64,
            hash: hash_of(
                &bodies(&state)
                    .map(|body| zerok_sync_aead::sha256(&[&body]))
                    .collect::<Vec<_>>(),
            ),
        };
        (keys, author, name, header, state)
    }

    #[test]
    fn a_snapshot_opens_as_it_was_sealed() {
        let (keys, author, name, header, state) = made();
        assert_eq!(name.parts, 3);
        let sealed = name
            .seal_header(&keys, &author, header.clone(), &mut fill)
            .unwrap();
        assert_eq!(name.open_header(&keys, &sealed).unwrap(), header);
        let opened: Vec<u8> = (1..name.parts)
            .flat_map(|part| {
                let sealed = name.seal_part(&keys, part, &state, &mut fill);
                assert!(sealed.len() <= limits::MAX_PAYLOAD);
                name.open_part(&keys, part, &sealed).unwrap().to_vec()
            })
            .collect();
        assert_eq!(opened, state);
        assert_eq!(parts_of(0), 1);
    }

    #[test]
    fn parts_cannot_be_swapped_moved_or_taken_for_others() {
        let (keys, author, name, header, state) = made();
        let sealed = name.seal_part(&keys, 1, &state, &mut fill);
        assert!(name.open_part(&keys, 2, &sealed).is_err());
        let wrong = [
            Name {
                group_id: GroupId([9; 32]),
                ..name
            },
            Name {
                author: DeviceId([9; 32]),
                ..name
            },
            Name {
                snapshot_id: BlobId([9; 16]),
                ..name
            },
            Name { parts: 2, ..name },
        ];
        let sealed_header = name
            .seal_header(&keys, &author, header.clone(), &mut fill)
            .unwrap();
        for other in wrong {
            assert_eq!(other.open_part(&keys, 1, &sealed), Err(OpenError::Forged));
            assert_eq!(
                other.open_header(&keys, &sealed_header),
                Err(OpenError::Forged)
            );
        }
        // A blob of the app at the same address is none.
        let plain = Plain {
            kind: Kind::App,
            seq: 2,
            witness: None,
            body: Bytes::from_static(b"x"),
        };
        let blob = blob::seal(&keys, &name.address(1), &plain, &mut fill);
        assert_eq!(name.open_part(&keys, 1, &blob), Err(OpenError::Malformed));
    }

    #[test]
    fn nobody_makes_one_in_anothers_name() {
        let (keys, author, name, header, _) = made();
        let other = DeviceKeys::derive(&Secret::new([10; 32]));
        let forged = name
            .seal_header(&keys, &other, header.clone(), &mut fill)
            .unwrap();
        assert_eq!(name.open_header(&keys, &forged), Err(OpenError::Forged));
        // More than is there, and a length that is not that of the parts.
        for len in [u64::MAX, 1] {
            let header = Header {
                len,
                ..header.clone()
            };
            let sealed = name.seal_header(&keys, &author, header, &mut fill).unwrap();
            assert_eq!(name.open_header(&keys, &sealed), Err(OpenError::Malformed));
        }
    }
}
