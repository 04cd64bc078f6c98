//! What every [`Store`] has to do, as cases that run natively and in a browser. For implementors of [`Store`].
//!
//! A case opens stores of its own by name. `open` must give an empty store for a name that is new, and for a known name
//! the store that holds what was committed under it; before a case opens a name again, it closes the store it had.
//! A case that fails panics.
#![expect(
    clippy::expect_used,
    reason = "the cases are tests, whichever crate runs them"
)]

use zerok_sync_shared::crypto::blob::Kind;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::limits;
use zerok_sync_shared::store::{Batch, LogRecord, StoredGroup, Write};
use zerok_sync_shared::time::Timestamp;

use super::{Store, StoreError};
use fixtures::{full_membership, full_state, neighbour, sent};

pub use fixtures::{append, batch, group, record, state};

mod fixtures;

macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($open:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            pub async fn $name<S: Store>($open: &impl AsyncFn(&str) -> S) $body
        )*

        /// Runs every case. `begins` is told the name of each before it starts, for output that still says which one
        /// it was when a panic cannot be caught. Gives the names of all.
        pub async fn run<S: Store>(
            open: &impl AsyncFn(&str) -> S,
            mut begins: impl FnMut(&'static str),
        ) -> Vec<&'static str> {
            let mut passed = Vec::new();
            $(
                begins(stringify!($name));
                $name(open).await;
                passed.push(stringify!($name));
            )*
            passed
        }
    };
}

cases! {
    /// A new store holds nothing, and reading from it is no error.
    async fn a_new_store_is_empty(open) {
        let store = open("new").await;
        let loaded = store.load().await.expect("loads");
        assert!(loaded.device_key.is_none());
        assert!(loaded.groups.is_empty());
        assert_eq!(store.read(group(1), 0, 10, usize::MAX).await, Ok(Vec::new()));
        store.commit(&Batch::default()).await.expect("an empty batch is fine");
        store.close().await;
    }

    /// The first device key stays, whoever comes later.
    async fn the_device_key_is_kept_once(open) {
        let store = open("key").await;
        let (first, second) = (Secret::new([1; 32]), Secret::new([2; 32]));
        assert!(store.keep_device_key(&first).await.expect("keeps") == first);
        assert!(store.keep_device_key(&second).await.expect("answers") == first);
        store.close().await;
        let store = open("key").await;
        assert!(store.load().await.expect("loads").device_key.expect("is kept") == first);
        assert!(store.keep_device_key(&second).await.expect("answers") == first);
        store.close().await;
    }

    /// Every field of a state comes back; a second state replaces the first and leaves the log alone.
    async fn a_state_comes_back_whole(open) {
        let store = open("state").await;
        let (id, mut full) = (group(1), full_state());
        commit(&store, [Write::State { group: id, state: Box::new(full.clone()) }]).await;
        assert_eq!(only_group(&store).await, StoredGroup { group: id, state: full.clone(), membership: None, unsent: Vec::new() });
        full.position = 1;
        full.last_synced = None;
        full.bookmarks.clear();
        let members = full_membership();
        let joined = Write::Membership { group: id, membership: Box::new(members.clone()) };
        commit(&store, [append(id, 1, 5), joined, Write::State { group: id, state: Box::new(full.clone()) }]).await;
        assert_eq!(only_group(&store).await, StoredGroup { group: id, state: full, membership: Some(members), unsent: vec![(1, 5)] });
        assert_eq!(positions(&store, id, 0).await, [1]);
        store.close().await;
    }

    /// Records come back as they were appended, field by field.
    async fn a_record_comes_back_whole(open) {
        let store = open("record").await;
        let id = group(1);
        let mut second = record(2, 20);
        second.kind = Kind::Unknown(200);
        second.cursor = u64::MAX;
        second.seq = u64::MAX;
        second.epoch = u32::MAX;
        second.ttl = u32::MAX;
        commit(&store, [
            state(id),
            append(id, 1, 300),
            Write::Append { group: id, record: second.clone(), unsent: false },
        ])
        .await;
        assert_eq!(store.read(id, 0, 10, usize::MAX).await, Ok(vec![record(1, 300), second]));
        store.close().await;
    }

    /// Payloads are kept to the byte, from one byte to the largest.
    async fn payloads_are_exact(open) {
        let store = open("payloads").await;
        let id = group(1);
        let lengths = [1, 255, 256, 65_535, 65_536, limits::MAX_BODY, limits::MAX_PAYLOAD];
        commit(&store, [state(id)]).await;
        for (position, length) in (1..).zip(lengths) {
            commit(&store, [append(id, position, length)]).await;
        }
        for (position, length) in (1..).zip(lengths) {
            let read = store.read(id, position - 1, 1, usize::MAX).await.expect("reads");
            assert!(read == [record(position, length)], "a payload of {length} bytes came back changed");
        }
        store.close().await;
    }

    /// A read starts after a position and keeps to both limits, but always gives one record if there is one.
    async fn reads_keep_to_their_limits(open) {
        let store = open("reads").await;
        let id = group(1);
        commit(&store, core::iter::once(state(id)).chain((1..=5).map(|position| append(id, position, 10)))).await;
        let read = async |after, records, bytes| -> Vec<u64> {
            let read = store.read(id, after, records, bytes).await.expect("reads");
            read.iter().map(|record| record.position).collect()
        };
        assert_eq!(read(0, 10, usize::MAX).await, [1, 2, 3, 4, 5]);
        assert_eq!(read(2, 10, usize::MAX).await, [3, 4, 5]);
        assert_eq!(read(1, 2, usize::MAX).await, [2, 3]);
        assert_eq!(read(0, 10, 29).await, [1, 2]);
        assert_eq!(read(0, 10, 30).await, [1, 2, 3]);
        assert_eq!(read(3, 10, 1).await, [4]);
        assert_eq!(read(3, 10, 0).await, [4]);
        assert_eq!(read(0, 0, 100).await, [0; 0]);
        assert_eq!(read(5, 10, 100).await, [0; 0]);
        assert_eq!(read(u64::MAX, 10, 100).await, [0; 0]);
        store.close().await;
    }

    /// The limit in bytes holds where large records follow many small ones.
    async fn reads_keep_to_their_limits_when_sizes_change(open) {
        let store = open("sizes").await;
        let id = group(1);
        let small = (1..=200).map(|position| append(id, position, 1));
        let large = (201..=206).map(|position| append(id, position, 100_000));
        commit(&store, core::iter::once(state(id)).chain(small).chain(large)).await;
        let read = store.read(id, 0, 1_000, 200 + 250_000).await.expect("reads");
        assert_eq!(read.last().map(|record| record.position), Some(202));
        assert_eq!(read.len(), 202);
        let read = store.read(id, 202, 1_000, 50_000).await.expect("reads");
        assert_eq!(read, [record(203, 100_000)]);
        store.close().await;
    }

    /// What waits to be sent is listed in order with its lengths, until it was sent.
    async fn unsent_records_are_listed(open) {
        let store = open("unsent").await;
        let id = group(1);
        let received = Write::Append { group: id, record: record(2, 20), unsent: false };
        commit(&store, [state(id), append(id, 1, 10), received, append(id, 3, 30), append(id, 4, 40)]).await;
        assert_eq!(only_group(&store).await.unsent, [(1, 10), (3, 30), (4, 40)]);
        commit(&store, [sent(id, 3)]).await;
        assert_eq!(only_group(&store).await.unsent, [(1, 10), (4, 40)]);
        commit(&store, [sent(id, 4), sent(id, 1)]).await;
        assert_eq!(only_group(&store).await.unsent, []);
        store.close().await;
    }

    /// A sent record has the relay's cursor and time from then on, and is otherwise what it was.
    async fn a_sent_record_has_its_cursor(open) {
        let store = open("sent").await;
        let id = group(1);
        commit(&store, [state(id), append(id, 1, 10), append(id, 2, 20), append(id, 3, 30)]).await;
        commit(&store, [sent(id, 2)]).await;
        let expected = LogRecord { cursor: 1_002, timestamp: Timestamp(2_000_002), ..record(2, 20) };
        assert_eq!(store.read(id, 0, 10, usize::MAX).await, Ok(vec![record(1, 10), expected.clone(), record(3, 30)]));
        assert_eq!(store.read(id, 1, 1, usize::MAX).await, Ok(vec![expected]));
        // In the batch that appends it, too.
        commit(&store, [append(id, 4, 40), sent(id, 4)]).await;
        let read = store.read(id, 3, 1, usize::MAX).await.expect("reads");
        assert_eq!(read.first().map(|record| record.cursor), Some(1_004));
        assert_eq!(only_group(&store).await.unsent, [(1, 10), (3, 30)]);
        store.close().await;
    }

    /// An entry in whose place another is put is gone; its cursor and its time stay, and whether it waits to be sent.
    async fn an_entry_is_replaced(open) {
        let store = open("replaced").await;
        let id = group(1);
        commit(&store, [state(id), append(id, 1, 60_000), append(id, 2, 20), append(id, 3, 30), sent(id, 1)]).await;
        let erased = LogRecord { kind: Kind::Tombstone, payload: Default::default(), ..record(1, 0) };
        let instead = LogRecord { kind: Kind::Tombstone, payload: vec![7; 5].into(), ..record(2, 0) };
        let replace = |record: &LogRecord, unsent| Write::Replace { group: id, record: record.clone(), unsent };
        commit(&store, [replace(&erased, false), replace(&instead, true)]).await;
        assert_eq!(only_group(&store).await.unsent, [(2, 5), (3, 30)]);
        let erased = LogRecord { cursor: 1_001, timestamp: Timestamp(2_000_001), ..erased };
        assert_eq!(store.read(id, 0, 10, usize::MAX).await, Ok(vec![erased.clone(), instead.clone(), record(3, 30)]));
        // An entry without a payload counts as nothing for a page's size.
        assert_eq!(store.read(id, 0, 10, 5).await.map(|page| page.len()), Ok(2));
        commit(&store, [sent(id, 2)]).await;
        store.close().await;
        let store = open("replaced").await;
        assert_eq!(only_group(&store).await.unsent, [(3, 30)]);
        let instead = LogRecord { cursor: 1_002, timestamp: Timestamp(2_000_002), ..instead };
        assert_eq!(store.read(id, 0, 10, usize::MAX).await, Ok(vec![erased, instead, record(3, 30)]));
        store.close().await;
    }

    /// A batch with one impossible write leaves nothing of the others, and the store goes on.
    async fn a_batch_happens_whole_or_not_at_all(open) {
        let store = open("atomic").await;
        let (id, unknown) = (group(1), group(2));
        commit(&store, [state(id), append(id, 1, 10)]).await;
        let before = only_group(&store).await;
        let impossible = [
            append(id, 4, 10),
            append(id, 2, 10),
            append(unknown, 1, 10),
            Write::Replace { group: id, record: record(9, 1), unsent: false },
            Write::Replace { group: unknown, record: record(1, 1), unsent: false },
            sent(id, 9),
            sent(id, 0),
            sent(unknown, 1),
        ];
        for last in impossible {
            let changed = Write::State { group: id, state: Box::new(full_state()) };
            let possible = [changed, append(id, 2, 20), sent(id, 1), state(group(3))];
            let result = store.commit(&batch(possible.into_iter().chain([last.clone()]))).await;
            assert!(matches!(result, Err(StoreError::Failed(_))), "{last:?} gave {result:?}");
            assert_eq!(only_group(&store).await, before, "after {last:?}");
            assert_eq!(store.read(id, 0, 10, usize::MAX).await, Ok(vec![record(1, 10)]), "after {last:?}");
        }
        commit(&store, [append(id, 2, 20)]).await;
        assert_eq!(positions(&store, id, 0).await, [1, 2]);
        store.close().await;
    }

    /// A removed group is gone with its log; others stay; it may come back and is then new.
    async fn remove_forgets_one_group(open) {
        let store = open("remove").await;
        let (gone, stays) = (group(1), group(2));
        commit(&store, [state(gone), append(gone, 1, 10), append(gone, 2, 10), sent(gone, 1)]).await;
        commit(&store, [state(stays), append(stays, 1, 11)]).await;
        commit(&store, [Write::Remove { group: gone }]).await;
        assert_eq!(only_group(&store).await.group, stays);
        assert_eq!(only_group(&store).await.unsent, [(1, 11)]);
        assert_eq!(positions(&store, gone, 0).await, [0; 0]);
        assert_eq!(positions(&store, stays, 0).await, [1]);
        assert!(store.commit(&batch([append(gone, 3, 10)])).await.is_err());
        commit(&store, [Write::Remove { group: gone }]).await;
        commit(&store, [state(gone), append(gone, 1, 12)]).await;
        assert_eq!(store.read(gone, 0, 10, usize::MAX).await, Ok(vec![record(1, 12)]));
        // Removed and founded again in one batch.
        commit(&store, [Write::Remove { group: gone }, state(gone), append(gone, 1, 13)]).await;
        assert_eq!(store.read(gone, 0, 10, usize::MAX).await, Ok(vec![record(1, 13)]));
        store.close().await;
    }

    /// Groups share nothing, also when their ids are neighbours.
    async fn groups_do_not_mix(open) {
        let store = open("groups").await;
        let ids = [GroupId([0; 32]), group(1), neighbour(group(1)), GroupId([0xff; 32])];
        for (number, id) in (1..).zip(ids) {
            let log = (1..=number).map(|position| append(id, position, 10));
            commit(&store, core::iter::once(state(id)).chain(log)).await;
        }
        for (number, id) in (1_u64..).zip(ids) {
            assert_eq!(positions(&store, id, 0).await, (1..=number).collect::<Vec<_>>());
        }
        let loaded = store.load().await.expect("loads");
        assert_eq!(loaded.groups.len(), ids.len());
        for (number, id) in (1_u64..).zip(ids) {
            let found = loaded.groups.iter().find(|stored| stored.group == id).expect("is there");
            assert_eq!(found.unsent, (1..=number).map(|position| (position, 10)).collect::<Vec<_>>());
        }
        store.close().await;
    }

    /// Everything is there after the store was closed and opened again, and the log goes on where it was.
    async fn everything_survives_reopening(open) {
        let store = open("reopen").await;
        let id = group(1);
        commit(&store, [state(id), append(id, 1, 10), append(id, 2, 20), sent(id, 1)]).await;
        let before = (only_group(&store).await, store.read(id, 0, 10, usize::MAX).await);
        store.close().await;
        let store = open("reopen").await;
        assert_eq!((only_group(&store).await, store.read(id, 0, 10, usize::MAX).await), before);
        assert!(store.commit(&batch([append(id, 2, 10)])).await.is_err());
        commit(&store, [append(id, 3, 30), sent(id, 2)]).await;
        assert_eq!(only_group(&store).await.unsent, [(3, 30)]);
        store.close().await;
        let store = open("reopen").await;
        assert_eq!(positions(&store, id, 0).await, [1, 2, 3]);
        store.close().await;
    }

    /// The largest batch that a device writes, read back in pages.
    async fn a_large_batch_is_written(open) {
        let store = open("large").await;
        let id = group(1);
        let count = limits::MAX_WRITE_BLOBS as u64;
        commit(&store, core::iter::once(state(id)).chain((1..=count).map(|position| append(id, position, 64)))).await;
        commit(&store, (1..=count).map(|position| sent(id, position))).await;
        assert_eq!(only_group(&store).await.unsent, []);
        let mut next = 0;
        loop {
            let page = store.read(id, next, 300, usize::MAX).await.expect("reads");
            let Some(last) = page.last() else { break };
            for (position, record) in (next + 1..).zip(&page) {
                assert_eq!((record.position, record.cursor), (position, 1_000 + position));
            }
            next = last.position;
        }
        assert_eq!(next, count);
        store.close().await;
    }
}

async fn commit(store: &impl Store, writes: impl IntoIterator<Item = Write>) {
    store.commit(&batch(writes)).await.expect("commits");
}

async fn only_group(store: &impl Store) -> StoredGroup {
    let mut groups = store.load().await.expect("loads").groups;
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

async fn positions(store: &impl Store, group: GroupId, after: u64) -> Vec<u64> {
    let read = store
        .read(group, after, usize::MAX, usize::MAX)
        .await
        .expect("reads");
    read.iter().map(|record| record.position).collect()
}
