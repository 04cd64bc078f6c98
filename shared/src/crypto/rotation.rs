//! Rotation: how a group changes its keys, so that a device that was revoked reads nothing newer.
//!
//! The author makes a secret from a fresh random seed for the next epoch and sends a relay, in one message:
//!
//! - a [`Certificate`], signed by the access key of the epoch that ends and by the author's device key. The chain of
//!   certificates from epoch 0 proves the newest access key to a relay that has never seen the group; each has the secret of
//!   the epoch before sealed under its own, so who holds the newest secret reads everything older, never the other way round;
//! - the member list, sealed under the new epoch: who stays, and the hash of each one's exchange key;
//! - a key packet for everybody on it: the new secret, sealed to that exchange key with X-Wing.

use bytes::Bytes;

use super::access;
use super::device::{DeviceKeys, signed};
use super::domain;
use super::exchange::{self, ExchangePublic};
use super::keys::{EpochKeys, Secret};
use super::roster::Entry;
use crate::codec;
use crate::codec::wire::wire_struct;
use crate::ids::{DeviceId, GroupId};
use crate::{Entropy, limits};

/// Why a device was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is lost or stolen.
    Lost,
    /// It is not used any more.
    Decommissioned,
    /// Somebody else may have its keys.
    Compromised,
    /// A reason of a newer version.
    Unknown(u8),
}

impl Reason {
    /// Those of this version, with their names.
    const NAMES: [(Self, &str); 3] = [
        (Self::Lost, "lost"),
        (Self::Decommissioned, "decommissioned"),
        (Self::Compromised, "compromised"),
    ];

    /// What programs call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(reason, _)| *reason == self);
        named.map_or("other", |(_, name)| name)
    }

    /// The reason with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(_, known)| *known == name);
        named.map(|(reason, _)| *reason)
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Lost => 0,
            Self::Decommissioned => 1,
            Self::Compromised => 2,
            Self::Unknown(number) => number,
        }
    }
}

impl From<u8> for Reason {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Lost,
            1 => Self::Decommissioned,
            2 => Self::Compromised,
            other => Self::Unknown(other),
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The group.
    pub group_id: GroupId,
    /// The epoch that begins, at least 1.
    pub epoch: u32,
    /// Public access key of the epoch before.
    pub previous_pub: [u8; 32],
    /// Public access key of this epoch.
    pub access_pub: [u8; 32],
    /// Who may not go on. A certificate without anybody holds for nobody: every change of keys has to be one that people see.
    pub revoked: Option<DeviceId>,
    /// The author.
    pub by: DeviceId,
    /// Why.
    pub reason: Reason,
    /// The secret of the epoch before, sealed under this one's.
    pub previous: Bytes,
    /// SHA-256 of the sealed member list.
    pub members: [u8; 32],
}

/// A link of the chain of rotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What is signed.
    pub claims: Claims,
    /// By the access key of the epoch before.
    pub by_access: [u8; 64],
    /// By the author's device key.
    pub by_device: [u8; 64],
}

/// One line of a member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// [`Entry::exchange_hash`]
    pub exchange: [u8; 32],
}

wire_struct!(Claims {
    group_id,
    epoch,
    previous_pub,
    access_pub,
    revoked,
    by,
    reason,
    previous,
    members
});
wire_struct!(Certificate {
    claims,
    by_access,
    by_device
});
wire_struct!(Member { device, exchange });

/// A rotation that is ready to be sent.
#[derive(Debug)]
pub struct Rotation {
    /// The link of the chain.
    pub certificate: Certificate,
    /// The member list, sealed.
    pub members: Bytes,
    /// A packet for each member.
    pub packets: Vec<(DeviceId, Bytes)>,
}

/// What a device knows after it has followed the chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Followed {
    /// Secrets of the epochs that it did not have, oldest first.
    pub secrets: Vec<(u32, Secret)>,
    /// The member list of the newest rotation.
    pub members: Vec<Member>,
}

/// A relay sent something that does not fit the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A certificate is not signed by whom it names, or does not follow the one before.
    #[error("a rotation of the keys is not signed by a member")]
    Certificate,
    /// The packet, the member list or a former secret does not open, or belongs to another rotation.
    #[error("the new keys do not belong to the rotation that they came with")]
    Keys,
}

impl Claims {
    /// The hash of what is said, without what is sealed. The secret before and the member list are bound to it, by keys that
    /// nobody has who is out: a certificate that says something else opens neither.
    fn said(&self) -> [u8; 32] {
        let said = Self {
            previous: Bytes::new(),
            members: [0; 32],
            ..self.clone()
        };
        zerok_sync_aead::sha256(&[&said.text()])
    }

    fn text(&self) -> Vec<u8> {
        [domain::CERTIFICATE, codec::to_bytes(self).as_slice()].concat()
    }
}

impl Certificate {
    /// Whether both signatures hold, and whether it names the founding key if it is the first.
    #[must_use]
    pub fn holds(&self) -> bool {
        let claims = &self.claims;
        let text = claims.text();
        claims.epoch > 0
            && claims.revoked.is_some()
            && (claims.epoch > 1 || access::group_id(&claims.previous_pub) == claims.group_id)
            && claims.previous.len() == SEALED_SECRET
            && signed(&claims.previous_pub, &text, &self.by_access)
            && signed(&claims.by.0, &text, &self.by_device)
    }

    /// Reads and checks a chain that goes on after an epoch; an empty one goes nowhere.
    ///
    /// # Errors
    /// [`ChainError::Certificate`]
    pub fn read_chain(
        chain: &[Bytes],
        group: GroupId,
        epoch: u32,
        access_pub: Option<&[u8; 32]>,
    ) -> Result<Vec<Self>, ChainError> {
        let mut read: Vec<Self> = Vec::with_capacity(chain.len().min(limits::MAX_CERTIFICATES));
        for bytes in chain {
            let next: Self = codec::from_bytes(bytes).map_err(|_| ChainError::Certificate)?;
            let last = read.last().map(|last| &last.claims);
            let follows = next.claims.group_id == group
                && next.claims.epoch == last.map_or(epoch, |last| last.epoch).saturating_add(1)
                && last
                    .map(|last| &last.access_pub)
                    .or(access_pub)
                    .is_none_or(|key| *key == next.claims.previous_pub);
            if !follows || !next.holds() {
                return Err(ChainError::Certificate);
            }
            read.push(next);
        }
        Ok(read)
    }
}

/// Nonce, secret and tag.
const SEALED_SECRET: usize = zerok_sync_aead::NONCE_LEN + 32 + zerok_sync_aead::TAG_LEN;
/// Length of a key packet.
pub const PACKET_LEN: usize = exchange::SEAL_OVERHEAD + 32;

fn seal(key: &Secret, aad: &[u8], plain: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
    let nonce: [u8; zerok_sync_aead::NONCE_LEN] = crate::random(entropy);
    let mut out = [nonce.as_slice(), plain].concat();
    zerok_sync_aead::seal(key.expose(), &nonce, aad, &mut out, nonce.len());
    out
}

fn open(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, ChainError> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or(ChainError::Keys)?;
    let mut message = rest.to_vec();
    zerok_sync_aead::open(key.expose(), nonce, aad, &mut message).map_err(|_| ChainError::Keys)?;
    Ok(message)
}

fn open_secret(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, ChainError> {
    into_secret(open(key, aad, sealed)?)
}

fn into_secret(mut bytes: Vec<u8>) -> Result<Secret, ChainError> {
    let secret = <[u8; 32]>::try_from(bytes.as_slice()).map(Secret::new);
    zeroize::Zeroize::zeroize(&mut bytes);
    secret.map_err(|_| ChainError::Keys)
}

/// What everything of a rotation is bound to.
fn bound(domain: &[u8], group: GroupId, epoch: u32, more: &[u8]) -> Vec<u8> {
    [domain, group.as_bytes(), &epoch.to_le_bytes(), more].concat()
}

/// Seals the secret of an epoch to a member; `None` if its exchange key is none.
#[must_use]
pub fn seal_packet(
    keys: &EpochKeys,
    group: GroupId,
    to: &Entry,
    entropy: &mut dyn Entropy,
) -> Option<Bytes> {
    let public = ExchangePublic::from_bytes(&to.exchange)?;
    let aad = packet_aad(group, keys.epoch(), &keys.access_pub(), to.device);
    let secret = keys.secret().expose();
    Some(
        public
            .seal(domain::KEY_PACKET, &aad, secret, entropy)
            .into(),
    )
}

fn packet_aad(group: GroupId, epoch: u32, access_pub: &[u8; 32], to: DeviceId) -> Vec<u8> {
    let more = [access_pub.as_slice(), to.as_bytes()].concat();
    bound(&[], group, epoch, &more)
}

/// Makes the rotation that follows `current`; its secret is `KDF(seed, "0k-sync/1 rotation" || epoch)`. `stay` is the roster
/// without who is revoked, the author included.
#[must_use]
pub fn rotate<'a>(
    current: &EpochKeys,
    group: GroupId,
    author: &DeviceKeys,
    seed: &Secret,
    (revoked, reason): (Option<DeviceId>, Reason),
    stay: impl Iterator<Item = &'a Entry>,
    entropy: &mut dyn Entropy,
) -> Rotation {
    let epoch = current.epoch() + 1;
    let info = [domain::ROTATION, &epoch.to_le_bytes()].concat();
    let next = EpochKeys::derive(epoch, seed.derive(&info));
    let mut members = Vec::new();
    let mut packets = Vec::new();
    for entry in stay {
        // An entry was checked when it came in, so there is no key without a packet.
        if let Some(packet) = seal_packet(&next, group, entry, entropy) {
            members.push(Member {
                device: entry.device,
                exchange: entry.exchange_hash(),
            });
            packets.push((entry.device, packet));
        }
    }
    let mut claims = Claims {
        group_id: group,
        epoch,
        previous_pub: current.access_pub(),
        access_pub: next.access_pub(),
        revoked,
        by: author.id(),
        reason,
        previous: Bytes::new(),
        members: [0; 32],
    };
    let said = claims.said();
    let sealed_members: Bytes = seal(
        &next.secret().derive(domain::MEMBERS),
        &bound(domain::MEMBERS, group, epoch, &said),
        &codec::to_bytes(&members),
        entropy,
    )
    .into();
    claims.previous = seal(
        &next.secret().derive(domain::PREVIOUS),
        &bound(domain::PREVIOUS, group, epoch, &said),
        current.secret().expose(),
        entropy,
    )
    .into();
    claims.members = zerok_sync_aead::sha256(&[&sealed_members]);
    let text = claims.text();
    let certificate = Certificate {
        by_access: current.sign(&text),
        by_device: author.sign(&text),
        claims,
    };
    Rotation {
        certificate,
        members: sealed_members,
        packets,
    }
}

/// Opens a device's own packet: the secret of the epoch that `newest` begins.
///
/// # Errors
/// [`ChainError::Keys`]
pub fn open_packet(
    device: &DeviceKeys,
    newest: &Claims,
    packet: &[u8],
) -> Result<Secret, ChainError> {
    let aad = packet_aad(
        newest.group_id,
        newest.epoch,
        &newest.access_pub,
        device.id(),
    );
    let opened = device.exchange().open(domain::KEY_PACKET, &aad, packet);
    into_secret(opened.ok_or(ChainError::Keys)?)
}

/// Follows a checked chain from its newest secret back to the first certificate, and opens the member list.
///
/// # Errors
/// [`ChainError::Keys`]
pub fn follow(
    chain: &[Certificate],
    newest: Secret,
    sealed_members: &[u8],
) -> Result<Followed, ChainError> {
    let last = &chain.last().ok_or(ChainError::Keys)?.claims;
    if zerok_sync_aead::sha256(&[sealed_members]) != last.members {
        return Err(ChainError::Keys);
    }
    let aad = bound(domain::MEMBERS, last.group_id, last.epoch, &last.said());
    let members = open(&newest.derive(domain::MEMBERS), &aad, sealed_members)?;
    let members: Vec<Member> = codec::from_bytes(&members).map_err(|_| ChainError::Keys)?;
    let mut secrets = Vec::with_capacity(chain.len());
    let mut secret = newest;
    for claims in chain.iter().rev().map(|link| &link.claims) {
        let keys = EpochKeys::derive(claims.epoch, secret.clone());
        if keys.access_pub() != claims.access_pub {
            return Err(ChainError::Keys);
        }
        let aad = bound(
            domain::PREVIOUS,
            claims.group_id,
            claims.epoch,
            &claims.said(),
        );
        let before = open_secret(&secret.derive(domain::PREVIOUS), &aad, &claims.previous)?;
        secrets.push((claims.epoch, secret));
        secret = before;
    }
    // What the chain begins with is the access key that this device knows.
    let first = chain.first().map(|link| &link.claims);
    let begins = first.map(|claims| EpochKeys::derive(claims.epoch - 1, secret).access_pub());
    if begins != first.map(|claims| claims.previous_pub) {
        return Err(ChainError::Keys);
    }
    secrets.reverse();
    Ok(Followed { secrets, members })
}

#[cfg(test)]
mod tests;
