//! What members delete.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use zerok_sync_shared::ids::DeviceId;

use super::super::{Batch, Deletion, Deletions, Pending, Seen, Stats, Storage};
use super::{A, B, NOW, batch, cursors, id, mark, open, pending};

pub(super) async fn conformance<F: Future<Output = Arc<dyn Storage>>>(make: &impl Fn() -> F) {
    what_is_deleted_goes_when_everybody_has_it(&*make().await).await;
    only_the_sender_has_it_erased_at_once(&*make().await).await;
    marks_of_what_expired_go(&*make().await).await;
}

/// Who sent everything.
const SENDER: DeviceId = DeviceId([4; 32]);
const OTHER: DeviceId = DeviceId([5; 32]);

fn deletion(n: u64, by: DeviceId, force: bool) -> Deletion {
    Deletion {
        group_id: A,
        blob_id: id(n),
        by,
        force,
    }
}

async fn acked(storage: &dyn Storage, device: DeviceId, acked: u64) {
    let seen = [Seen {
        group_id: A,
        device,
        acked,
        at: NOW,
    }];
    let batch = Batch {
        seen: &seen,
        ..batch(&[])
    };
    storage.commit(batch).await.unwrap();
}

async fn filled(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    storage.open_group(open(B)).await.unwrap();
    let blobs: Vec<Pending> = (1..=4).map(|n| pending(A, n, 10)).collect();
    assert_eq!(cursors(storage, &blobs).await, [1, 2, 3, 4]);
    cursors(storage, &[pending(B, 1, 10), pending(B, 2, 10)]).await;
}

/// What a reader gets, and that there is nothing of the others.
async fn readable(storage: &dyn Storage, after: u64) -> Vec<u64> {
    let page = storage.read(A, after, 10, 1 << 20).await.unwrap();
    assert_eq!((page.up_to, page.max_cursor, page.has_more), (4, 4, false));
    assert!(page.blobs.iter().all(|blob| blob.payload.len() == 10));
    page.blobs.iter().map(|blob| blob.cursor).collect()
}

async fn bytes(storage: &dyn Storage) -> (u64, u64) {
    let Stats { blobs, bytes, .. } = storage.stats().await.unwrap();
    (blobs, bytes)
}

async fn what_is_deleted_goes_when_everybody_has_it(storage: &dyn Storage) {
    filled(storage).await;
    acked(storage, SENDER, 4).await;
    acked(storage, OTHER, 1).await;
    let later = NOW.plus(Duration::from_secs(1));
    for n in [1, 3, 3, 9] {
        let deleted = storage.delete(deletion(n, OTHER, false)).await.unwrap();
        assert_eq!(deleted, Deletions::Done, "anybody may, and twice");
    }
    assert_eq!(readable(storage, 0).await, [1, 2, 3, 4], "not before that");
    assert_eq!(storage.drop_deleted(NOW, 10).await.unwrap(), 1);
    assert_eq!(readable(storage, 0).await, [2, 3, 4]);
    assert_eq!(bytes(storage).await, (5, 50), "it counts no longer");
    acked(storage, OTHER, 4).await;
    assert_eq!(storage.drop_deleted(NOW, 10).await.unwrap(), 1);
    assert_eq!(readable(storage, 0).await, [2, 4]);
    assert_eq!(readable(storage, 2).await, [4]);
    assert_eq!(storage.drop_deleted(NOW, 10).await.unwrap(), 0);
    // What is left of it says that it was not lost.
    let known = storage.has(A, vec![id(1), id(3)]).await.unwrap();
    assert_eq!(known, [mark(1, 1), mark(3, 3)]);
    assert_eq!(cursors(storage, &[pending(A, 3, 10)]).await, [3]);
    assert_eq!(readable(storage, 0).await, [2, 4], "it does not come back");
    let page = storage.read(B, 0, 10, 1 << 20).await.unwrap();
    assert_eq!(page.blobs.len(), 2, "other groups keep theirs");
    // Devices that were not seen for long hold nothing back.
    acked(storage, DeviceId([6; 32]), 0).await;
    storage.delete(deletion(2, OTHER, false)).await.unwrap();
    assert_eq!(storage.drop_deleted(NOW, 10).await.unwrap(), 0);
    assert_eq!(storage.drop_deleted(later, 10).await.unwrap(), 1);
    assert_eq!(readable(storage, 0).await, [4]);
}

async fn only_the_sender_has_it_erased_at_once(storage: &dyn Storage) {
    filled(storage).await;
    acked(storage, OTHER, 0).await;
    let refused = storage.delete(deletion(2, OTHER, true)).await.unwrap();
    assert_eq!(refused, Deletions::NotOwner);
    assert_eq!(readable(storage, 0).await, [1, 2, 3, 4]);
    storage.delete(deletion(2, OTHER, false)).await.unwrap();
    for _ in 0..2 {
        let deleted = storage.delete(deletion(2, SENDER, true)).await.unwrap();
        assert_eq!(deleted, Deletions::Done);
        assert_eq!(readable(storage, 0).await, [1, 3, 4]);
        assert_eq!(bytes(storage).await, (5, 50));
    }
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(storage.drop_deleted(later, 10).await.unwrap(), 0);
    assert_eq!(
        storage
            .expire(NOW.plus(Duration::from_secs(61)), 100)
            .await
            .unwrap(),
        6
    );
    assert_eq!(bytes(storage).await, (0, 0));
}

async fn marks_of_what_expired_go(storage: &dyn Storage) {
    filled(storage).await;
    for n in 1..=4 {
        storage.delete(deletion(n, OTHER, false)).await.unwrap();
    }
    storage
        .expire(NOW.plus(Duration::from_secs(61)), 100)
        .await
        .unwrap();
    assert_eq!(storage.drop_deleted(NOW, 3).await.unwrap(), 3, "in steps");
    assert_eq!(storage.drop_deleted(NOW, 3).await.unwrap(), 1);
    assert_eq!(storage.drop_deleted(NOW, 3).await.unwrap(), 0);
    assert_eq!(bytes(storage).await, (0, 0));
}
