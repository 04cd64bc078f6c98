//! What every storage has to do. An implementation runs [`conformance`] on empty storages of its own.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, InviteLookup};
use zerok_sync_shared::message::{ListedDevice, Mark};
use zerok_sync_shared::session::{NewBlob, Stored};
use zerok_sync_shared::time::Timestamp;

use super::{
    Batch, Census, Kept, OpenError, OpenGroup, Pending, PutInviteError, Refused, Seen, Stats,
    Storage, Sweep,
};
use crate::invites::{Invite, InviteState};
use crate::limits;

/// The device that opens groups.
const AUTHOR: DeviceId = DeviceId([4; 32]);
const A: GroupId = GroupId([1; 32]);
const B: GroupId = GroupId([2; 32]);
pub(super) const NOW: Timestamp = Timestamp(1_000_000);

/// Runs the whole suite; `make` gives an empty storage each time.
pub(super) async fn conformance<F: Future<Output = Arc<dyn Storage>>>(make: impl Fn() -> F) {
    groups_are_made_once_and_bounded(&*make().await).await;
    cursors_are_gapless_and_ids_idempotent(&*make().await).await;
    a_reader_sees_every_cursor_once_under_many_pushers(make().await).await;
    quota_is_a_running_total(&*make().await).await;
    pages_are_bounded_in_rows_and_bytes(&*make().await).await;
    holes_do_not_stop_a_reader(&*make().await).await;
    reading_walks_in_steps_over_what_was_erased(&*make().await).await;
    expiry_frees_what_it_deletes(&*make().await).await;
    the_census_sorts_active_devices_by_their_lag(&*make().await).await;
    what_everybody_has_is_deleted(&*make().await).await;
    gone_devices_are_forgotten(&*make().await).await;
    groups_without_anything_are_forgotten(&*make().await).await;
    the_devices_that_were_here_last_are_listed(&*make().await).await;
    invites_are_kept_changed_and_forgotten(&*make().await).await;
    bounds::conformance(&make).await;
    deletions::conformance(&make).await;
    keys::conformance(&make).await;
    snapshots::conformance(&make).await;
}

pub(super) mod bounds;
mod deletions;
mod keys;
pub(super) mod snapshots;

pub(crate) fn open(group_id: GroupId) -> OpenGroup {
    OpenGroup {
        group_id,
        access_pub: [3; 32],
        epoch: 0,
        create: true,
        device: AUTHOR,
        chain: Vec::new(),
        max_groups: 10,
        now: NOW,
        renew_before: Timestamp(0),
        marks: Vec::new(),
        after_cursor: 0,
    }
}

pub(super) fn id(n: u64) -> BlobId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    BlobId(id)
}

fn mark(cursor: u64, n: u64) -> Mark {
    Mark {
        cursor,
        blob_id: id(n),
        timestamp: NOW,
    }
}

pub(crate) fn pending(group_id: GroupId, n: u64, payload: usize) -> Pending {
    let blob = NewBlob {
        group_id,
        blob_id: id(n),
        sender: DeviceId([4; 32]),
        epoch: 0,
        ttl: 60,
        payload: Bytes::from(vec![5; payload]),
    };
    Pending { blob, session: 0 }
}

pub(crate) fn batch(blobs: &[Pending]) -> Batch<'_> {
    Batch {
        blobs,
        seen: &[],
        quota: 0,
        now: NOW,
    }
}

async fn cursors(storage: &dyn Storage, blobs: &[Pending]) -> Vec<u64> {
    let answers = storage.commit(batch(blobs)).await.unwrap();
    answers
        .into_iter()
        .map(|answer| answer.unwrap().stored.cursor)
        .collect()
}

async fn groups_are_made_once_and_bounded(storage: &dyn Storage) {
    let unknown = storage
        .open_group(OpenGroup {
            create: false,
            ..open(A)
        })
        .await;
    assert!(matches!(unknown, Err(OpenError::Unknown)));
    let made = storage.open_group(open(A)).await.unwrap();
    assert_eq!(
        (made.max_cursor, made.epoch, made.access_pub),
        (0, 0, [3; 32])
    );
    assert_eq!(cursors(storage, &[pending(A, 1, 10)]).await, [1]);
    let again = OpenGroup {
        access_pub: [9; 32],
        ..open(A)
    };
    let found = storage.open_group(again).await.unwrap();
    assert_eq!(
        (found.max_cursor, found.access_pub),
        (1, [3; 32]),
        "the first key stays"
    );
    let full = storage
        .open_group(OpenGroup {
            max_groups: 1,
            ..open(B)
        })
        .await;
    assert!(matches!(full, Err(OpenError::TooMany)));
    assert!(
        storage
            .open_group(OpenGroup {
                max_groups: 1,
                ..open(A)
            })
            .await
            .is_ok()
    );
}

async fn cursors_are_gapless_and_ids_idempotent(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    let first = [
        pending(A, 1, 10),
        pending(B, 1, 10),
        pending(A, 2, 10),
        pending(A, 1, 10),
    ];
    assert_eq!(
        cursors(storage, &first).await,
        [1, 1, 2, 1],
        "ids belong to their group"
    );

    let late = Timestamp(NOW.0 + 5_000);
    let blobs = [pending(A, 2, 99), pending(A, 3, 10)];
    let answers = storage
        .commit(Batch {
            now: late,
            ..batch(&blobs)
        })
        .await
        .unwrap();
    let kept = |cursor, timestamp, new| {
        let stored = Stored { cursor, timestamp };
        Ok(Kept { stored, new })
    };
    assert_eq!(answers, [kept(2, NOW, false), kept(3, late, true)]);
    let page = storage.read(A, 0, 10, 1 << 20).await.unwrap();
    assert_eq!(page.blobs[1].payload.len(), 10, "the first stays");

    let unknown = [pending(GroupId([9; 32]), 1, 1)];
    let answers = storage.commit(batch(&unknown)).await.unwrap();
    assert_eq!(answers, [Err(Refused::UnknownGroup)]);

    let many: Vec<Pending> = (10..610).map(|n| pending(A, n, 10)).collect();
    assert_eq!(cursors(storage, &many).await, (4..604).collect::<Vec<_>>());
    let asked = vec![id(700), id(609), id(1), id(701), id(10)];
    assert_eq!(
        storage.has(A, asked).await.unwrap(),
        [mark(603, 609), mark(1, 1), mark(4, 10)]
    );
    assert_eq!(
        storage.has(B, vec![id(2), id(1)]).await.unwrap(),
        [mark(1, 1)]
    );
    let asked = OpenGroup {
        marks: vec![603, 9999, 4],
        ..open(A)
    };
    let info = storage.open_group(asked).await.unwrap();
    assert_eq!(info.marks, [mark(603, 609), mark(4, 10)]);
    assert_eq!(storage.has(A, vec![]).await.unwrap(), []);
}

async fn a_reader_sees_every_cursor_once_under_many_pushers(storage: Arc<dyn Storage>) {
    const PUSHERS: u64 = 4;
    const EACH: u64 = 40;
    storage.open_group(open(A)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for pusher in 0..PUSHERS {
        let storage = Arc::clone(&storage);
        tasks.spawn(async move {
            for n in 0..EACH {
                cursors(&*storage, &[pending(A, pusher * EACH + n, 100)]).await;
            }
        });
    }
    let mut after = 0;
    let mut seen = HashSet::new();
    while after < PUSHERS * EACH {
        let page = storage.read(A, after, 7, 1 << 20).await.unwrap();
        for blob in &page.blobs {
            assert_eq!(blob.cursor, after + 1, "no cursor is ever skipped");
            assert!(seen.insert(blob.blob_id));
            after = blob.cursor;
        }
        assert_eq!(
            page.up_to, after,
            "nothing that is not there yet is passed over"
        );
        assert!(page.max_cursor >= after);
    }
    tasks.join_all().await;
    assert_eq!(seen.len() as u64, PUSHERS * EACH);
}

async fn quota_is_a_running_total(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    let session = |mut pending: Pending, session| {
        pending.session = session;
        pending
    };
    let blobs = [
        session(pending(A, 1, 60), 1),
        session(pending(A, 2, 60), 1),
        session(pending(A, 3, 10), 1),
        session(pending(A, 4, 10), 2),
        session(pending(B, 5, 60), 3),
        session(pending(A, 1, 60), 2),
    ];
    let answers = storage
        .commit(Batch {
            // Two rows, and between 70 and 120 bytes.
            quota: 100 + 2 * limits::ROW_BYTES,
            ..batch(&blobs)
        })
        .await
        .unwrap();
    let cursor = |at: usize| answers[at].map(|kept| kept.stored.cursor);
    assert_eq!((cursor(0), cursor(1)), (Ok(1), Err(Refused::Quota)));
    assert_eq!(
        cursor(2),
        Err(Refused::AfterRefusal),
        "nothing overtakes a refused blob"
    );
    assert_eq!(
        (cursor(3), cursor(4)),
        (Ok(2), Ok(1)),
        "others go on, without a hole"
    );
    assert_eq!(cursor(5), Ok(1), "what is stored needs no room");
    assert_eq!(
        storage.stats().await.unwrap(),
        Stats {
            groups: 2,
            blobs: 3,
            bytes: 130
        }
    );

    let again = [pending(A, 2, 60)];
    let answers = storage
        .commit(Batch {
            quota: 130 + 3 * limits::ROW_BYTES,
            ..batch(&again)
        })
        .await
        .unwrap();
    assert_eq!(
        answers[0].map(|kept| kept.stored.cursor),
        Ok(3),
        "a raised quota is enough"
    );
}

async fn pages_are_bounded_in_rows_and_bytes(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    let empty = storage.read(A, 0, 10, 100).await.unwrap();
    assert_eq!(
        (empty.blobs.len(), empty.up_to, empty.has_more),
        (0, 0, false)
    );

    let large = 1 << 20;
    let blobs = [
        pending(A, 1, 10),
        pending(A, 2, large),
        pending(A, 3, 10),
        pending(A, 4, 10),
    ];
    cursors(storage, &blobs).await;
    cursors(storage, &[pending(B, 1, 10)]).await;
    let read = async |after, max_blobs, max_bytes| {
        let page = storage.read(A, after, max_blobs, max_bytes).await.unwrap();
        assert_eq!(page.max_cursor, 4);
        let cursors: Vec<u64> = page.blobs.iter().map(|blob| blob.cursor).collect();
        (cursors, page.up_to, page.has_more)
    };
    assert_eq!(read(0, 10, 1000).await, (vec![1], 1, true));
    assert_eq!(
        read(1, 10, 1000).await,
        (vec![2], 2, true),
        "one is given even if it is too large"
    );
    assert_eq!(read(2, 10, 1000).await, (vec![3, 4], 4, false));
    assert_eq!(read(2, 1, 1000).await, (vec![3], 3, true));
    assert_eq!(read(0, 2, 2 * large).await, (vec![1, 2], 2, true));
    assert_eq!(read(0, 10, 2 * large).await, (vec![1, 2, 3, 4], 4, false));
    assert_eq!(read(4, 10, 1000).await, (vec![], 4, false));
    assert_eq!(read(u64::MAX, 10, 1000).await.0, Vec::<u64>::new());
    assert_eq!(
        storage
            .read(GroupId([9; 32]), 0, 10, 10)
            .await
            .unwrap()
            .max_cursor,
        0
    );
}

async fn reading_walks_in_steps_over_what_was_erased(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    // Without payload they are as if erased.
    let erased = limits::WALKED_ROWS + 10;
    let mut blobs: Vec<Pending> = (1..=erased).map(|n| pending(A, n, 0)).collect();
    blobs.push(pending(A, erased + 1, 10));
    blobs.push(pending(A, erased + 2, 0));
    for blob in &mut blobs[..5] {
        blob.blob.ttl = 1;
    }
    for blobs in blobs.chunks(1024) {
        cursors(storage, blobs).await;
    }
    let after = NOW.plus(Duration::from_secs(2));
    assert_eq!(storage.expire(after, 100).await.unwrap(), 5);
    let read = async |after| {
        let page = storage.read(A, after, 10, 1000).await.unwrap();
        let cursors: Vec<u64> = page.blobs.iter().map(|blob| blob.cursor).collect();
        (cursors, page.up_to, page.has_more)
    };
    // What is not there at all is no step.
    let first = 5 + limits::WALKED_ROWS;
    assert_eq!(read(0).await, (vec![], first, true));
    assert_eq!(read(first).await, (vec![erased + 1], erased + 2, false));
    assert_eq!(read(20).await, (vec![erased + 1], erased + 2, false));
    assert_eq!(read(11).await, (vec![erased + 1], erased + 1, true));
    assert_eq!(read(10).await, (vec![], erased, true));
}

async fn holes_do_not_stop_a_reader(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    let mut blobs: Vec<Pending> = (1..=6).map(|n| pending(A, n, 10)).collect();
    for at in [1, 2, 5] {
        blobs[at].blob.ttl = 1;
    }
    cursors(storage, &blobs).await;
    assert_eq!(
        storage
            .expire(NOW.plus(Duration::from_secs(2)), 100)
            .await
            .unwrap(),
        3
    );
    let page = storage.read(A, 0, 2, 1000).await.unwrap();
    assert_eq!(
        page.blobs
            .iter()
            .map(|blob| blob.cursor)
            .collect::<Vec<_>>(),
        [1, 4]
    );
    assert_eq!((page.up_to, page.has_more), (4, true));
    let page = storage.read(A, 4, 2, 1000).await.unwrap();
    assert_eq!(page.blobs.len(), 1);
    assert_eq!((page.up_to, page.has_more, page.max_cursor), (6, false, 6));
    assert_eq!(
        cursors(storage, &[pending(A, 7, 10)]).await,
        [7],
        "cursors are not used again"
    );
}

async fn expiry_frees_what_it_deletes(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    let blobs: Vec<Pending> = (0..10).map(|n| pending(A, n, 10)).collect();
    cursors(storage, &blobs).await;
    let before = NOW.plus(Duration::from_secs(59));
    assert_eq!(storage.expire(before, 100).await.unwrap(), 0);
    let after = NOW.plus(Duration::from_secs(60));
    assert_eq!(storage.expire(after, 4).await.unwrap(), 4);
    assert_eq!(
        storage.stats().await.unwrap(),
        Stats {
            groups: 1,
            blobs: 6,
            bytes: 60
        }
    );
    assert_eq!(storage.expire(after, 100).await.unwrap(), 6);
    assert_eq!(
        storage.stats().await.unwrap(),
        Stats {
            groups: 1,
            blobs: 0,
            bytes: 0
        }
    );
    assert_eq!(cursors(storage, &[pending(A, 1, 10)]).await, [11]);
}

async fn the_census_sorts_active_devices_by_their_lag(storage: &dyn Storage) {
    assert_eq!(storage.census(NOW).await.unwrap(), Census::default());
    storage.open_group(open(A)).await.unwrap();
    let blobs: Vec<Pending> = (0..20).map(|n| pending(A, n, 10)).collect();
    cursors(storage, &blobs).await;
    let seen = |device, acked, at| seen(A, device, acked, at);
    let hour_ago = Timestamp(NOW.0 - 3600);
    let all = [
        seen(1, 20, NOW),
        seen(2, 19, NOW),
        seen(3, 10, NOW),
        seen(4, 0, NOW),
        seen(5, 0, hour_ago),
    ];
    see(storage, &all).await;
    let census = Census {
        stats: Stats {
            groups: 1,
            blobs: 20,
            bytes: 200,
        },
        active_devices: 4,
        lag_up_to: [1, 3, 4, 4, 4, 4],
        lag_sum: 31,
    };
    assert_eq!(storage.census(NOW).await.unwrap(), census);
    let with_the_old_one = storage.census(hour_ago).await.unwrap();
    assert_eq!(
        (with_the_old_one.active_devices, with_the_old_one.lag_sum),
        (5, 51)
    );
}

fn seen(group_id: GroupId, device: u8, acked: u64, at: Timestamp) -> Seen {
    Seen {
        group_id,
        device: DeviceId([device; 32]),
        acked,
        at,
    }
}

async fn see(storage: &dyn Storage, seen: &[Seen]) {
    let batch = Batch { seen, ..batch(&[]) };
    storage.commit(batch).await.unwrap();
}

/// Every sweep until all groups were looked at, and how many blobs each deleted.
async fn sweep(storage: &dyn Storage, active_since: Timestamp, max_blobs: u32) -> Vec<u64> {
    let mut deleted = Vec::new();
    let mut after = None;
    loop {
        let sweep = Sweep {
            acknowledged: true,
            after,
            active_since,
            max_groups: 1,
            max_blobs,
        };
        let swept = storage.delete_acked(sweep).await.unwrap();
        assert!(swept.deleted <= u64::from(max_blobs));
        deleted.push(swept.deleted);
        after = swept.after;
        if swept.done {
            return deleted;
        }
    }
}

async fn stored(storage: &dyn Storage, group_id: GroupId) -> Vec<u64> {
    let page = storage.read(group_id, 0, 100, 1 << 20).await.unwrap();
    page.blobs.iter().map(|blob| blob.cursor).collect()
}

async fn what_everybody_has_is_deleted(storage: &dyn Storage) {
    let later = NOW.plus(Duration::from_secs(10));
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    let blobs: Vec<Pending> = (1..=9).map(|n| pending(A, n, 10)).collect();
    cursors(storage, &blobs).await;
    cursors(storage, &[pending(B, 1, 10), pending(B, 2, 10)]).await;

    see(storage, &[seen(A, 1, 9, later), seen(B, 1, 2, later)]).await;
    assert_eq!(
        sweep(storage, NOW, 100).await.iter().sum::<u64>(),
        0,
        "a device that is alone keeps its log"
    );
    // An acknowledgement that comes late, or of a group that is not there, takes nothing back.
    let late = [seen(A, 1, 0, NOW), seen(GroupId([9; 32]), 1, 1, NOW)];
    see(storage, &late).await;
    see(storage, &[seen(A, 2, 5, later), seen(A, 3, 2, NOW)]).await;
    assert_eq!(sweep(storage, NOW, 100).await, [2, 0, 0]);
    assert_eq!(
        stored(storage, A).await,
        [3, 4, 5, 6, 7, 8, 9],
        "the slowest device is waited for"
    );
    assert_eq!(
        sweep(storage, later, 2).await,
        [2, 1, 0, 0],
        "not for one that was not seen for long"
    );
    assert_eq!(stored(storage, A).await, [6, 7, 8, 9]);
    assert_eq!(stored(storage, B).await, [1, 2]);
    let stats = storage.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.bytes), (6, 60));
    assert_eq!(cursors(storage, &[pending(A, 10, 1)]).await, [10]);

    // A device can tell what was deleted from what was lost, and sends nothing again.
    let marks = OpenGroup {
        marks: vec![1, 5, 6],
        ..open(A)
    };
    let info = storage.open_group(marks).await.unwrap();
    assert_eq!(info.marks, [mark(1, 1), mark(5, 5), mark(6, 6)]);
    let known = storage.has(A, vec![id(1), id(6)]).await.unwrap();
    assert_eq!(known, [mark(1, 1), mark(6, 6)]);
    let again = storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();
    assert!(matches!(again[..], [Ok(kept)] if kept.stored.cursor == 1 && !kept.new));
    assert_eq!(stored(storage, A).await, [6, 7, 8, 9, 10]);
    assert_eq!(storage.stats().await.unwrap().blobs, 7);

    let over = NOW.plus(Duration::from_secs(60));
    assert_eq!(storage.expire(over, 100).await.unwrap(), 12);
    assert_eq!(storage.has(A, vec![id(1)]).await.unwrap(), []);
    let stats = storage.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.bytes), (0, 0));
}

async fn gone_devices_are_forgotten(storage: &dyn Storage) {
    let later = NOW.plus(Duration::from_secs(10));
    storage.open_group(open(A)).await.unwrap();
    cursors(storage, &[pending(A, 1, 10)]).await;
    let all = [
        seen(A, 1, 1, later),
        seen(A, 2, 1, later),
        seen(A, 3, 0, NOW),
        seen(A, 4, 0, NOW),
    ];
    see(storage, &all).await;
    assert_eq!(storage.forget_devices(NOW, 10).await.unwrap(), 0);
    assert_eq!(storage.forget_devices(later, 1).await.unwrap(), 1);
    assert_eq!(sweep(storage, NOW, 10).await, [0, 0]);
    assert_eq!(storage.forget_devices(later, 10).await.unwrap(), 1);
    assert_eq!(
        sweep(storage, NOW, 10).await,
        [1, 0],
        "what is forgotten holds nothing back"
    );
    while storage.shrink().await.unwrap() {}
}

async fn groups_without_anything_are_forgotten(storage: &dyn Storage) {
    let later = NOW.plus(Duration::from_secs(60));
    let (rotated, c) = (keys::group(), GroupId([3; 32]));
    let founded = storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    storage.open_group(open(c)).await.unwrap();
    let opening = keys::opened(&keys::founding(), &keys::device(1), vec![]);
    storage.open_group(opening).await.unwrap();
    let rotation = keys::revoking(&keys::founding(), 1, 3, 0);
    storage.rotate(rotation).await.unwrap();
    cursors(storage, &[pending(A, 1, 10)]).await;
    see(storage, &[seen(B, 1, 0, NOW)]).await;

    assert_eq!(storage.forget_groups(NOW, 10).await.unwrap(), 0, "too soon");
    let renewed = OpenGroup {
        now: later,
        renew_before: later,
        create: false,
        ..open(c)
    };
    storage.open_group(renewed.clone()).await.unwrap();
    let forgotten = storage.forget_groups(later, 10).await.unwrap();
    assert_eq!(forgotten, 0, "each is used in some way");

    storage.expire(later, 100).await.unwrap();
    storage.forget_devices(later, 100).await.unwrap();
    assert_eq!(storage.forget_groups(later, 1).await.unwrap(), 1);
    assert_eq!(storage.forget_groups(later, 10).await.unwrap(), 1);
    assert_eq!(storage.stats().await.unwrap().groups, 2);
    let open_again = |group| OpenGroup {
        group_id: group,
        ..renewed.clone()
    };
    for gone in [A, B] {
        let unknown = storage.open_group(open_again(gone)).await;
        assert!(matches!(unknown, Err(OpenError::Unknown)));
    }
    storage.open_group(open_again(c)).await.unwrap();
    storage.open_group(open_again(rotated)).await.unwrap();
    let late = storage.commit(batch(&[pending(A, 2, 10)])).await.unwrap();
    assert_eq!(late, [Err(Refused::UnknownGroup)]);

    let anew = storage.open_group(open(A)).await.unwrap();
    assert_eq!(anew.max_cursor, 0);
    assert_ne!(
        anew.founding, founded.founding,
        "devices see the difference"
    );
    let again = storage.open_group(open(A)).await.unwrap();
    assert_eq!(again.founding, anew.founding);
}

async fn the_devices_that_were_here_last_are_listed(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    cursors(storage, &[pending(A, 1, 10), pending(B, 1, 10)]).await;
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let all = [
        seen(A, 1, 0, at(2)),
        seen(A, 2, 1, at(3)),
        seen(A, 3, 0, at(1)),
        seen(B, 4, 0, at(9)),
    ];
    see(storage, &all).await;
    let listed = |device: &Seen| ListedDevice {
        device: device.device,
        last_seen: device.at,
        acked: device.acked,
        online: false,
    };
    let devices = storage.devices(A, 2).await.unwrap();
    assert_eq!(devices, [listed(&all[1]), listed(&all[0])]);
    assert_eq!(storage.devices(A, 9).await.unwrap().len(), 3);
    assert_eq!(storage.devices(GroupId([9; 32]), 9).await.unwrap(), []);
}

async fn invites_are_kept_changed_and_forgotten(storage: &dyn Storage) {
    let expires = NOW.plus(Duration::from_secs(10));
    let invite = |n| Invite {
        lookup: InviteLookup([n; 16]),
        claim_hash: [7; 32],
        owner_hash: [6; 32],
        offer: vec![8],
        secrets: vec![9],
        request: Vec::new(),
        reply: Vec::new(),
        state: InviteState::Open,
        expires_at: expires,
    };
    storage.put_invite(&invite(1), 2, NOW).await.unwrap();
    let taken = storage.put_invite(&invite(1), 2, NOW).await;
    assert!(matches!(taken, Err(PutInviteError::Taken)));
    storage.put_invite(&invite(2), 2, NOW).await.unwrap();
    let full = storage.put_invite(&invite(3), 2, NOW).await;
    assert!(matches!(full, Err(PutInviteError::TooMany)));

    let lookup = InviteLookup([1; 16]);
    assert_eq!(storage.invite(lookup).await.unwrap(), Some(invite(1)));
    let claimant = [6; 16];
    let mut claim = |invite: &mut Invite| {
        invite.state = InviteState::Claimed { claimant };
        (invite.request, invite.reply) = (vec![1], vec![2]);
        invite.secrets.push(3);
    };
    assert!(storage.change_invite(lookup, &mut claim).await.unwrap());
    assert!(
        !storage
            .change_invite(InviteLookup([9; 16]), &mut claim)
            .await
            .unwrap()
    );
    let found = storage.invite(lookup).await.unwrap().unwrap();
    let mut changed = invite(1);
    claim(&mut changed);
    assert_eq!(found, changed);

    storage.expire_invites(expires).await.unwrap();
    let tombstone = storage.invite(lookup).await.unwrap().unwrap();
    assert!(tombstone.offer.is_empty() && tombstone.secrets.is_empty());
    assert!(tombstone.request.is_empty() && tombstone.reply.is_empty());
    assert_eq!(tombstone.state, InviteState::Claimed { claimant });
    storage.put_invite(&invite(3), 2, expires).await.unwrap();
    storage.expire_invites(tombstone.forget_at()).await.unwrap();
    assert_eq!(storage.invite(lookup).await.unwrap(), None);
}
