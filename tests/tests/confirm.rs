//! Comparison codes, and invites that their creator confirms, through a real relay process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Device, World, patient, world_with};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zerok_sync_client::shared::ids::{GroupId, InviteLookup};
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{
    Config, Invite, InviteOptions, InviteState, JoinOptions, Joiner, Path, SyncError,
};
use zerok_sync_tests::relay::RelayProcess;

async fn generous() -> World {
    world_with(&["--invite-rate", "100000"]).await
}

async fn named(world: &World, name: &str) -> Device {
    let relays = vec![world.relay.url().to_owned()];
    let mut config = Config::new(relays, Arc::new(MemoryStore::default()));
    config.device_name = name.to_owned();
    Device::open_with(config).await
}

async fn invite(device: &Device, confirm: bool) -> (GroupId, Invite) {
    let group = device.client.create_group().await.unwrap();
    let options = InviteOptions {
        confirm,
        code: true,
        ..InviteOptions::default()
    };
    let invite = patient(device.client.create_invite(group, options)).await;
    (group, invite.unwrap())
}

/// A device that joins in the background: its code, what ends its waiting, and how it ended.
struct Joining {
    code: oneshot::Receiver<String>,
    give_up: oneshot::Sender<()>,
    ended: JoinHandle<Result<GroupId, SyncError>>,
}

fn join(device: &Device, invitation: &str) -> Joining {
    let (tell, code) = oneshot::channel();
    let (give_up, given_up) = oneshot::channel();
    let (client, invitation) = (device.client.clone(), invitation.to_owned());
    let ended = tokio::spawn(async move {
        let options = JoinOptions {
            on_comparison_code: |code: zerok_sync_client::ComparisonCode| {
                let _ = tell.send(code.to_string());
            },
            cancelled: async {
                if given_up.await.is_err() {
                    pending().await
                }
            },
        };
        client.join_with(&invitation, options).await
    });
    Joining {
        code,
        give_up,
        ended,
    }
}

async fn requested(device: &Device, lookup: InviteLookup) -> Joiner {
    let looking = async {
        loop {
            match device.client.invite_state(lookup).await.unwrap() {
                InviteState::Requested(joiner) => return joiner,
                InviteState::Open => tokio::time::sleep(Duration::from_millis(50)).await,
                other => panic!("{other:?}"),
            }
        }
    };
    patient(looking).await
}

async fn error_of(joining: Joining) -> (&'static str, Option<&'static str>) {
    let error = patient(joining.ended).await.unwrap().unwrap_err();
    assert!(!error.message.is_empty());
    (error.code, error.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_devices_show_the_same_code_and_the_creator_lets_the_joiner_in() {
    let world = generous().await;
    let (a, b) = (named(&world, "laptop").await, named(&world, "phone").await);
    let (group, invite) = invite(&a, true).await;
    a.push(group, "before").await;
    let code = invite.code.as_ref().unwrap().to_string();
    let joining = join(&b, &code);
    let joiner = requested(&a, invite.lookup).await;
    assert_eq!(
        (joiner.device, joiner.name.as_str()),
        (b.client.device_id(), "phone")
    );
    let shown = patient(joining.code).await.unwrap();
    assert_eq!(shown, joiner.comparison_code.to_string());
    assert!(b.client.groups().is_empty(), "not before it is let in");
    assert_eq!(
        requested(&a, invite.lookup).await,
        joiner,
        "looked at again"
    );

    a.client.answer_invite(invite.lookup, true).await.unwrap();
    assert_eq!(patient(joining.ended).await.unwrap().unwrap(), group);
    assert_eq!(b.wait_texts(group, 1).await, ["before"]);
    assert_eq!(
        a.client.invite_state(invite.lookup).await.unwrap(),
        InviteState::Claimed(Some(joiner))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_confirmation_both_show_the_same_code_afterwards() {
    let world = generous().await;
    let (a, b) = (named(&world, "laptop").await, named(&world, "phone").await);
    let (group, invite) = invite(&a, false).await;
    let joining = join(&b, &invite.link);
    assert_eq!(patient(joining.ended).await.unwrap().unwrap(), group);
    let InviteState::Claimed(Some(joiner)) = a.client.invite_state(invite.lookup).await.unwrap()
    else {
        panic!("it was claimed");
    };
    assert_eq!(
        (joiner.device, joiner.name.as_str()),
        (b.client.device_id(), "phone")
    );
    assert_eq!(
        patient(joining.code).await.unwrap(),
        joiner.comparison_code.to_string()
    );
    let nobody = a.client.answer_invite(invite.lookup, true).await;
    assert_eq!(nobody.unwrap_err().code, "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_is_told_and_gets_nothing() {
    let world = generous().await;
    let (a, b) = (named(&world, "laptop").await, named(&world, "phone").await);
    let (_, invite) = invite(&a, true).await;
    let joining = join(&b, &invite.link);
    requested(&a, invite.lookup).await;
    a.client.answer_invite(invite.lookup, false).await.unwrap();
    assert_eq!(error_of(joining).await, ("INVITE_REJECTED", None));
    assert!(b.client.groups().is_empty());
    let again = join(&b, &invite.link);
    assert_eq!(
        error_of(again).await,
        ("INVITE_INVALID", Some("cancelled")),
        "the invite has ended"
    );
    let late = a.client.answer_invite(invite.lookup, true).await;
    assert!(late.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_can_give_up_and_the_creator_sees_it() {
    let world = generous().await;
    let (a, b) = (named(&world, "laptop").await, named(&world, "phone").await);
    let (_, invite) = invite(&a, true).await;
    let Joining {
        code,
        give_up,
        ended,
    } = join(&b, &invite.link);
    requested(&a, invite.lookup).await;
    patient(code).await.unwrap();
    give_up.send(()).unwrap();
    let error = patient(ended).await.unwrap().unwrap_err();
    assert_eq!(error.code, "CANCELLED");
    assert_eq!(
        a.client.invite_state(invite.lookup).await.unwrap(),
        InviteState::Over
    );
    let late = a
        .client
        .answer_invite(invite.lookup, true)
        .await
        .unwrap_err();
    assert_eq!(
        (late.code, late.reason),
        ("INVITE_INVALID", Some("cancelled"))
    );
    assert!(b.client.groups().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_device_ends_the_waiting() {
    let world = generous().await;
    let (a, b) = (named(&world, "laptop").await, named(&world, "phone").await);
    let (_, invite) = invite(&a, true).await;
    let joining = join(&b, &invite.link);
    requested(&a, invite.lookup).await;
    patient(b.client.close()).await;
    assert_eq!(error_of(joining).await, ("CLOSED", None));
    assert_eq!(
        a.client.invite_state(invite.lookup).await.unwrap(),
        InviteState::Over
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_restarts_at_every_step_changes_nothing() {
    let World { folder, mut relay } = generous().await;
    let again = async |relay: RelayProcess| {
        let options = relay.kill().await.unwrap();
        RelayProcess::start(options).await.unwrap()
    };
    let open = async |relay: &RelayProcess| Device::open(relay.url(), Path::Any).await;
    let (a, b, c) = (open(&relay).await, open(&relay).await, open(&relay).await);
    let (group, at_once) = invite(&a, false).await;
    let (_, confirmed) = invite(&a, true).await;
    relay = again(relay).await;
    assert_eq!(patient(b.client.join(&at_once.link)).await.unwrap(), group);
    let joining = join(&c, &confirmed.link);
    let joiner = requested(&a, confirmed.lookup).await;
    relay = again(relay).await;
    assert_eq!(requested(&a, confirmed.lookup).await, joiner);
    a.client
        .answer_invite(confirmed.lookup, true)
        .await
        .unwrap();
    relay = again(relay).await;
    assert!(
        a.client
            .groups()
            .contains(&patient(joining.ended).await.unwrap().unwrap())
    );

    // Single use, also for a relay that has been restarted since.
    let late = open(&relay).await;
    for used in [&at_once.link, &confirmed.link] {
        let joining = join(&late, used);
        assert_eq!(error_of(joining).await, ("INVITE_INVALID", Some("claimed")));
    }
    drop(folder);
}
