//! The relay's side of the world: frames, look-ups, the group commit.

use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::{Delete, Ephemeral, ListedDevice, Message, WireError};
use zerok_sync_shared::session::{
    Input, NewBlob, NewRotation, NewSnapshotPart, Output, Purpose, Session,
};

use super::wire::{encode, short};
use super::{Happening, World};
use crate::coverage;
use crate::faults::Fault;
use crate::network::{End, Frame};
use crate::relay::{Key, Serving, Waiting};

/// Blobs of one transaction.
const MAX_COMMIT: usize = 64;
/// How long what is not stored takes on its way through the relay.
const LIVE: Duration = Duration::from_millis(5);

/// A look-up that a session waits for.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Open {
        group: GroupId,
        access_pub: [u8; 32],
        epoch: u32,
        create: bool,
        device: DeviceId,
        chain: Vec<Certificate>,
        marks: Vec<u64>,
        after: u64,
    },
    StoreSnapshot(Box<NewSnapshotPart>),
    ReadSnapshot {
        group: GroupId,
        part: u32,
    },
    Keys {
        group: GroupId,
        device: DeviceId,
        after_epoch: u32,
    },
    Rotate(Box<NewRotation>),
    Read {
        group: GroupId,
        purpose: Purpose,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
    },
    Has {
        group: GroupId,
        ids: Vec<BlobId>,
    },
    Delete {
        group: GroupId,
        delete: Delete,
        device: DeviceId,
    },
}

impl World {
    pub(super) fn arrive_at_relay(&mut self, at: usize, key: Key, frame: Frame) {
        let Some(connection) = self.connections.get(&key.0) else {
            return;
        };
        let device = connection.device;
        match frame {
            Frame::Open => {
                let now = self.relays[at].local(self.now);
                let config = self.relays[at].session_config(self.devices[device].id);
                let session = Session::new(config, now);
                if let Some(deadline) = session.deadline() {
                    let life = self.relays[at].life;
                    let what = Happening::RelayFeed(at, life, key, Input::DeadlinePassed);
                    self.after(deadline.since(now), what);
                }
                let serving = Serving { session, device };
                self.relays[at].sessions.insert(key, serving);
            }
            Frame::End => drop(self.relays[at].sessions.remove(&key)),
            Frame::Bytes(bytes) => {
                let message = codec::decode(&bytes);
                self.trace.note(self.now, bytes.len() as u64, || {
                    format!("    from device {}: {}", device + 1, short(&message))
                });
                self.feed_session(at, key, Input::Frame(message));
            }
        }
    }

    /// Feeds a session and carries out what it answers.
    pub(super) fn feed_session(&mut self, at: usize, key: Key, input: Input) {
        let Some(serving) = self.relays[at].sessions.get_mut(&key) else {
            return;
        };
        if matches!(input, Input::DeadlinePassed) && serving.session.deadline().is_none() {
            return;
        }
        let phase = serving.session.phase();
        self.coverage.relay(phase, coverage::relay_event(&input));
        let opened = match &input {
            Input::GroupOpened(Ok(_), _) => true,
            Input::Frame(Ok(Message::Ack { cursor })) => {
                self.check_ack(at, key, *cursor);
                false
            }
            _ => false,
        };
        let serving = self.relays[at].sessions.get_mut(&key).expect("it is there");
        let mut outputs = Vec::new();
        serving.session.handle(input, &mut outputs);
        for output in outputs {
            self.serve(at, key, output);
        }
        // What was committed between the look-up and its result.
        let group = self.relays[at].sessions.get(&key);
        if opened && let Some(group) = group.and_then(|serving| serving.session.group()) {
            let max_cursor = self.relays[at].database.max_cursor(group);
            self.feed_session(at, key, Input::Grown(max_cursor));
        }
    }

    /// A device acknowledges only what its disk has.
    fn check_ack(&self, at: usize, key: Key, cursor: u64) {
        let serving = &self.relays[at].sessions[&key];
        let Some(group) = serving.session.group() else {
            return;
        };
        let disk = &self.devices[serving.device].disk.groups;
        let state = disk.get(&group).and_then(|disk| disk.state.as_ref());
        let bookmark = state.and_then(|state| state.bookmarks.get(&self.relays[at].id));
        // A device that has left, or met a new life of the relay since it wrote this, holds none.
        if let Some(bookmark) = bookmark
            && bookmark.incarnation == self.relays[at].database.incarnation
            && !self.plan.faults.has(Fault::RelayRollback)
        {
            assert!(
                cursor <= bookmark.cursor,
                "acknowledged before it was written"
            );
        }
    }

    fn serve(&mut self, at: usize, key: Key, output: Output) {
        let life = self.relays[at].life;
        let group = self.relays[at].sessions.get(&key);
        let serving = group.expect("it is being served");
        let device = self.devices[serving.device].id;
        let group = serving.session.group();
        let work = match output {
            Output::Send(message) => return self.answer(at, key, &message),
            Output::Close => {
                self.relays[at].sessions.remove(&key);
                return self.send(key.0, key.1, End::Device, Frame::End);
            }
            Output::Acked(cursor) => {
                if let Some(group) = group {
                    self.relays[at].database.acked(group, device, cursor);
                }
                None
            }
            Output::Delete { group_id, delete } => Some(Work::Delete {
                group: group_id,
                delete,
                device,
            }),
            Output::Store(blob) => {
                self.relays[at].waiting.push_back(Waiting { key, blob });
                self.start_commit(at);
                None
            }
            Output::OpenGroup {
                group_id,
                access_pub,
                epoch,
                create,
                chain,
                marks,
                after_cursor,
                ..
            } => Some(Work::Open {
                after: after_cursor,
                device,
                chain,
                group: group_id,
                access_pub,
                epoch,
                create,
                marks,
            }),
            Output::Read {
                purpose,
                after,
                max_blobs,
                max_bytes,
            } => group.map(|group| Work::Read {
                group,
                purpose,
                after,
                max_blobs,
                max_bytes,
            }),
            Output::Keys {
                group_id,
                after_epoch,
            } => Some(Work::Keys {
                group: group_id,
                device,
                after_epoch,
            }),
            Output::StoreSnapshot(new) => Some(Work::StoreSnapshot(new)),
            Output::ReadSnapshot { group_id, part } => Some(Work::ReadSnapshot {
                group: group_id,
                part,
            }),
            Output::Rotate(rotation) => Some(Work::Rotate(rotation)),
            Output::KeepKeys {
                group_id,
                epoch,
                members,
                packets,
            } => {
                let database = &mut self.relays[at].database;
                database.keep_keys(group_id, epoch, members, packets);
                None
            }
            Output::Has(ids) => group.map(|group| Work::Has { group, ids }),
            Output::Devices => return self.list_devices(at, key),
            Output::Broadcast(said) => return self.broadcast(at, key, &said),
        };
        if let Some(work) = work {
            let wait = self.millis(10);
            self.after(wait, Happening::RelayWork(at, life, key, work));
        }
    }

    /// Those with a session of the same group.
    fn attending(&self, at: usize, key: Key) -> Vec<Key> {
        let sessions = &self.relays[at].sessions;
        let group = sessions
            .get(&key)
            .and_then(|serving| serving.session.group());
        let same = sessions.iter().filter(|(_, serving)| {
            serving.session.is_present() && serving.session.group() == group
        });
        same.map(|(key, _)| *key).collect()
    }

    fn list_devices(&mut self, at: usize, key: Key) {
        let (life, last_seen) = (self.relays[at].life, self.relays[at].local(self.now));
        let listed = |key: &Key| ListedDevice {
            device: self.devices[self.relays[at].sessions[key].device].id,
            last_seen,
            acked: 0,
            online: true,
        };
        let devices = self.attending(at, key).iter().map(listed).collect();
        let input = Input::Devices(Ok(devices));
        self.after(LIVE, Happening::RelayFeed(at, life, key, input));
    }

    fn broadcast(&mut self, at: usize, key: Key, said: &Ephemeral) {
        let life = self.relays[at].life;
        for other in self.attending(at, key) {
            if other != key && self.relays[at].sessions[&other].session.listens() {
                let input = Input::Said(said.clone());
                self.after(LIVE, Happening::RelayFeed(at, life, other, input));
            }
        }
    }

    fn answer(&mut self, at: usize, key: Key, message: &Message) {
        if let Message::PushAck(ack) = message {
            let group = self.relays[at].sessions.get(&key);
            let group = group.and_then(|serving| serving.session.group());
            let group = group.expect("only an open session acknowledges");
            // It may have expired since it was stored.
            assert!(
                self.relays[at].database.find(group, &ack.blob_id).is_some()
                    || self.plan.faults.has(Fault::Expiry),
                "acknowledged before it was committed"
            );
        }
        let mut message = message.clone();
        if let Message::Blob(blob) = &mut message
            && self.faults.has(Fault::Tamper)
            && self.rng.once_in(100)
        {
            self.ledger.tampered.insert(blob.blob_id);
            blob.epoch ^= 1;
        }
        let frame = encode(&message);
        self.send(key.0, key.1, End::Device, frame.clone());
        if self.faults.has(Fault::Duplicate) && self.rng.once_in(20) {
            self.send(key.0, key.1, End::Device, frame);
        }
        if self.faults.has(Fault::Garbage) && self.rng.once_in(200) {
            let mut bytes = vec![0; 1 + self.rng.below(40)];
            self.rng.fill(&mut bytes);
            let garbage = Frame::Bytes(Bytes::from(bytes));
            self.send(key.0, key.1, End::Device, garbage);
        }
    }

    /// The device has taken everything that was sent to it.
    pub(super) fn taken(&mut self, at: usize, key: Key) {
        let life = self.relays[at].life;
        let wait = self.millis(5);
        self.after(wait, Happening::RelayFeed(at, life, key, Input::Flushed));
    }

    pub(super) fn work(&mut self, at: usize, life: u64, key: Key, work: Work) {
        if self.relays[at].life != life || !self.relays[at].sessions.contains_key(&key) {
            return;
        }
        let failed = || WireError::new(ErrorCode::StorageFailed, "the simulated disk fails");
        let unreadable = self.relays[at].unreadable_until > self.now;
        let local = self.relays[at].local(self.now);
        let input = match work {
            Work::Open { .. } if unreadable => Input::GroupOpened(Err(failed()), local),
            Work::Open {
                group,
                access_pub,
                epoch,
                create,
                device,
                chain,
                marks,
                after,
            } => {
                let unknown = || WireError::new(ErrorCode::UnknownGroup, "no such group");
                let database = &mut self.relays[at].database;
                let opened = database.open(
                    group,
                    access_pub,
                    epoch,
                    create,
                    (device, &chain),
                    (&marks, after),
                );
                self.tell_epoch(at, group);
                Input::GroupOpened(opened.ok_or_else(unknown), local)
            }
            Work::Read { purpose, .. } if unreadable => Input::Read(purpose, Err(failed())),
            Work::Read {
                group,
                purpose,
                after,
                max_blobs,
                max_bytes,
            } => {
                let database = &self.relays[at].database;
                let page = database.page(group, after, max_blobs, max_bytes);
                Input::Read(purpose, Ok(page))
            }
            Work::Keys { .. } if unreadable => Input::Keys(Err(failed())),
            Work::Keys {
                group,
                device,
                after_epoch,
            } => {
                let database = &self.relays[at].database;
                Input::Keys(Ok(database.keys_since(group, device, after_epoch)))
            }
            Work::StoreSnapshot(_) if unreadable => Input::SnapshotStored(Err(failed())),
            Work::StoreSnapshot(new) => {
                let done = self.relays[at]
                    .database
                    .put_snapshot(new.group_id, new.part);
                // Nothing is dropped by a relay that may lose its snapshots.
                if self.ledger.relay_is_safe {
                    let sessions = self.relays[at].sessions.values();
                    let active = sessions.map(|serving| self.devices[serving.device].id);
                    let active = active.collect();
                    self.relays[at].database.drop_covered(&active);
                }
                let stale = || WireError::new(ErrorCode::StaleEpoch, "not the newest snapshot");
                Input::SnapshotStored(done.then_some(()).ok_or_else(stale))
            }
            Work::ReadSnapshot { .. } if unreadable => Input::SnapshotRead(Err(failed())),
            Work::ReadSnapshot { group, part } => {
                Input::SnapshotRead(Ok(self.relays[at].database.snapshot(group, part)))
            }
            Work::Rotate(_) if unreadable => Input::Rotated(Err(failed())),
            Work::Rotate(rotation) => {
                let group = rotation.group_id;
                let done = self.relays[at].database.rotate(*rotation);
                self.tell_epoch(at, group);
                let stale = || WireError::new(ErrorCode::StaleEpoch, "not the newest keys");
                Input::Rotated(done.then_some(()).ok_or_else(stale))
            }
            Work::Delete { .. } if unreadable => Input::Deleted(Err(failed())),
            Work::Delete {
                group,
                delete,
                device,
            } => {
                let taken = self.relays[at].database.delete(group, delete, device);
                let refused = || WireError::new(ErrorCode::NotBlobOwner, "another's blob");
                Input::Deleted(taken.then_some(()).ok_or_else(refused))
            }
            Work::Has { .. } if unreadable => Input::HasResult(Err(failed())),
            Work::Has { group, ids } => {
                let database = &self.relays[at].database;
                let found = ids.iter().filter_map(|id| database.find(group, id));
                Input::HasResult(Ok(found.collect()))
            }
        };
        // A result is as old as its way is long, and much can happen while a disk is slow.
        let slow = [5, 5, 5, 2_000][self.rng.below(4)];
        let wait = self.millis(slow);
        self.after(wait, Happening::RelayFeed(at, life, key, input));
    }

    /// Tells the sessions of a group which epoch is its newest.
    fn tell_epoch(&mut self, at: usize, group: GroupId) {
        let (life, epoch) = (self.relays[at].life, self.relays[at].database.epoch(group));
        let sessions = self.relays[at].sessions.iter();
        let of_group = sessions.filter(|(_, serving)| serving.session.group() == Some(group));
        let keys: Vec<_> = of_group.map(|(key, _)| *key).collect();
        for key in keys {
            let wait = self.millis(5);
            let input = Input::EpochChanged(epoch);
            self.after(wait, Happening::RelayFeed(at, life, key, input));
        }
    }

    fn start_commit(&mut self, at: usize) {
        let relay = &mut self.relays[at];
        if !relay.committing.is_empty() || !relay.answers.is_empty() || relay.waiting.is_empty() {
            return;
        }
        let count = relay.waiting.len().min(MAX_COMMIT);
        relay.committing = relay.waiting.drain(..count).collect();
        let life = relay.life;
        let slow = [3, 3, 30, 1_000][self.rng.below(4)];
        let wait = self.millis(slow);
        self.after(wait, Happening::RelayCommitted(at, life));
    }

    pub(super) fn committed(&mut self, at: usize, life: u64) {
        if self.relays[at].life != life {
            return;
        }
        let refusal = self.relays[at].refusal(self.now, &mut self.rng);
        let committing = std::mem::take(&mut self.relays[at].committing);
        for Waiting { key, mut blob } in committing {
            if std::mem::take(&mut self.relays[at].tamper_next) {
                self.tamper(&mut blob);
            }
            let relay = &mut self.relays[at];
            let local = relay.local(self.now);
            let error = match &refusal {
                Some(error) => Some(error.clone()),
                None if relay.refused.contains(&key) => {
                    Some(WireError::new(ErrorCode::StorageFailed, "after a refusal"))
                }
                None => None,
            };
            let result = match error {
                Some(error) => {
                    relay.refused.insert(key);
                    Err(error)
                }
                None => {
                    let unknown = || WireError::new(ErrorCode::UnknownGroup, "no such group");
                    relay.database.store(blob, local).ok_or_else(unknown)
                }
            };
            relay.answers.push((key, result));
        }
        let wait = self.millis(3);
        self.after(wait, Happening::RelayAnswers(at, life));
    }

    pub(super) fn answers(&mut self, at: usize, life: u64) {
        if self.relays[at].life != life {
            return;
        }
        for (key, result) in std::mem::take(&mut self.relays[at].answers) {
            self.feed_session(at, key, Input::Stored(result));
        }
        let sessions: Vec<_> = self.relays[at].sessions.keys().copied().collect();
        for key in sessions {
            let group = self.relays[at].sessions.get(&key);
            if let Some(group) = group.and_then(|serving| serving.session.group()) {
                let max_cursor = self.relays[at].database.max_cursor(group);
                self.feed_session(at, key, Input::Grown(max_cursor));
            }
        }
        self.start_commit(at);
    }

    pub(super) fn expire(&mut self, at: usize) {
        let local = self.relays[at].local(self.now);
        self.relays[at].database.expire(local);
        self.after(Duration::from_secs(60), Happening::RelayExpires(at));
    }

    /// What a relay that means harm does to a blob.
    fn tamper(&mut self, blob: &mut NewBlob) {
        self.ledger.tampered.insert(blob.blob_id);
        match self.rng.below(4) {
            0 => blob.sender = DeviceId([1 + self.rng.below(8) as u8; 32]),
            1 => {
                blob.payload = blob.payload.slice(..blob.payload.len() - 1);
            }
            2 => {
                let mut payload = blob.payload.to_vec();
                payload.push(0);
                blob.payload = payload.into();
            }
            _ => {
                let mut payload = blob.payload.to_vec();
                let byte = self.rng.below(payload.len());
                payload[byte] ^= 1 << self.rng.below(8);
                blob.payload = payload.into();
            }
        }
    }
}
