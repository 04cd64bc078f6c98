//! How a group's keys change, seen from a member: asking for a rotation, following one, being left out by one.
//!
//! A revocation is first a *wish*, which is durable. Once everything that a relay has is here, the device sends it a rotation that
//! fulfils the wish, with a packet for itself among the others; whoever's rotation the relay takes, this device learns the new
//! keys from KEY_PACKET like everybody else. So nothing of a rotation has to be kept but the seed of its secret, and one
//! that was lost, refused or overtaken is simply made again.

use bytes::Bytes;

use super::group::Group;
use super::{Context, Event};
use crate::codec;
use crate::crypto::keys::EpochKeys;
use crate::crypto::rotation::{self, Certificate, ChainError, Followed};
use crate::failure::{SyncError, code};
use crate::ids::DeviceId;
use crate::limits;
use crate::message::{KeyPacket, KeyPackets, Message, Revoke};
use crate::store::Membership;

/// What a relay has told of newer keys, checked, until it is durable.
#[derive(Debug)]
pub(super) enum Change {
    /// There are newer keys, or only the chain of the present ones was missing.
    Keys {
        /// The certificates after those that this device had.
        chain: Vec<Certificate>,
        followed: Followed,
        sealed_members: Bytes,
    },
    /// This device is out.
    Expelled { by: Box<Certificate> },
}

impl Group {
    /// The relay tells how the keys have changed, or what the chain is.
    pub(super) fn on_key_packet(&mut self, keys: KeyPacket, context: &mut Context<'_>) {
        match self.read_keys(keys, context) {
            Ok(change) => self.change = Some(change),
            Err(error) => self.distrust(error, context),
        }
    }

    /// The relay tells that this device was revoked; certificates prove it.
    pub(super) fn on_revoked(&mut self, certificates: &[Bytes], context: &mut Context<'_>) {
        let device = context.device();
        let expelled = self.current_keys().and_then(|keys| {
            let access_pub = keys.access_pub();
            let chain =
                Certificate::read_chain(certificates, self.id, keys.epoch(), Some(&access_pub));
            let mut chain = chain.ok()?.into_iter();
            chain.find(|link| link.claims.revoked == Some(device))
        });
        match expelled {
            Some(by) => self.change = Some(Change::Expelled { by: Box::new(by) }),
            None => self.distrust(ChainError::Certificate, context),
        }
    }

    fn distrust(&mut self, error: ChainError, context: &mut Context<'_>) {
        self.give_up(&format!("sent keys that cannot be right: {error}"), context);
    }

    fn read_keys(&self, keys: KeyPacket, context: &Context<'_>) -> Result<Change, ChainError> {
        let current = self.current_keys().ok_or(ChainError::Keys)?;
        let access_pub = current.access_pub();
        let only_chain = keys.packet.is_empty();
        let asked = self
            .session
            .as_ref()
            .is_some_and(|session| session.chain_asked);
        if only_chain && !asked {
            return Err(ChainError::Certificate);
        }
        let (after, from) = if only_chain {
            (0, None)
        } else {
            (current.epoch(), Some(&access_pub))
        };
        let chain = Certificate::read_chain(&keys.certificates, self.id, after, from)?;
        let newest = &chain.last().ok_or(ChainError::Certificate)?.claims;
        let secret = if !only_chain {
            rotation::open_packet(context.keys, newest, &keys.packet)?
        } else if newest.epoch == current.epoch() && newest.access_pub == access_pub {
            current.secret().clone()
        } else {
            return Err(ChainError::Certificate);
        };
        let followed = rotation::follow(&chain, secret, &keys.members)?;
        Ok(Change::Keys {
            chain,
            followed,
            sealed_members: keys.members,
        })
    }

    /// Puts the wishes of the app and what a relay told into the membership that is to be written.
    pub(super) fn stage_keys(
        &self,
        membership: &mut Membership,
        events: &mut Vec<Event>,
        device: DeviceId,
    ) {
        for (wish, _) in &self.wishes {
            let known = membership
                .wishes
                .iter()
                .any(|known| known.device == wish.device);
            if !known && membership.revocation(wish.device).is_none() {
                membership.wishes.push(wish.clone());
            }
        }
        if let Some(refused) = self.refused_wish {
            membership.wishes.retain(|wish| wish.device != refused);
        }
        let revoked = |link: &Certificate| {
            link.claims.revoked.map(|gone| Event::DeviceRevoked {
                group: self.id,
                device: gone,
                by: link.claims.by,
                reason: link.claims.reason,
                epoch: link.claims.epoch,
            })
        };
        match &self.change {
            None => {}
            Some(Change::Expelled { by }) => {
                membership.expelled = true;
                membership.wishes.clear();
                events.extend(revoked(by));
            }
            Some(Change::Keys {
                chain,
                followed,
                sealed_members,
            }) => {
                let epoch = membership.epoch();
                let newer = |link: &&Certificate| link.claims.epoch > epoch;
                events.extend(chain.iter().filter(newer).filter_map(revoked));
                let secrets = followed.secrets.iter();
                membership
                    .epochs
                    .extend(secrets.filter(|(of, _)| *of > epoch).cloned());
                let known = membership.rotations.len();
                if chain.first().is_some_and(|link| link.claims.epoch == 1) {
                    membership.rotations = chain.clone();
                } else if known == epoch as usize {
                    membership.rotations.extend(chain.iter().cloned());
                }
                membership.members = followed.members.clone();
                membership.sealed_members = sealed_members.clone();
                let stays = |id: &DeviceId| followed.members.iter().any(|m| m.device == *id);
                // Who has come in since the list was made stays, as long as its keys are those of the list's epoch.
                if membership.epoch() > epoch {
                    forget_revoked(membership, chain);
                    membership.roster.retain(|id, _| stays(id) || *id == device);
                }
                // Who was invited again has the newest keys before it hears who is out.
                let rotations = membership.rotations.clone();
                forget_revoked(membership, &rotations);
                let rotations = &membership.rotations;
                membership.wishes.retain(|wish| {
                    !rotations
                        .iter()
                        .any(|link| link.claims.revoked == Some(wish.device))
                });
            }
        }
    }

    /// What was staged is durable.
    pub(super) fn commit_keys(
        &mut self,
        membership: Membership,
        told: bool,
        context: &mut Context<'_>,
    ) {
        let changed = membership.epochs.len() != self.membership.epochs.len();
        let expelled = membership.expelled && !self.membership.expelled;
        self.membership = membership;
        if changed {
            self.rotation_attempts = 0;
            let epochs = self.membership.epochs.iter();
            self.keys = epochs
                .map(|(epoch, secret)| EpochKeys::derive(*epoch, secret.clone()))
                .collect();
        }
        if told {
            self.change = None;
            // The next session begins with the new keys.
            self.retry_now();
            if let Some(session) = &mut self.session {
                session.end(context.now);
            }
        }
        if expelled {
            self.fail(expulsion(), context);
        }
    }

    /// Whether another revocation fits the chain.
    pub(super) fn can_change_keys(&self) -> bool {
        let asked = self.membership.wishes.len() + self.wishes.len();
        self.membership.epoch() as usize + asked < limits::MAX_CERTIFICATES
    }

    /// Sends the rotation that fulfils the next wish, once everything that the relay has is here.
    pub(super) fn fulfil_wish(&mut self, context: &mut Context<'_>) {
        let device = context.device();
        let settled = self.inbox.is_empty()
            && self.change.is_none()
            && self.refused_wish.is_none()
            && self.staging == 0;
        let Some(wish) = self.membership.wishes.first().cloned() else {
            return;
        };
        // Others may have changed them since it was asked for.
        if self.membership.epoch() as usize >= limits::MAX_CERTIFICATES {
            if self.refused_wish.replace(wish.device).is_none() {
                self.fail(no_more_keys(), context);
            }
            return;
        }
        let own_is_known = self.membership.roster.contains_key(&device);
        let (Some(current), Some(session)) = (self.keys.last(), &mut self.session) else {
            return;
        };
        if !settled || !own_is_known || !session.caught_up || session.rotating {
            return;
        }
        session.rotating = true;
        let bookmark = self.state.bookmarks.get(&session.relay_id);
        // Somebody who pushes without a pause under ever new names must not keep the keys from changing.
        let after_cursor = match self.rotation_attempts {
            0..limits::ROTATION_ATTEMPTS => bookmark.map_or(0, |bookmark| bookmark.cursor),
            _ => u64::MAX,
        };
        self.rotation_attempts = self.rotation_attempts.saturating_add(1);
        let roster = self.membership.roster.iter();
        let stay = roster
            .filter(|(id, _)| **id != wish.device && self.membership.revocation(**id).is_none())
            .map(|(_, signed)| &signed.entry);
        let rotation = rotation::rotate(
            current,
            self.id,
            context.keys,
            &wish.seed,
            (Some(wish.device), wish.reason),
            stay,
            context.entropy,
        );
        let revoke = Revoke {
            certificate: codec::to_bytes(&rotation.certificate).into(),
            after_cursor,
            members: rotation.members,
            packets: rotation.packets,
        };
        context.send(session.stream, Message::Revoke(revoke));
    }

    /// The relay has learned of this epoch from this device: it gets the others' keys, too.
    pub(super) fn give_keys(&mut self, context: &mut Context<'_>) {
        let device = context.device();
        let (Some(current), Some(session)) = (self.keys.last(), &self.session) else {
            return;
        };
        let roster = self.membership.roster.values();
        let others = roster.filter(|signed| {
            let other = signed.entry.device;
            other != device && self.membership.revocation(other).is_none()
        });
        let packets = others.filter_map(|signed| {
            let packet = rotation::seal_packet(current, self.id, &signed.entry, context.entropy)?;
            Some((signed.entry.device, packet))
        });
        let keys = KeyPackets {
            members: self.membership.sealed_members.clone(),
            packets: packets.take(limits::MAX_MEMBERS).collect(),
        };
        context.send(session.stream, Message::KeyPackets(keys));
    }
}

/// Takes those out of the roster whom a chain revokes, and keeps their names.
fn forget_revoked(membership: &mut Membership, chain: &[Certificate]) {
    for gone in chain.iter().filter_map(|link| link.claims.revoked) {
        if let Some(signed) = membership.roster.remove(&gone) {
            let name = signed.entry.name;
            membership.former_names.insert(gone, name);
        }
    }
}

/// A group's chain of rotations is as long as it can be.
pub(super) fn no_more_keys() -> SyncError {
    let text = format!(
        "the group has changed its keys {} times, as often as it can; found a new group without this device",
        limits::MAX_CERTIFICATES
    );
    SyncError::new(code::INVALID_ARGUMENT, text)
}

/// What a device that was removed is told, at once and whenever it starts again.
pub(super) fn expulsion() -> SyncError {
    let text = "this device was removed from the group; what it has stays readable here, and nothing new comes";
    SyncError::new(code::DEVICE_REVOKED, text)
}

/// The membership of a device that was invited again, because keys were made without it.
pub(super) fn renewed(held: &Membership, invited: &Membership) -> Membership {
    let epoch = held.epoch();
    let newer = invited.epochs.iter().filter(|(of, _)| *of > epoch);
    let tokens = [&held.tokens, &invited.tokens].into_iter();
    Membership {
        epochs: held.epochs.iter().chain(newer).cloned().collect(),
        relays: invited.relays.clone(),
        tokens: tokens
            .flat_map(|tokens| tokens.iter())
            .map(|(url, token)| (url.clone(), token.clone()))
            .collect(),
        wishes: Vec::new(),
        expelled: false,
        ..held.clone()
    }
}
