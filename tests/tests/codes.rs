//! Short codes, from one device to another through a real relay process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, World, patient, world, world_with};
use zerok_sync_client::shared::crypto::invite::InviteCode;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{Client, Config, Invite, InviteOptions, Path};

async fn with_code(device: &Device, group: GroupId) -> Invite {
    let options = InviteOptions {
        code: true,
        ..InviteOptions::default()
    };
    patient(device.client.create_invite(group, options))
        .await
        .unwrap()
}

async fn refused(client: &Client, invitation: &str) -> (&'static str, Option<&'static str>) {
    let error = patient(client.join(invitation)).await.unwrap_err();
    (error.code, error.reason)
}

async fn two(world: &World) -> (Device, Device, GroupId) {
    let a = Device::open(world.relay.url(), Path::Any).await;
    let b = Device::open(world.relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    (a, b, group)
}

/// Another character of the alphabet in this place.
fn mistyped(code: &InviteCode, at: usize) -> String {
    let mut text = code.to_string().into_bytes();
    text[at] = if text[at] == b'7' { b'8' } else { b'7' };
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_typed_carelessly_joins_once() {
    let world = world().await;
    let (a, b, group) = two(&world).await;
    a.push(group, "before").await;
    let invite = with_code(&a, group).await;
    let code = invite.code.unwrap().to_string();
    let typed = code.to_lowercase().replace('-', " ").replace('0', "o");
    assert_eq!(patient(b.client.join(&typed)).await.unwrap(), group);
    assert_eq!(b.wait_texts(group, 1).await, ["before"]);

    // One invite, whichever way it was given.
    let c = Device::open(world.relay.url(), Path::WebSocket).await;
    for invitation in [&code, &invite.link] {
        let why = refused(&c.client, invitation).await;
        assert_eq!(why, ("INVITE_INVALID", Some("claimed")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_an_invite_with_a_code_joins_as_well() {
    let world = world().await;
    let (a, b, group) = two(&world).await;
    let invite = with_code(&a, group).await;
    assert_eq!(patient(b.client.join(&invite.link)).await.unwrap(), group);
    let without = a
        .client
        .create_invite(group, InviteOptions::default())
        .await
        .unwrap();
    assert_eq!(without.code, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_says_what_is_wrong_and_uses_nothing_up() {
    let world = world().await;
    let (a, b, group) = two(&world).await;
    let invite = with_code(&a, group).await;
    let code = invite.code.unwrap();
    let cases = [
        (mistyped(&code, 0), "unknown"),
        (mistyped(&code, 18), "wrong-key"),
        (code.to_string()[..18].to_owned(), "malformed"),
        (format!("{code}2"), "malformed"),
        (String::new(), "malformed"),
    ];
    for (typed, reason) in cases {
        let why = refused(&b.client, &typed).await;
        assert_eq!(why, ("INVITE_INVALID", Some(reason)), "{typed}");
    }
    assert!(b.client.groups().is_empty());
    let joined = patient(b.client.join(&code.to_string())).await.unwrap();
    assert_eq!(joined, group);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_looked_for_at_every_relay_of_the_device() {
    let (first, second, gone) = (world().await, world_with(&[]).await, world().await);
    let (a, _, group) = two(&second).await;
    let code = with_code(&a, group).await.code.unwrap();
    let gone_url = gone.relay.url().to_owned();
    drop(gone);
    let relays = [gone_url.as_str(), first.relay.url(), second.relay.url()];
    let open = async |relays: &[&str]| {
        let relays = relays.iter().map(|url| (*url).to_owned()).collect();
        let config = Config::new(relays, Arc::new(MemoryStore::default()));
        Client::open(config).await.unwrap()
    };
    let device = open(&relays).await;
    let why = refused(&device, &mistyped(&code, 0)).await;
    assert_eq!(why, ("INVITE_INVALID", Some("unknown")));
    let joined = patient(device.join(&code.to_string())).await.unwrap();
    assert_eq!(joined, group);

    // What a relay knows of it is told, whatever others say.
    let late = open(&[second.relay.url(), first.relay.url(), &gone_url]).await;
    let why = refused(&late, &code.to_string()).await;
    assert_eq!(why, ("INVITE_INVALID", Some("claimed")));

    let lost = open(&[]).await;
    assert_eq!(
        refused(&lost, &code.to_string()).await,
        ("INVALID_ARGUMENT", None)
    );
    for client in [device, late, lost] {
        client.close().await;
    }
}
