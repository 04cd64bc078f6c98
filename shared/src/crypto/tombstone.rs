//! What a device says when it deletes a blob. It travels inside a blob, so only members can write or read it.

use crate::codec;
use crate::codec::wire::wire_struct;
use crate::ids::{BlobId, DeviceId};

/// Names a blob that is to be erased everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The blob.
    pub blob_id: BlobId,
    /// Who had sent it.
    pub sender: DeviceId,
    /// Its sequence: whoever never gets the blob counts it as seen.
    pub seq: u64,
    /// Relays were asked to erase it at once. Only its sender may say so.
    pub forced: bool,
}

wire_struct!(Tombstone {
    blob_id,
    sender,
    seq,
    forced
});

impl Tombstone {
    /// Reads the body of a blob that was sealed by `by`. Nothing if it is not a tombstone that this device may write.
    #[must_use]
    pub fn read(body: &[u8], by: DeviceId) -> Option<Self> {
        let read: Self = codec::from_bytes(body).ok()?;
        (read.seq > 0 && (!read.forced || read.sender == by)).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sender_of_a_blob_may_force() {
        let (sender, other) = (DeviceId([1; 32]), DeviceId([2; 32]));
        for (forced, by, holds) in [
            (false, sender, true),
            (false, other, true),
            (true, sender, true),
            (true, other, false),
        ] {
            let tombstone = Tombstone {
                blob_id: BlobId([3; 16]),
                sender,
                seq: 7,
                forced,
            };
            let read = Tombstone::read(&codec::to_bytes(&tombstone), by);
            assert_eq!(read, holds.then_some(tombstone));
        }
        let nothing = Tombstone {
            blob_id: BlobId([3; 16]),
            sender,
            seq: 0,
            forced: false,
        };
        assert_eq!(Tombstone::read(&codec::to_bytes(&nothing), sender), None);
        assert_eq!(Tombstone::read(&[], sender), None);
    }
}
