//! Where each group's log ends. Known without asking the database, because nobody else writes to it.

use zerok_sync_client::store::StoreError;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::{Batch, Write};

/// The newest position of each group, 0 where the log is empty. Logs have no gaps, so it also tells what they contain.
#[derive(Default)]
pub(super) struct Tails(SortedMap<GroupId, u64>);

/// What a batch makes of the groups that it touches; `None` for those it removes.
pub(super) struct Changes(SortedMap<GroupId, Option<u64>>);

impl Tails {
    pub(super) fn insert(&mut self, group: GroupId, last: u64) {
        self.0.insert(group, last);
    }

    /// Whether every write of the batch is possible.
    pub(super) fn check(&self, batch: &Batch) -> Result<Changes, StoreError> {
        let mut touched: SortedMap<GroupId, Option<u64>> = SortedMap::new();
        for write in &batch.writes {
            let (Write::State { group, .. }
            | Write::Membership { group, .. }
            | Write::Append { group, .. }
            | Write::Replace { group, .. }
            | Write::Sent { group, .. }
            | Write::Remove { group }) = write;
            let tail = touched.get_or_insert_with(*group, || self.0.get(group).copied());
            match (write, tail.as_mut()) {
                (Write::State { .. }, _) => *tail = Some(tail.unwrap_or_default()),
                (Write::Membership { .. }, Some(_)) => {}
                (Write::Membership { .. }, None) => {
                    return Err(refused("a membership is of a group that is not there"));
                }
                (Write::Append { record, .. }, Some(last)) if record.position == *last + 1 => {
                    *last += 1
                }
                (Write::Append { .. }, _) => {
                    return Err(refused("an append is not at the end of its log"));
                }
                (Write::Replace { record, .. }, Some(last))
                    if (1..=*last).contains(&record.position) => {}
                (Write::Replace { .. }, _) => {
                    return Err(refused("a replaced entry is not in the log"));
                }
                (Write::Sent { position, .. }, Some(last)) if (1..=*last).contains(position) => {}
                (Write::Sent { .. }, _) => return Err(refused("a sent blob is not in the log")),
                (Write::Remove { .. }, _) => *tail = None,
            }
        }
        Ok(Changes(touched))
    }

    /// The batch is durable.
    pub(super) fn apply(&mut self, changes: Changes) {
        for (group, tail) in changes.0 {
            match tail {
                Some(last) => self.0.insert(group, last),
                None => self.0.remove(&group),
            };
        }
    }
}

fn refused(what: &str) -> StoreError {
    StoreError::Failed(what.to_owned())
}
