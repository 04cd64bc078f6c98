//! What devices need of a real relay to notice when one shows them different histories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, patient, wait_until, world};
use zerok_sync_client::Path;
use zerok_sync_client::store::{MemoryStore, Store as _};
use zerok_sync_shared::crypto::blob;
use zerok_sync_shared::crypto::keys::EpochKeys;
use zerok_sync_tests::raw::{self, Peer};
use zerok_sync_tests::relay::RelayProcess;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_has_one_run_for_all_and_another_after_each_start() {
    let world = world().await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let peer = Peer::connect(world.relay.url()).await.unwrap();
        runs.push(peer.session(&raw::keys(7)).await.unwrap().1.run);
        peer.close().await;
    }
    assert!(runs[0].is_some());
    assert_eq!(runs[0], runs[1]);
    let stopped = world.relay.kill().await.unwrap();
    let relay = RelayProcess::start(stopped).await.unwrap();
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (_, welcome) = peer.session(&raw::keys(7)).await.unwrap();
    assert_ne!(welcome.run, runs[0]);
    peer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_say_what_they_have_seen_and_an_honest_relay_is_not_accused() {
    let world = world().await;
    let store = MemoryStore::default();
    let a = Device::open_on(world.relay.url(), Path::Any, Arc::new(store.clone())).await;
    let b = Device::open(world.relay.url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    for n in 1..=5 {
        a.push(group, &format!("a {n}")).await;
        b.push(group, &format!("b {n}")).await;
        a.wait_texts(group, 2 * n).await;
        b.wait_texts(group, 2 * n).await;
    }
    // A hole in what later ones read, and a relay that starts again.
    let first = a.log(group).await[0].blob_id;
    let by = if a.log(group).await[0].own { &a } else { &b };
    by.client.delete(group, first, true).await.unwrap();
    by.flush(group).await;
    let stopped = world.relay.kill().await.unwrap();
    let _relay = RelayProcess::start(stopped).await.unwrap();
    for device in [&a, &b] {
        device.client.network_changed(true);
    }
    let late = Device::open(a.client.status().relays.keys().next().unwrap(), Path::Any).await;
    patient(late.join(&a, group)).await;
    patient(late.client.ready(group)).await.unwrap();
    for device in [&a, &b, &late, &a, &late] {
        device.push(group, "more").await;
        device.flush(group).await;
    }
    let count = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    wait_until("all have everything", || {
        count(&a) == count(&b) && count(&b) == count(&late)
    })
    .await;
    for device in [&a, &b, &late] {
        assert!(!device.errors().contains(&"RELAY_FORKED"));
    }
    let loaded = store.load().await.unwrap().groups.remove(0);
    let (epoch, secret) = loaded.membership.unwrap().epochs.remove(0);
    let keys = EpochKeys::derive(epoch, secret);
    let log = store.read(group, 0, 100, usize::MAX).await.unwrap();
    let witnesses = log.iter().filter(|record| !record.payload.is_empty());
    let witnesses = witnesses.filter_map(|record| {
        let plain = blob::open(&keys, &record.address(group), &record.payload).unwrap();
        plain.witness
    });
    assert!(witnesses.count() >= 5, "what was sealed says so");
    for device in [a, b, late] {
        device.client.close().await;
    }
}
