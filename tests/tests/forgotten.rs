//! Groups that nobody uses any more, through a real relay process: they are forgotten, and whoever comes back loses nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Device, patient, wait_until, world_with};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use zerok_sync_client::Path;
use zerok_sync_client::store::{MemoryStore, Store};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_tests::relay::RelayProcess;

async fn database(relay: &RelayProcess) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(relay.database());
    SqlitePool::connect_with(options).await.unwrap()
}

/// Makes everything of a group so old that it is due.
async fn age(pool: &SqlitePool, group: GroupId) {
    let of_group = "(SELECT id FROM groups WHERE group_id = ?)";
    for sql in [
        format!("UPDATE blobs SET expires_at = 1 WHERE group_ref = {of_group}"),
        format!("UPDATE devices SET last_seen = 1 WHERE group_ref = {of_group}"),
        format!("UPDATE groups SET opened_at = 1 WHERE id = {of_group}"),
    ] {
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(group.0.to_vec());
        query.execute(pool).await.unwrap();
    }
}

async fn is_there(pool: &SqlitePool, group: GroupId) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM groups WHERE group_id = ?)";
    let query = sqlx::query_scalar(sql).bind(group.0.to_vec());
    query.fetch_one(pool).await.unwrap()
}

async fn forgotten(pool: &SqlitePool, group: GroupId) {
    patient(async {
        while is_there(pool, group).await {
            // What a session that has just ended said may be written after it.
            age(pool, group).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_forgotten_is_founded_anew_and_nothing_is_lost() {
    let world = world_with(&["--cleanup-interval", "100ms"]).await;
    let url = world.relay.url();
    let pool = database(&world.relay).await;
    let stores: [Arc<dyn Store>; 2] = [
        Arc::new(MemoryStore::default()),
        Arc::new(MemoryStore::default()),
    ];
    let a = Device::named_on(url, Path::Any, "a", stores[0].clone()).await;
    let b = Device::named_on(url, Path::WebSocket, "b", stores[1].clone()).await;
    let group = a.client.create_group().await.unwrap();
    for n in 0..3 {
        a.push(group, &format!("a{n}")).await;
    }
    patient(b.join(&a, group)).await;
    b.push(group, "b0").await;
    let settled = |one: &Device, other: &Device| {
        let of = |device: &Device| device.client.group_view(group).unwrap();
        let (one, other) = (of(one), of(other));
        one.pending == 0 && other.pending == 0 && one.version_vector == other.version_vector
    };
    wait_until("both have everything", || settled(&a, &b)).await;

    // Somebody else stays all the time, and notices nothing.
    let other = Device::named(url, Path::Any, "other").await;
    let used = other.client.create_group().await.unwrap();
    other.push(used, "one").await;
    other.flush(used).await;

    b.push(group, "sent").await;
    wait_until("both have it", || settled(&a, &b)).await;
    a.client.close().await;
    b.client.close().await;
    forgotten(&pool, group).await;
    assert!(is_there(&pool, used).await);

    // Who comes first founds it anew; its new cursors go beyond where the other one had been, and all the same the
    // other one reads them from the start.
    let b = Device::named_on(url, Path::WebSocket, "b", stores[1].clone()).await;
    for n in 1..20 {
        b.push(group, &format!("b{n}")).await;
    }
    b.flush(group).await;
    let a = Device::named_on(url, Path::Any, "a", stores[0].clone()).await;
    a.push(group, "a3").await;
    wait_until("both have everything again", || settled(&a, &b)).await;
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    let mut all: Vec<String> = (0..4).map(|n| format!("a{n}")).collect();
    all.extend((0..20).map(|n| format!("b{n}")));
    all.push("sent".into());
    for device in [&a, &b] {
        assert_eq!(sorted(device.texts(group).await), sorted(all.clone()));
        assert_eq!(device.errors(), Vec::<String>::new());
    }
    other.push(used, "two").await;
    other.flush(used).await;
    assert_eq!(other.errors(), Vec::<String>::new());
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stays_connected_is_not_gone_however_quiet_it_is() {
    let args = ["--cleanup-interval", "100ms", "--inactive-after", "2s"];
    let world = world_with(&args).await;
    let pool = database(&world.relay).await;
    let device = Device::named(world.relay.url(), Path::Any, "quiet").await;
    let group = device.client.create_group().await.unwrap();
    device.push(group, "one").await;
    device.flush(group).await;
    let last_seen = async || -> i64 {
        let sql = "SELECT coalesce(max(last_seen), 0) FROM devices";
        sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
    };
    let mut moments = std::collections::BTreeSet::new();
    patient(async {
        // More than the device says by itself when it comes and when it has acknowledged its blob.
        while moments.len() < 6 {
            moments.insert(last_seen().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(is_there(&pool, group).await);
    pool.close().await;
}
