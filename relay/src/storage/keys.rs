//! What both storages do alike when a group changes its keys.

use bytes::Bytes;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::session::NewRotation;

use super::StorageError;

/// Keys of the newest epoch for a relay that has learned of it from a chain.
#[derive(Debug, Clone)]
pub struct KeptKeys {
    /// The group.
    pub group_id: GroupId,
    /// Whose newest epoch this has to be.
    pub epoch: u32,
    /// The member list, sealed.
    pub members: Bytes,
    /// Packets.
    pub packets: Vec<(DeviceId, Bytes)>,
}

/// Why the keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// They are not those that the rotation follows: another one was first.
    #[error("the group has other keys")]
    Stale,
    /// Its author does not know a member that has pushed something.
    #[error("a member is not known to the author")]
    Unaware,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Who has pushed what the author of a rotation has not seen.
pub(super) struct Senders(pub Vec<DeviceId>);

impl Senders {
    /// Blobs that are looked at. An author that has seen less is to catch up first.
    pub const LIMIT: i64 = 1_000;

    /// Whether the rotation has keys for all of them.
    pub fn are_known(&self, rotation: &NewRotation) -> Result<(), RotateError> {
        let known = |sender: &DeviceId| {
            rotation.certificate.claims.revoked == Some(*sender)
                || rotation.packets.iter().any(|(to, _)| to == sender)
        };
        if self.0.len() as i64 >= Self::LIMIT || !self.0.iter().all(known) {
            return Err(RotateError::Unaware);
        }
        Ok(())
    }
}

/// The links of a whole chain that are new to a relay with this epoch and access key; `None` if there are none, or if it is
/// another chain.
pub(super) fn connects<'a>(
    chain: &'a [Certificate],
    epoch: u64,
    access_pub: &[u8; 32],
) -> Option<&'a [Certificate]> {
    let newer = chain.get(usize::try_from(epoch).ok()?..)?;
    (newer.first()?.claims.previous_pub == *access_pub).then_some(newer)
}
