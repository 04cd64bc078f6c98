//! The disk of a device: a journal of batches, of which a crash can lose or tear what was not yet synced.
//!
//! A batch is one entry: length, checksum, content. It is durable once it is synced; before that, a crash leaves all of
//! it, none of it, or a part that the checksum gives away when the journal is read again. Everything passes through bytes,
//! as it does in real stores.

use std::collections::BTreeMap;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, GroupState, LogRecord, Membership, StoredGroup, Write};
use zerok_sync_shared::time::Timestamp;

use crate::Rng;

/// What is stored of one group.
#[derive(Debug, Clone, Default)]
pub struct GroupDisk {
    pub state: Option<GroupState>,
    /// None once the device has left the group.
    pub membership: Option<Membership>,
    pub log: Vec<LogRecord>,
    pub unsent: BTreeMap<u64, u32>,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub groups: BTreeMap<GroupId, GroupDisk>,
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct Entry {
    bytes: Bytes,
}

impl Entry {
    pub fn new(batch: &Batch) -> Self {
        let mut content = Vec::new();
        let mut put = |tag: u8, group: GroupId, rest: &[u8]| {
            content.push(tag);
            content.extend_from_slice(&group.0);
            content.extend_from_slice(&(rest.len() as u32).to_le_bytes());
            content.extend_from_slice(rest);
        };
        for write in &batch.writes {
            match write {
                Write::State { group, state } => put(0, *group, &codec::to_bytes(&**state)),
                Write::Append {
                    group,
                    record,
                    unsent,
                } => put(1 + u8::from(*unsent), *group, &codec::to_bytes(record)),
                Write::Sent {
                    group,
                    position,
                    cursor,
                    timestamp,
                } => {
                    let fields = [*position, *cursor, timestamp.0];
                    let bytes: Vec<u8> = fields.iter().flat_map(|n| n.to_le_bytes()).collect();
                    put(3, *group, &bytes);
                }
                Write::Replace {
                    group,
                    record,
                    unsent,
                } => put(6 + u8::from(*unsent), *group, &codec::to_bytes(record)),
                Write::Remove { group } => put(4, *group, &[]),
                Write::Membership { group, membership } => {
                    put(5, *group, &codec::to_bytes(&**membership));
                }
            }
        }
        let mut bytes = (content.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&checksum(&content).to_le_bytes());
        bytes.extend_from_slice(&content);
        Self {
            bytes: bytes.into(),
        }
    }
}

/// FNV-1a: enough to tell a torn entry from a whole one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

impl Disk {
    /// The entry is synced. Panics on a write that makes no sense, because the engine must never ask for one.
    pub fn sync(&mut self, entry: &Entry) {
        assert!(self.replay(&entry.bytes), "a whole entry is readable");
    }

    /// The power went while the entry was being written. True if it is there all the same.
    pub fn crash(&mut self, entry: &Entry, rng: &mut Rng) -> bool {
        match rng.below(3) {
            0 => false,
            1 => {
                let mut torn = entry.bytes.to_vec();
                // Sectors are written in any order: what follows the tear may be there or be anything.
                let from = rng.below(torn.len());
                if rng.once_in(2) {
                    torn.truncate(from);
                } else {
                    rng.fill(&mut torn[from..]);
                }
                self.replay(&torn)
            }
            _ => self.replay(&entry.bytes),
        }
    }

    /// Applies an entry if it is whole.
    fn replay(&mut self, bytes: &[u8]) -> bool {
        let Some((head, content)) = bytes.split_at_checked(12) else {
            return false;
        };
        let len = u32::from_le_bytes(head[..4].try_into().unwrap());
        let sum = u64::from_le_bytes(head[4..].try_into().unwrap());
        if content.len() != len as usize || checksum(content) != sum {
            return false;
        }
        let mut rest = content;
        while !rest.is_empty() {
            let (tag, group) = (rest[0], GroupId(rest[1..33].try_into().unwrap()));
            let len = u32::from_le_bytes(rest[33..37].try_into().unwrap()) as usize;
            self.apply(tag, group, &rest[37..37 + len]);
            rest = &rest[37 + len..];
        }
        for disk in self.groups.values() {
            if let Some(state) = &disk.state {
                assert_eq!(state.position, disk.log.len() as u64, "state and log agree");
            }
        }
        true
    }

    fn apply(&mut self, tag: u8, group: GroupId, bytes: &[u8]) {
        if tag == 4 {
            self.groups.remove(&group);
            return;
        }
        let disk = self.groups.entry(group).or_default();
        match tag {
            0 => disk.state = Some(codec::from_bytes(bytes).expect("a state is readable")),
            5 => {
                let membership = codec::from_bytes(bytes).expect("a membership is readable");
                disk.membership = Some(membership);
            }
            1 | 2 => {
                let record: LogRecord = codec::from_bytes(bytes).expect("a record is readable");
                let next = disk.log.len() as u64 + 1;
                assert_eq!(record.position, next, "positions are gapless");
                if tag == 2 {
                    let len = record.payload.len() as u32;
                    disk.unsent.insert(record.position, len);
                }
                disk.log.push(record);
            }
            6 | 7 => {
                let record: LogRecord = codec::from_bytes(bytes).expect("a record is readable");
                let former = &mut disk.log[record.position as usize - 1];
                let same = (record.blob_id, record.sender, record.seq, record.epoch);
                let before = (former.blob_id, former.sender, former.seq, former.epoch);
                assert_eq!(same, before, "only what is in it is replaced");
                let waits = disk.unsent.get_mut(&record.position);
                assert_eq!(waits.is_some(), tag == 7, "it waits as the former did");
                if let Some(len) = waits {
                    *len = record.payload.len() as u32;
                }
                let (cursor, timestamp) = (former.cursor, former.timestamp);
                *former = LogRecord {
                    cursor,
                    timestamp,
                    ..record
                };
            }
            _ => {
                let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                let (position, cursor, timestamp) = (number(0), number(8), Timestamp(number(16)));
                let waited = disk.unsent.remove(&position).is_some();
                assert!(waited, "only what waits is sent");
                let record = &mut disk.log[position as usize - 1];
                (record.cursor, record.timestamp) = (cursor, timestamp);
            }
        }
    }

    /// What a device reads when it starts.
    pub fn load(&self) -> Vec<StoredGroup> {
        let stored = |(group, disk): (&GroupId, &GroupDisk)| {
            let state = disk.state.clone()?;
            let unsent = disk.unsent.iter().map(|(at, len)| (*at, *len)).collect();
            Some(StoredGroup {
                group: *group,
                state,
                membership: disk.membership.clone(),
                unsent,
            })
        };
        self.groups.iter().filter_map(stored).collect()
    }

    /// Records of a group's log after a position.
    pub fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Vec<LogRecord> {
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            bytes += record.payload.len();
            bytes <= max_bytes || bytes == record.payload.len()
        };
        let log = self.groups.get(&group).map_or(&[][..], |disk| &disk.log);
        let rest = log.iter().skip(after as usize).take(max_records);
        rest.take_while(fits).cloned().collect()
    }
}
