//! The newest records of the logs, kept in memory: what has just been written is asked for next.

use std::collections::VecDeque;

use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, LogRecord, Write};

/// Payload bytes that are kept, over all groups.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Records that are kept, over all groups.
const MAX_RECORDS: usize = 8 * 1024;

/// Records of one group without a hole, up to its newest position.
struct Tail {
    group: GroupId,
    records: VecDeque<LogRecord>,
}

/// Tails of the logs that were written last. The group that was written last is at the end.
#[derive(Default)]
pub(crate) struct Recent {
    tails: Vec<Tail>,
    bytes: usize,
    records: usize,
}

impl Recent {
    /// Takes in what has become durable.
    pub(crate) fn written(&mut self, batch: Batch) {
        for write in batch.writes {
            match write {
                Write::Append { group, record, .. } => self.append(group, record),
                Write::Replace { group, record, .. } => self.replace(group, record),
                Write::Sent {
                    group,
                    position,
                    cursor,
                    timestamp,
                } => {
                    if let Some(record) = self.find(group, position) {
                        (record.cursor, record.timestamp) = (cursor, timestamp);
                    }
                }
                Write::Remove { group } => self.forget(group),
                Write::State { .. } | Write::Membership { .. } => {}
            }
        }
    }

    /// Records after a position, as the store would give them; `None` when they are not all here.
    pub(crate) fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Option<Vec<LogRecord>> {
        let tail = self.tails.iter().find(|tail| tail.group == group)?;
        let first = tail.records.front()?.position;
        let skip = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            bytes += record.payload.len();
            bytes <= max_bytes || bytes == record.payload.len()
        };
        let rest = tail.records.iter().skip(skip).take(max_records);
        Some(rest.take_while(fits).cloned().collect())
    }

    fn append(&mut self, group: GroupId, record: LogRecord) {
        let at = self.tails.iter().position(|tail| tail.group == group);
        let mut tail = match at {
            Some(at) => self.tails.remove(at),
            None => Tail {
                group,
                records: VecDeque::new(),
            },
        };
        // A hole can't happen while batches come in their order; if it did, nothing before it would be of use.
        if tail
            .records
            .back()
            .is_some_and(|last| last.position + 1 != record.position)
        {
            self.drop_records(&mut tail, usize::MAX);
        }
        self.bytes += record.payload.len();
        self.records += 1;
        tail.records.push_back(record);
        self.tails.push(tail);
        while self.bytes > MAX_BYTES || self.records > MAX_RECORDS {
            let mut oldest = self.tails.remove(0);
            self.drop_records(&mut oldest, 1);
            if !oldest.records.is_empty() {
                self.tails.insert(0, oldest);
            }
        }
    }

    fn replace(&mut self, group: GroupId, record: LogRecord) {
        if let Some(held) = self.find(group, record.position) {
            let (cursor, timestamp) = (held.cursor, held.timestamp);
            let (before, after) = (held.payload.len(), record.payload.len());
            *held = LogRecord {
                cursor,
                timestamp,
                ..record
            };
            self.bytes = self.bytes - before + after;
        }
    }

    fn find(&mut self, group: GroupId, position: u64) -> Option<&mut LogRecord> {
        let tail = self.tails.iter_mut().find(|tail| tail.group == group)?;
        let first = tail.records.front()?.position;
        tail.records
            .get_mut(usize::try_from(position.checked_sub(first)?).ok()?)
    }

    fn forget(&mut self, group: GroupId) {
        if let Some(at) = self.tails.iter().position(|tail| tail.group == group) {
            let mut tail = self.tails.remove(at);
            self.drop_records(&mut tail, usize::MAX);
        }
    }

    fn drop_records(&mut self, tail: &mut Tail, count: usize) {
        for record in tail.records.drain(..count.min(tail.records.len())) {
            self.bytes -= record.payload.len();
            self.records -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerok_sync_shared::crypto::blob::Kind;
    use zerok_sync_shared::ids::{BlobId, DeviceId};
    use zerok_sync_shared::time::Timestamp;

    fn append(recent: &mut Recent, group: u8, position: u64, len: usize) {
        let record = LogRecord {
            position,
            blob_id: BlobId([0; 16]),
            sender: DeviceId([0; 32]),
            epoch: 0,
            seq: position,
            kind: Kind::App,
            ttl: 0,
            cursor: 0,
            timestamp: Timestamp(0),
            payload: vec![0; len].into(),
        };
        let write = Write::Append {
            group: GroupId([group; 32]),
            record,
            unsent: false,
        };
        recent.written(Batch {
            writes: vec![write],
        });
    }

    fn positions(
        recent: &Recent,
        group: u8,
        after: u64,
        max: usize,
        bytes: usize,
    ) -> Option<Vec<u64>> {
        let records = recent.read(GroupId([group; 32]), after, max, bytes)?;
        Some(records.iter().map(|record| record.position).collect())
    }

    #[test]
    fn gives_what_the_store_would_give_or_nothing() {
        let mut recent = Recent::default();
        assert_eq!(positions(&recent, 1, 0, 9, 99), None);
        for position in 5..9 {
            append(&mut recent, 1, position, 10);
        }
        assert_eq!(positions(&recent, 1, 4, 9, 99), Some(vec![5, 6, 7, 8]));
        assert_eq!(positions(&recent, 1, 6, 1, 99), Some(vec![7]));
        assert_eq!(positions(&recent, 1, 4, 9, 25), Some(vec![5, 6]));
        assert_eq!(
            positions(&recent, 1, 4, 9, 1),
            Some(vec![5]),
            "at least one"
        );
        assert_eq!(positions(&recent, 1, 8, 9, 99), Some(vec![]));
        assert_eq!(
            positions(&recent, 1, 3, 9, 99),
            None,
            "position 4 is in the store only"
        );
        assert_eq!(positions(&recent, 2, 4, 9, 99), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut recent = Recent::default();
        append(&mut recent, 1, 1, 1024 * 1024);
        for position in 1..=8 {
            append(&mut recent, 2, position, 1024 * 1024);
        }
        assert_eq!(positions(&recent, 1, 0, 9, usize::MAX), None);
        assert_eq!(
            positions(&recent, 2, 4, 9, usize::MAX),
            Some(vec![5, 6, 7, 8])
        );
        for position in 9..20_000 {
            append(&mut recent, 2, position, 1);
        }
        assert!(recent.records <= MAX_RECORDS && recent.bytes <= MAX_BYTES);
    }

    #[test]
    fn an_acknowledgement_shows_and_a_group_that_was_left_is_gone() {
        let mut recent = Recent::default();
        let group = GroupId([1; 32]);
        append(&mut recent, 1, 1, 10);
        let sent = Write::Sent {
            group,
            position: 1,
            cursor: 7,
            timestamp: Timestamp(3),
        };
        recent.written(Batch { writes: vec![sent] });
        assert_eq!(recent.read(group, 0, 1, 1).unwrap()[0].cursor, 7);
        let mut erased = recent.read(group, 0, 1, 1).unwrap().remove(0);
        (erased.payload, erased.cursor) = (Default::default(), 0);
        let replace = Write::Replace {
            group,
            record: erased.clone(),
            unsent: false,
        };
        recent.written(Batch {
            writes: vec![replace],
        });
        erased.cursor = 7;
        assert_eq!(recent.read(group, 0, 1, 1).unwrap(), [erased]);
        assert_eq!(recent.bytes, 0);
        recent.written(Batch {
            writes: vec![Write::Remove { group }],
        });
        assert!(recent.read(group, 0, 1, 1).is_none());
        assert_eq!((recent.bytes, recent.records), (0, 0));
    }
}
