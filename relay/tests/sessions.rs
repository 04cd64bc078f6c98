//! A real relay, real connections: over UDP and through its WebSocket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use crate::common::{Device, Way, keys, push, start};
use bytes::Bytes;
use zerok_sync_relay::{Relay, limits};
use zerok_sync_shared::codec;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{BlobId, DeviceId};
use zerok_sync_shared::message::{Hello, Message, Pull};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_udp_reaches_a_subscriber_on_the_websocket_and_back() {
    let (relay, _folder) = start().await;
    let udp = Device::connect(relay.http_url(), Way::Udp).await;
    let browser = Device::connect(relay.http_url(), Way::WebSocket).await;
    let keys = keys(1);
    let mut one = udp.session(&keys).await;
    let mut two = browser.session(&keys).await;
    assert_eq!(one.push(1, b"stored before").await, 1);

    two.subscribe(0).await;
    let Message::Blob(blob) = two.receive().await else {
        panic!("not a blob")
    };
    assert_eq!(
        (blob.cursor, blob.payload),
        (1, Bytes::from_static(b"stored before"))
    );
    assert_eq!(two.receive().await, Message::CaughtUp { max_cursor: 1 });

    one.subscribe(1).await;
    assert_eq!(one.receive().await, Message::CaughtUp { max_cursor: 1 });
    assert_eq!(one.push(2, b"live").await, 2);
    let Message::Blob(blob) = two.receive().await else {
        panic!()
    };
    assert_eq!(
        (blob.cursor, blob.payload),
        (2, Bytes::from_static(b"live"))
    );

    assert_eq!(two.push(3, b"back").await, 3);
    loop {
        let Message::Blob(blob) = one.receive().await else {
            panic!()
        };
        if blob.cursor == 3 {
            assert_eq!(blob.payload, Bytes::from_static(b"back"));
            break;
        }
    }
    assert_eq!(
        two.push(1, b"again").await,
        1,
        "the same id has the same cursor"
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_blobs_come_from_memory_and_what_was_there_before_from_the_storage() {
    let (relay, _folder) = start().await;
    let keys = keys(1);
    let pusher = Device::connect(relay.http_url(), Way::Udp).await;
    let reader = Device::connect(relay.http_url(), Way::Udp).await;
    {
        let mut before = pusher.session(&keys).await;
        assert_eq!(before.push(1, b"before").await, 1);
    }
    // What is in memory goes with the group's last session, which ends some time after the device has left it.
    while metric(&relay, "zerok_relay_sessions").await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut one = pusher.session(&keys).await;
    let mut two = reader.session(&keys).await;
    two.subscribe(0).await;
    assert!(matches!(two.receive().await, Message::Blob(blob) if blob.cursor == 1));
    assert_eq!(two.receive().await, Message::CaughtUp { max_cursor: 1 });
    let from_storage = counter(&relay, "pages_from_storage").await;
    assert!(from_storage >= 1);
    assert_eq!(counter(&relay, "pages_from_memory").await, 0);

    for id in 2..=20 {
        // The second push of an id comes with other bytes, which nobody may ever see.
        assert_eq!(one.push(id, &[id; 3000]).await, u64::from(id));
        assert_eq!(one.push(id, b"other").await, u64::from(id));
        let Message::Blob(blob) = two.receive().await else {
            panic!()
        };
        assert_eq!(blob.cursor, u64::from(id));
        assert_eq!(blob.payload, vec![id; 3000]);
    }
    assert_eq!(counter(&relay, "pages_from_storage").await, from_storage);
    assert_eq!(counter(&relay, "pages_from_memory").await, 19);
    relay.shutdown().await;
}

async fn counter(relay: &Relay, name: &str) -> u64 {
    metric(relay, &format!("zerok_relay_{name}_total")).await
}

async fn metric(relay: &Relay, name: &str) -> u64 {
    let url = format!("{}/metrics", relay.http_url());
    let text = crate::common::http().get(url).send().await.unwrap();
    let text = text.text().await.unwrap();
    let start = format!("{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_go_both_ways_and_through_small_windows() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::WebSocket).await;
    let mut one = device.session(&keys(1)).await;
    let payload = vec![7; zerok_sync_shared::limits::MAX_PAYLOAD];
    for id in 1..=3 {
        assert_eq!(one.push(id, &payload).await, u64::from(id));
    }
    let mut two = device.session(&keys(1)).await;
    two.subscribe(0).await;
    for cursor in 1..=3 {
        let Message::Blob(blob) = two.receive().await else {
            panic!()
        };
        assert_eq!((blob.cursor, blob.payload.len()), (cursor, payload.len()));
    }
    let mut three = device.session(&keys(1)).await;
    three
        .send(Message::Pull(Pull {
            after_cursor: 0,
            limit: 10,
        }))
        .await;
    let Message::PullResponse(page) = three.receive().await else {
        panic!()
    };
    assert_eq!(
        (page.blobs.len(), page.has_more, page.max_cursor),
        (1, true, 3)
    );
    three
        .send(Message::Has {
            blob_ids: vec![BlobId([9; 16]), BlobId([2; 16])],
        })
        .await;
    let Message::HasResponse { marks } = three.receive().await else {
        panic!()
    };
    let stored: Vec<_> = marks
        .iter()
        .map(|mark| (mark.cursor, mark.blob_id))
        .collect();
    assert_eq!(stored, [(2, BlobId([2; 16]))]);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_the_stream_with_a_reason_and_leaves_the_connection() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let keys = keys(1);
    let good = device.hello(&keys);
    let hellos = [
        (
            Hello {
                version: 0,
                ..good.clone()
            },
            ErrorCode::UnsupportedVersion,
        ),
        (
            Hello {
                proof: [0; 64],
                ..good.clone()
            },
            ErrorCode::Unauthorized,
        ),
        (
            Hello {
                access_pub: [9; 32],
                ..good.clone()
            },
            ErrorCode::Unauthorized,
        ),
    ];
    for (hello, expected) in hellos {
        let mut stream = device.stream().await;
        stream.send(Message::Hello(hello)).await;
        assert_eq!(stream.refused().await.code, expected);
    }
    let frames: [&[u8]; 4] = [
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[3, 0, 0, 0, 1, 2, 3],
        &[4, 0, 0, 0, 0x92, 0xCC, 0x66, 0x90],
        &codec::encode(&Message::Ack { cursor: 1 }),
    ];
    for frame in frames {
        let mut stream = device.stream().await;
        stream.send_bytes(frame).await;
        assert_eq!(
            stream.refused().await.code,
            ErrorCode::InvalidMessage,
            "{frame:?}"
        );
    }
    let mut session = device.session(&keys).await;
    session
        .send_bytes(&[4, 0, 0, 0, 0x92, 0xCC, 0x66, 0x90])
        .await;
    assert_eq!(session.refused().await.code, ErrorCode::InvalidMessage);

    let mut session = device.session(&keys).await;
    assert_eq!(session.push(1, b"the connection lives").await, 1);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_cannot_be_used_on_another_connection() {
    let (relay, _folder) = start().await;
    let one = Device::connect(relay.http_url(), Way::Udp).await;
    let two = Device::connect(relay.http_url(), Way::Udp).await;
    let mut stream = two.stream().await;
    stream.send(Message::Hello(one.hello(&keys(1)))).await;
    assert_eq!(stream.refused().await.code, ErrorCode::Unauthorized);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_hello_ends_by_the_deadline() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let mut stream = device.stream().await;
    let hello = codec::encode(&Message::Hello(device.hello(&keys(1))));
    stream.send_bytes(&hello[..hello.len() - 1]).await;
    let started = std::time::Instant::now();
    assert_eq!(stream.refused().await.code, ErrorCode::InvalidMessage);
    let took = started.elapsed();
    assert!(
        took > Duration::from_secs(8) && took < Duration::from_secs(13),
        "{took:?}"
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_restart_and_so_does_the_relay_itself() {
    let (relay, folder) = start().await;
    let (id, life) = (relay.endpoint_id(), relay.incarnation());
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let mut session = device.session(&keys(1)).await;
    assert_eq!(session.push(1, b"kept").await, 1);
    relay.shutdown().await;
    let Message::Error(farewell) = session.receive().await else {
        panic!()
    };
    assert_eq!(farewell.code, ErrorCode::RelayShuttingDown);
    assert!(farewell.retry_after_ms >= Some(1_000));
    assert_eq!(session.next().await, None);

    let relay = Relay::start(crate::common::config(&folder)).await.unwrap();
    assert_eq!((relay.endpoint_id(), relay.incarnation()), (id, life));
    let device = Device::connect(relay.http_url(), Way::WebSocket).await;
    let mut session = device.session(&keys(1)).await;
    session.subscribe(0).await;
    let Message::Blob(blob) = session.receive().await else {
        panic!()
    };
    assert_eq!(
        (blob.cursor, blob.payload),
        (1, Bytes::from_static(b"kept"))
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_refuses_in_order_and_names_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(&folder);
    config.group_quota = 100 + 2 * limits::ROW_BYTES;
    let relay = Relay::start(config).await.unwrap();
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let mut session = device.session(&keys(1)).await;
    assert_eq!(session.push(1, &[1; 60]).await, 1);
    // Would fit after the refused one, and must not overtake it.
    for (id, len) in [(2, 60), (3, 10)] {
        session.send(push(id, &vec![1; len])).await;
    }
    let Message::Error(error) = session.receive().await else {
        panic!()
    };
    assert_eq!(error.code, ErrorCode::GroupQuotaExceeded);
    assert!(error.retry_after_ms.is_some());
    session
        .send(Message::Has {
            blob_ids: vec![BlobId([2; 16]), BlobId([3; 16])],
        })
        .await;
    assert_eq!(
        session.receive().await,
        Message::HasResponse { marks: vec![] }
    );
    // Another group has its own quota.
    let mut other = device.session(&keys(2)).await;
    assert_eq!(other.push(1, &[1; 60]).await, 1);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_sees_every_cursor_once_while_many_push() {
    let (relay, _folder) = start().await;
    let keys = keys(1);
    let reader = Device::connect(relay.http_url(), Way::Udp).await;
    let mut reading = reader.session(&keys).await;
    reading.subscribe(0).await;
    let mut pushers = Vec::new();
    for device in 0..4u8 {
        let pusher = Device::connect(relay.http_url(), Way::Udp).await;
        let mut session = pusher.session(&keys).await;
        pushers.push(tokio::spawn(async move {
            for n in 0..50 {
                session.push(device * 50 + n, &[device; 900]).await;
            }
            pusher
        }));
    }
    let mut expected = 1;
    while expected <= 200 {
        match reading.receive().await {
            Message::Blob(blob) => {
                assert_eq!(blob.cursor, expected);
                assert_ne!(blob.sender, DeviceId([0; 32]));
                expected += 1;
            }
            Message::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for pusher in pushers {
        pusher.await.unwrap();
    }
    relay.shutdown().await;
}
