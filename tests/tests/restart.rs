//! A relay that is stopped in an orderly way and started again, with devices connected and busy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{Device, patient, wait_until, world, world_with};
use futures_util::future::join_all;
use zerok_sync_client::shared::engine::State;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::shared::message::{Message, Subscribe};
use zerok_sync_client::{ClientEvent, Path};
use zerok_sync_tests::raw::{Peer, keys, push};
use zerok_sync_tests::relay::RelayProcess;

/// How many devices are connected.
const DEVICES: usize = 200;
/// So many start or ask at a time.
const AT_ONCE: usize = 25;

/// A relay that is stopped answers what it took in, says when to come back, and ends with success.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_taken_in_and_says_when_to_come_back() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let keys = keys(1);
    let (mut stream, _) = peer.session(&keys).await.unwrap();
    for id in 1..=200 {
        stream.writer.queue(&push(id, &[7; 20_000]));
    }
    stream.writer.flush().await.unwrap();
    // The relay is in the middle of it.
    assert_eq!(stream.acknowledged().await.unwrap().cursor, 1);
    world.relay.signal("TERM").await.unwrap();
    let mut acknowledged = 1;
    let farewell = loop {
        match stream.receive().await.unwrap() {
            Message::PushAck(ack) => {
                acknowledged += 1;
                assert_eq!(ack.cursor, acknowledged);
            }
            Message::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(farewell.code, ErrorCode::RelayShuttingDown);
    assert!(farewell.retry_after_ms >= Some(1_000), "{farewell:?}");
    assert_eq!(stream.next().await.unwrap(), None, "nothing after it");
    let (status, options) = world.relay.ended().await.unwrap();
    assert!(status.success(), "{status}");

    let relay = RelayProcess::start(options).await.unwrap();
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (_, welcome) = peer.session(&keys).await.unwrap();
    assert_eq!(
        welcome.max_cursor, acknowledged,
        "what was taken in was answered, and nothing else was stored"
    );
}

/// A device that takes nothing holds a stop up, until somebody loses patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let keys = keys(1);
    let (mut stream, _) = peer.session(&keys).await.unwrap();
    for id in 1..=20 {
        stream.send(&push(id, &vec![7; 1 << 20])).await.unwrap();
        stream.acknowledged().await.unwrap();
    }
    let (mut deaf, _) = peer.session(&keys).await.unwrap();
    let all = Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    };
    deaf.send(&Message::Subscribe(all)).await.unwrap();
    let first = deaf.receive().await.unwrap();
    assert!(matches!(first, Message::Blob(_)));
    world.relay.signal("TERM").await.unwrap();
    // It has begun: the session that listens is told.
    let Message::Error(farewell) = stream.receive().await.unwrap() else {
        panic!()
    };
    assert_eq!(farewell.code, ErrorCode::RelayShuttingDown);
    world.relay.signal("TERM").await.unwrap();
    let (status, options) = world.relay.ended().await.unwrap();
    assert_eq!(status.code(), Some(1), "it did not wait: {status}");

    let relay = RelayProcess::start(options).await.unwrap();
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (_, welcome) = peer.session(&keys).await.unwrap();
    assert_eq!(welcome.max_cursor, 20, "what was acknowledged is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_devices_come_back_one_after_the_other_and_lose_nothing() {
    let world = world_with(&["--invite-rate", "1000"]).await;
    let mut options = world.relay.kill().await.unwrap();
    // At trace level, which leak tests need, so many devices write a gigabyte.
    options.log_filter = "warn,zerok_sync_relay=debug".to_owned();
    let relay = RelayProcess::start(options).await.unwrap();
    let mut devices = Vec::new();
    for _ in 0..DEVICES / AT_ONCE {
        devices.extend(join_all((0..AT_ONCE).map(|_| founder(relay.url()))).await);
    }
    // One group that is written to all the while.
    let (writer, group) = &devices[0];
    let reader = &devices[1].0;
    patient(reader.join(writer, *group)).await;
    let connected = |device: &Device, group: &GroupId| {
        let view = device.client.group_view(*group).unwrap();
        view.relay.is_some()
    };
    wait_until("all are connected", || {
        devices
            .iter()
            .all(|(device, group)| connected(device, group))
    })
    .await;

    for n in 0..100 {
        writer.push(*group, &format!("before {n}")).await;
    }
    let stopping = tokio::spawn(relay.terminate());
    for n in 0..100 {
        writer.push(*group, &format!("while {n}")).await;
    }
    // Those that try before the relay is back have another error by then.
    let mut waits = vec![None; DEVICES];
    let mut stopped = false;
    while !stopped {
        stopped = stopping.is_finished();
        for (wait, (device, group)) in waits.iter_mut().zip(&devices) {
            let error = device.client.group_view(*group).unwrap().error;
            *wait = wait.or(error
                .filter(|error| error.code == "RELAY_SHUTTING_DOWN")
                .and_then(|error| error.retry_after_ms));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let options = patient(stopping).await.unwrap().unwrap();
    let told = waits.iter().flatten().count();
    assert!(told > DEVICES * 9 / 10, "only {told} were told");
    let waits: BTreeSet<u64> = waits.into_iter().flatten().collect();
    let (first, last) = (waits.first().unwrap(), waits.last().unwrap());
    assert!(waits.len() > DEVICES / 4, "{} different waits", waits.len());
    assert!(
        *first < 1_500 && *last > 2_500 && *last <= 3_000,
        "{first} to {last}"
    );

    let relay = RelayProcess::start(options).await.unwrap();
    let ready = Instant::now();
    let mut back = vec![None; DEVICES];
    patient(async {
        while back.iter().any(Option::is_none) {
            for (back, (device, group)) in back.iter_mut().zip(&devices) {
                if back.is_none() && connected(device, group) {
                    *back = Some(ready.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let last = back.iter().flatten().max().unwrap();
    println!("{DEVICES} devices were back {last:?} after the relay");

    for n in 0..100 {
        writer.push(*group, &format!("after {n}")).await;
    }
    writer.flush(*group).await;
    let texts = reader.wait_texts(*group, 300).await;
    let expected = ["before", "while", "after"]
        .iter()
        .flat_map(|when| (0..100).map(move |n| format!("{when} {n}")));
    assert!(texts.into_iter().eq(expected), "all, once, in order");
    for (device, group) in &devices {
        wait_until("it is well", || {
            let view = device.client.group_view(*group).unwrap();
            view.state == State::Synced && view.error.is_none()
        })
        .await;
        let lasting = |event: &ClientEvent| matches!(event, ClientEvent::Error { error, .. } if !error.retryable);
        assert!(!device.events.lock().unwrap().iter().any(lasting));
    }
    drop(relay);
}

/// A device with a group of its own.
async fn founder(url: &str) -> (Device, GroupId) {
    let device = Device::open(url, Path::Any).await;
    let group = device.client.create_group().await.unwrap();
    (device, group)
}
