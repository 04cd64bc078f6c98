//! Who is in the group: publishing this device's own entry, and taking in those of others.

use bytes::Bytes;

use super::group::Group;
use super::session::Session;
use super::{Context, Event, Token};
use crate::codec;
use crate::crypto::roster::SignedEntry;
use crate::ids::{DeviceId, GroupId};
use crate::limits;
use crate::store::Membership;
use crate::time::Timestamp;

/// What a device calls itself, until it is renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// For people.
    pub name: String,
    /// What it runs on.
    pub platform: String,
}

/// A device of a group, as its members know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The device.
    pub device: DeviceId,
    /// What it calls itself; empty if it has not said.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// Whether it is this one.
    pub own: bool,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it will be, once a relay is there.
    pub revoking: bool,
    /// Whether it is connected, by the relay's word; for this device whether it is itself.
    pub online: bool,
    /// When it was connected last, by the relay's clock, as far as the relay knows.
    pub last_seen: Option<Timestamp>,
}

/// A new name for this device.
#[derive(Debug)]
pub(super) struct Rename {
    pub(super) name: String,
    pub(super) token: Token,
}

impl Group {
    /// Whether this device has to say who it is.
    pub(super) fn entry_due(&self, device: DeviceId) -> bool {
        !self.membership.expelled
            && (self.rename.is_some() || !self.membership.roster.contains_key(&device))
    }

    /// This device's entry as it should be.
    pub(super) fn own_entry(&self, context: &Context<'_>) -> SignedEntry {
        let known = self.membership.roster.get(&context.device());
        let name = match (&self.rename, known) {
            (Some(rename), _) => &rename.name,
            (None, Some(known)) => &known.entry.name,
            (None, None) => &context.profile.name,
        };
        // A clock that was set back must not make the new name an old one.
        let after = known.map(|known| Timestamp(known.entry.said.0 + 1));
        let said = context.now.max(after.unwrap_or_default());
        SignedEntry::sign(self.id, context.keys, name, &context.profile.platform, said)
    }

    /// The devices of the group, by id.
    pub(super) fn devices(&self, own: DeviceId) -> Vec<DeviceInfo> {
        let membership = &self.membership;
        let info = |device: DeviceId| {
            let entry = membership.roster.get(&device).map(|signed| &signed.entry);
            let (online, last_seen) = self.attendance.of(device);
            let revoked =
                membership.revocation(device).is_some() || (device == own && membership.expelled);
            let connected = self.session.as_ref().is_some_and(Session::is_open);
            DeviceInfo {
                device,
                name: entry
                    .map(|entry| &entry.name)
                    .or_else(|| membership.former_names.get(&device))
                    .map_or_else(String::new, Clone::clone),
                platform: entry.map_or_else(String::new, |entry| entry.platform.clone()),
                own: device == own,
                revoked,
                revoking: membership.wishes.iter().any(|wish| wish.device == device),
                online: !revoked && if device == own { connected } else { online },
                last_seen,
            }
        };
        let mut ids: Vec<DeviceId> = membership.roster.keys().copied().collect();
        ids.extend(self.state.seen.keys().copied());
        ids.push(own);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(info).collect()
    }
}

/// Takes in an entry whose signature holds, from something that is sealed with the keys of an epoch, if its device may be in the roster.
pub(super) fn take_in(membership: &mut Membership, signed: &SignedEntry, epoch: u32) {
    let entry = &signed.entry;
    if membership.revocation(entry.device).is_some() {
        return;
    }
    let may = match membership.roster.get(&entry.device) {
        Some(known) if known.entry.exchange != entry.exchange => false,
        Some(known) => known.entry.said < entry.said,
        // More than keys can be changed for: who was here first stays.
        None if membership.roster.len() >= limits::MAX_MEMBERS => false,
        None if epoch == membership.epoch() => true,
        None => {
            let hash = entry.exchange_hash();
            let mut listed = membership.members.iter();
            listed.any(|member| member.device == entry.device && member.exchange == hash)
        }
    };
    if may {
        membership.roster.insert(entry.device, signed.clone());
    }
}

/// The body of a roster blob.
pub(super) fn body(entry: &SignedEntry) -> Bytes {
    codec::to_bytes(entry).into()
}

/// A device that was not seen before.
pub(super) fn joined(group: GroupId, device: DeviceId, membership: &Membership) -> Event {
    let entry = membership.roster.get(&device);
    Event::DeviceJoined {
        group,
        device,
        name: entry.map(|signed| signed.entry.name.clone()),
    }
}
