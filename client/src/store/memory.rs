//! A store in memory, for sessions that are to leave no trace and for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::{Batch, GroupState, LogRecord, Membership, StoredGroup, Write};

use super::{Loaded, Store, StoreError};

/// Keeps everything for as long as one of its clones lives: a clone is the same store, so a device that is opened
/// with it finds what an earlier one left.
#[derive(Clone, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    device_key: Option<Secret>,
    groups: SortedMap<GroupId, Held>,
    capacity: Option<usize>,
}

struct Held {
    state: GroupState,
    membership: Option<Membership>,
    /// The record at index `i` is at position `i + 1`.
    log: Vec<LogRecord>,
    /// Positions and lengths of the payloads, in order. There may be many, and the first ones leave first.
    unsent: VecDeque<(u64, u32)>,
    payload_bytes: usize,
}

/// What a batch that is being checked would make of a group.
#[derive(Clone, Copy, Default)]
struct Outline {
    last: u64,
    payload_bytes: usize,
}

impl MemoryStore {
    /// An empty store without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that answers [`StoreError::Full`] rather than hold more than `bytes` of payload.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let store = Self::default();
        store.set_capacity(Some(bytes));
        store
    }

    /// Changes how many bytes of payload fit from now on; `None` is without a limit. What is there stays.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.kept().capacity = bytes;
    }

    /// A panic elsewhere leaves the data whole: nothing here panics between two changes that belong together.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether every write of the batch can be carried out, so that [`Self::apply`] never stops half-way.
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut touched: SortedMap<GroupId, Option<Outline>> = SortedMap::new();
        for write in &batch.writes {
            let id = group_of(write);
            let group = touched.get_or_insert_with(id, || self.groups.get(&id).map(Held::outline));
            match (write, group.as_mut()) {
                (Write::State { .. }, None) => *group = Some(Outline::default()),
                (Write::State { .. } | Write::Membership { .. }, Some(_)) => {}
                (Write::Membership { .. }, None) => {
                    return Err(refused("a membership is of a group that is not there"));
                }
                (Write::Append { record, .. }, Some(outline))
                    if record.position == outline.last + 1 =>
                {
                    outline.last += 1;
                    outline.payload_bytes += record.payload.len();
                }
                (Write::Append { .. }, _) => {
                    return Err(refused("an append is not at the end of its log"));
                }
                // What it makes smaller may make room in the same batch, but is not counted on.
                (Write::Replace { record, .. }, Some(outline))
                    if (1..=outline.last).contains(&record.position) => {}
                (Write::Replace { .. }, _) => {
                    return Err(refused("a replaced entry is not in the log"));
                }
                (Write::Sent { position, .. }, Some(outline))
                    if (1..=outline.last).contains(position) => {}
                (Write::Sent { .. }, _) => return Err(refused("a sent blob is not in the log")),
                (Write::Remove { .. }, _) => *group = None,
            }
        }
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        let untouched = self
            .groups
            .iter()
            .filter(|(id, _)| !touched.contains_key(id))
            .map(|(_, held)| held.payload_bytes);
        let after = touched
            .values()
            .flatten()
            .map(|outline| outline.payload_bytes)
            .chain(untouched)
            .sum::<usize>();
        let before = self.groups.values().map(|held| held.payload_bytes).sum();
        // A store whose limit was lowered still takes what does not make it larger.
        if after > capacity.max(before) {
            Err(StoreError::Full)
        } else {
            Ok(())
        }
    }

    /// Carries out a batch that [`Self::check`] has passed.
    fn apply(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::State { group, state } => match self.groups.get_mut(group) {
                    Some(held) => held.state = (**state).clone(),
                    None => {
                        self.groups.insert(*group, Held::new((**state).clone()));
                    }
                },
                Write::Membership { group, membership } => {
                    if let Some(held) = self.groups.get_mut(group) {
                        held.membership = Some((**membership).clone());
                    }
                }
                Write::Append {
                    group,
                    record,
                    unsent,
                } => {
                    if let Some(held) = self.groups.get_mut(group) {
                        held.append(record, *unsent);
                    }
                }
                Write::Replace {
                    group,
                    record,
                    unsent,
                } => {
                    if let Some(held) = self.groups.get_mut(group) {
                        held.replace(record, *unsent);
                    }
                }
                Write::Sent {
                    group,
                    position,
                    cursor,
                    timestamp,
                } => {
                    if let Some(held) = self.groups.get_mut(group) {
                        held.sent(*position);
                        if let Some(record) = held.log.get_mut(index(*position) - 1) {
                            record.cursor = *cursor;
                            record.timestamp = *timestamp;
                        }
                    }
                }
                Write::Remove { group } => {
                    self.groups.remove(group);
                }
            }
        }
    }
}

impl Held {
    const fn new(state: GroupState) -> Self {
        Self {
            state,
            membership: None,
            log: Vec::new(),
            unsent: VecDeque::new(),
            payload_bytes: 0,
        }
    }

    fn outline(&self) -> Outline {
        Outline {
            last: self.log.last().map_or(0, |record| record.position),
            payload_bytes: self.payload_bytes,
        }
    }

    fn append(&mut self, record: &LogRecord, unsent: bool) {
        self.payload_bytes += record.payload.len();
        if unsent {
            let length = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
            self.unsent.push_back((record.position, length));
        }
        self.log.push(record.clone());
    }

    fn replace(&mut self, record: &LogRecord, unsent: bool) {
        let Some(held) = self.log.get_mut(index(record.position) - 1) else {
            return;
        };
        self.payload_bytes -= held.payload.len();
        self.payload_bytes += record.payload.len();
        *held = LogRecord {
            cursor: held.cursor,
            timestamp: held.timestamp,
            ..record.clone()
        };
        let waits = self
            .unsent
            .binary_search_by_key(&record.position, |(at, _)| *at);
        if unsent && let Ok(at) = waits {
            let length = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
            self.unsent[at].1 = length;
        }
    }

    fn sent(&mut self, position: u64) {
        if let Ok(at) = self.unsent.binary_search_by_key(&position, |(at, _)| *at) {
            self.unsent.remove(at);
        }
    }
}

#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Loaded, StoreError> {
        let kept = self.kept();
        let groups = kept.groups.iter().map(|(group, held)| StoredGroup {
            group: *group,
            state: held.state.clone(),
            membership: held.membership.clone(),
            unsent: held.unsent.iter().copied().collect(),
        });
        Ok(Loaded {
            device_key: kept.device_key.clone(),
            groups: groups.collect(),
        })
    }

    async fn keep_device_key(&self, key: &Secret) -> Result<Secret, StoreError> {
        Ok(self
            .kept()
            .device_key
            .get_or_insert_with(|| key.clone())
            .clone())
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.check(batch)?;
        kept.apply(batch);
        Ok(())
    }

    async fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let kept = self.kept();
        let log = kept.groups.get(&group).map_or(&[][..], |held| &held.log);
        let mut bytes = 0_usize;
        let page = log
            .iter()
            .skip(index(after))
            .take(max_records)
            .enumerate()
            .take_while(|(taken, record)| {
                bytes += record.payload.len();
                *taken == 0 || bytes <= max_bytes
            });
        Ok(page.map(|(_, record)| record.clone()).collect())
    }

    async fn close(&self) {}
}

const fn group_of(write: &Write) -> GroupId {
    match write {
        Write::State { group, .. }
        | Write::Membership { group, .. }
        | Write::Append { group, .. }
        | Write::Replace { group, .. }
        | Write::Sent { group, .. }
        | Write::Remove { group } => *group,
    }
}

/// A position as the length of the log before it; more than fits is past the end of any log.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn refused(what: &str) -> StoreError {
    StoreError::Failed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;
    use std::cell::RefCell;

    #[tokio::test]
    async fn passes_the_suite() {
        let stores = RefCell::new(std::collections::BTreeMap::<String, MemoryStore>::new());
        let open = async |name: &str| {
            stores
                .borrow_mut()
                .entry(name.to_owned())
                .or_default()
                .clone()
        };
        suite::run(&open, |_| {}).await;
    }

    #[tokio::test]
    async fn full_is_said_and_room_is_found_again() {
        let store = MemoryStore::with_capacity(100);
        let group = suite::group(1);
        store
            .commit(&suite::batch([
                suite::state(group),
                suite::append(group, 1, 60),
            ]))
            .await
            .unwrap();
        let more = suite::batch([suite::append(group, 2, 41)]);
        assert_eq!(store.commit(&more).await, Err(StoreError::Full));
        assert_eq!(store.read(group, 0, 10, usize::MAX).await.unwrap().len(), 1);
        store.set_capacity(Some(101));
        store.commit(&more).await.unwrap();
        store.set_capacity(Some(0));
        store
            .commit(&suite::batch([suite::state(group)]))
            .await
            .unwrap();
        store
            .commit(&suite::batch([Write::Remove { group }]))
            .await
            .unwrap();
    }
}
