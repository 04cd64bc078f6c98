//! Who is there now, by the relay's word, and what they say to each other: nothing of it is kept.
//!
//! The relay's list only tells when the devices were there that the members know by themselves: it brings nobody in.

use bytes::Bytes;

use super::group::Group;
use super::{Context, Event};
use crate::crypto::blob::Kind;
use crate::crypto::ephemeral::{self, Address, Heard, Plain};
use crate::error::ErrorCode;
use crate::failure::{SyncError, code};
use crate::ids::DeviceId;
use crate::limits;
use crate::map::SortedMap;
use crate::message::{Ephemeral, ListedDevice, Message, Presence, WireError, capability};
use crate::time::Timestamp;

/// What is known of who is there.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    known: SortedMap<DeviceId, Known>,
    /// Whether the session that is open has answered.
    current: bool,
    /// After a session was lost: when those who were there are taken for gone.
    pub(super) stale_at: Option<Timestamp>,
    heard: SortedMap<DeviceId, Heard>,
    /// Of what this device says: its run, and how much it has said.
    run: Option<[u8; 16]>,
    count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    online: bool,
    last_seen: Timestamp,
}

impl Attendance {
    /// Whether a device is there, and when it was there last.
    pub(super) fn of(&self, device: DeviceId) -> (bool, Option<Timestamp>) {
        match self.known.get(&device) {
            Some(known) => (known.online, Some(known.last_seen)),
            None => (false, None),
        }
    }

    /// The session is gone.
    pub(super) fn lost(&mut self) {
        self.current = false;
    }

    /// Takes those for gone of whom nothing was heard for too long; whether there were any.
    pub(super) fn settle(&mut self, now: Timestamp) -> bool {
        if self.current || !self.known.values().any(|known| known.online) {
            self.stale_at = None;
            return false;
        }
        let stale_at = self
            .stale_at
            .get_or_insert(now.plus(limits::PRESENCE_GRACE));
        if *stale_at > now {
            return false;
        }
        self.stale_at = None;
        for known in self.known.values_mut() {
            known.online = false;
        }
        true
    }

    fn set(&mut self, device: DeviceId, known: Known) {
        if self.known.len() < limits::MAX_LISTED_DEVICES || self.known.contains_key(&device) {
            self.known.insert(device, known);
        }
    }

    /// What was heard of a sender. Where there are too many, one that is not there is forgotten.
    fn heard(&mut self, sender: DeviceId) -> &mut Heard {
        if self.heard.len() >= limits::MAX_LISTED_DEVICES && !self.heard.contains_key(&sender) {
            let gone = self.heard.keys().find(|device| !self.of(**device).0);
            let gone = gone.or_else(|| self.heard.keys().next()).copied();
            if let Some(gone) = gone {
                self.heard.remove(&gone);
            }
        }
        self.heard.get_or_insert_with(sender, Heard::default)
    }
}

impl Group {
    /// Asks who is there, if the relay knows.
    pub(super) fn ask_who_is_there(&mut self, context: &mut Context<'_>) {
        if let Some(session) = self
            .session
            .as_ref()
            .filter(|session| session.tells_presence())
        {
            context.send(session.stream, Message::Devices);
        }
    }

    pub(super) fn on_listed(&mut self, devices: Vec<ListedDevice>) {
        let attendance = &mut self.attendance;
        attendance.current = true;
        attendance.known.clear();
        for ListedDevice {
            device,
            online,
            last_seen,
            ..
        } in devices
        {
            attendance.set(device, Known { online, last_seen });
        }
    }

    pub(super) fn on_presence(&mut self, presence: Presence) {
        let Presence {
            device,
            online,
            last_seen,
        } = presence;
        self.attendance.set(device, Known { online, last_seen });
    }

    /// Says something to those who are there now. Without a relay nobody is.
    pub(super) fn broadcast(&mut self, body: Bytes, context: &mut Context<'_>) {
        let session = self.session.as_ref();
        let open = session.filter(|session| session.tells_presence() && self.change.is_none());
        let Some(stream) = open.map(|session| session.stream) else {
            return;
        };
        let Some(keys) = self.keys.last() else { return };
        let run = &mut self.attendance.run;
        let run = *run.get_or_insert_with(|| crate::random(context.entropy));
        self.attendance.count += 1;
        let plain = Plain {
            kind: Kind::Ephemeral,
            run,
            count: self.attendance.count,
            body,
        };
        let address = Address {
            group_id: self.id,
            epoch: keys.epoch(),
            sender: context.device(),
        };
        let payload = ephemeral::seal(keys, &address, &plain, context.entropy);
        let said = Ephemeral {
            sender: address.sender,
            epoch: address.epoch,
            payload,
        };
        context.send(stream, Message::Ephemeral(said));
    }

    /// Somebody says something. What is not of the newest keys, or not newer than what was heard, is nothing to talk about.
    pub(super) fn on_ephemeral(&mut self, said: &Ephemeral, context: &mut Context<'_>) {
        let (id, sender) = (self.id, said.sender);
        let Some(keys) = self.keys.last().filter(|keys| keys.epoch() == said.epoch) else {
            return;
        };
        if sender == context.device() || self.membership.revocation(sender).is_some() {
            return;
        }
        let address = Address {
            group_id: id,
            epoch: said.epoch,
            sender,
        };
        match ephemeral::open(keys, &address, &said.payload) {
            Ok(plain) => {
                if self.attendance.heard(sender).is_new(plain.run, plain.count) {
                    let data = plain.body;
                    context.event(Event::Broadcast {
                        group: id,
                        sender,
                        data,
                    });
                }
            }
            Err(_) => {
                let text = "a broadcast was altered on its way; it was dropped";
                context.error(id, SyncError::new(code::BLOB_REJECTED, text), None);
            }
        }
    }

    /// The relay has dropped a message of this device: the session goes on.
    pub(super) fn on_ephemeral_dropped(&self, error: &WireError, context: &mut Context<'_>) {
        let error = SyncError {
            code: ErrorCode::RateLimited.name(),
            ..SyncError::from_relay(self.relay(), error)
        };
        context.error(self.id, error, None);
    }
}

impl super::session::Session {
    /// Whether the relay tells who is there, and forwards what is said to them.
    pub(super) fn tells_presence(&self) -> bool {
        let welcome = self.welcome.iter();
        let mut known = welcome.flat_map(|welcome| &welcome.capabilities);
        known.any(|name| name == capability::PRESENCE)
    }
}
