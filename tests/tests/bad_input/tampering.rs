//! A relay that changes what it stores.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{ClientEvent, Path};
use zerok_sync_tests::relay::RelayProcess;

use crate::common::{Device, World, patient, wait_until, world};

async fn database(world: &World) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(world.relay.database())
        .connect()
        .await
        .unwrap()
}

/// Cursors of the blobs that were rejected.
fn rejected(device: &Device) -> Vec<u64> {
    let events = device.events.lock().unwrap();
    let cursor = |event: &ClientEvent| match event {
        ClientEvent::Error {
            error,
            cursor,
            group: Some(_),
        } if error.code == "BLOB_REJECTED" => *cursor,
        _ => None,
    };
    events.iter().filter_map(cursor).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_the_relay_changed_are_reported_and_skipped_and_the_rest_arrives() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let store = MemoryStore::default();
    let b = Device::open_on(world.relay.url(), Path::Any, Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    a.push(group, "1").await;
    assert_eq!(b.wait_texts(group, 1).await, ["1"]);
    b.client.close().await;
    for text in ["2", "3", "4", "5", "6", "7", "8"] {
        a.push(group, text).await;
    }
    a.flush(group).await;

    let changes = [
        // One byte of the payload, in its nonce and in its tag.
        (
            "2",
            "UPDATE blobs SET payload = CAST(x'00' || substr(payload, 2) AS BLOB) WHERE cursor = ?",
        ),
        (
            "3",
            "UPDATE blobs SET payload = CAST(substr(payload, 1, length(payload) - 1) || x'5A' AS BLOB) WHERE cursor = ?",
        ),
        // Cut short, to nothing that could be a blob.
        ("4", "UPDATE blobs SET payload = x'00' WHERE cursor = ?"),
        // Said to be from another device, and under another id.
        (
            "6",
            "UPDATE blobs SET sender = randomblob(32) WHERE cursor = ?",
        ),
        (
            "7",
            "UPDATE blobs SET blob_id = randomblob(16) WHERE cursor = ?",
        ),
    ];
    let log = a.log(group).await;
    // Restarted: what has just come in would be delivered from memory.
    let World { folder, relay } = world;
    let options = relay.terminate().await.unwrap();
    let relay = RelayProcess::start(options).await.unwrap();
    let world = World { folder, relay };
    let mut database = database(&world).await;
    let mut changed = Vec::new();
    for (text, change) in changes {
        let blob = log.iter().find(|blob| blob.data == text).unwrap();
        let query = sqlx::query(change).bind(i64::try_from(blob.cursor).unwrap());
        let done = query.execute(&mut database).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        changed.push(blob.cursor);
    }
    let b = Device::open_on(world.relay.url(), Path::Any, Arc::new(store)).await;
    assert_eq!(b.wait_texts(group, 3).await, ["1", "5", "8"]);
    wait_until("all are reported", || rejected(&b).len() == changes.len()).await;
    assert_eq!(rejected(&b), changed);

    // Both go on, and what was changed is still right where it was made.
    a.push(group, "9").await;
    assert_eq!(b.wait_texts(group, 4).await, ["1", "5", "8", "9"]);
    b.push(group, "from b").await;
    assert_eq!(
        a.wait_texts(group, 10).await,
        ["1", "2", "3", "4", "5", "6", "7", "8", "9", "from b"]
    );
    // It may have looked for the relay before that was back; and two histories were shown, by what b says it has seen.
    let others = |code: &&str| !["RELAY_UNREACHABLE", "RELAY_FORKED"].contains(code);
    assert!(!a.errors().iter().any(others), "{:?}", a.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_put_into_another_group_is_not_taken_for_one_of_it() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let (one, two) = (
        a.client.create_group().await.unwrap(),
        a.client.create_group().await.unwrap(),
    );
    a.push(one, "for one").await;
    a.flush(one).await;
    a.push(two, "for two").await;
    a.flush(two).await;
    let copy = "INSERT INTO blobs (group_ref, cursor, blob_id, sender, epoch, timestamp, expires_at, size, payload) \
                SELECT (SELECT id FROM groups WHERE group_id = ?), 3, blob_id, sender, epoch, timestamp, expires_at, size, \
                payload FROM blobs WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?) AND cursor = 2";
    let mut database = database(&world).await;
    let copied = sqlx::query(copy)
        .bind(two.0.to_vec())
        .bind(one.0.to_vec())
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(copied.rows_affected(), 1);
    sqlx::query("UPDATE groups SET max_cursor = 3 WHERE group_id = ?")
        .bind(two.0.to_vec())
        .execute(&mut database)
        .await
        .unwrap();
    patient(b.join(&a, two)).await;
    assert_eq!(b.wait_texts(two, 1).await, ["for two"]);
    wait_until("it is reported", || rejected(&b) == [3]).await;
}
