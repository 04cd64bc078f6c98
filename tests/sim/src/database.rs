//! The database of a simulated relay: what its SQLite file would hold after each commit.

use std::collections::BTreeMap;

use zerok_sync_shared::ids::{BlobId, GroupId, Incarnation};
use zerok_sync_shared::message::{Blob, Mark};
use zerok_sync_shared::session::{GroupInfo, NewBlob, Page, Stored};
use zerok_sync_shared::time::Timestamp;

use crate::Rng;

#[derive(Debug, Clone)]
struct Row {
    blob: Blob,
    expires: Timestamp,
}

#[derive(Debug, Clone)]
struct Group {
    epoch: u32,
    access_pub: [u8; 32],
    max_cursor: u64,
    rows: BTreeMap<u64, Row>,
    by_id: BTreeMap<BlobId, u64>,
}

/// What survives a crash.
#[derive(Debug, Clone)]
pub struct Database {
    pub incarnation: Incarnation,
    groups: BTreeMap<GroupId, Group>,
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
        marks: &[u64],
    ) -> Option<GroupInfo> {
        if create {
            self.groups.entry(group).or_insert_with(|| Group {
                epoch,
                access_pub,
                max_cursor: 0,
                rows: BTreeMap::new(),
                by_id: BTreeMap::new(),
            });
        }
        let group = self.groups.get(&group)?;
        Some(GroupInfo {
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

    /// A certificate has moved the group to a newer epoch; false if it knew that one already.
    pub fn rotate(&mut self, group: GroupId, epoch: u32, access_pub: [u8; 32]) -> bool {
        let group = self.groups.get_mut(&group);
        let Some(group) = group.filter(|group| group.epoch < epoch) else {
            return false;
        };
        (group.epoch, group.access_pub) = (epoch, access_pub);
        true
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
        let rows = self.groups.get(&group).map(|group| &group.rows);
        for (cursor, row) in rows.into_iter().flat_map(|rows| rows.range(after + 1..)) {
            bytes += row.blob.payload.len();
            let fits = page.blobs.len() < max_blobs as usize && bytes <= max_bytes;
            if !page.blobs.is_empty() && !fits {
                page.has_more = true;
                return page;
            }
            page.up_to = *cursor;
            page.blobs.push(row.blob.clone());
        }
        page.up_to = page.max_cursor.max(after);
        page
    }
}
