//! What makes a device a member of a group: keys, relays, the other members. It changes rarely, and all of it that a group
//! has to keep secret is in here.

use bytes::Bytes;

use crate::codec::wire::{wire_as, wire_struct, wire_struct_grown};
use crate::crypto::keys::Secret;
use crate::crypto::roster::SignedEntry;
use crate::crypto::rotation::{Certificate, Member, Reason};
use crate::crypto::token::AccessToken;
use crate::ids::DeviceId;
use crate::map::SortedMap;

/// A revocation that a relay has not carried out yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who is to go.
    pub device: DeviceId,
    /// Why.
    pub reason: Reason,
    /// What the secret of the next epoch is made from: a rotation that has to be sent again, perhaps to a relay that was set
    /// back since, leads to the same keys.
    pub seed: Secret,
}

/// A device's membership in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Epochs and their secrets, oldest first, never empty.
    pub epochs: Vec<(u32, Secret)>,
    /// Relay URLs, in order of preference.
    pub relays: Vec<String>,
    /// Whether this device founded the group (nothing has to be fetched before it is complete).
    pub founded: bool,
    /// Access tokens of relays that ask for one, by URL.
    pub tokens: SortedMap<String, AccessToken>,
    /// What the members say of themselves; this device's own entry once it is published.
    pub roster: SortedMap<DeviceId, SignedEntry>,
    /// The chain of rotations from epoch 1 on. Shorter than the epochs on a device that has just joined.
    pub rotations: Vec<Certificate>,
    /// The member list of the newest rotation, sealed, as it goes to relays. Empty in epoch 0.
    pub sealed_members: Bytes,
    /// Who was a member after the newest rotation, as its author saw it.
    pub members: Vec<Member>,
    /// Revocations to carry out.
    pub wishes: Vec<Wish>,
    /// Whether this device was revoked.
    pub expelled: bool,
    /// What the devices that were revoked called themselves.
    pub former_names: SortedMap<DeviceId, String>,
}

wire_struct!(Wish {
    device,
    reason,
    seed
});
wire_struct_grown!(
    Membership {
        epochs,
        relays,
        founded,
        tokens,
        roster,
        rotations,
        sealed_members,
        members,
        wishes,
        expelled,
    } + former_names
);
wire_as!(Reason as u8, |reason| reason.number(), Reason::from);

impl Membership {
    /// The newest epoch.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// The rotation that revoked a device.
    #[must_use]
    pub fn revocation(&self, device: DeviceId) -> Option<&Certificate> {
        let mut rotations = self.rotations.iter();
        rotations.find(|rotation| rotation.claims.revoked == Some(device))
    }

    /// Whether a signature under something that is sealed with the keys of an epoch is a member's. An epoch's keys are known
    /// to everybody who was a member then, so only the newest ones say that somebody is; and any id may be a new one.
    #[must_use]
    pub fn vouches_for(&self, device: DeviceId, epoch: u32) -> bool {
        let listed = || self.members.iter().any(|member| member.device == device);
        self.revocation(device).is_none() && (epoch == self.epoch() || listed())
    }

    /// Whether the whole chain of rotations is here.
    #[must_use]
    pub fn knows_chain(&self) -> bool {
        self.rotations.len() == self.epoch() as usize
    }
}
