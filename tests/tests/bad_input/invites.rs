//! The HTTP interface: bodies of the wrong shape or size, and invites that cannot be used.

use data_encoding::BASE64URL_NOPAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use zerok_sync_client::shared::crypto::invite::{
    InviteKey, Offer, SealedInvite, Secrets, hash_claim,
};
use zerok_sync_client::shared::crypto::keys::Secret;
use zerok_sync_client::shared::ids::{DeviceId, GroupId};
use zerok_sync_client::shared::time::Timestamp;
use zerok_sync_client::{InviteOptions, Path, SyncError};
use zerok_sync_tests::raw::{self, keys};

use crate::common::{Device, World, patient, world_with};

/// The token of whoever made the invites here.
const OWNER: [u8; 32] = [77; 32];

async fn generous() -> World {
    world_with(&["--invite-rate", "100000"]).await
}

async fn call(
    world: &World,
    method: Method,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> (StatusCode, Value) {
    let request = raw::http()
        .unwrap()
        .request(method, format!("{}{path}", world.relay.url()));
    let answer = request.body(body.into()).send().await.unwrap();
    let status = answer.status();
    (
        status,
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default(),
    )
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn path(key: &InviteKey) -> String {
    format!("/v1/invites/{}", encode(key.lookup.as_bytes()))
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).unwrap();
}

/// An invite as a client makes it, to the group of seed 1.
fn invite(world: &World) -> (InviteKey, SealedInvite, String) {
    let key = InviteKey::random(&mut random);
    let offer = Offer {
        relays: vec![world.relay.url().to_owned()],
        group_id: keys(1).founded_group(),
        epoch: 0,
        created_by: DeviceId([1; 32]),
        expires: Timestamp(u64::MAX),
        confirm: None,
    };
    let secrets = Secrets {
        epochs: vec![(0, Secret::new([1; 32]))],
        tokens: [].into(),
    };
    let sealed = key.seal(&offer, &secrets, &mut random);
    let link = key.link("https://app.example/", world.relay.url());
    (key, sealed, link)
}

fn body(sealed: &SealedInvite, ttl_seconds: u64) -> Value {
    json!({
        "version": 1,
        "lookup": encode(sealed.lookup.as_bytes()),
        "claim_hash": encode(&sealed.claim_hash),
        "owner_hash": encode(&hash_claim(&OWNER)),
        "offer": encode(&sealed.offer),
        "secrets": encode(&sealed.secrets),
        "ttl_seconds": ttl_seconds,
    })
}

async fn leave(world: &World, sealed: &SealedInvite, ttl_seconds: u64) {
    let (status, answer) = call(
        world,
        Method::POST,
        "/v1/invites",
        body(sealed, ttl_seconds).to_string(),
    )
    .await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

async fn refused(device: &Device, link: &str) -> (&'static str, Option<&'static str>) {
    let SyncError {
        code,
        reason,
        message,
        ..
    } = patient(device.client.join(link)).await.unwrap_err();
    assert!(!message.is_empty());
    (code, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_wrong_shape_or_size_are_refused_and_leave_nothing() {
    let world = generous().await;
    let (key, sealed, _) = invite(&world);
    let right = body(&sealed, 600);
    let with = |field: &str, value: Value| {
        let mut changed = right.clone();
        changed[field] = value;
        changed.to_string().into_bytes()
    };
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("not JSON", b"lookup=1".to_vec()),
        ("not UTF-8", vec![0xFF; 100]),
        ("half of it", right.to_string().into_bytes()[..100].to_vec()),
        ("a list", b"[]".to_vec()),
        ("no fields", b"{}".to_vec()),
        ("deep", "[".repeat(20_000).into_bytes()),
        ("a version that is text", with("version", json!("1"))),
        ("a version that is negative", with("version", json!(-1))),
        ("a lookup that is a number", with("lookup", json!(1))),
        (
            "a lookup of 15 bytes",
            with("lookup", json!(encode(&[1; 15]))),
        ),
        (
            "a lookup of 17 bytes",
            with("lookup", json!(encode(&[1; 17]))),
        ),
        (
            "a lookup that is not base64url",
            with("lookup", json!("+/+/+/+/+/+/+/+/+/+/+/")),
        ),
        (
            "a hash of 31 bytes",
            with("claim_hash", json!(encode(&[1; 31]))),
        ),
        (
            "an owner's hash of 33 bytes",
            with("owner_hash", json!(encode(&[1; 33]))),
        ),
        ("no offer", with("offer", json!(""))),
        (
            "an offer that is too long",
            with("offer", json!(encode(&[1; 8193]))),
        ),
        ("secrets that are null", with("secrets", json!(null))),
        ("no time", with("ttl_seconds", json!(0))),
        ("too much time", with("ttl_seconds", json!(601))),
        ("time that is negative", with("ttl_seconds", json!(-5))),
        ("time that does not fit", with("ttl_seconds", json!(1e300))),
    ];
    for (what, body) in wrong {
        let (status, answer) = call(&world, Method::POST, "/v1/invites", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {answer}");
        assert_eq!(
            (&answer["code"], &answer["reason"]),
            (&json!("INVITE_INVALID"), &json!("malformed")),
            "{what}"
        );
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    let (status, answer) = call(
        &world,
        Method::POST,
        "/v1/invites",
        vec![b' '; 32 * 1024 + 1],
    )
    .await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("INVITE_INVALID"))
    );
    let (status, answer) = call(
        &world,
        Method::POST,
        "/v1/invites",
        with("version", json!(2)),
    )
    .await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::BAD_REQUEST, &json!("version"))
    );
    assert_eq!(
        call(&world, Method::GET, &path(&key), "").await.0,
        StatusCode::NOT_FOUND
    );

    leave(&world, &sealed, 600).await;
    let (status, answer) = call(&world, Method::POST, "/v1/invites", right.to_string()).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::CONFLICT, &json!("taken"))
    );
    let claim = format!("{}/claim", path(&key));
    for body in [
        "",
        "{}",
        r#"{"token":"AA","claimant":"AA"}"#,
        r#"{"token":1,"claimant":2}"#,
    ] {
        let (status, answer) = call(&world, Method::POST, &claim, body).await;
        assert_eq!(
            (status, &answer["reason"]),
            (StatusCode::BAD_REQUEST, &json!("malformed")),
            "{body}"
        );
        let (status, _) = call(&world, Method::DELETE, &path(&key), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        for to in ["watch", "answer"] {
            let to = format!("{}/{to}", path(&key));
            let (status, _) = call(&world, Method::POST, &to, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        }
    }
    assert_eq!(
        call(&world, Method::GET, &path(&key), "").await.0,
        StatusCode::OK,
        "it is still there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_nowhere_are_not_found() {
    let world = generous().await;
    let lookups = [
        "AAAA".to_owned(),
        encode(&[1; 15]),
        encode(&[1; 17]),
        encode(&[1; 16]),
        "%00".into(),
        "x".repeat(5000),
    ];
    for lookup in lookups {
        let (status, answer) =
            call(&world, Method::GET, &format!("/v1/invites/{lookup}"), "").await;
        assert_eq!(
            (status, &answer["reason"]),
            (StatusCode::NOT_FOUND, &json!("unknown")),
            "{lookup}"
        );
    }
    for path in [
        "/v1",
        "/v1/",
        "/v2/invites",
        "/admin",
        "/.well-known/other",
        "/..%2f..%2fetc%2fpasswd",
        "/relay.db",
        "/data/relay.key",
    ] {
        let (status, answer) = call(&world, Method::GET, path, "").await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::NOT_FOUND, &json!("NOT_FOUND")),
            "{path}"
        );
    }
    assert_eq!(
        call(&world, Method::PUT, "/v1/invites", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        call(&world, Method::GET, "/health", "").await.0,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_mistyped_say_so() {
    let world = generous().await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let (key, sealed, link) = invite(&world);
    let (_, _, unknown) = invite(&world);
    leave(&world, &sealed, 600).await;
    for text in [
        "",
        "https://app.example/",
        "https://app.example/#0k=1.",
        "#0k=x.AAAA",
        "#0k=1.!!!!",
        &link[..50],
    ] {
        assert_eq!(
            refused(&device, text).await,
            ("INVITE_INVALID", Some("malformed")),
            "{text}"
        );
    }
    let newer = link.replace("#0k=1.", "#0k=2.");
    assert_eq!(
        refused(&device, &newer).await,
        ("INVITE_INVALID", Some("version"))
    );
    assert_eq!(
        refused(&device, &unknown).await,
        ("INVITE_INVALID", Some("unknown"))
    );

    // The right lookup with a key that was mistyped.
    let data = link.split_once("1.").unwrap().1;
    let mut bytes = BASE64URL_NOPAD.decode(data.as_bytes()).unwrap();
    bytes[20] ^= 1;
    let mistyped = format!("https://app.example/#0k=1.{}", encode(&bytes));
    assert_eq!(
        refused(&device, &mistyped).await,
        ("INVITE_INVALID", Some("wrong-key"))
    );
    assert_eq!(device.client.groups(), Vec::<GroupId>::new());
    // None of that used the invite up.
    assert_eq!(
        call(&world, Method::GET, &path(&key), "").await.0,
        StatusCode::OK
    );
    assert_eq!(
        patient(device.client.join(&link)).await.unwrap(),
        keys(1).founded_group()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_that_are_over_say_how_they_ended() {
    let world = generous().await;
    let url = world.relay.url();
    let (a, b, c) = (
        Device::open(url, Path::Any).await,
        Device::open(url, Path::Any).await,
        Device::open(url, Path::Any).await,
    );
    let group = a.client.create_group().await.unwrap();

    let claimed = a
        .client
        .create_invite(group, InviteOptions::default())
        .await
        .unwrap();
    patient(b.client.join(&claimed.link)).await.unwrap();
    assert_eq!(
        refused(&c, &claimed.link).await,
        ("INVITE_INVALID", Some("claimed"))
    );

    let cancelled = a
        .client
        .create_invite(group, InviteOptions::default())
        .await
        .unwrap();
    a.client.cancel_invite(cancelled.lookup).await.unwrap();
    assert_eq!(
        refused(&c, &cancelled.link).await,
        ("INVITE_INVALID", Some("cancelled"))
    );

    let (key, sealed, link) = invite(&world);
    leave(&world, &sealed, 1).await;
    let over = patient(async {
        loop {
            let (status, answer) = call(&world, Method::GET, &path(&key), "").await;
            if status != StatusCode::OK {
                return (status, answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let (status, answer) = over.await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::GONE, &json!("INVITE_EXPIRED"))
    );
    assert_eq!(refused(&c, &link).await.0, "INVITE_EXPIRED");
    let claim =
        json!({ "token": encode(&key.claim_token()), "claimant": encode(&[1; 16]) }).to_string();
    let (status, answer) = call(
        &world,
        Method::POST,
        &format!("{}/claim", path(&key)),
        claim,
    )
    .await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::GONE, &json!("INVITE_EXPIRED"))
    );
    assert!(answer.get("secrets").is_none());

    assert_eq!(c.client.groups(), Vec::<GroupId>::new());
    let good = a
        .client
        .create_invite(group, InviteOptions::default())
        .await
        .unwrap();
    assert_eq!(patient(c.client.join(&good.link)).await.unwrap(), group);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_invite_holds_is_checked_before_it_is_believed() {
    let world = generous().await;
    let device = Device::open(world.relay.url(), Path::Any).await;
    let (_, mut swapped, link) = invite(&world);
    std::mem::swap(&mut swapped.offer, &mut swapped.secrets);
    leave(&world, &swapped, 600).await;
    assert_eq!(
        refused(&device, &link).await,
        ("INVITE_INVALID", Some("wrong-key")),
        "one part for the other"
    );

    // The offer of one group with the secrets of another.
    let (key, _, link) = invite(&world);
    let offer = Offer {
        relays: vec![world.relay.url().to_owned()],
        group_id: keys(1).founded_group(),
        epoch: 0,
        created_by: DeviceId([1; 32]),
        expires: Timestamp(u64::MAX),
        confirm: None,
    };
    let secrets = Secrets {
        epochs: vec![(0, Secret::new([2; 32]))],
        tokens: [].into(),
    };
    leave(&world, &key.seal(&offer, &secrets, &mut random), 600).await;
    assert_eq!(
        refused(&device, &link).await,
        ("INVITE_INVALID", Some("wrong-key")),
        "secrets of another group"
    );

    // Relays that are none.
    let (key, _, link) = invite(&world);
    let offer = Offer {
        relays: vec!["ftp://example.com".into()],
        ..offer
    };
    leave(
        &world,
        &key.seal(
            &offer,
            &Secrets {
                epochs: vec![(0, Secret::new([1; 32]))],
                tokens: [].into(),
            },
            &mut random,
        ),
        600,
    )
    .await;
    assert_eq!(
        refused(&device, &link).await,
        ("INVITE_INVALID", Some("malformed")),
        "a relay that is none"
    );
    assert_eq!(device.client.groups(), Vec::<GroupId>::new());
}
