//! A relay that asks for access tokens: who gets in, who does not, and what happens when a token is taken back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Device, World, patient, wait_until, world_with};
use zerok_sync_client::shared::crypto::token::TokenHash;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::message::{Hello, Message};
use zerok_sync_client::store::{MemoryStore, Store};
use zerok_sync_client::{Config, InviteOptions, Path};
use zerok_sync_tests::raw::{Peer, http, keys, push};
use zerok_sync_tests::relay::{Options, RelayProcess};

const OURS: &str = "0kt_ours";
const OTHER: &str = "0kt_other";

/// The line for the relay's file.
fn line(token: &str) -> String {
    let hash = TokenHash::of(token);
    let hex: String = hash.expose().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex} some name\n")
}

/// A relay with these tokens in its file.
async fn token_world(tokens: &[&str]) -> (World, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let lines: String = tokens.iter().map(|token| line(token)).collect();
    std::fs::write(&file, lines).unwrap();
    let args = [
        "--access",
        "token",
        "--access-tokens-file",
        file.to_str().unwrap(),
    ];
    let mut options = Options::in_folder(folder.path());
    options.args = args.map(str::to_owned).into();
    let relay = RelayProcess::start(options).await.unwrap();
    (World { folder, relay }, file)
}

async fn device(world: &World, path: Path, token: Option<&str>) -> Device {
    let store = Arc::new(MemoryStore::default());
    device_on(world, path, token, store).await
}

async fn device_on(
    world: &World,
    path: Path,
    token: Option<&str>,
    store: Arc<dyn Store>,
) -> Device {
    let mut config = Config::new(vec![world.relay.url().to_owned()], store);
    config.path = path;
    config.access_token = token.map(str::to_owned);
    Device::open_with(config).await
}

/// Refusals with this code that the relay has counted.
async fn refusals(world: &World, code: &str) -> u64 {
    let url = format!("{}/metrics", world.relay.url());
    let text = http().unwrap().get(url).send().await.unwrap();
    let text = text.text().await.unwrap();
    let of_code = text
        .lines()
        .filter(|line| line.contains("refusals") && line.contains(code));
    of_code
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_brings_the_token_along() {
    let (world, _) = token_world(&[OURS]).await;
    for path in [Path::Any, Path::WebSocket] {
        let first = device(&world, path, Some(OURS)).await;
        let group = first.client.create_group().await.unwrap();
        first.push(group, "from the first").await;
        first.flush(group).await;

        let store = Arc::new(MemoryStore::default());
        let second = device_on(&world, path, None, store.clone()).await;
        second.join(&first, group).await;
        assert_eq!(second.wait_texts(group, 1).await, ["from the first"]);
        second.push(group, "from the second").await;
        second.flush(group).await;
        first.wait_texts(group, 2).await;

        // It keeps the token, and hands it on.
        second.client.close().await;
        let second = device_on(&world, path, None, store).await;
        second.push(group, "again").await;
        second.flush(group).await;
        let third = device(&world, path, None).await;
        third.join(&second, group).await;
        assert_eq!(third.wait_texts(group, 3).await[2], "again");
        assert_eq!(third.errors(), Vec::<&str>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_nothing_is_to_be_had() {
    let (world, _) = token_world(&[OURS]).await;
    for (path, token) in [
        (Path::Any, None),
        (Path::Any, Some(OTHER)),
        (Path::WebSocket, Some(OTHER)),
    ] {
        let stranger = device(&world, path, token).await;
        let group = stranger.client.create_group().await.unwrap();
        stranger.push(group, "stays here").await;
        wait_until("the device is told why", || {
            stranger.errors().contains(&"UNAUTHORIZED")
        })
        .await;
        let view = stranger.client.group_view(group).unwrap();
        assert_eq!(view.pending, 1);
        let error = patient(
            stranger
                .client
                .create_invite(group, InviteOptions::default()),
        )
        .await;
        assert_eq!(error.unwrap_err().code, "UNAUTHORIZED");
    }

    // Who doesn't ask first is refused all the same.
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let hello = peer.hello(&keys(1)).unwrap();
    // The relay looks at the token first, and not at signatures of somebody who may not come in.
    let unproven = Hello {
        proof: [0; 64],
        ..hello.clone()
    };
    let tokens = [None, Some(OTHER.to_owned()), Some(String::new())];
    let attempts = [&hello, &unproven].into_iter();
    for (hello, token) in attempts.flat_map(|hello| tokens.iter().map(move |token| (hello, token)))
    {
        let mut stream = peer.open().await.unwrap();
        let hello = Hello {
            access_token: token.clone(),
            ..hello.clone()
        };
        stream.send(&Message::Hello(hello)).await.unwrap();
        let error = stream.refused().await.unwrap();
        assert_eq!(error.code, ErrorCode::Unauthorized);
        assert!(error.message.contains("access token"), "{}", error.message);
    }
    assert!(refusals(&world, "UNAUTHORIZED").await >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_says_what_it_asks_for() {
    let (world, _) = token_world(&[OURS]).await;
    let http = http().unwrap();
    let url = format!("{}/.well-known/iroh", world.relay.url());
    let found: serde_json::Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(found["access"], "token");
    let right = http.get(&url).bearer_auth(OURS).send().await.unwrap();
    assert_eq!(right.status(), 200);
    let wrong = http.get(&url).bearer_auth(OTHER).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.headers()["www-authenticate"], "Bearer");
    let wrong: serde_json::Value = wrong.json().await.unwrap();
    assert_eq!(wrong["code"], "UNAUTHORIZED");

    let open = world_with(&[]).await;
    let url = format!("{}/.well-known/iroh", open.relay.url());
    let found = http.get(&url).bearer_auth(OTHER).send().await.unwrap();
    let found: serde_json::Value = found.json().await.unwrap();
    assert_eq!(found["access"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_back_ends_its_sessions_and_no_others() {
    let (world, file) = token_world(&[OURS, OTHER]).await;
    let stays = device(&world, Path::Any, Some(OURS)).await;
    let goes = device(&world, Path::Any, Some(OTHER)).await;
    let kept = stays.client.create_group().await.unwrap();
    let lost = goes.client.create_group().await.unwrap();
    for (device, group) in [(&stays, kept), (&goes, lost)] {
        device.push(group, "before").await;
        device.flush(group).await;
    }

    // A file that is not right changes nothing.
    std::fs::write(&file, "sha256:12\n").unwrap();
    let log = world.relay.log();
    wait_until("the broken file was seen", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("count on until"))
    })
    .await;
    goes.push(lost, "still there").await;
    goes.flush(lost).await;

    std::fs::write(&file, line(OURS)).unwrap();
    wait_until("the device is told", || {
        goes.errors().contains(&"UNAUTHORIZED")
    })
    .await;
    goes.push(lost, "waits").await;
    stays.push(kept, "goes on").await;
    stays.flush(kept).await;
    assert_eq!(stays.errors(), Vec::<&str>::new());
    assert_eq!(goes.client.group_view(lost).unwrap().pending, 1);

    std::fs::write(&file, line(OURS) + &line(OTHER)).unwrap();
    goes.flush(lost).await;
}

async fn websockets(world: &World) -> u64 {
    let url = format!("{}/metrics", world.relay.url());
    let text = http().unwrap().get(url).send().await.unwrap();
    let text = text.text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("zerok_relay_websockets "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_whose_token_is_taken_back_ends_after_its_session() {
    let (world, file) = token_world(&[OURS, OTHER]).await;
    let own = websockets(&world).await;
    let stays = device(&world, Path::WebSocket, Some(OURS)).await;
    let goes = device(&world, Path::WebSocket, Some(OTHER)).await;
    for device in [&stays, &goes] {
        let group = device.client.create_group().await.unwrap();
        device.push(group, "before").await;
        device.flush(group).await;
    }
    assert_eq!(websockets(&world).await, own + 2);
    std::fs::write(&file, line(OURS)).unwrap();
    wait_until("the device is told", || {
        goes.errors().contains(&"UNAUTHORIZED")
    })
    .await;
    patient(async {
        while websockets(&world).await != own + 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(stays.errors(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_whose_token_is_taken_back_is_told_on_its_stream() {
    let (world, file) = token_world(&[OURS]).await;
    let peer = Peer::connect(world.relay.url()).await.unwrap();
    let hello = Hello {
        access_token: Some(OURS.to_owned()),
        ..peer.hello(&keys(1)).unwrap()
    };
    let mut stream = peer.open().await.unwrap();
    stream.send(&Message::Hello(hello)).await.unwrap();
    let welcome = stream.receive().await.unwrap();
    assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
    stream.send(&push(1, b"stored")).await.unwrap();
    stream.acknowledged().await.unwrap();
    std::fs::write(&file, "# nobody\n").unwrap();
    let error = stream.refused().await.unwrap();
    assert_eq!(error.code, ErrorCode::Unauthorized);
}
