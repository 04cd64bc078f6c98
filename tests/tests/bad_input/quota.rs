//! A group that has used up its storage on the relay.

use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::{ClientEvent, Path, State};
use zerok_sync_tests::raw::{Peer, blob_id, keys, push};
use zerok_sync_tests::relay::RelayProcess;

use crate::common::{Device, patient, wait_until, world_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_group_is_refused_in_order_and_others_are_not() {
    let world = world_with(&["--group-quota", "10K"]).await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut full, welcome) = peer.session(&keys(1)).await.unwrap();
    assert_eq!(welcome.limits.group_quota, 10 * 1024);
    let (mut other, _) = peer.session(&keys(2)).await.unwrap();
    full.send(&push(1, &[1; 8000])).await.unwrap();
    full.send(&push(2, &[2; 4000])).await.unwrap();
    full.send(&push(3, &[3; 100])).await.unwrap();
    assert_eq!(full.acknowledged().await.unwrap().cursor, 1);
    let error = full.error().await.unwrap();
    assert_eq!(error.code, ErrorCode::GroupQuotaExceeded);
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 0));
    // What follows would fit, but would overtake what was refused.
    full.send(&push(4, &[4; 100])).await.unwrap();
    assert_eq!(full.has(&[1, 2, 3, 4]).await.unwrap(), [blob_id(1)]);

    other.send(&push(1, &[1; 8000])).await.unwrap();
    assert_eq!(other.acknowledged().await.unwrap().cursor, 1);
    // What is stored already costs nothing, and another session starts afresh.
    let (mut again, _) = peer.session(&keys(1)).await.unwrap();
    again.send(&push(1, &[1; 8000])).await.unwrap();
    assert_eq!(again.acknowledged().await.unwrap().cursor, 1);
    again.send(&push(3, &[3; 100])).await.unwrap();
    assert_eq!(again.acknowledged().await.unwrap().cursor, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_what_the_quota_refused_says_so_and_sends_it_when_there_is_room() {
    let world = world_with(&["--group-quota", "20K"]).await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let texts: Vec<String> = (0..10)
        .map(|n| format!("{n} {}", "x".repeat(4000)))
        .collect();
    for text in &texts {
        a.push(group, text).await;
    }
    wait_until("the client shows why", || {
        a.errors().contains(&"GROUP_QUOTA_EXCEEDED")
    })
    .await;
    let named = a.events.lock().unwrap().iter().any(|event| match event {
        ClientEvent::Error { error, .. } => {
            error.message.contains(world.relay.url()) && error.retryable
        }
        _ => false,
    });
    assert!(named, "the error names the relay");
    let view = a.client.group_view(group).unwrap();
    assert!(view.pending > 0 && view.pending < 10, "{}", view.pending);
    assert_eq!(view.state, State::Error);
    assert_eq!(view.error.unwrap().code, "GROUP_QUOTA_EXCEEDED");
    assert_eq!(a.texts(group).await, texts, "nothing is lost here");
    let stored = 10 - view.pending;
    assert_eq!(b.wait_texts(group, stored).await, texts[..stored]);
    // Receiving goes on, and another group is not affected.
    let other = a.client.create_group().await.unwrap();
    a.push(other, "elsewhere").await;
    a.flush(other).await;

    let mut options = world.relay.terminate().await.unwrap();
    options.args = vec!["--group-quota".into(), "1M".into()];
    let _relay = RelayProcess::start(options).await.unwrap();
    for device in [&a, &b] {
        device.client.network_changed(true);
    }
    a.flush(group).await;
    assert_eq!(b.wait_texts(group, 10).await, texts);
    assert_eq!(a.client.group_view(group).unwrap().error, None);
}
