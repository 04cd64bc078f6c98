//! Groups by name and passphrase, through real relay processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, patient, wait_until, world, world_with};
use zerok_sync_client::shared::crypto::passphrase::{Passphrase, Profile};
use zerok_sync_client::shared::crypto::rotation::Reason;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{Client, Config, Path, SyncError};

const WORDS: &str = "gravel ozone cactus tidal mustard plywood";

fn passphrase(name: &str, text: &str) -> Passphrase {
    Passphrase::new("0k-sync", name, text.to_owned()).unwrap()
}

async fn found(client: &Client, name: &str, profile: Profile) -> Result<GroupId, SyncError> {
    patient(client.passphrase_group(passphrase(name, WORDS), Some(profile))).await
}

async fn join(client: &Client, name: &str, text: &str) -> Result<GroupId, SyncError> {
    patient(client.passphrase_group(passphrase(name, text), None)).await
}

async fn client(relays: &[&str]) -> Client {
    let relays = relays.iter().map(|url| (*url).to_owned()).collect();
    let config = Config::new(relays, Arc::new(MemoryStore::default()));
    Client::open(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_each_profile_is_found_by_name_and_passphrase() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::WebSocket).await;
    for (profile, name) in Profile::ALL
        .into_iter()
        .zip(["strong", "middling", "light"])
    {
        // Made at the relay when it is made here: the other one need not wait.
        let group = found(&a.client, name, profile).await.unwrap();
        assert_eq!(join(&b.client, name, WORDS).await.unwrap(), group);
        a.push(group, name).await;
        assert_eq!(b.wait_texts(group, 1).await, [name]);
        b.push(group, "back").await;
        assert_eq!(a.wait_texts(group, 2).await, [name, "back"]);
    }
    assert_eq!(a.errors(), Vec::<&str>::new());
    assert_eq!(b.errors(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_and_passphrase_are_the_same_group_whoever_founds_it() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = found(&a.client, "family", Profile::Low).await.unwrap();
    a.push(group, "before").await;
    assert_eq!(
        found(&b.client, "family", Profile::High).await.unwrap(),
        group,
        "with another profile"
    );
    assert_eq!(b.wait_texts(group, 1).await, ["before"]);
    assert_eq!(
        found(&a.client, "family", Profile::High).await.unwrap(),
        group,
        "twice on one device"
    );
    assert_eq!(a.client.groups(), [group]);

    // It comes back after it was left, and its own sequence goes on.
    a.flush(group).await;
    a.client.leave(group).await.unwrap();
    assert_eq!(join(&a.client, "family", WORDS).await.unwrap(), group);
    a.push(group, "after").await;
    assert_eq!(b.wait_texts(group, 2).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mistyped_finds_nothing_and_makes_nothing() {
    let world = world_with(&["--max-groups", "1"]).await;
    let device = client(&[world.relay.url()]).await;
    let wrong = [
        ("family", "gravel ozone cactus tidal mustard plywoods"),
        ("family", "Gravel ozone cactus tidal mustard plywood"),
        ("families", WORDS),
    ];
    let refused = async || {
        for (name, text) in wrong {
            let error = join(&device, name, text).await.unwrap_err();
            assert_eq!(error.code, "GROUP_NOT_FOUND", "{name}: {text}");
        }
    };
    refused().await;
    let other_app = Passphrase::new("other", "family", WORDS.to_owned()).unwrap();
    // The one group that the relay takes is still to be made.
    let group = found(&device, "family", Profile::Low).await.unwrap();
    refused().await;
    let error = patient(device.passphrase_group(other_app, None)).await;
    assert_eq!(error.unwrap_err().code, "GROUP_NOT_FOUND", "another app");
    assert_eq!(device.groups(), [group]);
    let error = found(&device, "second", Profile::Low).await.unwrap_err();
    assert_eq!(
        error.code, "RELAY_OVERLOADED",
        "a refusal of the relay is told"
    );
    assert_eq!(device.groups(), [group], "and leaves nothing behind");
    device.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_relay_has_to_answer_before_there_is_no_group() {
    let (first, second, gone) = (world().await, world().await, world().await);
    let gone_url = gone.relay.url().to_owned();
    drop(gone);
    let founder = client(&[second.relay.url()]).await;
    let group = found(&founder, "family", Profile::Mid).await.unwrap();

    let all = [gone_url.as_str(), first.relay.url(), second.relay.url()];
    let device = client(&all).await;
    let joined = join(&device, "family", WORDS).await.unwrap();
    assert_eq!(joined, group, "one that has it is enough");
    for answer in [
        join(&device, "nobody's", WORDS).await,
        found(&device, "nobody's", Profile::Low).await,
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.code, "RELAY_UNREACHABLE");
        assert!(error.retryable && error.message.contains(&gone_url));
    }

    let lost = client(&[]).await;
    let error = join(&lost, "family", WORDS).await.unwrap_err();
    assert_eq!(error.code, "INVALID_ARGUMENT");
    device.close().await;
    let error = join(&device, "another", WORDS).await.unwrap_err();
    assert_eq!(error.code, "CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_keys_were_changed_is_closed_to_its_passphrase() {
    let world = world().await;
    let relays = [world.relay.url()];
    let founder = client(&relays).await;
    let group = found(&founder, "family", Profile::Low).await.unwrap();
    let lost = client(&relays).await;
    join(&lost, "family", WORDS).await.unwrap();
    let gone = lost.device_id();
    let knows = || {
        let devices = founder.devices(group).unwrap();
        devices.iter().any(|info| info.device == gone)
    };
    wait_until("the founder knows who has joined", knows).await;
    founder.revoke(group, gone, Reason::Lost).await.unwrap();
    patient(founder.wait_revoked(group, gone)).await.unwrap();

    // Whoever has the lost device has the passphrase, and can make a new device of it.
    let device = client(&relays).await;
    for answer in [
        join(&device, "family", WORDS).await,
        found(&device, "family", Profile::High).await,
    ] {
        assert_eq!(answer.unwrap_err().code, "GROUP_CLOSED");
    }
    assert!(device.groups().is_empty());
    for client in [founder, lost, device] {
        client.close().await;
    }
}
