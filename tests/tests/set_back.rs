//! A database that loses what it had acknowledged while its relay runs on, as one that fails over to a standby that lagged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;

use crate::common::{Device, patient, wait_until, world};
use crate::nodes::deployment;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use zerok_sync_client::Path;
use zerok_sync_shared::ids::{GroupId, Incarnation};
use zerok_sync_tests::raw::{Peer, keys};
use zerok_sync_tests::relay::RelayProcess;

/// Blobs that are lost.
const LOST: i64 = 6;

/// What a relay says to be its run.
async fn run_of(relay: &RelayProcess) -> Option<Incarnation> {
    let peer = Peer::connect(relay.url()).await.unwrap();
    let run = peer.session(&keys(9)).await.unwrap().1.run;
    peer.close().await;
    run
}

fn numbered(name: &str, numbers: std::ops::Range<i64>) -> BTreeSet<String> {
    numbers.map(|n| format!("{name} {n}")).collect()
}

async fn push_all(device: &Device, group: GroupId, texts: &BTreeSet<String>) {
    for text in texts {
        device.push(group, text).await;
    }
}

/// Everything is on every device, once, and nobody accuses the relay.
async fn assert_whole(devices: &[&Device], group: GroupId, texts: &BTreeSet<String>) {
    for device in devices {
        device.flush(group).await;
    }
    for device in devices {
        let found = device.wait_texts(group, texts.len()).await;
        assert_eq!(found.len(), texts.len());
        assert_eq!(&found.into_iter().collect::<BTreeSet<_>>(), texts);
        assert!(!device.errors().contains(&"RELAY_FORKED"));
    }
}

/// `lose` takes the last blobs of the group away, under the relay's hands and without cutting a connection.
async fn nothing_stays_lost(relay: &RelayProcess, lose: impl AsyncFn(GroupId)) {
    let a = Device::open(relay.url(), Path::Any).await;
    let b = Device::open(relay.url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let mut all = numbered("b before", 0..10);
    push_all(&b, group, &all).await;
    b.flush(group).await;
    a.wait_texts(group, all.len()).await;
    let acknowledged = numbered("a", 0..LOST);
    push_all(&a, group, &acknowledged).await;
    a.flush(group).await;
    all.extend(acknowledged);
    b.wait_texts(group, all.len()).await;
    let before = run_of(relay).await;
    lose(group).await;

    // They get the cursors of what is lost; and the last one a cursor of its own.
    let after = numbered("b after", 0..LOST + 1);
    for text in &after {
        b.push(group, text).await;
        b.flush(group).await;
    }
    all.extend(after);
    assert_whole(&[&a, &b], group, &all).await;
    assert_ne!(run_of(relay).await, before);
    // Somebody new learns it all from the relay alone, and what the others have seen of it is the same.
    let late = Device::open(relay.url(), Path::Any).await;
    patient(late.join(&a, group)).await;
    for device in [&a, &b, &late] {
        let text = format!("last {}", device.client.device_id());
        device.push(group, &text).await;
        all.insert(text);
    }
    assert_whole(&[&a, &b, &late], group, &all).await;
    for device in [a, b, late] {
        device.client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shared_database_loses_under_a_running_node_comes_back() {
    let deployment = deployment(1).await;
    let database = deployment.database.clone();
    nothing_stays_lost(&deployment.relays[0], async |group| {
        let mut connection = PgConnection::connect(&database).await.unwrap();
        for sql in [
            "DELETE FROM blobs b USING groups g \
             WHERE g.group_id = $1 AND b.group_ref = g.id AND b.cursor > g.max_cursor - $2",
            "UPDATE groups SET max_cursor = max_cursor - $2 WHERE group_id = $1",
        ] {
            let query = sqlx::query(sql).bind(group.0.as_slice()).bind(LOST);
            query.execute(&mut connection).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_of_its_own_loses_under_a_running_relay_comes_back() {
    let world = world().await;
    let options = SqliteConnectOptions::new().filename(world.relay.database());
    nothing_stays_lost(&world.relay, async |group| {
        let mut connection = options.connect().await.unwrap();
        for sql in [
            "DELETE FROM blobs WHERE group_ref = (SELECT id FROM groups WHERE group_id = ?1) \
             AND cursor > (SELECT max_cursor FROM groups WHERE group_id = ?1) - ?2",
            "UPDATE groups SET max_cursor = max_cursor - ?2 WHERE group_id = ?1",
        ] {
            let query = sqlx::query(sql).bind(group.0.to_vec()).bind(LOST);
            query.execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_lagged_and_takes_over_gets_back_what_it_lacks() {
    let mut deployment = deployment(2).await;
    let a = Device::open(deployment.relays[0].url(), Path::Any).await;
    let b = Device::open(deployment.relays[1].url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let mut all = numbered("a before", 0..10);
    push_all(&a, group, &all).await;
    a.flush(group).await;
    b.wait_texts(group, all.len()).await;
    let first = run_of(&deployment.relays[0]).await;
    deployment.server.save().unwrap();
    for (name, device) in [("a acknowledged", &a), ("b acknowledged", &b)] {
        let texts = numbered(name, 0..10);
        push_all(device, group, &texts).await;
        device.flush(group).await;
        all.extend(texts);
    }
    a.wait_texts(group, all.len()).await;
    b.wait_texts(group, all.len()).await;
    assert_eq!(
        run_of(&deployment.relays[0]).await,
        first,
        "a server that starts again has lost nothing"
    );
    deployment.server.fail_over().unwrap();
    let after = numbered("b after", 0..30);
    push_all(&b, group, &after).await;
    all.extend(after);
    assert_whole(&[&a, &b], group, &all).await;
    assert_ne!(run_of(&deployment.relays[0]).await, first);
    let late = Device::open(deployment.relays[0].url(), Path::Any).await;
    patient(late.join(&a, group)).await;
    assert_whole(&[&a, &b, &late], group, &all).await;
    let vector = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    wait_until("all have the same", || {
        vector(&a) == vector(&b) && vector(&b) == vector(&late)
    })
    .await;
    for device in [a, b, late] {
        device.client.close().await;
    }
}
