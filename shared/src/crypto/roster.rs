//! The roster: what each device says of itself to the other members, signed with its device key and sealed as a blob of
//! kind `roster`. A relay sees neither names nor keys.
//!
//! **Who is in it.** A device enters by an entry in a blob of the newest epoch, or by the member list of the newest rotation.
//! An entry in a blob of an older epoch brings nobody in who is not on that list: whoever was revoked still has the keys of
//! older epochs, and must not be able to make up a device that the next rotation gives keys to.

use bytes::Bytes;

use super::device::{DeviceKeys, signed};
use super::domain;
use crate::codec;
use crate::codec::wire::wire_struct;
use crate::ids::{DeviceId, GroupId};
use crate::limits;
use crate::time::Timestamp;

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The device.
    pub device: DeviceId,
    /// When it said so, on its own clock. The newest entry of a device counts.
    pub said: Timestamp,
    /// What people call it.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// Its X-Wing public key, always the same for one device.
    pub exchange: Bytes,
}

/// An entry and the device's signature under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// What is signed.
    pub entry: Entry,
    /// Ed25519 by the device's key.
    pub signature: [u8; 64],
}

wire_struct!(Entry {
    device,
    said,
    name,
    platform,
    exchange
});
wire_struct!(SignedEntry { entry, signature });

impl Entry {
    fn text(&self, group: GroupId) -> Vec<u8> {
        let entry = codec::to_bytes(self);
        [domain::ROSTER, group.as_bytes().as_slice(), &entry].concat()
    }

    /// The hash by which a member list names the exchange key.
    #[must_use]
    pub fn exchange_hash(&self) -> [u8; 32] {
        zerok_sync_aead::sha256(&[&self.exchange])
    }
}

impl SignedEntry {
    /// This device's entry. Names are cut to what fits.
    #[must_use]
    pub fn sign(
        group: GroupId,
        keys: &DeviceKeys,
        name: &str,
        platform: &str,
        said: Timestamp,
    ) -> Self {
        let entry = Entry {
            device: keys.id(),
            said,
            name: cut(name, limits::MAX_DEVICE_NAME).to_owned(),
            platform: cut(platform, limits::MAX_PLATFORM).to_owned(),
            exchange: Bytes::copy_from_slice(keys.exchange_public().as_bytes()),
        };
        let signature = keys.sign(&entry.text(group));
        Self { entry, signature }
    }

    /// Reads what a blob of `sender` holds, if it is that device's own entry for this group.
    #[must_use]
    pub fn read(body: &[u8], group: GroupId, sender: DeviceId) -> Option<Self> {
        let read: Self = codec::from_bytes(body).ok()?;
        (read.entry.device == sender && read.holds(group)).then_some(read)
    }

    /// Whether it fits, and its device has signed it for this group.
    #[must_use]
    pub fn holds(&self, group: GroupId) -> bool {
        let entry = &self.entry;
        let fits = entry.name.len() <= limits::MAX_DEVICE_NAME
            && entry.platform.len() <= limits::MAX_PLATFORM
            && super::exchange::ExchangePublic::from_bytes(&entry.exchange).is_some();
        fits && signed(&entry.device.0, &entry.text(group), &self.signature)
    }
}

/// The start of a text that fits so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::Secret;

    #[test]
    fn an_entry_holds_for_its_device_and_its_group_only() {
        let (group, other) = (GroupId([1; 32]), GroupId([2; 32]));
        let keys = DeviceKeys::derive(&Secret::new([3; 32]));
        let entry = SignedEntry::sign(group, &keys, "Laptop", "Linux", Timestamp(5));
        let body = codec::to_bytes(&entry);
        assert_eq!(
            SignedEntry::read(&body, group, keys.id()),
            Some(entry.clone())
        );
        assert_eq!(SignedEntry::read(&body, other, keys.id()), None);
        assert_eq!(SignedEntry::read(&body, group, DeviceId([9; 32])), None);
        let mut renamed = entry;
        renamed.entry.name = "Phone".into();
        assert_eq!(
            SignedEntry::read(&codec::to_bytes(&renamed), group, keys.id()),
            None
        );
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
    }
}
