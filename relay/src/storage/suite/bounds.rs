//! What a group, and all of them together, may store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Batch, Deletion, Kept, OpenError, Refused, Storage};
use super::{A, AUTHOR, B, NOW, batch, id, open, pending};
use crate::limits;
use crate::storage::snapshots::PutPartError;

pub(super) async fn conformance<F: Future<Output = Arc<dyn Storage>>>(make: &impl Fn() -> F) {
    a_row_counts_until_it_expires(&*make().await).await;
}

async fn erase(storage: &dyn Storage, n: u64) {
    let deletion = Deletion {
        group_id: A,
        blob_id: id(n),
        by: AUTHOR,
        force: true,
    };
    storage.delete(deletion).await.unwrap();
}

async fn push(storage: &dyn Storage, n: u64, payload: usize, quota: u64) -> Result<Kept, Refused> {
    let blobs = [pending(A, n, payload)];
    let batch = Batch {
        quota,
        ..batch(&blobs)
    };
    storage.commit(batch).await.unwrap()[0]
}

async fn a_row_counts_until_it_expires(storage: &dyn Storage) {
    storage.open_group(open(A)).await.unwrap();
    let quota = 3 * (limits::ROW_BYTES + 1);
    for n in 1..=3 {
        push(storage, n, 1, quota).await.unwrap();
    }
    assert_eq!(push(storage, 4, 1, quota).await, Err(Refused::Quota));
    for n in 1..=3 {
        erase(storage, n).await;
    }
    assert_eq!(storage.stats().await.unwrap().bytes, 0);
    assert_eq!(
        push(storage, 4, 4, quota).await,
        Err(Refused::Quota),
        "what is left of erased blobs takes up room"
    );
    let over = NOW.plus(Duration::from_secs(60));
    assert_eq!(storage.expire(over, 2).await.unwrap(), 2);
    push(storage, 4, 4, quota).await.unwrap();
    assert_eq!(storage.expire(over, 9).await.unwrap(), 2);
    for n in 5..=7 {
        push(storage, n, 1, quota).await.unwrap();
    }
}

/// For a storage that may hold one mebibyte.
pub(in crate::storage) async fn all_groups_together(storage: &dyn Storage) {
    const SIZE: usize = 64 * 1024;
    storage.open_group(open(A)).await.unwrap();
    let mut stored = 0;
    loop {
        match push(storage, stored + 1, SIZE, 0).await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error, Refused::Full);
                break;
            }
        }
        assert!(stored <= 16, "the bound is passed");
    }
    assert!(stored >= 8, "{stored} blobs");
    let parts = super::snapshots::part(1, 7, 1, 0, 2);
    let mut large = parts.clone();
    large.new.part.payload = vec![5; SIZE].into();
    let refused = storage.put_snapshot_part(large).await;
    assert!(matches!(refused, Err(PutPartError::Full)), "{refused:?}");
    // What is there already is answered, what is left is read, and deleting makes room.
    assert!(push(storage, 1, SIZE, 0).await.is_ok_and(|kept| !kept.new));
    let page = storage.read(A, 0, 100, 1 << 30).await.unwrap();
    assert_eq!(page.blobs.len() as u64, stored);
    for n in 1..=4 {
        erase(storage, n).await;
    }
    // A storage that is shared counts again after a moment.
    let taken = async {
        while push(storage, 100, SIZE, 0).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken)
        .await
        .unwrap();
    storage.open_group(open(B)).await.unwrap();
}

/// For a storage that may hold nothing more.
pub(in crate::storage) async fn nothing_new(storage: &dyn Storage) {
    let refused = storage.open_group(open(A)).await;
    assert!(matches!(refused, Err(OpenError::Full)), "{refused:?}");
}
