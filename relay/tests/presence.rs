//! Who is there and what devices say to each other, against a relay, by both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{Device, PATIENCE, Session, Way, config, keys, start};
use bytes::Bytes;
use zerok_sync_relay::Relay;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::DeviceId;
use zerok_sync_shared::limits::MAX_EPHEMERAL_PAYLOAD;
use zerok_sync_shared::message::{Ephemeral, Hello, ListedDevice, Message, Presence, capability};
use zerok_sync_transport::endpoint::device_id;

fn id(device: &Device) -> DeviceId {
    device_id(device.endpoint.id())
}

/// A session that has asked who is there, and the answer.
async fn listening(device: &Device) -> (Session, Vec<ListedDevice>) {
    let mut session = device.session(&keys(1)).await;
    session.send(Message::Devices).await;
    match session.receive().await {
        Message::DevicesResponse { devices } => (session, devices),
        other => panic!("{other:?}"),
    }
}

fn said(device: &Device, payload: impl Into<Bytes>) -> Message {
    Message::Ephemeral(Ephemeral {
        sender: id(device),
        epoch: 0,
        payload: payload.into(),
    })
}

/// The next time that somebody comes or goes.
async fn presence(session: &mut Session) -> Presence {
    loop {
        match session.receive().await {
            Message::Presence(presence) => return presence,
            Message::Ephemeral(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_relay_lists_who_is_there_and_tells_who_comes_and_goes() {
    for way in [Way::Udp, Way::WebSocket] {
        let (relay, _folder) = start().await;
        let (first, second) = both(&relay, way).await;
        let mut stream = first.stream().await;
        stream.send(Message::Hello(first.hello(&keys(1)))).await;
        let Message::Welcome(welcome) = stream.receive().await else {
            panic!("no WELCOME");
        };
        assert!(
            welcome
                .capabilities
                .iter()
                .any(|name| name == capability::PRESENCE)
        );
        stream.send(Message::Devices).await;
        let Message::DevicesResponse { devices } = stream.receive().await else {
            panic!("no list");
        };
        let own: Vec<_> = devices.iter().map(|l| (l.device, l.online)).collect();
        assert_eq!(own, [(id(&first), true)]);

        // Of another group nothing is told.
        let stranger = Device::connect(relay.http_url(), way).await;
        let _elsewhere = stranger.session(&keys(2)).await;
        let (session, devices) = listening(&second).await;
        let mut online: Vec<_> = devices
            .iter()
            .filter(|l| l.online)
            .map(|l| l.device)
            .collect();
        online.sort();
        let mut both = [id(&first), id(&second)];
        both.sort();
        assert_eq!(online, both);
        let came = presence(&mut stream).await;
        assert!(came.online && came.device == id(&second), "{came:?}");

        // Again and again within a moment: nobody is told.
        drop(session);
        let again = second.session(&keys(1)).await;
        drop(again);
        second.connection.close(0_u32.into(), b"");
        let went = presence(&mut stream).await;
        assert!(!went.online && went.device == id(&second), "{went:?}");
        assert!(went.last_seen >= came.last_seen);
        stream.send(Message::Devices).await;
        let Message::DevicesResponse { devices } = stream.receive().await else {
            panic!("no list");
        };
        let gone = devices.iter().find(|l| l.device == id(&second));
        // What it last did is on the disk within seconds; until then the list may not have it.
        assert!(gone.is_none_or(|listed| !listed.online));
        relay.shutdown().await;
    }
}

async fn both(relay: &Relay, way: Way) -> (Device, Device) {
    let url = relay.http_url();
    (
        Device::connect(url, way).await,
        Device::connect(url, way).await,
    )
}

#[tokio::test]
async fn a_message_reaches_those_who_are_there_and_is_nowhere_else() {
    for way in [Way::Udp, Way::WebSocket] {
        let (relay, folder) = start().await;
        let (first, second) = both(&relay, way).await;
        let (mut from, _) = listening(&first).await;
        let (mut to, _) = listening(&second).await;
        let third = Device::connect(relay.http_url(), way).await;
        let mut deaf = third.session(&keys(1)).await;
        let canary = b"CANARY-0f9e2d".repeat(300);
        from.send(said(&first, canary.clone())).await;
        loop {
            match to.receive().await {
                Message::Ephemeral(heard) => {
                    assert_eq!(Message::Ephemeral(heard), said(&first, canary));
                    break;
                }
                Message::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        }
        // It has no cursor: the first blob gets the first one. Who has not asked hears nothing, nor does the sender.
        assert_eq!(cursor_of_a_push(&mut from).await, 1);
        assert_eq!(deaf.push(2, b"sealed").await, 2);

        let other = Ephemeral {
            sender: id(&second),
            epoch: 0,
            payload: Bytes::from_static(b"x"),
        };
        from.send(Message::Ephemeral(other)).await;
        let error = loop {
            match from.receive().await {
                Message::Error(error) => break error,
                Message::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error.code, ErrorCode::InvalidMessage, "in another's name");
        let too_long = said(&second, vec![1; MAX_EPHEMERAL_PAYLOAD + 1]);
        to.send(too_long).await;
        let error = loop {
            match to.receive().await {
                Message::Error(error) => break error,
                Message::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error.code, ErrorCode::InvalidMessage);
        relay.shutdown().await;
        for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes.windows(13).any(|window| window == b"CANARY-0f9e2d");
            assert!(!found, "{}", path.display());
        }
    }
}

/// The cursor of a push, whoever comes in the meantime.
async fn cursor_of_a_push(session: &mut Session) -> u64 {
    session.send(crate::common::push(1, b"sealed")).await;
    loop {
        match session.receive().await {
            Message::PushAck(ack) => return ack.cursor,
            Message::Presence(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn too_many_messages_are_dropped_and_pushes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.device_bytes = 64 * 1024;
    let relay = Relay::start(config).await.unwrap();
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let (mut session, _) = listening(&device).await;
    // More than the burst of a device that may send so little.
    for _ in 0..1_000 {
        session
            .writer
            .queue(&said(&device, vec![1; MAX_EPHEMERAL_PAYLOAD]));
    }
    session.writer.flush().await.unwrap();
    let Message::Error(error) = session.receive().await else {
        panic!("no refusal");
    };
    assert_eq!(error.code, ErrorCode::EphemeralDropped);
    assert!(error.retry_after_ms.is_some());
    // A push waits its turn as always, and is taken.
    session.send(crate::common::push(1, b"sealed")).await;
    let cursor = tokio::time::timeout(PATIENCE, async {
        loop {
            match session.receive().await {
                Message::PushAck(ack) => return ack.cursor,
                Message::Error(error) => assert_eq!(error.code, ErrorCode::EphemeralDropped),
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(cursor.await.unwrap(), 1);
    let url = format!("{}/metrics", relay.http_url());
    let text = crate::common::http()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let dropped = text
        .lines()
        .find_map(|line| line.strip_prefix("zerok_relay_ephemeral_dropped_total "));
    assert!(dropped.is_some_and(|count| count != "0"), "{text}");
    relay.shutdown().await;
}

#[tokio::test]
async fn who_only_asks_for_a_group_is_not_there() {
    let (relay, _folder) = start().await;
    let (first, second) = both(&relay, Way::Udp).await;
    let (mut session, _) = listening(&first).await;
    let mut asking = second.stream().await;
    let hello = Hello {
        probe: true,
        ..second.hello(&keys(1))
    };
    asking.send(Message::Hello(hello)).await;
    assert!(matches!(asking.receive().await, Message::Welcome(_)));
    // Whoever comes after it is told first.
    let third = Device::connect(relay.http_url(), Way::Udp).await;
    let _there = third.session(&keys(1)).await;
    assert_eq!(presence(&mut session).await.device, id(&third));
    relay.shutdown().await;
}
