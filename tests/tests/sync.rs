//! Two and more devices in sync through a real relay process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, patient, wait_until, world};
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{Path, State};
use zerok_sync_tests::proxy::Proxy;
use zerok_sync_tests::relay::RelayProcess;

async fn both_directions(path_a: Path, path_b: Path) {
    let world = world().await;
    let (a, b) = (
        Device::open(world.relay.url(), path_a).await,
        Device::open(world.relay.url(), path_b).await,
    );
    let group = a.client.create_group().await.unwrap();
    a.push(group, "from a").await;
    patient(b.join(&a, group)).await;
    patient(b.client.ready(group)).await.unwrap();
    assert_eq!(b.wait_texts(group, 1).await, ["from a"]);
    b.push(group, "from b").await;
    assert_eq!(a.wait_texts(group, 2).await, ["from a", "from b"]);
    a.flush(group).await;
    b.flush(group).await;
    let vector = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    assert_eq!(vector(&a), vector(&b));
    wait_until("both are synced", || {
        [&a, &b]
            .iter()
            .all(|device| device.client.group_view(group).unwrap().state == State::Synced)
    })
    .await;
    assert!(
        a.errors().is_empty() && b.errors().is_empty(),
        "{:?} {:?}",
        a.errors(),
        b.errors()
    );
    a.client.close().await;
    b.client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_sync_both_ways_over_udp() {
    both_directions(Path::Any, Path::Any).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_sync_both_ways_over_websocket() {
    both_directions(Path::WebSocket, Path::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_udp_and_a_websocket_device_sync() {
    both_directions(Path::Any, Path::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_offline_arrives_after_a_restart_of_the_device() {
    let world = world().await;
    let proxy = Proxy::start(world.relay.port()).await.unwrap();
    let store = MemoryStore::default();
    let a = Device::open_on(&proxy.url(), Path::WebSocket, Arc::new(store.clone())).await;
    let b = Device::open(&proxy.url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;

    proxy.switch(false);
    for n in 0..20 {
        a.push(group, &format!("offline {n}")).await;
    }
    a.client.close().await;
    let a = Device::open_on(&proxy.url(), Path::WebSocket, Arc::new(store)).await;
    assert_eq!(a.client.groups(), [group]);
    assert_eq!(a.client.group_view(group).unwrap().pending, 20);
    a.push(group, "after the restart").await;
    proxy.switch(true);
    for device in [&a, &b] {
        device.client.network_changed(true);
    }
    a.flush(group).await;
    let expected: Vec<_> = (0..20)
        .map(|n| format!("offline {n}"))
        .chain(["after the restart".into()])
        .collect();
    assert_eq!(b.wait_texts(group, 21).await, expected);
    assert_eq!(a.texts(group).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_while_devices_push_loses_and_doubles_nothing() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let count = 300;
    let mut relay = world.relay;
    for n in 0..count {
        a.push(group, &format!("a{n}")).await;
        b.push(group, &format!("b{n}")).await;
        if n % 100 == 50 {
            relay = RelayProcess::start(relay.kill().await.unwrap())
                .await
                .unwrap();
        }
    }
    a.flush(group).await;
    b.flush(group).await;
    for device in [&a, &b] {
        let texts = device.wait_texts(group, 2 * count).await;
        for sender in ["a", "b"] {
            let theirs: Vec<_> = texts
                .iter()
                .filter(|text| text.starts_with(sender))
                .cloned()
                .collect();
            let expected: Vec<_> = (0..count).map(|n| format!("{sender}{n}")).collect();
            assert_eq!(theirs, expected, "in order, each once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_its_database_gets_everything_back_from_the_devices() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    for n in 0..700 {
        a.push(group, &format!("a{n}")).await;
    }
    b.push(group, "b0").await;
    a.flush(group).await;
    b.flush(group).await;
    b.wait_texts(group, 701).await;
    a.wait_texts(group, 701).await;

    let options = world.relay.kill().await.unwrap();
    for file in std::fs::read_dir(&options.data).unwrap() {
        let file = file.unwrap().path();
        if file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("relay.db")
        {
            std::fs::remove_file(file).unwrap();
        }
    }
    // Only the device that did not push them is there: it gives back what is not its own.
    a.client.close().await;
    let relay = RelayProcess::start(options).await.unwrap();
    b.client.network_changed(true);
    let c = Device::open(relay.url(), Path::Any).await;
    b.push(group, "b1").await;
    b.flush(group).await;
    patient(c.join(&b, group)).await;
    let texts = c.wait_texts(group, 702).await;
    assert_eq!(texts.len(), 702);
    let from_a: Vec<_> = texts
        .iter()
        .filter(|text| text.starts_with('a'))
        .cloned()
        .collect();
    assert_eq!(
        from_a,
        (0..700).map(|n| format!("a{n}")).collect::<Vec<_>>()
    );
    assert!(texts.contains(&"b0".into()) && texts.contains(&"b1".into()));
    let vector = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    assert_eq!(vector(&b), vector(&c));
    assert_eq!(
        b.texts(group).await.len(),
        702,
        "the own log has nothing twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_of_the_relay_says_bye_and_devices_come_back() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, "one").await;
    a.flush(group).await;
    let options = world.relay.terminate().await.unwrap();
    a.push(group, "two").await;
    assert_eq!(a.client.group_view(group).unwrap().pending, 1);
    let _relay = RelayProcess::start(options).await.unwrap();
    a.flush(group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_moves_with_its_founder_to_another_url() {
    let world = world().await;
    let store = MemoryStore::default();
    let nobody = "http://127.0.0.1:9";
    let a = Device::open_on(nobody, Path::Any, Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, "for a relay that is not there").await;
    wait_until("the trouble is told", || {
        a.errors().contains(&"RELAY_UNREACHABLE")
    })
    .await;
    a.client.close().await;
    let a = Device::open_on(world.relay.url(), Path::Any, Arc::new(store)).await;
    a.flush(group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_many_blobs_arrive_whole() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::WebSocket).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let large = "x".repeat(1024 * 1024);
    a.push(group, &large).await;
    for n in 0..1000 {
        a.push(group, &n.to_string()).await;
    }
    a.push(group, "").await;
    let error = a
        .client
        .push(group, format!("{large}!").into(), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code, "BLOB_TOO_LARGE");
    let texts = b.wait_texts(group, 1002).await;
    assert!(texts[0] == large && texts[1001].is_empty());
    assert_eq!(
        texts[1..1001],
        (0..1000).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_left_is_gone_and_can_be_joined_again() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, "one").await;
    patient(b.join(&a, group)).await;
    b.wait_texts(group, 1).await;
    b.push(group, "two").await;
    b.flush(group).await;
    b.client.leave(group).await.unwrap();
    assert!(b.client.groups().is_empty());
    assert_eq!(
        b.client.push(group, "x".into(), 0).await.unwrap_err().code,
        "UNKNOWN_GROUP"
    );
    patient(b.join(&a, group)).await;
    assert_eq!(b.wait_texts(group, 2).await, ["one", "two"]);
    b.push(group, "three").await;
    assert_eq!(a.wait_texts(group, 3).await, ["one", "two", "three"]);
}
