//! The database of a simulated relay: what its SQLite file would hold after each commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::rotation::Certificate;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation};
use zerok_sync_shared::message::{Blob, Delete, Mark, SnapshotPart};
use zerok_sync_shared::session::{GroupInfo, KeysSince, NewBlob, NewRotation, Page, Stored};
use zerok_sync_shared::time::Timestamp;

use crate::Rng;

#[derive(Debug, Clone)]
struct Row {
    blob: Blob,
    expires: Timestamp,
}

#[derive(Debug, Clone)]
struct Group {
    rotations: Vec<Certificate>,
    members: Bytes,
    packets: BTreeMap<DeviceId, Bytes>,
    epoch: u32,
    access_pub: [u8; 32],
    max_cursor: u64,
    rows: BTreeMap<u64, Row>,
    by_id: BTreeMap<BlobId, u64>,
    acked: BTreeMap<DeviceId, u64>,
    /// The snapshot, and those that are on their way.
    snapshot: Vec<SnapshotPart>,
    uploads: BTreeMap<DeviceId, Vec<SnapshotPart>>,
    /// Nothing up to here is given out any more: the snapshot has it.
    dropped_to: u64,
    /// Cursors of what was deleted and not yet acknowledged by everybody.
    deletions: BTreeSet<u64>,
}

/// What survives a crash.
#[derive(Debug, Clone)]
pub struct Database {
    pub incarnation: Incarnation,
    groups: BTreeMap<GroupId, Group>,
}

impl Group {
    fn drop_deleted(&mut self) {
        let everybody = self.acked.values().min().copied().unwrap_or(0);
        while let Some(cursor) = self.deletions.first().copied()
            && cursor <= everybody
        {
            self.deletions.remove(&cursor);
            if let Some(row) = self.rows.get_mut(&cursor) {
                row.blob.payload = Bytes::new();
            }
        }
    }
}

impl Database {
    pub fn new(rng: &mut Rng) -> Self {
        let mut incarnation = [0; 16];
        rng.fill(&mut incarnation);
        Self {
            incarnation: Incarnation(incarnation),
            groups: BTreeMap::new(),
        }
    }

    /// Looks a group up, or makes it.
    pub fn open(
        &mut self,
        group: GroupId,
        access_pub: [u8; 32],
        epoch: u32,
        create: bool,
        (device, chain): (DeviceId, &[Certificate]),
        (marks, after): (&[u64], u64),
    ) -> Option<GroupInfo> {
        if create {
            self.groups.entry(group).or_insert_with(|| Group {
                rotations: chain.to_vec(),
                members: Bytes::new(),
                packets: BTreeMap::new(),
                epoch,
                access_pub,
                max_cursor: 0,
                rows: BTreeMap::new(),
                by_id: BTreeMap::new(),
                acked: BTreeMap::new(),
                deletions: BTreeSet::new(),
                snapshot: Vec::new(),
                uploads: BTreeMap::new(),
                dropped_to: 0,
            });
        }
        let group = self.groups.get_mut(&group)?;
        // A device that was gone for long, or left, is waited for from here on.
        let acked = group.acked.entry(device).or_default();
        *acked = after.min(*acked);
        let newer = chain.get(group.epoch as usize..).unwrap_or_default();
        let connects = |link: &Certificate| link.claims.previous_pub == group.access_pub;
        if newer.first().is_some_and(connects) {
            group.rotations.extend_from_slice(newer);
            (group.epoch, group.access_pub) = (epoch, access_pub);
            group.members = Bytes::new();
            group.packets.clear();
        }
        let revoked = |link: &Certificate| link.claims.revoked == Some(device);
        let next = group.rows.range(after + 1..).next().map(|(next, _)| *next);
        Some(GroupInfo {
            founding: [0; 16],
            snapshot: group.snapshot.first().map(|part| part.covers),
            lacking: group.max_cursor > after
                && (group.dropped_to > after || next != Some(after + 1)),
            revoked: group.rotations.iter().any(revoked),
            max_cursor: group.max_cursor,
            epoch: group.epoch,
            access_pub: group.access_pub,
            marks: marks
                .iter()
                .filter_map(|cursor| Some((*cursor, group.rows.get(cursor)?)))
                .map(|(cursor, row)| Mark {
                    cursor,
                    blob_id: row.blob.blob_id,
                    timestamp: row.blob.timestamp,
                })
                .collect(),
        })
    }

    /// Changes the keys of a group; false if they are others by now, or if its author does not know a member.
    pub fn rotate(&mut self, new: NewRotation) -> bool {
        let claims = &new.certificate.claims;
        let Some(group) = self.groups.get_mut(&new.group_id) else {
            return false;
        };
        let follows = claims.previous_pub == group.access_pub && claims.epoch == group.epoch + 1;
        let mut unseen = group.rows.range(new.after_cursor + 1..);
        let known = |sender: DeviceId| {
            claims.revoked == Some(sender) || new.packets.iter().any(|(to, _)| *to == sender)
        };
        if !follows || !unseen.all(|(_, row)| known(row.blob.sender)) {
            return false;
        }
        (group.epoch, group.access_pub) = (claims.epoch, claims.access_pub);
        group.rotations.push(new.certificate);
        group.members = new.members;
        group.packets = new.packets.into_iter().collect();
        true
    }

    /// The newest epoch of a group.
    pub fn epoch(&self, group: GroupId) -> u32 {
        self.groups.get(&group).map_or(0, |group| group.epoch)
    }

    /// How the keys have changed since an epoch.
    pub fn keys_since(&self, group: GroupId, device: DeviceId, after: u32) -> KeysSince {
        let Some(group) = self.groups.get(&group) else {
            return KeysSince::default();
        };
        let newer = group.rotations.iter().skip(after as usize);
        KeysSince {
            certificates: newer.map(|link| codec::to_bytes(link).into()).collect(),
            members: group.members.clone(),
            packet: group.packets.get(&device).cloned(),
        }
    }

    /// Keeps what is missing of the newest epoch's keys.
    pub fn keep_keys(
        &mut self,
        group: GroupId,
        epoch: u32,
        members: Bytes,
        packets: Vec<(DeviceId, Bytes)>,
    ) {
        let group = self.groups.get_mut(&group);
        if let Some(group) = group.filter(|group| group.epoch == epoch) {
            if group.members.is_empty() {
                group.members = members;
            }
            for (device, packet) in packets {
                group.packets.entry(device).or_insert(packet);
            }
        }
    }

    pub fn max_cursor(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(0, |group| group.max_cursor)
    }

    /// Stores a blob; the same id again gets what it got the first time. `None` without the group.
    pub fn store(&mut self, new: NewBlob, now: Timestamp) -> Option<Stored> {
        let group = self.groups.get_mut(&new.group_id)?;
        let cursor = match group.by_id.get(&new.blob_id) {
            Some(cursor) => *cursor,
            None => {
                group.max_cursor += 1;
                let blob = Blob {
                    cursor: group.max_cursor,
                    blob_id: new.blob_id,
                    sender: new.sender,
                    epoch: new.epoch,
                    timestamp: now,
                    ttl: u32::try_from(new.ttl).unwrap_or(u32::MAX),
                    payload: new.payload,
                };
                let expires = now.plus(std::time::Duration::from_secs(new.ttl));
                group.rows.insert(group.max_cursor, Row { blob, expires });
                group.by_id.insert(new.blob_id, group.max_cursor);
                group.max_cursor
            }
        };
        let timestamp = group.rows[&cursor].blob.timestamp;
        Some(Stored { cursor, timestamp })
    }

    /// Where a blob is.
    pub fn find(&self, group: GroupId, id: &BlobId) -> Option<Mark> {
        let group = self.groups.get(&group)?;
        let cursor = *group.by_id.get(id)?;
        Some(Mark {
            cursor,
            blob_id: *id,
            timestamp: group.rows[&cursor].blob.timestamp,
        })
    }

    /// Drops a payload at once, or when everybody has it; false if that is not this device's to ask.
    pub fn delete(&mut self, group: GroupId, delete: Delete, by: DeviceId) -> bool {
        let Some(group) = self.groups.get_mut(&group) else {
            return true;
        };
        let cursor = group.by_id.get(&delete.blob_id).copied();
        let Some((cursor, row)) = cursor.and_then(|at| Some((at, group.rows.get_mut(&at)?))) else {
            return true;
        };
        if !delete.force {
            group.deletions.insert(cursor);
            group.drop_deleted();
        } else if row.blob.sender == by {
            row.blob.payload = Bytes::new();
        } else {
            return false;
        }
        true
    }

    /// Stores a part of a snapshot; false if a newer one or other keys are there, or the parts before are not.
    pub fn put_snapshot(&mut self, group: GroupId, part: SnapshotPart) -> bool {
        let Some(group) = self.groups.get_mut(&group) else {
            return false;
        };
        if group
            .snapshot
            .first()
            .is_some_and(|known| known.covers > part.covers)
        {
            return false;
        }
        let revoked = |link: &Certificate| link.claims.revoked == Some(part.author);
        if part.epoch != group.epoch
            || part.covers > group.max_cursor
            || group.rotations.iter().any(revoked)
        {
            return false;
        }
        let upload = group.uploads.entry(part.author).or_default();
        if part.part == 0 {
            upload.clear();
        }
        let as_begun = |begun: &SnapshotPart| {
            (begun.snapshot_id, begun.epoch, begun.covers, begun.parts)
                == (part.snapshot_id, part.epoch, part.covers, part.parts)
        };
        if upload.len() != part.part as usize || !upload.first().is_none_or(as_begun) {
            return false;
        }
        let (author, complete) = (part.author, part.part + 1 == part.parts);
        upload.push(part);
        if complete {
            group.snapshot = group.uploads.remove(&author).unwrap_or_default();
        }
        true
    }

    /// A part of a group's snapshot.
    pub fn snapshot(&self, group: GroupId, part: u32) -> Option<SnapshotPart> {
        self.groups
            .get(&group)?
            .snapshot
            .get(part as usize)
            .cloned()
    }

    /// Drops what snapshots cover and all of these devices have; the others count as gone for long.
    pub fn drop_covered(&mut self, active: &BTreeSet<DeviceId>) {
        for group in self.groups.values_mut() {
            let covers = group.snapshot.first().map_or(0, |part| part.covers);
            let acked = group
                .acked
                .iter()
                .filter(|(device, _)| active.contains(device));
            let acked = acked.map(|(_, acked)| *acked).min().unwrap_or(0);
            group.dropped_to = group.dropped_to.max(covers.min(acked));
        }
    }

    /// A device has everything up to here.
    pub fn acked(&mut self, group: GroupId, device: DeviceId, cursor: u64) {
        if let Some(group) = self.groups.get_mut(&group) {
            let acked = group.acked.entry(device).or_default();
            *acked = cursor.max(*acked);
            group.drop_deleted();
        }
    }

    /// Deletes what has expired, and gives the ids.
    pub fn expire(&mut self, now: Timestamp) -> Vec<BlobId> {
        let mut gone = Vec::new();
        for group in self.groups.values_mut() {
            group.rows.retain(|_, row| {
                if row.expires <= now {
                    gone.push(row.blob.blob_id);
                }
                row.expires > now
            });
            for id in &gone {
                group.by_id.remove(id);
            }
        }
        gone
    }

    pub fn page(&self, group: GroupId, after: u64, max_blobs: u32, max_bytes: usize) -> Page {
        let mut page = Page {
            blobs: Vec::new(),
            up_to: after,
            has_more: false,
            max_cursor: self.max_cursor(group),
        };
        let mut bytes = 0;
        let dropped_to = self.groups.get(&group).map_or(0, |group| group.dropped_to);
        let rows = self.groups.get(&group).map(|group| &group.rows);
        for (cursor, row) in rows.into_iter().flat_map(|rows| rows.range(after + 1..)) {
            if *cursor <= dropped_to {
                continue;
            }
            bytes += row.blob.payload.len();
            let fits = page.blobs.len() < max_blobs as usize && bytes <= max_bytes;
            if !page.blobs.is_empty() && !fits {
                page.has_more = true;
                return page;
            }
            page.up_to = *cursor;
            if !row.blob.payload.is_empty() {
                page.blobs.push(row.blob.clone());
            }
        }
        page.up_to = page.max_cursor.max(after);
        page
    }
}
