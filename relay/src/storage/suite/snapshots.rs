//! Snapshots, as every storage has to keep them.

use std::future::Future;
use std::sync::Arc;

use zerok_sync_shared::message::SnapshotPart;
use zerok_sync_shared::session::NewSnapshotPart;

use super::keys::{device, founding, group, next_keys, opened, revoking};
use super::*;
use crate::storage::snapshots::{PutPart, PutPartError};

pub(super) async fn conformance<F: Future<Output = Arc<dyn Storage>>>(make: &impl Fn() -> F) {
    the_last_part_makes_it_the_groups(&*make().await).await;
    parts_come_in_order_and_within_bounds(&*make().await).await;
    a_part_is_held_to_how_its_snapshot_began(&*make().await).await;
    a_snapshot_covers_what_is_there(&*make().await).await;
    after_a_rotation_no_part_of_before_is_taken(&*make().await).await;
    what_nobody_finishes_or_uses_is_deleted(&*make().await).await;
    a_device_learns_whether_it_needs_one(&*make().await).await;
    what_a_snapshot_covers_and_everybody_has_is_dropped(&*make().await).await;
}

pub(crate) fn part(snapshot: u8, author: u8, covers: u64, part: u32, parts: u32) -> PutPart {
    PutPart {
        new: NewSnapshotPart {
            group_id: A,
            part: SnapshotPart {
                snapshot_id: BlobId([snapshot; 16]),
                author: DeviceId([author; 32]),
                epoch: 0,
                covers,
                part,
                parts,
                payload: Bytes::from(vec![snapshot; 100]),
            },
        },
        quota: 0,
        now: NOW,
    }
}

async fn bytes(storage: &dyn Storage) -> u64 {
    storage.stats().await.unwrap().bytes
}

async fn newest(storage: &dyn Storage) -> Option<u8> {
    let found = storage.snapshot_part(A, 0).await.unwrap();
    found.map(|part| part.snapshot_id.0[0])
}

/// Blobs without a byte, for snapshots to cover.
async fn grow(storage: &dyn Storage, to: u64) {
    let blobs: Vec<Pending> = (0..to).map(|n| pending(A, n, 0)).collect();
    cursors(storage, &blobs).await;
}

async fn the_last_part_makes_it_the_groups(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    grow(storage, 9).await;
    assert_eq!(newest(storage).await, None);
    for number in 0..3 {
        assert_eq!(newest(storage).await, None);
        let put = part(1, 7, 5, number, 3);
        storage.put_snapshot_part(put.clone()).await.unwrap();
        // Its answer was lost.
        storage.put_snapshot_part(put).await.unwrap();
    }
    let expected = part(1, 7, 5, 2, 3).new.part;
    assert_eq!(storage.snapshot_part(A, 2).await.unwrap(), Some(expected));
    assert_eq!(storage.snapshot_part(A, 3).await.unwrap(), None);
    assert_eq!(storage.snapshot_part(B, 0).await.unwrap(), None);
    assert_eq!(bytes(storage).await, 300);

    // The former stays until the next one is there as a whole, and one that covers less is not taken.
    storage
        .put_snapshot_part(part(2, 8, 9, 0, 2))
        .await
        .unwrap();
    assert_eq!(
        (newest(storage).await, bytes(storage).await),
        (Some(1), 400)
    );
    storage
        .put_snapshot_part(part(2, 8, 9, 1, 2))
        .await
        .unwrap();
    assert_eq!(
        (newest(storage).await, bytes(storage).await),
        (Some(2), 200)
    );
    assert_eq!(storage.snapshot_part(A, 2).await.unwrap(), None);
    let older = storage.put_snapshot_part(part(3, 8, 8, 0, 1)).await;
    assert!(matches!(older, Err(PutPartError::Stale)));
    // As far again, perhaps because the other's author was revoked.
    storage
        .put_snapshot_part(part(4, 9, 9, 0, 1))
        .await
        .unwrap();
    assert_eq!(
        (newest(storage).await, bytes(storage).await),
        (Some(4), 100)
    );
}

async fn parts_come_in_order_and_within_bounds(storage: &dyn Storage) {
    let unknown = storage.put_snapshot_part(part(1, 7, 0, 0, 2)).await;
    assert!(matches!(unknown, Err(PutPartError::Unknown)), "no group");
    storage.open_group(open(A)).await.unwrap();
    let first = storage.put_snapshot_part(part(1, 7, 0, 1, 3)).await;
    assert!(matches!(first, Err(PutPartError::Unknown)));
    storage
        .put_snapshot_part(part(1, 7, 0, 0, 3))
        .await
        .unwrap();
    let skipped = storage.put_snapshot_part(part(1, 7, 0, 2, 3)).await;
    assert!(matches!(skipped, Err(PutPartError::Unknown)));
    let anothers = storage.put_snapshot_part(part(1, 8, 0, 1, 3)).await;
    assert!(matches!(anothers, Err(PutPartError::Unknown)));
    let full = PutPart {
        quota: 150,
        ..part(1, 7, 0, 1, 3)
    };
    let full = storage.put_snapshot_part(full).await;
    assert!(matches!(full, Err(PutPartError::Quota)));
    // A device that begins again gives up what it began.
    storage
        .put_snapshot_part(part(2, 7, 0, 0, 3))
        .await
        .unwrap();
    assert_eq!(bytes(storage).await, 100);
    for author in 8..11 {
        let put = part(author, author, 0, 0, 3);
        storage.put_snapshot_part(put).await.unwrap();
    }
    let many = storage.put_snapshot_part(part(11, 11, 0, 0, 3)).await;
    assert!(matches!(many, Err(PutPartError::Busy)));
    let later = PutPart {
        now: NOW.plus(Duration::from_secs(2 * 3600)),
        ..part(11, 11, 0, 0, 3)
    };
    storage.put_snapshot_part(later).await.unwrap();
    assert_eq!(bytes(storage).await, 100, "the others were too old");
}

async fn a_part_is_held_to_how_its_snapshot_began(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    grow(storage, 9).await;
    let differing = |number| {
        let of = |epoch, covers, parts| {
            let mut put = part(1, 7, covers, number, parts);
            put.new.part.epoch = epoch;
            put
        };
        [
            of(0, 5, 3),
            of(0, 5, 9),
            of(0, 4, 2),
            of(0, 6, 2),
            of(1, 5, 2),
        ]
    };
    let put = |put| storage.put_snapshot_part(put);
    put(part(1, 7, 5, 0, 2)).await.unwrap();
    for number in 0..2 {
        for other in differing(number) {
            let refused = put(other).await;
            assert!(matches!(refused, Err(PutPartError::Differs)), "{refused:?}");
        }
    }
    assert_eq!((newest(storage).await, bytes(storage).await), (None, 100));
    put(part(1, 7, 5, 1, 2)).await.unwrap();
    // It is the group's now, and nothing that its author sends makes it less than that.
    for number in 0..3 {
        for other in differing(number) {
            let refused = put(other).await;
            assert!(matches!(refused, Err(PutPartError::Differs)), "{refused:?}");
        }
        let again = put(part(1, 7, 5, number, 2)).await;
        assert_eq!(
            again.is_ok(),
            number < 2,
            "what is stored is answered again"
        );
    }
    let last = part(1, 7, 5, 1, 2).new.part;
    assert_eq!(storage.snapshot_part(A, 1).await.unwrap(), Some(last));
    assert_eq!(storage.snapshot_part(A, 2).await.unwrap(), None);
    assert_eq!(
        (newest(storage).await, bytes(storage).await),
        (Some(1), 200)
    );
}

async fn a_snapshot_covers_what_is_there(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    grow(storage, 4).await;
    let early = storage.put_snapshot_part(part(1, 7, 5, 0, 1)).await;
    assert!(matches!(early, Err(PutPartError::Stale)), "{early:?}");
    grow(storage, 5).await;
    storage
        .put_snapshot_part(part(1, 7, 5, 0, 1))
        .await
        .unwrap();
}

async fn after_a_rotation_no_part_of_before_is_taken(storage: &dyn Storage) {
    let founder = opened(&founding(), &device(1), vec![]);
    storage.open_group(founder).await.unwrap();
    let of = |snapshot, author: u8, epoch, number, parts| {
        let mut put = part(snapshot, 0, 0, number, parts);
        put.new.group_id = group();
        put.new.part.author = device(author).id();
        put.new.part.epoch = epoch;
        put
    };
    let put = |put| storage.put_snapshot_part(put);
    let newest = async || storage.snapshot_part(group(), 0).await.unwrap().unwrap();
    put(of(1, 2, 0, 0, 1)).await.unwrap();
    for author in [1, 3] {
        put(of(10 + author, author, 0, 0, 2)).await.unwrap();
    }
    let rotation = revoking(&founding(), 1, 3, 0);
    storage.rotate(rotation.clone()).await.unwrap();
    // Neither the last part of who was revoked, sent to a node that has not heard of it yet, nor that of who was not.
    for author in [1, 3] {
        let late = put(of(10 + author, author, 0, 1, 2)).await;
        assert!(matches!(late, Err(PutPartError::Stale)), "{late:?}");
        let anew = put(of(20 + author, author, 0, 0, 1)).await;
        assert!(matches!(anew, Err(PutPartError::Stale)), "{anew:?}");
    }
    let revoked = put(of(30, 3, 1, 0, 1)).await;
    assert!(matches!(revoked, Err(PutPartError::Stale)), "{revoked:?}");
    assert_eq!(newest().await.snapshot_id, BlobId([1; 16]));
    put(of(40, 2, next_keys(&rotation, 2).epoch(), 0, 1))
        .await
        .unwrap();
    assert_eq!(newest().await.snapshot_id, BlobId([40; 16]));
}

async fn what_nobody_finishes_or_uses_is_deleted(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage
        .put_snapshot_part(part(1, 7, 0, 0, 1))
        .await
        .unwrap();
    storage
        .put_snapshot_part(part(2, 7, 0, 0, 2))
        .await
        .unwrap();
    let later = NOW.plus(Duration::from_secs(2 * 3600));
    assert_eq!(storage.expire_snapshots(NOW, NOW).await.unwrap(), 0);
    assert_eq!(storage.expire_snapshots(later, NOW).await.unwrap(), 1);
    assert_eq!(
        (newest(storage).await, bytes(storage).await),
        (Some(1), 100)
    );
    // As long as the group has a device, its snapshot stays.
    see(storage, 4, 0, later).await;
    assert_eq!(storage.expire_snapshots(later, later).await.unwrap(), 0);
    let much_later = later.plus(Duration::from_secs(1));
    assert_eq!(storage.forget_devices(much_later, 10).await.unwrap(), 1);
    assert_eq!(storage.expire_snapshots(later, later).await.unwrap(), 1);
    assert_eq!((newest(storage).await, bytes(storage).await), (None, 0));
}

async fn see(storage: &dyn Storage, device: u8, acked: u64, at: Timestamp) {
    let seen = Seen {
        group_id: A,
        device: DeviceId([device; 32]),
        acked,
        at,
    };
    let batch = Batch {
        seen: &[seen],
        ..batch(&[])
    };
    storage.commit(batch).await.unwrap();
}

async fn needs(storage: &dyn Storage, after_cursor: u64) -> (Option<u64>, bool) {
    let asked = OpenGroup {
        after_cursor,
        ..open(A)
    };
    let info = storage.open_group(asked).await.unwrap();
    (info.snapshot, info.lacking)
}

async fn a_device_learns_whether_it_needs_one(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    assert_eq!(needs(storage, 0).await, (None, false));
    let blobs: Vec<Pending> = (0..6).map(|n| pending(A, n, 10)).collect();
    cursors(storage, &blobs).await;
    storage
        .put_snapshot_part(part(1, 7, 4, 0, 1))
        .await
        .unwrap();
    for after in 0..6 {
        assert_eq!(needs(storage, after).await, (Some(4), false), "{after}");
    }
    let over = NOW.plus(Duration::from_secs(60));
    assert_eq!(storage.expire(over, 2).await.unwrap(), 2);
    for (after, lacks) in [(0, true), (1, true), (2, false), (3, false), (4, false)] {
        assert_eq!(needs(storage, after).await, (Some(4), lacks), "{after}");
    }
    storage.expire(over, 10).await.unwrap();
    for (after, lacks) in [(2, true), (3, true), (4, true), (5, true), (6, false)] {
        assert_eq!(needs(storage, after).await, (Some(4), lacks), "{after}");
    }
}

async fn what_a_snapshot_covers_and_everybody_has_is_dropped(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    let blobs: Vec<Pending> = (0..6).map(|n| pending(A, n, 10)).collect();
    cursors(storage, &blobs).await;
    let sweep = Sweep {
        after: None,
        active_since: NOW,
        max_groups: 10,
        max_blobs: 100,
        acknowledged: false,
    };
    see(storage, 5, 5, NOW).await;
    let nothing = storage.delete_acked(sweep).await.unwrap();
    assert_eq!(nothing.deleted, 0, "there is no snapshot");
    storage
        .put_snapshot_part(part(1, 7, 4, 0, 1))
        .await
        .unwrap();
    see(storage, 6, 3, NOW).await;
    assert_eq!(storage.delete_acked(sweep).await.unwrap().deleted, 3);
    assert_eq!(needs(storage, 1).await, (Some(4), true));
    assert_eq!(needs(storage, 3).await, (Some(4), false));
    see(storage, 6, 6, NOW).await;
    // Not what it does not cover, though everybody has it.
    assert_eq!(storage.delete_acked(sweep).await.unwrap().deleted, 1);
    let page = storage.read(A, 0, 10, 1000).await.unwrap();
    let left: Vec<u64> = page.blobs.iter().map(|blob| blob.cursor).collect();
    assert_eq!(left, [5, 6]);
}
