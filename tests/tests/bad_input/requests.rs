//! Requests of members that go too far.

use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::ids::DeviceId;
use zerok_sync_client::shared::limits::{MAX_FRAME, MAX_HAS_IDS, MAX_PAYLOAD, MAX_PULL_BLOBS};
use zerok_sync_client::shared::message::{Message, Pull, PullResponse, Push, Subscribe};
use zerok_sync_tests::raw::{Peer, Stream, blob_id, keys, push};

use crate::common::world;

async fn pull(stream: &mut Stream, after_cursor: u64, limit: u32) -> PullResponse {
    stream
        .send(&Message::Pull(Pull {
            after_cursor,
            limit,
        }))
        .await
        .unwrap();
    match stream.receive().await.unwrap() {
        Message::PullResponse(page) => page,
        other => panic!("{other:?}"),
    }
}

fn subscribe(after_cursor: u64, window: u32) -> Message {
    Message::Subscribe(Subscribe {
        after_cursor,
        window,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_push_that_is_refused_nothing_more_of_its_stream_is_stored() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let later_epoch = Message::Push(Push {
        blob_id: blob_id(1),
        epoch: 1,
        ttl: 0,
        payload: vec![1].into(),
        origin: None,
    });
    let refused = [
        (push(1, &vec![7; MAX_PAYLOAD + 1]), ErrorCode::BlobTooLarge),
        (push(1, &vec![7; MAX_FRAME - 200]), ErrorCode::BlobTooLarge),
        (push(1, b""), ErrorCode::InvalidMessage),
        (later_epoch, ErrorCode::StaleEpoch),
    ];
    for (at, (message, code)) in refused.into_iter().enumerate() {
        let keys = keys(u8::try_from(at).unwrap());
        let (mut stream, welcome) = peer.session(&keys).await.unwrap();
        assert_eq!(welcome.limits.max_payload as usize, MAX_PAYLOAD);
        for message in [
            &push(0, b"before"),
            &message,
            &push(2, b"after"),
            &push(3, b"after"),
        ] {
            stream.send(message).await.unwrap();
        }
        // The refusal needs no disk, so it may come before the acknowledgement.
        let mut answers = [
            stream.receive().await.unwrap(),
            stream.receive().await.unwrap(),
        ];
        answers.sort_by_key(Message::code);
        let [Message::PushAck(ack), Message::Error(error)] = answers else {
            panic!("{answers:?}")
        };
        assert_eq!((ack.blob_id, error.code), (blob_id(0), code));
        // The session still answers; only pushes are over.
        assert_eq!(stream.has(&[0, 1, 2, 3]).await.unwrap(), [blob_id(0)]);
        let (mut again, welcome) = peer.session(&keys).await.unwrap();
        assert_eq!(welcome.max_cursor, 1);
        again.send(&push(2, b"after")).await.unwrap();
        assert_eq!(
            again.acknowledged().await.unwrap().cursor,
            2,
            "another session goes on without a hole"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_blob_fits_and_a_frame_past_the_limit_ends_the_stream() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    stream.send(&push(1, &vec![7; MAX_PAYLOAD])).await.unwrap();
    assert_eq!(stream.acknowledged().await.unwrap().cursor, 1);
    // The relay stops reading at the header, so the rest of the frame may find the stream closed.
    let _ = stream.send(&push(2, &vec![7; MAX_FRAME + 1])).await;
    assert_eq!(
        stream.refused().await.unwrap().code,
        ErrorCode::InvalidMessage
    );
    let (mut again, _) = peer.session(&keys(1)).await.unwrap();
    assert_eq!(again.has(&[1, 2]).await.unwrap(), [blob_id(1)]);
    assert!(peer.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_twice_is_stored_once_whoever_pushes_it() {
    let world = world().await;
    let (a, b) = (
        Peer::connect(world.relay.url()).await.unwrap(),
        Peer::connect(world.relay.url()).await.unwrap(),
    );
    let (mut first, _) = a.session(&keys(1)).await.unwrap();
    let (mut second, _) = b.session(&keys(1)).await.unwrap();
    for _ in 0..3 {
        first.send(&push(1, b"what it was first")).await.unwrap();
        first.send(&push(2, b"another")).await.unwrap();
    }
    let mut acks = Vec::new();
    for _ in 0..6 {
        acks.push(first.acknowledged().await.unwrap());
    }
    assert_eq!(
        acks.iter().map(|ack| ack.cursor).collect::<Vec<_>>(),
        [1, 2, 1, 2, 1, 2]
    );
    assert_eq!((acks[2], acks[3]), (acks[0], acks[1]));

    second
        .send(&push(1, b"what somebody else makes of it"))
        .await
        .unwrap();
    assert_eq!(second.acknowledged().await.unwrap(), acks[0]);
    let page = pull(&mut second, 0, 10).await;
    assert_eq!((page.max_cursor, page.blobs.len()), (2, 2));
    assert_eq!(page.blobs[0].payload.as_ref(), b"what it was first");
    assert_eq!(page.blobs[0].sender, a.device());

    // The same id in another group is another blob.
    let (mut other, _) = b.session(&keys(2)).await.unwrap();
    other.send(&push(1, b"theirs")).await.unwrap();
    assert_eq!(other.acknowledged().await.unwrap().cursor, 1);
    assert_eq!(
        pull(&mut other, 0, 10).await.blobs[0].payload.as_ref(),
        b"theirs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_no_device_is_kept_as_claimed_and_harms_nobody() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let claimed = DeviceId([2; 32]);
    let Message::Push(plain) = push(1, b"x") else {
        unreachable!()
    };
    stream
        .send(&Message::Push(Push {
            origin: Some(claimed),
            ttl: u32::MAX,
            ..plain
        }))
        .await
        .unwrap();
    stream.acknowledged().await.unwrap();
    assert_eq!(pull(&mut stream, 0, 1).await.blobs[0].sender, claimed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscribe_ends_the_stream() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    stream.send(&subscribe(0, 1 << 20)).await.unwrap();
    assert_eq!(
        stream.receive().await.unwrap(),
        Message::CaughtUp { max_cursor: 0 }
    );
    stream.send(&subscribe(0, 1 << 20)).await.unwrap();
    assert_eq!(
        stream.refused().await.unwrap().code,
        ErrorCode::InvalidMessage
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_beyond_the_end_give_nothing_and_windows_of_any_size_give_everything() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut pusher, _) = peer.session(&keys(1)).await.unwrap();
    for id in 1..=3 {
        pusher.send(&push(id, b"x")).await.unwrap();
        pusher.acknowledged().await.unwrap();
    }
    for after in [3, 4, i64::MAX as u64, u64::MAX] {
        let page = pull(&mut pusher, after, 10).await;
        assert_eq!(
            (page.blobs.len(), page.has_more, page.max_cursor),
            (0, false, 3),
            "{after}"
        );
        let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
        stream.send(&subscribe(after, 1 << 20)).await.unwrap();
        assert_eq!(
            stream.receive().await.unwrap(),
            Message::CaughtUp { max_cursor: 3 },
            "{after}"
        );
        // An acknowledgement of what was never there is no news either.
        stream
            .send(&Message::Ack { cursor: u64::MAX })
            .await
            .unwrap();
        assert_eq!(stream.has(&[1]).await.unwrap(), [blob_id(1)]);
    }
    for window in [0, 1, u32::MAX] {
        let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
        stream.send(&subscribe(0, window)).await.unwrap();
        for cursor in 1..=3 {
            let Message::Blob(blob) = stream.receive().await.unwrap() else {
                panic!("window {window}")
            };
            assert_eq!(blob.cursor, cursor);
        }
        assert_eq!(
            stream.receive().await.unwrap(),
            Message::CaughtUp { max_cursor: 3 }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_limited_whatever_is_asked_for() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let count = u64::from(MAX_PULL_BLOBS) + 1;
    for chunk in (1..=count).collect::<Vec<_>>().chunks(200) {
        for id in chunk {
            stream.send(&push(*id, b"x")).await.unwrap();
        }
        for _ in chunk {
            stream.acknowledged().await.unwrap();
        }
    }
    let page = pull(&mut stream, 0, 0).await;
    assert_eq!(
        (page.blobs.len(), page.has_more),
        (1, true),
        "a page has at least one"
    );
    let page = pull(&mut stream, 0, u32::MAX).await;
    assert_eq!(
        (page.blobs.len(), page.has_more),
        (MAX_PULL_BLOBS as usize, true)
    );
    let page = pull(&mut stream, page.blobs.last().unwrap().cursor, u32::MAX).await;
    assert_eq!(
        (page.blobs.len(), page.has_more, page.max_cursor),
        (1, false, count)
    );

    let ids: Vec<u64> = (1..=MAX_HAS_IDS as u64).collect();
    assert_eq!(stream.has(&ids).await.unwrap().len(), MAX_HAS_IDS);
    assert_eq!(stream.has(&[]).await.unwrap(), []);
    assert_eq!(
        stream.has(&[5, 5, 5]).await.unwrap().first(),
        Some(&blob_id(5))
    );
    let ids: Vec<_> = (1..=MAX_HAS_IDS as u64 + 1).map(blob_id).collect();
    stream.send(&Message::Has { blob_ids: ids }).await.unwrap();
    assert_eq!(
        stream.refused().await.unwrap().code,
        ErrorCode::InvalidMessage
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pages_stop_before_the_blob_that_does_not_fit() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    for id in 1..=3 {
        stream.send(&push(id, &vec![7; MAX_PAYLOAD])).await.unwrap();
        stream.acknowledged().await.unwrap();
    }
    for after in 0..3 {
        let page = pull(&mut stream, after, u32::MAX).await;
        assert_eq!((page.blobs.len(), page.has_more), (1, after < 2));
        assert_eq!(page.blobs[0].payload.len(), MAX_PAYLOAD);
    }
}
