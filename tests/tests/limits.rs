//! What one device can do to a relay and to the others: rates, groups, and readers that do not read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use crate::common::{Device, patient, wait_until, world, world_with};
use zerok_sync_client::shared::codec::encode;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::message::{Message, Pull, Subscribe};
use zerok_sync_client::{ClientEvent, Path};
use zerok_sync_tests::raw::{Peer, Stream, keys, push};

const MIB: usize = 1024 * 1024;

fn subscribe() -> Message {
    Message::Subscribe(Subscribe {
        after_cursor: 0,
        window: u32::MAX,
    })
}

/// Pushes blobs as fast as the relay takes them, with a window of unanswered ones as a client has it.
async fn push_all(stream: &mut Stream, ids: std::ops::Range<u64>, payload: &[u8]) {
    let (mut sent, mut answered) = (ids.start, ids.start);
    while answered < ids.end {
        if sent < ids.end && sent - answered < 256 {
            stream.send(&push(sent, payload)).await.unwrap();
            sent += 1;
        } else {
            stream.acknowledged().await.unwrap();
            answered += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_with_ten_thousand_pushes_is_not_punished() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    // Any ERROR would end this.
    push_all(&mut stream, 0..10_000, &[7; 200]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_is_told_when_to_come_back_goes_on_reading_and_others_are_served() {
    let world = world_with(&["--device-bytes", "10K"]).await;
    let fast = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = fast.session(&keys(1)).await.unwrap();
    stream.send(&subscribe()).await.unwrap();
    let caught_up = stream.receive().await.unwrap();
    assert!(matches!(caught_up, Message::CaughtUp { .. }));
    stream.send(&push(1, &vec![1; MIB])).await.unwrap();
    let mut answers = [
        stream.receive().await.unwrap(),
        stream.receive().await.unwrap(),
    ];
    answers.sort_by_key(|message| matches!(message, Message::Blob(_)));
    let [Message::PushAck(_), Message::Blob(_)] = answers else {
        panic!("{answers:?}");
    };

    stream.send(&push(2, &vec![2; MIB])).await.unwrap();
    stream.send(&push(3, b"late")).await.unwrap();
    let error = stream.error().await.unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited);
    let wait = error.retry_after_ms.unwrap();
    assert!((60_000..200_000).contains(&wait), "{wait}");

    // Another session of the same device changes nothing; another device is another matter.
    let mut again = fast.open().await.unwrap();
    let hello = Message::Hello(fast.hello(&keys(2)).unwrap());
    let other = Peer::connect(world.relay.url()).await.unwrap();
    let (mut served, _) = other.session(&keys(1)).await.unwrap();
    served.send(&push(4, b"from another")).await.unwrap();
    assert_eq!(served.acknowledged().await.unwrap().cursor, 2);
    let Message::Blob(blob) = stream.receive().await.unwrap() else {
        panic!("no blob");
    };
    assert_eq!(blob.payload, b"from another"[..]);
    again.send(&hello).await.unwrap();
    again.send(&push(5, &vec![5; MIB])).await.unwrap();
    let error = match again.receive().await.unwrap() {
        Message::Welcome(_) => again.error().await.unwrap(),
        Message::Error(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.code, ErrorCode::RateLimited);
    assert_eq!(served.has(&[2, 3, 5]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_little_too_much_is_only_slowed() {
    let world = world_with(&["--device-messages", "50"]).await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    push_all(&mut stream, 0..600, b"small").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_together_have_a_rate_too() {
    let world = world_with(&["--total-bytes", "10K"]).await;
    let first = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = first.session(&keys(1)).await.unwrap();
    stream.send(&push(1, &vec![1; MIB])).await.unwrap();
    stream.acknowledged().await.unwrap();
    let second = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = second.session(&keys(2)).await.unwrap();
    stream.send(&push(1, &vec![1; MIB])).await.unwrap();
    let error = stream.error().await.unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_as_long_as_it_was_told_and_then_sends_the_rest() {
    // Two of the blobs fit the burst; the third would have to wait for longer than the relay holds it.
    let world = world_with(&["--device-bytes", "64K"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let group = device.client.create_group().await.unwrap();
    let text = "x".repeat(500_000);
    for _ in 0..3 {
        device.push(group, &text).await;
    }
    device.flush(group).await;
    let told: Vec<_> = device
        .events
        .lock()
        .unwrap()
        .iter()
        .fold(Vec::new(), |mut told, event| {
            if let ClientEvent::Error { error, .. } = event {
                told.push((error.code, error.retry_after_ms));
            }
            told
        });
    let [(code, Some(wait))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(*code, "RATE_LIMITED");
    assert!((5_000..30_000).contains(wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_founds_so_many_groups_a_day_and_keeps_those() {
    let world = world_with(&["--groups-per-day", "2"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        let group = device.client.create_group().await.unwrap();
        device.push(group, "first").await;
        device.flush(group).await;
        groups.push(group);
    }
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let mut stream = peer.open().await.unwrap();
    let hello = Message::Hello(peer.hello(&keys(1)).unwrap());
    stream.send(&hello).await.unwrap();
    let error = stream.refused().await.unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited);
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 3_600_000));

    let third = device.client.create_group().await.unwrap();
    device.push(third, "waits").await;
    wait_until("the device is told", || {
        device.errors().contains(&"RATE_LIMITED")
    })
    .await;
    for group in groups {
        device.push(group, "goes on").await;
        device.flush(group).await;
    }
    let joined = Device::open(world.relay.url(), Path::Any).await;
    patient(joined.client.create_group()).await.unwrap();
    assert_eq!(device.client.group_view(third).unwrap().pending, 1);
}

/// Memory of a process that is in use.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<usize>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_do_not_read_cost_little_and_are_cut() {
    const READERS: usize = 50;
    const BLOBS: u64 = 24;
    let world = world_with(&["--slow-reader", "4s", "--device-bytes", "0"]).await;
    let url = world.relay.url();
    let writer = Peer::connect(url).await.unwrap();
    let (mut stream, _) = writer.session(&keys(1)).await.unwrap();
    for id in 0..BLOBS {
        stream.send(&push(id, &vec![1; MIB])).await.unwrap();
        stream.acknowledged().await.unwrap();
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let peer = Peer::connect(url).await.unwrap();
        let (session, _) = peer.session(&keys(1)).await.unwrap();
        readers.push((peer, session));
    }
    let pid = world.relay.pid().unwrap();
    let before = resident(pid);
    for (_, session) in &mut readers {
        session.send(&subscribe()).await.unwrap();
    }
    // The first one reads a byte now and then.
    let (_trickling, mut trickle) = readers.remove(0);
    let trickle = tokio::spawn(async move {
        let mut byte = [0];
        let stream = trickle.reader.get_mut();
        loop {
            match stream.read_exact(&mut byte).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return error.to_string(),
            }
        }
    });
    let cut = tokio::spawn(async move {
        let mut codes = Vec::new();
        for (_, session) in &mut readers {
            let stream = session.reader.get_mut();
            codes.push(patient(stream.received_reset()).await.unwrap());
        }
        codes
    });
    let mut most = 0;
    let mut served = BLOBS;
    while !cut.is_finished() {
        most = most.max(resident(pid));
        stream
            .send(&push(served, b"others are served"))
            .await
            .unwrap();
        stream.acknowledged().await.unwrap();
        served += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let too_slow = Some(u32::from(ErrorCode::TooSlow.number()).into());
    assert!(cut.await.unwrap().iter().all(|code| *code == too_slow));
    let end = patient(trickle).await.unwrap();
    assert!(end.contains("2005"), "{end}");
    // A page and what QUIC keeps until it has arrived. All of what they did not read would be eight times as much.
    let grown = most.saturating_sub(before);
    assert!(grown < READERS * 4 * MIB, "{} MiB", grown / MIB);
    println!("{READERS} readers: {} MiB", grown / MIB);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn questions_whose_answers_nobody_reads_cost_little_and_others_catch_up() {
    const CONNECTIONS: usize = 15;
    const STREAMS: usize = 20;
    let world = world().await;
    let url = world.relay.url();
    let writer = Peer::connect(url).await.unwrap();
    let (mut stream, _) = writer.session(&keys(1)).await.unwrap();
    for id in 0..2 {
        stream.send(&push(id, &vec![1; MIB])).await.unwrap();
        stream.acknowledged().await.unwrap();
    }
    let pid = world.relay.pid().unwrap();
    let before = resident(pid);
    let pull = Message::Pull(Pull {
        after_cursor: 0,
        limit: 1_000,
    });
    let (mut peers, mut readers) = (Vec::new(), Vec::new());
    let mut most = 0;
    for _ in 0..CONNECTIONS {
        let peer = Peer::connect(url).await.unwrap();
        for _ in 0..STREAMS {
            let mut session = peer.open().await.unwrap();
            let hello = Message::Hello(peer.hello(&keys(1)).unwrap());
            session.send(&hello).await.unwrap();
            for _ in 0..3 {
                session.send(&pull).await.unwrap();
            }
            readers.push(session);
            most = most.max(resident(pid));
        }
        peers.push(peer);
    }
    // All of the relay's room for pages is taken now, or about to be; those who hold it have to make way.
    for seed in [1, 2] {
        let other = Peer::connect(url).await.unwrap();
        let (mut session, welcome) = other.session(&keys(seed)).await.unwrap();
        if welcome.max_cursor == 0 {
            session.send(&push(9, b"another group")).await.unwrap();
            session.acknowledged().await.unwrap();
        }
        session.send(&subscribe()).await.unwrap();
        let mut caught_up = false;
        while !caught_up {
            let next = patient(session.receive()).await.unwrap();
            caught_up = matches!(next, Message::CaughtUp { .. });
            most = most.max(resident(pid));
        }
    }
    let grown = most.saturating_sub(before);
    println!("{} questions: {} MiB", readers.len() * 3, grown / MIB);
    assert!(grown < 200 * MIB, "{} MiB", grown / MIB);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_does_not_go_on_ends_its_session_and_many_at_once_cost_little() {
    const STREAMS: usize = 64;
    let world = world_with(&["--slow-reader", "4s"]).await;
    let url = world.relay.url();
    let peer = Peer::connect(url).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..STREAMS {
        sessions.push(peer.session(&keys(1)).await.unwrap().0);
    }
    let pid = world.relay.pid().unwrap();
    let before = resident(pid);
    let frame = encode(&push(1, &vec![1; MIB]));
    let mut halves = tokio::task::JoinSet::new();
    for mut session in sessions {
        let half = frame[..frame.len() - 1].to_vec();
        halves.spawn(async move {
            // The relay may have stopped it by then.
            let _ = session.send_bytes(&half).await;
            session.refused().await.unwrap()
        });
    }
    // Somebody with a slow line gets through meanwhile.
    let slow = Peer::connect(url).await.unwrap();
    let (mut slowly, _) = slow.session(&keys(1)).await.unwrap();
    let sent = tokio::spawn(async move {
        for piece in frame.chunks(32 * 1024) {
            slowly.send_bytes(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        slowly.acknowledged().await.unwrap()
    });
    let mut most = 0;
    let (mut slow_ones, mut crowded) = (0, 0);
    while let Some(refused) = patient(halves.join_next()).await {
        most = most.max(resident(pid));
        let error = refused.unwrap();
        assert!(error.retry_after_ms.is_some(), "{error:?}");
        match error.code {
            ErrorCode::TooSlow => slow_ones += 1,
            ErrorCode::RateLimited => crowded += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{slow_ones} too slow, {crowded} had no room");
    assert!(slow_ones > 0 && slow_ones + crowded == STREAMS);
    assert_eq!(patient(sent).await.unwrap().cursor, 1);
    let grown = most.saturating_sub(before);
    assert!(grown < 40 * MIB, "{} MiB", grown / MIB);
    println!("{STREAMS} halves: {} MiB", grown / MIB);
}
