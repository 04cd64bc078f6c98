//! Who is there and what devices say to each other, with real relays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use crate::common::{Device, patient, wait_until, world};
use zerok_sync_client::shared::crypto::rotation::Reason;
use zerok_sync_client::shared::engine::DeviceInfo;
use zerok_sync_client::shared::ids::{DeviceId, GroupId};
use zerok_sync_client::shared::limits::MAX_EPHEMERAL;
use zerok_sync_client::{ClientEvent, Path};

/// A device as another one sees it.
fn seen(by: &Device, group: GroupId, id: DeviceId) -> Option<DeviceInfo> {
    let devices = by.client.devices(group).unwrap();
    devices.into_iter().find(|info| info.device == id)
}

fn is_online(by: &Device, group: GroupId, id: DeviceId) -> bool {
    seen(by, group, id).is_some_and(|info| info.online)
}

/// What a device has heard: who, and what.
fn heard(device: &Device) -> Vec<(DeviceId, String)> {
    let told = device.told();
    let broadcast = |event| match event {
        ClientEvent::Broadcast { sender, data, .. } => {
            Some((sender, String::from_utf8(data.to_vec()).unwrap()))
        }
        _ => None,
    };
    told.into_iter().filter_map(broadcast).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_see_who_is_there_and_hear_what_is_said_and_keep_none_of_it() {
    let world = world().await;
    let url = world.relay.url();
    let a = Device::named(url, Path::Any, "Laptop").await;
    let b = Device::named(url, Path::WebSocket, "Phone").await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let (first, second) = (a.client.device_id(), b.client.device_id());
    wait_until("both are there", || {
        is_online(&a, group, second) && is_online(&b, group, first)
    })
    .await;
    assert!(is_online(&a, group, first), "itself");
    assert!(seen(&a, group, second).unwrap().last_seen.is_some());

    a.client.broadcast(group, "hello".into()).unwrap();
    wait_until("it is heard", || !heard(&b).is_empty()).await;
    b.client
        .broadcast(group, "longest".repeat(585).into())
        .unwrap();
    wait_until("the answer is heard", || !heard(&a).is_empty()).await;
    assert_eq!(heard(&b), [(first, "hello".to_owned())]);
    let too_long = vec![1; MAX_EPHEMERAL + 1].into();
    let refused = a.client.broadcast(group, too_long).unwrap_err();
    assert_eq!(refused.code, "BLOB_TOO_LARGE");
    a.push(group, "stored").await;
    assert_eq!(b.wait_texts(group, 1).await, ["stored"]);
    let vectors = |device: &Device| device.client.group_view(group).unwrap().version_vector;
    assert_eq!(vectors(&a), vectors(&b));
    assert_eq!(vectors(&a).get(&first), Some(&2), "its entry and one push");

    // Told by an event, each time that the answer is another one.
    let changes = |device: &Device| {
        let told = device.told();
        let changed =
            |event: &&ClientEvent| matches!(event, ClientEvent::Devices(of) if *of == group);
        told.iter().filter(changed).count()
    };
    let before = changes(&a);
    b.client.rename(group, "Kitchen").await.unwrap();
    wait_until("the new name is there", || {
        seen(&a, group, second).is_some_and(|info| info.name == "Kitchen")
    })
    .await;
    assert!(changes(&a) > before);

    let before = changes(&a);
    b.client.close().await;
    wait_until("it is gone", || !is_online(&a, group, second)).await;
    assert!(changes(&a) > before);
    assert!(seen(&a, group, second).unwrap().last_seen.is_some());

    a.client.revoke(group, second, Reason::Lost).await.unwrap();
    patient(a.client.wait_revoked(group, second)).await.unwrap();
    let gone = seen(&a, group, second).unwrap();
    assert!(gone.revoked && !gone.online);
    assert_eq!(gone.name, "Kitchen", "people see who was removed");
    assert_eq!(a.errors(), [] as [&str; 0]);
    a.client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_nobody_is_there_and_nobody_hears_anything() {
    let world = world().await;
    let url = world.relay.url();
    let a = Device::open(url, Path::Any).await;
    let b = Device::open(url, Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let (first, second) = (a.client.device_id(), b.client.device_id());
    wait_until("both are there", || {
        is_online(&a, group, second) && is_online(&b, group, first)
    })
    .await;
    world.relay.kill().await.unwrap();
    wait_until("nobody is there", || {
        !is_online(&a, group, first) && !is_online(&a, group, second)
    })
    .await;
    a.client.broadcast(group, "lost".into()).unwrap();
    assert!(heard(&b).is_empty());
    let unknown = a.client.broadcast(GroupId([9; 32]), "x".into());
    assert_eq!(unknown.unwrap_err().code, "UNKNOWN_GROUP");
}
