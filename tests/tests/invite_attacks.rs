//! Attacks on invites, tried for real against a relay process: guessing codes at full speed, and ending somebody else's
//! invite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use crate::common::{Device, World, patient, world, world_with};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use zerok_sync_client::shared::crypto::invite::{InviteCode, InviteKey};
use zerok_sync_client::{InviteOptions, InviteState, Path};
use zerok_sync_tests::raw;

/// The rate and the burst of one address, as they are without configuration.
const RATE: u32 = 1;
const BURST: u32 = 60;
/// What a code has beside the characters that name its invite.
const KEY_BITS: u32 = 50;

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

struct Attacker {
    http: Client,
    url: String,
}

impl Attacker {
    /// `lookup` is what somebody has seen of an invite.
    fn new(world: &World, lookup: &[u8; 16]) -> Self {
        Self {
            http: raw::http().unwrap(),
            url: format!("{}/v1/invites/{}", world.relay.url(), encode(lookup)),
        }
    }

    async fn call(&self, method: Method, to: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{to}", self.url));
        let answer = patient(request.body(body.to_string()).send())
            .await
            .unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn guess(&self, token: [u8; 32]) -> (StatusCode, Value) {
        let body = json!({ "token": encode(&token), "claimant": encode(&[9; 16]) });
        self.call(Method::POST, "/claim", body).await
    }
}

/// Numbers that no token equals, all different.
fn wrong(n: u32) -> [u8; 32] {
    let mut token = [0xA5; 32];
    token[..4].copy_from_slice(&n.to_le_bytes());
    token
}

async fn invite(device: &Device, options: InviteOptions) -> zerok_sync_client::Invite {
    let group = device.client.create_group().await.unwrap();
    patient(device.client.create_invite(group, options))
        .await
        .unwrap()
}

fn key_of(link: &str) -> InviteKey {
    InviteKey::parse(link).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_are_guessed_at_full_speed_are_slowed_to_one_a_second() {
    let world = world().await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let options = InviteOptions {
        code: true,
        ..InviteOptions::default()
    };
    let made = invite(&device, options).await;
    let code = made.code.unwrap();
    // The attacker has read the first six characters over somebody's shoulder. Stretching its guesses, which takes a good part
    // of a second each, is even given to it for free: any token will do to see how many it can try.
    let attacker = Attacker::new(&world, &code.lookup().0);
    let started = Instant::now();
    let mut tried = 0;
    let mut throttled = 0;
    for round in 0..25 {
        let guesses = (0..40).map(|n| attacker.guess(wrong(round * 40 + n)));
        for (status, answer) in join_all(guesses).await {
            match status {
                StatusCode::FORBIDDEN => {
                    assert_eq!(answer["reason"], "wrong-key");
                    tried += 1;
                }
                StatusCode::TOO_MANY_REQUESTS => {
                    assert_eq!(answer["code"], "RATE_LIMITED");
                    assert!(answer["retry_after_ms"].as_u64().unwrap() > 0);
                    throttled += 1;
                }
                other => panic!("{other}: {answer}"),
            }
        }
    }
    // However long this machine took for a thousand of them, no more than the rate allows were looked at.
    let allowed = u64::from(BURST) + u64::from(RATE) * (started.elapsed().as_secs() + 1);
    assert!(tried <= allowed, "{tried} of at most {allowed}");
    assert_eq!(tried + throttled, 1_000);
    assert!(throttled > 0);

    // What that means for the ten minutes of an invite: 660 tries of 2⁵⁰, less than one in 1.7 · 10¹². A thousand addresses
    // would still need one and a half billion invites for an even chance.
    let tries = BURST + RATE * 600;
    let space = f64::from(2).powi(KEY_BITS.try_into().unwrap());
    assert!(f64::from(tries) / space < 6e-13);

    // The person with the code is at another address, in the end: here it waits for its turn.
    let joiner = Device::open(world.relay.url(), Path::Any).await;
    let code = code.to_string();
    let joined = patient(async {
        loop {
            match joiner.client.join(&code).await {
                Ok(group) => return group,
                Err(error) => {
                    assert_eq!(error.code, "RATE_LIMITED", "{error}");
                    let wait = error.retry_after_ms.unwrap_or(1_000);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
            }
        }
    });
    assert_eq!(vec![joined.await], device.client.groups());
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_that_are_guessed_find_and_burn_nothing() {
    let world = world_with(&["--invite-rate", "100000"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let options = InviteOptions {
        code: true,
        ..InviteOptions::default()
    };
    let made = invite(&device, options).await;
    for n in 0..200_u32 {
        let text = format!("{n:06}7777777777");
        let lookup = InviteCode::parse(&text).unwrap().lookup();
        let attacker = Attacker::new(&world, &lookup.0);
        let (status, _) = attacker.call(Method::GET, "", Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(attacker.guess(wrong(n)).await.0, StatusCode::NOT_FOUND);
    }
    let joiner = Device::open(world.relay.url(), Path::Any).await;
    let joined = patient(joiner.client.join(&made.link)).await.unwrap();
    assert_eq!(vec![joined], device.client.groups());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_cannot_be_burned_by_somebody_who_has_seen_a_part_of_it() {
    let world = world_with(&["--invite-rate", "100000"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    for confirm in [false, true] {
        let options = InviteOptions {
            confirm,
            ..InviteOptions::default()
        };
        let made = invite(&device, options).await;
        let attacker = Attacker::new(&world, &made.lookup.0);
        for n in 0..100 {
            let token = encode(&wrong(n));
            assert_eq!(attacker.guess(wrong(n)).await.0, StatusCode::FORBIDDEN);
            let body = json!({ "token": token, "claimant": encode(&[9; 16]) });
            let tries = [
                (Method::GET, "", Value::Null, StatusCode::OK),
                (Method::DELETE, "", body.clone(), StatusCode::FORBIDDEN),
                (Method::POST, "/watch", body.clone(), StatusCode::FORBIDDEN),
                (
                    Method::POST,
                    "/answer",
                    json!({ "token": token, "secrets": "AAAA" }),
                    StatusCode::FORBIDDEN,
                ),
                (
                    Method::POST,
                    "/claim",
                    json!({ "token": "AA" }),
                    StatusCode::BAD_REQUEST,
                ),
            ];
            for (method, to, body, expected) in tries {
                let (status, answer) = attacker.call(method, to, body).await;
                assert_eq!(status, expected, "{to} {answer}");
            }
        }
        // Somebody else's invite at the same place.
        let mut other = attacker;
        other.url = format!("{}/v1/invites", world.relay.url());
        let taken = json!({
            "version": 1, "lookup": encode(&made.lookup.0), "claim_hash": encode(&[1; 32]),
            "owner_hash": encode(&[1; 32]), "offer": "AAAA", "secrets": "AAAA", "ttl_seconds": 600,
        });
        let (status, answer) = other.call(Method::POST, "", taken).await;
        assert_eq!(
            (status, &answer["reason"]),
            (StatusCode::CONFLICT, &json!("taken"))
        );

        let state = device.client.invite_state(made.lookup).await.unwrap();
        assert_eq!(state, InviteState::Open);
        let joiner = Device::open(world.relay.url(), Path::Any).await;
        let joining = joiner.client.join(&made.link);
        let joined = async {
            let letting_in = async {
                while !matches!(
                    device.client.invite_state(made.lookup).await.unwrap(),
                    InviteState::Requested(_)
                ) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                device
                    .client
                    .answer_invite(made.lookup, true)
                    .await
                    .unwrap();
            };
            match confirm {
                true => tokio::join!(joining, letting_in).0,
                false => joining.await,
            }
        };
        assert!(
            device
                .client
                .groups()
                .contains(&patient(joined).await.unwrap())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_link_cannot_turn_away_or_answer_another_joiner() {
    let world = world_with(&["--invite-rate", "100000"]).await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let options = InviteOptions {
        confirm: true,
        ..InviteOptions::default()
    };
    let made = invite(&device, options).await;
    let (joiner, thief) = (
        Device::open(world.relay.url(), Path::Any).await,
        Device::open(world.relay.url(), Path::Any).await,
    );
    let (client, link) = (joiner.client.clone(), made.link.clone());
    let joining = tokio::spawn(async move { client.join(&link).await });
    let requested = patient(async {
        loop {
            match device.client.invite_state(made.lookup).await.unwrap() {
                InviteState::Requested(joiner) => return joiner,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    assert_eq!(requested.await.device, joiner.client.device_id());

    let error = patient(thief.client.join(&made.link)).await.unwrap_err();
    assert_eq!(
        (error.code, error.reason),
        ("INVITE_INVALID", Some("claimed"))
    );
    let key = key_of(&made.link);
    let attacker = Attacker::new(&world, &made.lookup.0);
    let token = encode(&key.claim_token());
    for (method, to, body) in [
        (Method::DELETE, "", json!({ "token": token })),
        (
            Method::DELETE,
            "",
            json!({ "token": token, "claimant": encode(&[9; 16]) }),
        ),
        (Method::POST, "/watch", json!({ "token": token })),
        (
            Method::POST,
            "/answer",
            json!({ "token": token, "secrets": "AAAA" }),
        ),
        (
            Method::POST,
            "/answer",
            json!({ "token": token, "reply": "AAAA" }),
        ),
    ] {
        let (status, answer) = attacker.call(method, to, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{to} {answer}");
    }
    device
        .client
        .answer_invite(made.lookup, true)
        .await
        .unwrap();
    assert_eq!(
        vec![patient(joining).await.unwrap().unwrap()],
        device.client.groups()
    );
}
