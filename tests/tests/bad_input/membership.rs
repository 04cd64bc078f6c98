//! Who is not a member, or cannot show it.

use zerok_sync_client::Path;
use zerok_sync_client::shared::codec;
use zerok_sync_client::shared::crypto::device::DeviceKeys;
use zerok_sync_client::shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_client::shared::crypto::roster::SignedEntry;
use zerok_sync_client::shared::crypto::rotation::{self, Reason};
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::shared::message::{Hello, Message, VERSION};
use zerok_sync_client::shared::time::Timestamp;
use zerok_sync_tests::raw::{Peer, keys, push};

use crate::common::{Device, wait_until, world, world_with};

async fn refusal(peer: &Peer, hello: Hello) -> ErrorCode {
    let mut stream = peer.open().await.unwrap();
    stream.send(&Message::Hello(hello)).await.unwrap();
    stream.refused().await.unwrap().code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_holds_for_its_relay_device_group_key_and_connection_only() {
    let world = world().await;
    let url = world.relay.url();
    let (peer, other) = (
        Peer::connect(url).await.unwrap(),
        Peer::connect(url).await.unwrap(),
    );
    let keys = keys(1);
    let group = keys.founded_group();
    let (mut member, _) = peer.session(&keys).await.unwrap();
    member.send(&push(1, b"theirs")).await.unwrap();
    member.acknowledged().await.unwrap();

    let exporter = peer.exporter().unwrap();
    let right = peer.hello(&keys).unwrap();
    let made_for = |group, relay, device, exporter| {
        peer.hello_for(&keys, group, relay, device, exporter)
            .unwrap()
    };
    let with_proof_of = |hello: Hello| Hello {
        proof: hello.proof,
        ..right.clone()
    };
    let mut flipped = right.clone();
    flipped.proof[10] ^= 1;
    let wrong = [
        ("one bit", flipped),
        (
            "zeros",
            Hello {
                proof: [0; 64],
                ..right.clone()
            },
        ),
        (
            "another relay",
            made_for(group, other.device(), peer.device(), &exporter),
        ),
        (
            "another device",
            made_for(group, peer.relay(), other.device(), &exporter),
        ),
        (
            "another group",
            with_proof_of(made_for(
                GroupId([9; 32]),
                peer.relay(),
                peer.device(),
                &exporter,
            )),
        ),
        (
            "another connection",
            made_for(
                group,
                peer.relay(),
                peer.device(),
                &other.exporter().unwrap(),
            ),
        ),
        (
            "a whole HELLO of another connection",
            other.hello(&keys).unwrap(),
        ),
        (
            "another epoch",
            Hello {
                epoch: 1,
                ..right.clone()
            },
        ),
    ];
    for (what, hello) in wrong {
        assert_eq!(
            refusal(&peer, hello).await,
            ErrorCode::Unauthorized,
            "{what}"
        );
    }
    // The same bytes on the connection that they were made for are fine, on a second stream as well.
    assert!(peer.session(&keys).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_knows_the_group_id_gets_nothing_and_leaves_nothing() {
    let world = world().await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let group = device.client.create_group().await.unwrap();
    device.push(group, "ours").await;
    device.flush(group).await;

    let stranger = Peer::connect(world.relay.url()).await.unwrap();
    let own = keys(1);
    let exporter = stranger.exporter().unwrap();
    let hello = stranger
        .hello_for(&own, group, stranger.relay(), stranger.device(), &exporter)
        .unwrap();
    assert_eq!(
        refusal(&stranger, hello).await,
        ErrorCode::Unauthorized,
        "a key that does not hash to the group id"
    );

    // At another epoch the key need not hash to the id, but it takes a chain of certificates to get there.
    let later = EpochKeys::derive(1, Secret::new([1; 32]));
    let hello = stranger
        .hello_for(
            &later,
            group,
            stranger.relay(),
            stranger.device(),
            &exporter,
        )
        .unwrap();
    assert_eq!(
        refusal(&stranger, hello.clone()).await,
        ErrorCode::UnknownGroup
    );
    // One of the stranger's own making does not begin with the group's founding key.
    let own_group = own.founded_group();
    let author = DeviceKeys::derive(&Secret::new([9; 32]));
    let entry = SignedEntry::sign(own_group, &author, "x", "y", Timestamp(0)).entry;
    let forged = rotation::rotate(
        &own,
        group,
        &author,
        &Secret::new([8; 32]),
        (Some(author.id()), Reason::Lost),
        [&entry].into_iter(),
        &mut |bytes: &mut [u8]| bytes.fill(7),
    );
    let (_, packet) = &forged.packets[0];
    let secret = rotation::open_packet(&author, &forged.certificate.claims, packet).unwrap();
    let later = EpochKeys::derive(1, secret);
    let hello = Hello {
        certificates: vec![codec::to_bytes(&forged.certificate).into()],
        ..stranger
            .hello_for(
                &later,
                group,
                stranger.relay(),
                stranger.device(),
                &exporter,
            )
            .unwrap()
    };
    assert_eq!(refusal(&stranger, hello).await, ErrorCode::Unauthorized);

    let mut frame_after = stranger.open().await.unwrap();
    frame_after.send(&push(1, b"intruding")).await.unwrap();
    assert_eq!(
        frame_after.refused().await.unwrap().code,
        ErrorCode::InvalidMessage
    );
    assert_eq!(device.texts(group).await, ["ours"]);
    assert_eq!(device.errors(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_a_group_is_there_makes_none() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let asking = || Hello {
        probe: true,
        ..peer.hello(&keys(1)).unwrap()
    };
    for _ in 0..2 {
        assert_eq!(refusal(&peer, asking()).await, ErrorCode::UnknownGroup);
    }
    peer.session(&keys(1)).await.unwrap();
    let mut stream = peer.open().await.unwrap();
    stream.send(&Message::Hello(asking())).await.unwrap();
    assert!(matches!(
        stream.receive().await.unwrap(),
        Message::Welcome(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_versions_and_epochs_are_told_what_is_wrong() {
    let world = world().await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let hello = peer.hello(&keys(1)).unwrap();
    let old = Hello {
        version: 0,
        ..hello.clone()
    };
    assert_eq!(refusal(&peer, old).await, ErrorCode::UnsupportedVersion);

    let later = EpochKeys::derive(1, Secret::new([1; 32]));
    assert_eq!(
        refusal(&peer, peer.hello(&later).unwrap()).await,
        ErrorCode::UnknownGroup
    );

    // A newer device is answered in the newest version of the relay.
    let mut stream = peer.open().await.unwrap();
    stream
        .send(&Message::Hello(Hello {
            version: 40_000,
            ..hello.clone()
        }))
        .await
        .unwrap();
    let Message::Welcome(welcome) = stream.receive().await.unwrap() else {
        panic!("no WELCOME")
    };
    assert_eq!(welcome.version, VERSION);

    let bad_fields = [
        Hello {
            capabilities: vec!["x".into(); 33],
            ..hello.clone()
        },
        Hello {
            capabilities: vec!["x".repeat(33)],
            ..hello.clone()
        },
        Hello {
            access_token: Some("x".repeat(513)),
            ..hello.clone()
        },
        Hello {
            certificates: vec![vec![0; 100].into(); 257],
            ..hello
        },
    ];
    for hello in bad_fields {
        assert_eq!(refusal(&peer, hello).await, ErrorCode::InvalidMessage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_as_many_groups_as_it_takes_serves_those() {
    let world = world_with(&["--max-groups", "2"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let ours = device.client.create_group().await.unwrap();
    device.push(ours, "first").await;
    device.flush(ours).await;

    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let (mut second, _) = peer.session(&keys(2)).await.unwrap();
    for seed in 3..6 {
        assert_eq!(
            refusal(&peer, peer.hello(&keys(seed)).unwrap()).await,
            ErrorCode::RelayOverloaded
        );
    }
    let one_more = device.client.create_group().await.unwrap();
    device.push(one_more, "waits").await;
    wait_until("the client shows why", || {
        device.errors().contains(&"RELAY_OVERLOADED")
    })
    .await;
    assert_eq!(device.client.group_view(one_more).unwrap().pending, 1);

    second.send(&push(1, b"goes on")).await.unwrap();
    second.acknowledged().await.unwrap();
    device.push(ours, "second").await;
    device.flush(ours).await;
    assert!(
        peer.session(&keys(2)).await.is_ok(),
        "a group that exists is opened again"
    );
}
