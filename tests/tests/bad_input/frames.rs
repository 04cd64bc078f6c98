//! Bytes that are no frames, or not the right ones.

use std::time::Instant;

use zerok_sync_client::shared::codec::encode;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::ids::BlobId;
use zerok_sync_client::shared::limits::{HELLO_TIMEOUT, MAX_FRAME, MAX_HELLO_FRAME};
use zerok_sync_client::shared::message::{Message, SnapshotAnswer, Subscribe};
use zerok_sync_tests::raw::{Peer, blob_id, keys, push};

use crate::common::{patient, world};

/// Frames that nobody can read, without their length prefix.
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![]),
        ("a number", vec![0x01]),
        ("text", b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec()),
        ("zeros", vec![0; 1000]),
        ("ones", vec![0xFF; 1000]),
        ("an array of three", vec![0x93, 0xCC, 0x15, 0x91, 0x01]),
        ("another encoding of the code", vec![0x92, 0x15, 0x91, 0x01]),
        ("fields that are missing", vec![0x92, 0xCC, 0x15]),
        (
            "fields of another type",
            vec![0x92, 0xCC, 0x15, 0x91, 0xA1, b'x'],
        ),
        ("too few fields", vec![0x92, 0xCC, 0x10, 0x91, 0x01]),
        (
            "bytes after the fields",
            vec![0x92, 0xCC, 0x15, 0x91, 0x01, 0x00],
        ),
        (
            "an id of 15 bytes",
            [
                &[0x92, 0xCC, 0x22, 0x91, 0x91, 0xC4, 15],
                [7; 15].as_slice(),
            ]
            .concat(),
        ),
        (
            "an array that claims four billion ids",
            vec![0x92, 0xCC, 0x22, 0x91, 0xDD, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        (
            "bytes that claim to be four billion",
            vec![0x92, 0xCC, 0x7F, 0x91, 0xDB, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        (
            "arrays in arrays",
            [&[0x92, 0xCC, 0x15], [0x91; 60_000].as_slice()].concat(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_end_their_stream_with_an_error_and_nothing_else() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut other, _) = peer.session(&keys(1)).await.unwrap();
    for (what, frame) in unreadable() {
        let mut fresh = peer.open().await.unwrap();
        fresh.send_frame(&frame).await.unwrap();
        assert_eq!(
            fresh.refused().await.expect(what).code,
            ErrorCode::InvalidMessage,
            "{what}"
        );

        let (mut open, _) = peer.session(&keys(2)).await.unwrap();
        open.send_frame(&frame).await.unwrap();
        assert_eq!(
            open.refused().await.expect(what).code,
            ErrorCode::InvalidMessage,
            "{what}"
        );
    }
    other.send(&push(1, b"the rest goes on")).await.unwrap();
    assert_eq!(other.acknowledged().await.unwrap().cursor, 1);
    assert!(peer.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_message_types_and_those_of_the_other_side_end_the_stream_and_not_the_connection() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut other, _) = peer.session(&keys(1)).await.unwrap();
    for code in [0x00, 0x03, 0x33, 0x45, 0x66, 0xFE] {
        let (mut open, _) = peer.session(&keys(2)).await.unwrap();
        open.send_frame(&[0x92, 0xCC, code, 0x90]).await.unwrap();
        let error = open.refused().await.unwrap();
        assert_eq!(error.code, ErrorCode::InvalidMessage, "{code:#x}");
        assert!(
            error.message.contains(&format!("{code:#04x}")),
            "{}",
            error.message
        );
    }
    let hello = Message::Hello(peer.hello(&keys(2)).unwrap());
    for message in [
        hello,
        Message::CaughtUp { max_cursor: 1 },
        Message::HasResponse { marks: vec![] },
        Message::Deleted {
            blob_id: BlobId([1; 16]),
        },
        Message::SnapshotAnswer(SnapshotAnswer {
            part: 0,
            refused: None,
        }),
    ] {
        let (mut open, _) = peer.session(&keys(2)).await.unwrap();
        open.send(&message).await.unwrap();
        assert_eq!(
            open.refused().await.unwrap().code,
            ErrorCode::InvalidMessage,
            "{message:?}"
        );
    }
    other.send(&push(1, b"the rest goes on")).await.unwrap();
    assert_eq!(other.acknowledged().await.unwrap().cursor, 1);
    assert!(peer.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_is_refused_at_the_header_without_memory_for_it() {
    const STREAMS: usize = 100;
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let before = resident(world.relay.pid().unwrap());
    let too_long = |limit: usize| u32::try_from(limit + 1).unwrap();
    for n in 0..STREAMS {
        let mut fresh = peer.open().await.unwrap();
        let length = if n % 2 == 0 {
            u32::MAX
        } else {
            too_long(MAX_HELLO_FRAME)
        };
        fresh.send_bytes(&length.to_le_bytes()).await.unwrap();
        let error = fresh.refused().await.unwrap();
        assert_eq!(error.code, ErrorCode::InvalidMessage);
        assert!(
            error.message.contains(&length.to_string()),
            "{}",
            error.message
        );

        let (mut open, _) = peer.session(&keys(1)).await.unwrap();
        let length = if n % 2 == 0 {
            u32::MAX
        } else {
            too_long(MAX_FRAME)
        };
        open.send_bytes(&length.to_le_bytes()).await.unwrap();
        assert_eq!(
            open.refused().await.unwrap().code,
            ErrorCode::InvalidMessage
        );
    }
    if let (Some(before), Some(after)) = (before, resident(world.relay.pid().unwrap())) {
        assert!(
            after < before + 64 * 1024 * 1024,
            "the relay grew from {before} to {after} bytes"
        );
    }
    assert!(peer.is_connected());
}

/// Bytes of memory that a process occupies, where that can be asked.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .unwrap()
            * 1024,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_is_hello() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let subscribe = Message::Subscribe(Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    });
    let has = Message::Has {
        blob_ids: vec![blob_id(1)],
    };
    for message in [push(1, b"x"), subscribe, has, Message::Ack { cursor: 1 }] {
        let mut stream = peer.open().await.unwrap();
        stream.send(&message).await.unwrap();
        let error = stream.refused().await.unwrap();
        assert_eq!(error.code, ErrorCode::InvalidMessage);
        assert!(error.message.contains("HELLO"), "{}", error.message);
    }
    // What follows a refused HELLO in the same breath is not carried out either.
    let mut stream = peer.open().await.unwrap();
    let mut hello = peer.hello(&keys(1)).unwrap();
    hello.proof[0] ^= 1;
    let both = [
        encode(&Message::Hello(hello)),
        encode(&push(1, b"smuggled")),
    ]
    .concat();
    stream.send_bytes(&both).await.unwrap();
    assert_eq!(
        stream.refused().await.unwrap().code,
        ErrorCode::Unauthorized
    );
    let (mut open, welcome) = peer.session(&keys(1)).await.unwrap();
    assert_eq!(welcome.max_cursor, 0);
    assert_eq!(open.has(&[1]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_hello_ends_when_its_time_is_over() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let hello = encode(&Message::Hello(peer.hello(&keys(1)).unwrap()));
    let started = Instant::now();
    let mut streams = Vec::new();
    for length in [1, 4, 20, hello.len() - 1] {
        let mut stream = peer.open().await.unwrap();
        stream.send_bytes(&hello[..length]).await.unwrap();
        streams.push(stream);
    }
    // One that goes on sending, slowly, does not get more time.
    let mut slow = peer.open().await.unwrap();
    let dripping = async {
        for byte in hello[..hello.len() - 1].chunks(1) {
            if slow.send_bytes(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(HELLO_TIMEOUT / 40).await;
        }
        slow.refused().await
    };
    let waiting = async {
        for stream in &mut streams {
            assert_eq!(
                stream.refused().await.unwrap().code,
                ErrorCode::InvalidMessage
            );
        }
    };
    let (dripped, ()) = patient(async { tokio::join!(dripping, waiting) }).await;
    assert_eq!(dripped.unwrap().code, ErrorCode::InvalidMessage);
    let took = started.elapsed();
    assert!(
        took > HELLO_TIMEOUT / 2 && took < HELLO_TIMEOUT * 3,
        "{took:?}"
    );
    assert!(peer.session(&keys(1)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_bye_is_not_carried_out() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    stream.send(&push(1, b"before")).await.unwrap();
    stream.acknowledged().await.unwrap();
    let bye = Message::Bye {
        reason: "done".into(),
    };
    let frames = [
        encode(&bye),
        encode(&push(2, b"after")),
        encode(&push(3, b"after")),
    ]
    .concat();
    stream.send_bytes(&frames).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap(),
        None,
        "the relay closes cleanly"
    );
    let (mut again, welcome) = peer.session(&keys(1)).await.unwrap();
    assert_eq!(welcome.max_cursor, 1);
    assert_eq!(again.has(&[1, 2, 3]).await.unwrap(), [blob_id(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_inside_a_frame_keeps_what_came_before() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let (whole, half) = (encode(&push(1, b"whole")), encode(&push(2, b"half")));
    stream
        .send_bytes(&[whole.as_slice(), &half[..half.len() / 2]].concat())
        .await
        .unwrap();
    stream.writer.get_mut().finish().unwrap();
    // Whether the acknowledgement still comes is open; a device would push again. The blob is there in any case.
    while stream.next().await.is_ok_and(|message| message.is_some()) {}
    let (mut again, _) = peer.session(&keys(1)).await.unwrap();
    let stored = patient(async {
        loop {
            let stored = again.has(&[1, 2]).await.unwrap();
            if !stored.is_empty() {
                return stored;
            }
        }
    });
    assert_eq!(stored.await, [blob_id(1)]);
}
