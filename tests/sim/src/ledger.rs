//! What apps were promised, and the invariants that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zerok_sync_shared::crypto::blob::{self, Kind};
use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_shared::engine::Event;
use zerok_sync_shared::failure::code;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::store::{Batch, LogRecord, Write};

use crate::device::Device;
use crate::disk::GroupDisk;

/// How everything begins that is only for those who are there.
pub const BROADCAST: &[u8] = b"broadcast ";

/// A push that has resolved.
struct Promise {
    sender: DeviceId,
    body: Bytes,
    /// It has a time to live and may be gone before everybody has it.
    mortal: bool,
}

/// Highest sequence per device, group and sender.
pub type Order = BTreeMap<(DeviceId, GroupId, DeviceId), u64>;

/// Whether a log still has what a blob was.
fn has_data(disk: &GroupDisk, id: BlobId) -> bool {
    let mut log = disk.log.iter();
    log.any(|record| record.blob_id == id && record.kind == Kind::App)
}

#[derive(Default)]
pub struct Ledger {
    /// Keys of every group, oldest epoch first.
    pub groups: BTreeMap<GroupId, Vec<EpochKeys>>,
    promised: BTreeMap<(GroupId, BlobId), Promise>,
    /// Bodies of pushes without an answer, by device and token.
    asked: BTreeMap<(DeviceId, u64), (GroupId, Bytes, bool)>,
    /// Deletions without an answer, by device and token.
    asked_to_delete: BTreeMap<(DeviceId, u64), (GroupId, BlobId)>,
    /// What apps have ever asked to delete: it may be gone.
    deleting: BTreeSet<(GroupId, BlobId)>,
    /// Deletions that have resolved: it has to be gone. With the devices that did it.
    deleted: BTreeSet<(GroupId, BlobId, DeviceId)>,
    /// No relay loses what it has acknowledged.
    pub relay_is_safe: bool,
    /// Blobs that a relay has altered.
    pub tampered: BTreeSet<BlobId>,
    /// Altered blobs that devices reported.
    pub rejections: u64,
    /// Some device has a snapshot instead of blobs.
    snapshot_taken: bool,
    /// Devices that know that they were revoked.
    pub expelled: BTreeSet<(DeviceId, GroupId)>,
    /// Groups in which somebody was to be revoked.
    pub revoking: BTreeSet<GroupId>,
    /// What each device has heard of whom.
    heard: BTreeSet<(DeviceId, DeviceId, Bytes)>,
    order: Order,
    /// Memberships that have ended.
    left: BTreeSet<(DeviceId, GroupId)>,
    /// Holes that devices told their apps of: device, group, sender, first, last.
    gaps: BTreeSet<(DeviceId, GroupId, DeviceId, u64, u64)>,
}

impl Ledger {
    pub fn ask(&mut self, device: DeviceId, token: u64, group: GroupId, body: Bytes, mortal: bool) {
        self.asked.insert((device, token), (group, body, mortal));
    }

    pub fn refuse(&mut self, device: DeviceId, token: u64) {
        self.asked.remove(&(device, token));
        self.asked_to_delete.remove(&(device, token));
    }

    pub fn ask_to_delete(&mut self, device: DeviceId, token: u64, group: GroupId, blob_id: BlobId) {
        self.asked_to_delete
            .insert((device, token), (group, blob_id));
        self.deleting.insert((group, blob_id));
    }

    /// If it was a deletion, the blob is gone from here on, first from this device.
    pub fn done(&mut self, device: &Device, token: u64) {
        let Some((group, blob_id)) = self.asked_to_delete.remove(&(device.id, token)) else {
            return;
        };
        if let Some(disk) = device.disk.groups.get(&group) {
            assert!(
                !has_data(disk, blob_id),
                "a deletion resolves when it is done here"
            );
        }
        if !self.expelled.contains(&(device.id, group)) {
            self.deleted.insert((group, blob_id, device.id));
        }
    }

    /// A push has resolved: from here on the blob may not be lost.
    pub fn promise(&mut self, device: &Device, token: u64, blob_id: BlobId) {
        let Some((group, body, mortal)) = self.asked.remove(&(device.id, token)) else {
            return;
        };
        let disk = device.disk.groups.get(&group);
        // Written together with the news that the device is out: it will never be sent.
        if self.expelled.contains(&(device.id, group)) {
            return;
        }
        let stored = disk.is_some_and(|disk| disk.log.iter().rev().any(|r| r.blob_id == blob_id));
        assert!(stored, "a push resolves only when it is on the disk");
        let sender = device.id;
        let promise = Promise {
            sender,
            body,
            mortal,
        };
        self.promised.insert((group, blob_id), promise);
    }

    /// The process is gone: nobody was told that these are durable; they may be all the same.
    pub fn forget_asked(&mut self, device: DeviceId) {
        self.asked.retain(|(asked, _), _| *asked != device);
        self.asked_to_delete
            .retain(|(asked, _), _| *asked != device);
    }

    /// A device has left the group: what it had not sent goes with it, by its own decision. What only it and the relay
    /// had depends on the relay alone from now on.
    pub fn leave(
        &mut self,
        device: DeviceId,
        group: GroupId,
        disk: &GroupDisk,
        elsewhere: &BTreeSet<BlobId>,
    ) {
        for position in disk.unsent.keys() {
            let id = disk.log[*position as usize - 1].blob_id;
            self.promised.remove(&(group, id));
        }
        for record in &disk.log {
            if !elsewhere.contains(&record.blob_id)
                && let Some(promise) = self.promised.get_mut(&(group, record.blob_id))
            {
                promise.mortal |= !self.relay_is_safe;
            }
        }
        // What it had deleted is a matter of what it had sent.
        self.deleted
            .retain(|(of, _, by)| (*of, *by) != (group, device));
        self.left.insert((device, group));
        self.order
            .retain(|(at, of, _), _| (*at, *of) != (device, group));
        self.gaps
            .retain(|(at, of, ..)| (*at, *of) != (device, group));
    }

    pub fn event(&mut self, device: DeviceId, event: &Event) {
        match event {
            Event::Error { error, .. } if error.code == code::BLOB_REJECTED => {
                self.rejections += 1;
            }
            Event::Error { error, .. } => assert_ne!(
                error.code,
                code::RELAY_FORKED,
                "nobody is shown another history: {}",
                error.message
            ),
            Event::Snapshot { .. } => self.snapshot_taken = true,
            Event::Gap {
                group,
                sender,
                from,
                to,
            } => drop(self.gaps.insert((device, *group, *sender, *from, *to))),
            Event::Broadcast { sender, data, .. } => {
                assert!(data.starts_with(BROADCAST), "something else was heard");
                let new = self.heard.insert((device, *sender, data.clone()));
                assert!(new, "a broadcast was heard twice");
            }
            _ => {}
        }
    }

    /// New keys are on their way to a disk: every epoch has one secret, whoever has it from whom.
    pub fn learn(&mut self, batch: &Batch) {
        for write in &batch.writes {
            let Write::Membership { group, membership } = write else {
                continue;
            };
            let Some(known) = self.groups.get_mut(group) else {
                continue;
            };
            for (epoch, secret) in &membership.epochs {
                match known.get(*epoch as usize) {
                    Some(keys) => assert_eq!(keys.secret(), secret, "an epoch has two secrets"),
                    None => known.push(EpochKeys::derive(*epoch, secret.clone())),
                }
            }
        }
    }

    /// What is in an entry; nothing in one that was deleted.
    fn body(&self, group: GroupId, record: &LogRecord) -> Option<Bytes> {
        if record.payload.is_empty() {
            assert_eq!(
                record.kind,
                Kind::Tombstone,
                "only what was deleted is empty"
            );
            assert!(
                self.deleting.contains(&(group, record.blob_id)),
                "and somebody did that"
            );
            return None;
        }
        let keys = &self.groups[&group];
        let keys = keys.iter().find(|keys| keys.epoch() == record.epoch);
        let keys = keys.expect("a blob of an epoch that exists");
        let plain = blob::open(keys, &record.address(group), &record.payload);
        let plain = plain.expect("nothing altered enters a log");
        assert_eq!(plain.seq, record.seq, "the log has the sender's sequence");
        assert!(
            !plain.body.starts_with(BROADCAST),
            "what was said to those who are there is in a log"
        );
        assert_eq!(plain.kind, record.kind);
        (record.kind != Kind::Tombstone).then_some(plain.body)
    }

    /// A device is about to write this: nothing altered, nothing twice, everything in its sender's order.
    pub fn check_batch(&self, device: DeviceId, batch: &Batch) -> Order {
        let mut order = Order::new();
        for write in &batch.writes {
            let Write::Append { group, record, .. } = write else {
                continue;
            };
            // Its parts have no sequences among those of blobs.
            if record.kind == Kind::Snapshot {
                continue;
            }
            let body = self.body(*group, record);
            if let Some(promise) = self.promised.get(&(*group, record.blob_id)) {
                if let Some(body) = body {
                    assert_eq!(body, promise.body, "the blob is what was pushed");
                }
                assert_eq!(record.sender, promise.sender, "by whom it was pushed");
            }
            let key = (device, *group, record.sender);
            let last = order.get(&key).or(self.order.get(&key)).copied();
            // What a relay had destroyed, or what the app was told to be gone, can come back later from a device that
            // has it.
            let told = self.gaps.iter().any(|(at, of, sender, from, to)| {
                (*at, *of, *sender) == key && (*from..=*to).contains(&record.seq)
            });
            let promise = self.promised.get(&(*group, record.blob_id));
            // A blob that had expired and was sent again by its sender, which did not know that the relay had had it.
            let mortal = promise.is_some_and(|promise| promise.mortal);
            // What a device pushed in a former membership is history to it, whatever it has pushed since.
            // And it cannot give it back to a relay that has lost it, so others do, later.
            let former = self.left.contains(&(record.sender, *group))
                && (record.sender == device || !self.relay_is_safe);
            // Who has a snapshot gives a relay that has lost its past what follows it, perhaps before somebody else gives
            // what it stands in for.
            let beside = self.snapshot_taken && !self.relay_is_safe;
            let excused =
                told || mortal || former || beside || self.tampered.contains(&record.blob_id);
            let last = last.unwrap_or(0);
            assert!(
                record.seq > last || excused,
                "each once and in the order of its sender: {} after {last} of device {}, blob {} at device {device}",
                record.seq,
                record.sender.0[0],
                record.blob_id,
            );
            order.insert(key, record.seq.max(last));
        }
        order
    }

    /// That write is on the disk.
    pub fn written(&mut self, order: Order) {
        self.order.extend(order);
    }

    /// Everything has settled: compares what every device has with what was promised.
    pub fn check(&self, devices: &[&Device]) {
        for device in devices {
            for group in &device.groups {
                self.check_log(device.id, *group, &device.disk.groups[group]);
            }
        }
        for group in self.groups.keys() {
            let members = || devices.iter().filter(|d| d.groups.contains(group));
            let excused =
                !self.tampered.is_empty() || self.promised.values().any(|promise| promise.mortal);
            if excused {
                continue;
            }
            let vector = |device: &Device| {
                let view = device
                    .engine
                    .as_ref()
                    .and_then(|engine| engine.view(*group));
                view.map(|view| view.version_vector)
            };
            if let Some(first) = members().next() {
                let expected = vector(first);
                for device in members() {
                    let id = device.id.0[0];
                    assert_eq!(vector(device), expected, "vectors are equal (device {id})");
                }
            }
        }
    }

    /// The blobs that a device has by its snapshots.
    pub fn restored(&self, group: GroupId, disk: &GroupDisk) -> BTreeSet<BlobId> {
        let mut restored = BTreeSet::new();
        for held in disk.state.iter().flat_map(|state| &state.snapshots) {
            let first = held.first as usize - 1;
            let parts = &disk.log[first..first + held.parts as usize];
            let state: Vec<u8> = parts
                .iter()
                .flat_map(|part| self.body(group, part).expect("a part has a body"))
                .collect();
            let ids = state.chunks_exact(BlobId::LEN);
            restored.extend(ids.map(|id| BlobId(id.try_into().expect("it has that length"))));
        }
        restored
    }

    fn check_log(&self, device: DeviceId, group: GroupId, disk: &GroupDisk) {
        let mut here = BTreeMap::new();
        for record in &disk.log {
            let again = here.insert(record.blob_id, self.body(group, record));
            assert!(
                again.is_none(),
                "device {device} has blob {} twice, at {}",
                record.blob_id,
                record.position
            );
        }
        let restored = self.restored(group, disk);
        for ((of, id), promise) in &self.promised {
            if *of != group {
                continue;
            }
            match here.get(id) {
                Some(Some(here)) => assert_eq!(*here, promise.body),
                Some(None) => assert!(self.deleting.contains(&(group, *id)), "it was deleted"),
                None => assert!(
                    promise.mortal
                        || restored.contains(id)
                        || self.tampered.contains(id)
                        || self.deleting.contains(&(group, *id)),
                    "device {device} lacks blob {id} that device {} was promised",
                    promise.sender,
                ),
            }
        }
        // The tombstone is among what the snapshot stands in for; the app is given the state without what it names.
        let beside = disk
            .state
            .as_ref()
            .is_some_and(|state| !state.snapshots.is_empty());
        for (of, id, by) in &self.deleted {
            assert!(
                *of != group || beside || !has_data(disk, *id) || !self.tampered.is_empty(),
                "device {} has blob {:02x?} that device {} has deleted",
                device.0[0],
                &id.0[..4],
                by.0[0],
            );
        }
        assert!(disk.unsent.is_empty(), "everything was sent");
    }

    pub fn promised(&self) -> usize {
        self.promised.len()
    }
}
