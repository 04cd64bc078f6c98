//! The newest blobs of groups with an open session, in memory, so that what was just stored goes out to subscribers
//! without being read back. One budget for all groups: what was stored first goes first, whatever its group.

use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::time::Duration;

use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::message::Blob;
use zerok_sync_shared::session::Page;
use zerok_sync_shared::time::Timestamp;

/// What may be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub blobs: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Recent {
    budget: Budget,
    /// Of each group, blobs with consecutive cursors.
    rings: HashMap<GroupId, VecDeque<Blob>>,
    /// What the rings hold in the order in which it came, and some that they hold no longer.
    order: VecDeque<(GroupId, u64)>,
    bytes: usize,
}

impl Recent {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            rings: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Takes in a blob that was stored just now. Blobs of a group come in the order of their cursors; after a hole, what
    /// came before it is forgotten.
    pub fn add(&mut self, group: GroupId, blob: Blob) {
        let follows = self
            .rings
            .get(&group)
            .and_then(VecDeque::back)
            .is_some_and(|last| blob.cursor == last.cursor.saturating_add(1));
        if !follows {
            self.forget(group);
        }
        self.bytes += cost(&blob);
        self.order.push_back((group, blob.cursor));
        self.rings.entry(group).or_default().push_back(blob);
        while self.bytes > self.budget.bytes || self.order.len() > self.budget.blobs {
            let Some((group, cursor)) = self.order.pop_front() else {
                break;
            };
            self.drop_front(group, cursor);
        }
    }

    /// Drops all that is held of a group.
    pub fn forget(&mut self, group: GroupId) {
        let ring = self.rings.remove(&group).unwrap_or_default();
        self.bytes -= ring.iter().map(cost).sum::<usize>();
    }

    /// Drops all that is held.
    pub fn forget_all(&mut self) {
        *self = Self::new(self.budget);
    }

    /// A page from here, if nothing that belongs to it is missing, and nothing in it has expired: what is still stored then,
    /// the storage knows.
    pub fn page(
        &self,
        group: GroupId,
        after: u64,
        max_blobs: u32,
        max_bytes: usize,
        now: Timestamp,
    ) -> Option<Page> {
        let ring = self.rings.get(&group)?;
        let (first, last) = (ring.front()?.cursor, ring.back()?.cursor);
        let wanted = after.checked_add(1)?;
        if wanted < first || wanted > last {
            return None;
        }
        let skipped = usize::try_from(wanted - first).ok()?;
        let mut bytes = 0usize;
        let mut blobs: Vec<Blob> = Vec::new();
        for blob in ring.iter().skip(skipped).take(max_blobs as usize) {
            bytes = bytes.saturating_add(blob.payload.len());
            if bytes > max_bytes && !blobs.is_empty() {
                break;
            }
            if now.since(blob.timestamp) >= Duration::from_secs(blob.ttl.into()) {
                return None;
            }
            blobs.push(blob.clone());
        }
        let up_to = blobs.last()?.cursor;
        Some(Page {
            blobs,
            up_to,
            has_more: up_to < last,
            max_cursor: last,
        })
    }

    /// Drops a blob if its group still holds it; it is then the oldest of its group.
    fn drop_front(&mut self, group: GroupId, cursor: u64) {
        let Some(ring) = self.rings.get_mut(&group) else {
            return;
        };
        if let Some(oldest) = ring.pop_front_if(|oldest| oldest.cursor == cursor) {
            self.bytes -= cost(&oldest);
        }
        if ring.is_empty() {
            self.rings.remove(&group);
        }
    }
}

/// Bytes that a blob takes here.
fn cost(blob: &Blob) -> usize {
    blob.payload.len() + size_of::<Blob>() + size_of::<(GroupId, u64)>()
}

#[cfg(test)]
mod tests {
    use zerok_sync_shared::ids::{BlobId, DeviceId};

    use super::*;

    const A: GroupId = GroupId([1; 32]);
    const B: GroupId = GroupId([2; 32]);

    fn blob(cursor: u64, payload: usize) -> Blob {
        Blob {
            cursor,
            blob_id: BlobId([3; 16]),
            sender: DeviceId([4; 32]),
            epoch: 0,
            timestamp: Timestamp(1),
            ttl: 60,
            payload: vec![5; payload].into(),
        }
    }

    fn recent(blobs: usize, bytes: usize) -> Recent {
        Recent::new(Budget { blobs, bytes })
    }

    fn read(recent: &Recent, group: GroupId, after: u64) -> Option<(Vec<u64>, u64, bool)> {
        let page = recent.page(group, after, 3, 100, Timestamp(60_000))?;
        let cursors = page.blobs.iter().map(|blob| blob.cursor).collect();
        Some((cursors, page.up_to, page.has_more))
    }

    #[test]
    fn a_page_is_whole_or_not_there() {
        let mut recent = recent(100, 100_000);
        for cursor in 5..=9 {
            recent.add(A, blob(cursor, 10));
        }
        assert_eq!(read(&recent, A, 3), None, "4 would be missing");
        assert_eq!(read(&recent, A, 4), Some((vec![5, 6, 7], 7, true)));
        assert_eq!(read(&recent, A, 7), Some((vec![8, 9], 9, false)));
        assert_eq!(read(&recent, A, 9), None, "nothing is newer");
        assert_eq!(read(&recent, A, u64::MAX), None);
        assert_eq!(read(&recent, B, 0), None);

        recent.add(A, blob(10, 200));
        assert_eq!(
            read(&recent, A, 9),
            Some((vec![10], 10, false)),
            "one too large"
        );
        assert_eq!(read(&recent, A, 8), Some((vec![9], 9, true)));

        recent.add(A, blob(12, 10));
        assert_eq!(read(&recent, A, 9), None, "11 is not here");
        assert_eq!(read(&recent, A, 11), Some((vec![12], 12, false)));
    }

    #[test]
    fn what_has_expired_is_left_to_the_storage() {
        let mut recent = recent(100, 100_000);
        recent.add(
            A,
            Blob {
                ttl: 1,
                ..blob(1, 10)
            },
        );
        recent.add(A, blob(2, 10));
        let page = |after, now| {
            let page = recent.page(A, after, 3, 100, Timestamp(now))?;
            Some(page.blobs.len())
        };
        assert_eq!(page(0, 1_000), Some(2));
        assert_eq!(page(0, 1_001), None);
        assert_eq!(page(1, 1_001), Some(1));
        assert_eq!(page(1, 60_001), None);
    }

    #[test]
    fn the_oldest_of_all_groups_goes_first_and_nothing_is_left_behind() {
        let each = cost(&blob(1, 100));
        let mut recent = recent(100, 4 * each);
        for cursor in 1..=2 {
            recent.add(A, blob(cursor, 100));
        }
        for cursor in 1..=3 {
            recent.add(B, blob(cursor, 100));
        }
        assert_eq!(read(&recent, A, 0), None);
        assert_eq!(read(&recent, A, 1), Some((vec![2], 2, false)));
        assert_eq!(read(&recent, B, 0), Some((vec![1], 1, true)));
        recent.forget(A);
        assert_eq!(recent.bytes, 3 * each);
        recent.add(A, blob(9, 100));
        recent.add(A, blob(10, 4 * each));
        assert_eq!(recent.bytes, 0, "what is larger than everything stays out");
        assert!(recent.rings.is_empty() && recent.order.is_empty());
    }

    #[test]
    fn groups_that_come_and_go_leave_no_trace() {
        let mut recent = recent(3, 100_000);
        for cursor in 1..=100 {
            recent.add(A, blob(cursor, 1));
            recent.forget(A);
        }
        assert!(recent.order.len() <= 3 && recent.bytes == 0);
        recent.add(A, blob(101, 1));
        recent.add(A, blob(102, 1));
        assert_eq!(read(&recent, A, 100), Some((vec![101, 102], 102, false)));
    }
}
