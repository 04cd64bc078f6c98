//! The suite, and what only a database in a file can do wrong.

use std::sync::Arc;

use sqlx::Row as _;
use tempfile::TempDir;
use zerok_sync_shared::ids::GroupId;

use super::*;
use crate::storage::suite::{self, batch, bounds, conformance, open, pending};

const A: GroupId = GroupId([1; 32]);

async fn at(folder: &TempDir) -> SqliteStorage {
    SqliteStorage::open(folder.path()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let folders = std::sync::Mutex::new(Vec::new());
    conformance(async || {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(at(&folder).await);
        folders.lock().unwrap().push(folder);
        storage
    })
    .await;
}

#[tokio::test]
async fn all_groups_together_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let bounded = async |max_storage, min_free_disk| {
        at(&folder).await.bounded(Bounds {
            max_storage,
            min_free_disk,
        })
    };
    let no_disk_has_so_much = 1 << 60;
    bounds::nothing_new(&bounded(0, no_disk_has_so_much).await).await;
    bounds::nothing_new(&bounded(1, 0).await).await;
    bounds::all_groups_together(&bounded(1 << 20, 1).await).await;
}

#[tokio::test]
async fn a_restart_keeps_everything_and_a_new_file_is_a_new_life() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    let life = storage.incarnation();
    storage.open_group(open(A)).await.unwrap();
    storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();
    storage.close().await;

    let storage = at(&folder).await;
    assert_eq!(storage.incarnation(), life);
    assert_eq!(storage.read(A, 0, 10, 100).await.unwrap().blobs.len(), 1);
    storage.close().await;

    std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
    let storage = at(&folder).await;
    assert_ne!(storage.incarnation(), life);
}

#[tokio::test]
async fn every_commit_is_flushed_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    let mut slot = storage.writer.lock().await;
    let pragma = async |connection: &mut SqliteConnection, name: &'static str| {
        let row = sqlx::query(name).fetch_one(connection).await.unwrap();
        row.try_get::<i64, _>(0)
            .ok()
            .map_or_else(|| row.get::<String, _>(0), |n| n.to_string())
    };
    let connection = slot.as_mut().unwrap();
    assert_eq!(pragma(connection, "PRAGMA journal_mode").await, "wal");
    assert_eq!(pragma(connection, "PRAGMA synchronous").await, "2", "FULL");
    assert_eq!(
        pragma(connection, "PRAGMA auto_vacuum").await,
        "2",
        "INCREMENTAL"
    );
    assert_eq!(pragma(connection, "PRAGMA foreign_keys").await, "1");
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_burns_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();

    let limit = async |sql: &'static str| {
        let mut slot = storage.writer.lock().await;
        sqlx::query(sql)
            .execute(slot.as_mut().unwrap())
            .await
            .unwrap();
    };
    // The smallest that SQLite takes: what the database has now.
    limit("PRAGMA max_page_count = 1").await;
    let blobs = [pending(A, 2, 100_000), pending(A, 3, 100_000)];
    for _ in 0..3 {
        assert!(storage.commit(batch(&blobs)).await.is_err());
        assert!(storage.check().await.is_err());
    }
    assert_eq!(
        storage.read(A, 0, 10, 1 << 20).await.unwrap().max_cursor,
        1,
        "reading goes on"
    );

    limit("PRAGMA max_page_count = 1000000").await;
    storage.check().await.unwrap();
    let answers = storage.commit(batch(&blobs)).await.unwrap();
    let cursors: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer.unwrap().stored.cursor)
        .collect();
    assert_eq!(cursors, [2, 3]);
}

#[tokio::test]
async fn a_database_that_was_deleted_or_replaced_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    let path = folder.path().join(FILE_NAME);
    let away = folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    assert!(storage.commit(batch(&[pending(A, 1, 10)])).await.is_err());
    assert!(storage.check().await.is_err());
    std::fs::write(&path, "another").unwrap();
    assert!(storage.commit(batch(&[pending(A, 1, 10)])).await.is_err());
    std::fs::rename(&away, &path).unwrap();
    storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), vec![b'x'; 8192]).unwrap();
    let error = SqliteStorage::open(folder.path()).await.unwrap_err();
    assert!(error.0.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_is_given_up_half_way_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    let stuck = storage.write::<(), StorageError>(async |connection| {
        execute(connection, "UPDATE groups SET max_cursor = 99").await?;
        std::future::pending().await
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(200), stuck)
            .await
            .is_err()
    );
    let answers = storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();
    assert_eq!(answers[0].unwrap().stored.cursor, 1);
}

/// On a disk that is read-only for a while SQLite opens a database read-only instead. Such a connection would go on so when
/// the disk takes writes again, so there must be none.
#[tokio::test]
async fn no_writer_is_opened_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    let read_only = storage.options.clone().read_only(true);
    let error = read_only.connect().await.unwrap_err().to_string();
    assert!(error.contains("readonly"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_stays_short_while_somebody_always_reads() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(at(&folder).await);
    storage.open_group(open(A)).await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..limits::READERS {
        let storage = Arc::clone(&storage);
        readers.spawn(async move {
            loop {
                storage.read(A, 0, 1000, 4 << 20).await.unwrap();
            }
        });
    }
    let log = folder.path().join(format!("{FILE_NAME}-wal"));
    let mut longest = 0;
    let mut written = 0;
    for n in 0.. {
        let blobs: Vec<_> = (0..4).map(|k| pending(A, 4 * n + k, 1 << 20)).collect();
        storage.commit(batch(&blobs)).await.unwrap();
        written += 4 << 20;
        longest = std::fs::metadata(&log).unwrap().len().max(longest);
        if written > 4 * limits::WAL_BYTES {
            break;
        }
    }
    readers.shutdown().await;
    // A busy machine takes some tries, each of which waits for longer.
    assert!(longest < 2 * limits::WAL_BYTES, "{longest}");
}

#[tokio::test]
async fn room_of_deleted_blobs_is_given_back_to_the_disk_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    for n in 0..8 {
        let blobs: Vec<_> = (0..4).map(|k| pending(A, 4 * n + k, 1 << 20)).collect();
        storage.commit(batch(&blobs)).await.unwrap();
    }
    storage.wal.move_all().await.unwrap();
    let length = || {
        std::fs::metadata(folder.path().join(FILE_NAME))
            .unwrap()
            .len()
    };
    let full = length();
    assert!(full > 32 << 20);
    let over = crate::storage::suite::NOW.plus(Duration::from_secs(60));
    assert_eq!(storage.expire(over, 100).await.unwrap(), 32);
    let mut steps = 1;
    while storage.shrink().await.unwrap() {
        steps += 1;
    }
    assert!(length() < 2 << 20, "{}", length());
    assert!(steps > 4, "not all at once: {steps}");
    assert!(!storage.shrink().await.unwrap(), "and what is left is kept");
}

#[tokio::test]
async fn a_part_in_pieces_comes_back_whole_also_after_a_longer_one_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let storage = at(&folder).await;
    storage.open_group(open(A)).await.unwrap();
    storage.commit(batch(&[pending(A, 1, 10)])).await.unwrap();
    let put = |length: usize| {
        let mut put = suite::snapshots::part(1, 1, 1, 0, 1);
        let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        put.new.part.payload = payload.into();
        put
    };
    let long = put(5 * limits::SNAPSHOT_PIECE);
    for piece in 0..4 {
        let stored = storage
            .write(async |connection| snapshots::put(connection, &long, piece, u64::MAX).await);
        stored.await.unwrap();
    }
    assert_eq!(
        storage.snapshot_part(A, 0).await.unwrap(),
        None,
        "not whole"
    );
    let short = put(2 * limits::SNAPSHOT_PIECE + 1);
    storage.put_snapshot_part(short.clone()).await.unwrap();
    let found = storage.snapshot_part(A, 0).await.unwrap().unwrap();
    assert_eq!(found.payload, short.new.part.payload);

    // Nothing is left of one that another has replaced.
    let next = suite::snapshots::part(2, 1, 1, 0, 1);
    storage.put_snapshot_part(next.clone()).await.unwrap();
    let found = storage.snapshot_part(A, 0).await.unwrap().unwrap();
    assert_eq!(found.payload, next.new.part.payload);
    let rows = "SELECT (SELECT count(*) FROM snapshots), (SELECT count(*) FROM snapshot_parts)";
    let mut reader = storage.reader().await.unwrap();
    let row = sqlx::query(rows).fetch_one(&mut *reader).await.unwrap();
    assert_eq!((number(&row, 0).unwrap(), number(&row, 1).unwrap()), (1, 1));
}
