//! A group that has used up its storage on the relay.

use std::time::Duration;

use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::message::{Delete, Message, Push, Subscribe};
use zerok_sync_client::{ClientEvent, Path, State};
use zerok_sync_tests::raw::{Peer, Stream, blob_id, http, keys, push};
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

#[tokio::test(flavor = "multi_thread")]
async fn small_and_erased_blobs_count_until_they_expire() {
    // Forty rows of 256 bytes.
    let world = world_with(&["--group-quota", "10K"]).await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut small, _) = peer.session(&keys(1)).await.unwrap();
    for id in 1..=39 {
        small.send(&push(id, b"1")).await.unwrap();
        small.acknowledged().await.unwrap();
    }
    small.send(&push(40, b"1")).await.unwrap();
    let error = small.error().await.unwrap();
    assert_eq!(error.code, ErrorCode::GroupQuotaExceeded);

    let (mut erasing, _) = peer.session(&keys(2)).await.unwrap();
    let mut stored = 0;
    let error = loop {
        erasing.send(&push(stored, &[7; 1000])).await.unwrap();
        match erasing.receive().await.unwrap() {
            Message::PushAck(_) => stored += 1,
            Message::Error(error) => break error,
            other => panic!("{other:?}"),
        }
        let delete = Delete {
            blob_id: blob_id(stored - 1),
            force: true,
        };
        erasing.send(&Message::Delete(delete)).await.unwrap();
        let answer = erasing.receive().await.unwrap();
        assert!(matches!(answer, Message::Deleted { .. }), "{answer:?}");
        assert!(stored < 40, "what was erased costs nothing");
    };
    assert_eq!(error.code, ErrorCode::GroupQuotaExceeded);
    assert!(stored > 30, "{stored}");
}

async fn push_until_refused(stream: &mut Stream, ids: impl Iterator<Item = u64>) -> (u64, Message) {
    let mut stored = 0;
    for id in ids {
        stream.send(&push(id, &[7; 100_000])).await.unwrap();
        match stream.receive().await.unwrap() {
            Message::PushAck(_) => stored += 1,
            refusal => return (stored, refusal),
        }
    }
    panic!("nothing is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_full_refuses_what_is_new_and_goes_on_when_there_is_room() {
    let world = world_with(&["--max-storage", "4M"]).await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let (stored, refusal) = push_until_refused(&mut stream, 1..1000).await;
    assert!(
        (20..=42).contains(&stored),
        "{stored} blobs of 100 kB in 4 MiB"
    );
    let Message::Error(error) = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(error.code, ErrorCode::RelayOverloaded);
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 0));

    // What is there can be read and deleted.
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let subscribe = Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    };
    stream.send(&Message::Subscribe(subscribe)).await.unwrap();
    let first = stream.receive().await.unwrap();
    assert!(matches!(first, Message::Blob(_)), "{first:?}");
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    for id in 1..=5 {
        let delete = Delete {
            blob_id: blob_id(id),
            force: true,
        };
        stream.send(&Message::Delete(delete)).await.unwrap();
        let answer = stream.receive().await.unwrap();
        assert!(matches!(answer, Message::Deleted { .. }), "{answer:?}");
    }
    let (again, _) = push_until_refused(&mut stream, 5000..).await;
    assert!((3..=6).contains(&again), "{again} in the place of five");
    let log = std::fs::read_to_string(world.relay.log()).unwrap();
    assert_eq!(
        log.matches("max_storage or min_free_disk is reached")
            .count(),
        1
    );

    let mut options = world.relay.terminate().await.unwrap();
    options.args = vec!["--min-free-disk".into(), "900T".into()];
    let relay = RelayProcess::start(options).await.unwrap();
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    stream.send(&push(9999, b"1")).await.unwrap();
    assert_eq!(
        stream.error().await.unwrap().code,
        ErrorCode::RelayOverloaded
    );
}

async fn pushes(url: &str) -> String {
    let get = http().unwrap().get(format!("{url}/metrics"));
    let text = get.send().await.unwrap().text().await.unwrap();
    let line = |line: &&str| line.starts_with("zerok_relay_pushes_total ");
    text.lines().find(line).unwrap().to_owned()
}

/// A device that took what it asked for as what it got would take the end of the blob for a loss, and send it again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_lives_longer_than_the_relay_allows_and_its_sender_knows_that() {
    let world = world_with(&["--max-blob-ttl", "2s", "--cleanup-interval", "100ms"]).await;
    let url = world.relay.url();
    let peer = Peer::connect(url).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let Message::Push(blob) = push(1, b"for ever") else {
        panic!()
    };
    let blob = Push {
        ttl: u32::MAX,
        ..blob
    };
    stream.send(&Message::Push(blob)).await.unwrap();
    stream.acknowledged().await.unwrap();

    let a = Device::open(url, Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    let body = "for an hour".to_owned();
    a.client.push(group, body.into(), 3600).await.unwrap();
    a.flush(group).await;
    patient(async {
        while !stream.has(&[1]).await.unwrap().is_empty() || stored(url).await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let before = pushes(url).await;
    let options = world.relay.terminate().await.unwrap();
    let relay = RelayProcess::start(options).await.unwrap();
    a.client.network_changed(true);
    a.push(group, "new").await;
    a.flush(group).await;
    assert_eq!(
        pushes(relay.url()).await,
        "zerok_relay_pushes_total 1",
        "{before}"
    );
}

async fn stored(url: &str) -> u64 {
    let get = http().unwrap().get(format!("{url}/metrics"));
    let text = get.send().await.unwrap().text().await.unwrap();
    let mut numbers = text
        .lines()
        .filter_map(|line| line.strip_prefix("zerok_relay_blobs_stored "));
    numbers.next().unwrap().parse().unwrap()
}
