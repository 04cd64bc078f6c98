//! Deleting blobs through a real relay process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use crate::common::{Device, patient, wait_until, world};
use zerok_sync_client::shared::ids::{BlobId, GroupId};
use zerok_sync_client::{ClientEvent, Path};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::message::{Delete, Message, Subscribe};
use zerok_sync_tests::raw::{self, Peer};

fn deletions(device: &Device) -> Vec<(BlobId, u64, bool)> {
    let deletion = |event| match event {
        ClientEvent::Deleted {
            blob_id,
            position,
            forced,
            ..
        } => Some((blob_id, position, forced)),
        _ => None,
    };
    device.told().into_iter().filter_map(deletion).collect()
}

async fn two(url: &str) -> (Device, Device, GroupId) {
    let (a, b) = (
        Device::open(url, Path::Any).await,
        Device::open(url, Path::WebSocket).await,
    );
    let group = a.client.create_group().await.unwrap();
    for n in 1..=3 {
        a.push(group, &format!("blob {n}")).await;
    }
    patient(b.join(&a, group)).await;
    assert_eq!(b.wait_texts(group, 3).await.len(), 3);
    (a, b, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_blob_is_gone_everywhere_and_the_others_keep_their_positions() {
    let world = world().await;
    let (a, b, group) = two(world.relay.url()).await;
    let log = b.log(group).await;
    // Anybody may.
    b.client.delete(group, log[1].blob_id, false).await.unwrap();
    assert_eq!(b.texts(group).await, ["blob 1", "blob 3"]);
    wait_until("the other one has heard of it", || {
        !deletions(&a).is_empty()
    })
    .await;
    assert_eq!(a.texts(group).await, ["blob 1", "blob 3"]);
    for device in [&a, &b] {
        assert_eq!(deletions(device), [(log[1].blob_id, 2, false)]);
        let positions = device.log(group).await;
        let positions: Vec<_> = positions.iter().map(|blob| blob.position).collect();
        assert_eq!(positions, [1, 3]);
    }
    // Again is nothing new; what was never there is an error.
    a.client.delete(group, log[1].blob_id, false).await.unwrap();
    let unknown = a.client.delete(group, BlobId([9; 16]), false).await;
    assert_eq!(unknown.unwrap_err().code, "NOT_FOUND");
    let forced = b.client.delete(group, log[0].blob_id, true).await;
    assert_eq!(forced.unwrap_err().code, "NOT_BLOB_OWNER");
    a.client.delete(group, log[0].blob_id, true).await.unwrap();
    wait_until("the other one has heard of it", || deletions(&b).len() == 2).await;
    assert_eq!(deletions(&b)[1], (log[0].blob_id, 1, true));
    // Whoever comes later misses nothing.
    a.flush(group).await;
    b.flush(group).await;
    let late = Device::open(world.relay.url(), Path::WebSocket).await;
    patient(late.join(&a, group)).await;
    assert_eq!(late.wait_texts(group, 1).await, ["blob 3"]);
    patient(late.client.ready(group)).await.unwrap();
    let view = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    wait_until("the vectors are equal", || {
        view(&a) == view(&b) && view(&b) == view(&late)
    })
    .await;
    for device in [&a, &b, &late] {
        let gaps = device.told();
        let gap = |event: &ClientEvent| matches!(event, ClientEvent::Gap { .. });
        assert!(!gaps.iter().any(gap) && device.errors().is_empty());
        device.client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_before_it_was_sent_never_leaves_the_device() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    a.client.network_changed(false);
    let canary = "canary ".repeat(4_000);
    let pushed = a.client.push(group, canary.into(), 0).await.unwrap();
    a.push(group, "after").await;
    a.client.delete(group, pushed.blob_id, true).await.unwrap();
    assert_eq!(a.texts(group).await, ["after"]);
    a.client.network_changed(true);
    assert_eq!(b.wait_texts(group, 1).await, ["after"]);
    a.flush(group).await;
    b.flush(group).await;
    let view = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    wait_until("the vectors are equal", || view(&a) == view(&b)).await;
    // It never had anything that it could have erased.
    assert_eq!(deletions(&b), []);
    assert!(b.errors().is_empty(), "{:?}", b.errors());
    a.client.close().await;
    b.client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_sent_a_blob_has_it_erased_at_once() {
    let world = world().await;
    let keys = raw::keys(7);
    let first = Peer::connect(world.relay.url()).await.unwrap();
    let (mut author, welcome) = first.session(&keys).await.unwrap();
    assert!(welcome.capabilities.iter().any(|name| name == "delete"));
    for n in 1..=3 {
        author.send(&raw::push(n, b"sealed")).await.unwrap();
        author.acknowledged().await.unwrap();
    }
    let second = Peer::connect(world.relay.url()).await.unwrap();
    let (mut other, _) = second.session(&keys).await.unwrap();
    let delete = |n, force| {
        Message::Delete(Delete {
            blob_id: raw::blob_id(n),
            force,
        })
    };
    other.send(&delete(2, true)).await.unwrap();
    let refused = other.error().await.unwrap();
    assert_eq!(refused.code, ErrorCode::NotBlobOwner);
    // The session goes on, and a deletion without force is anybody's.
    for n in [1, 9] {
        other.send(&delete(n, false)).await.unwrap();
        let answer = other.receive().await.unwrap();
        let blob_id = raw::blob_id(n);
        assert_eq!(answer, Message::Deleted { blob_id });
    }
    author.send(&delete(2, true)).await.unwrap();
    let blob_id = raw::blob_id(2);
    let answer = author.receive().await.unwrap();
    assert_eq!(answer, Message::Deleted { blob_id });
    let subscribe = Message::Subscribe(Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    });
    other.send(&subscribe).await.unwrap();
    let mut cursors = Vec::new();
    loop {
        match other.receive().await.unwrap() {
            Message::Blob(blob) => cursors.push(blob.cursor),
            Message::CaughtUp { max_cursor } => break assert_eq!(max_cursor, 3),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cursors, [1, 3], "marked only, erased, and not touched");
    assert_eq!(
        author.has(&[1, 2, 3]).await.unwrap().len(),
        3,
        "none of them counts as lost"
    );
    first.close().await;
    second.close().await;
}
