//! The HTTP side of a real relay: invites, discovery, health, metrics, a web app, and what is not HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use crate::common::{Device, Way, config, http, keys, start};
use data_encoding::BASE64URL_NOPAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zerok_sync_relay::Relay;
use zerok_sync_shared::crypto::invite::hash_claim;

const TOKEN: [u8; 32] = [5; 32];
const OWNER: [u8; 32] = [4; 32];

fn text(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

struct Api(String);

impl Api {
    async fn call(&self, method: Method, path: &str, body: impl ToString) -> (StatusCode, Value) {
        let request = http()
            .request(method, format!("{}{path}", self.0))
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn create(&self, lookup: u8, ttl: u64) -> (StatusCode, Value) {
        let body = json!({
            "version": 1, "lookup": text(&[lookup; 16]), "claim_hash": text(&hash_claim(&TOKEN)),
            "owner_hash": text(&hash_claim(&OWNER)),
            "offer": text(b"sealed offer"), "secrets": text(b"sealed secrets"),
            "ttl_seconds": ttl, "something_new": [1, 2],
        });
        self.call(Method::POST, "/v1/invites", body).await
    }

    async fn look(&self, lookup: u8) -> (StatusCode, Value) {
        self.call(
            Method::GET,
            &format!("/v1/invites/{}", text(&[lookup; 16])),
            "",
        )
        .await
    }

    async fn claim(&self, lookup: u8, token: &[u8], claimant: u8) -> (StatusCode, Value) {
        let body = json!({ "token": text(token), "claimant": text(&[claimant; 16]) });
        let path = format!("/v1/invites/{}/claim", text(&[lookup; 16]));
        self.call(Method::POST, &path, body).await
    }

    async fn cancel(&self, lookup: u8, token: &[u8]) -> (StatusCode, Value) {
        let path = format!("/v1/invites/{}", text(&[lookup; 16]));
        self.call(Method::DELETE, &path, json!({ "token": text(token) }))
            .await
    }
}

#[track_caller]
fn assert_refused((status, body): (StatusCode, Value), expected: u16, code: &str, reason: &str) {
    assert_eq!(status.as_u16(), expected, "{body}");
    assert_eq!(
        (body["code"].as_str(), body["reason"].as_str()),
        (Some(code), Some(reason))
    );
    assert!(!body["message"].as_str().unwrap().is_empty());
}

async fn generous() -> (Relay, TempDir, Api) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.invite_rate = 1000.try_into().unwrap();
    let relay = Relay::start(config).await.unwrap();
    let api = Api(relay.http_url().to_owned());
    (relay, folder, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_offered_claimed_once_and_remembered_as_used() {
    let (relay, _folder, api) = generous().await;
    let (status, created) = api.create(1, 600).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, offered) = api.look(1).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(offered["offer"], text(b"sealed offer"));
    assert_eq!(
        (&offered["version"], &offered["expires_at"]),
        (&json!(1), &created["expires_at"])
    );
    assert_refused(api.create(1, 600).await, 409, "INVITE_INVALID", "taken");

    assert_refused(
        api.claim(1, &[6; 32], 1).await,
        403,
        "INVITE_INVALID",
        "wrong-key",
    );
    for _ in 0..2 {
        let (status, claimed) = api.claim(1, &TOKEN, 1).await;
        assert_eq!(
            (status, &claimed["secrets"]),
            (StatusCode::OK, &json!(text(b"sealed secrets")))
        );
    }
    assert_refused(
        api.claim(1, &TOKEN, 2).await,
        410,
        "INVITE_INVALID",
        "claimed",
    );
    assert_refused(api.look(1).await, 410, "INVITE_INVALID", "claimed");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_claimants_at_once_one_gets_it() {
    let (relay, _folder, api) = generous().await;
    api.create(1, 600).await;
    let claims = (1..=8).map(|claimant| api.claim(1, &TOKEN, claimant));
    let answers = futures_util::future::join_all(claims).await;
    assert_eq!(
        answers
            .iter()
            .filter(|(status, _)| *status == StatusCode::OK)
            .count(),
        1
    );
    assert_eq!(
        answers
            .iter()
            .filter(|(status, _)| *status == StatusCode::GONE)
            .count(),
        7
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_end_by_time_and_by_cancelling_and_guessing_changes_nothing() {
    let (relay, _folder, api) = generous().await;
    assert_refused(api.look(9).await, 404, "INVITE_INVALID", "unknown");
    assert_refused(
        api.claim(9, &TOKEN, 1).await,
        404,
        "INVITE_INVALID",
        "unknown",
    );

    api.create(1, 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_refused(api.look(1).await, 410, "INVITE_EXPIRED", "expired");
    assert_refused(
        api.claim(1, &TOKEN, 1).await,
        410,
        "INVITE_EXPIRED",
        "expired",
    );

    api.create(2, 600).await;
    for not_the_owner in [&[6; 32], &TOKEN] {
        assert_refused(
            api.cancel(2, not_the_owner).await,
            403,
            "INVITE_INVALID",
            "wrong-key",
        );
    }
    assert_eq!(api.cancel(2, &OWNER).await.0, StatusCode::NO_CONTENT);
    assert_refused(api.look(2).await, 410, "INVITE_INVALID", "cancelled");
    assert_refused(
        api.claim(2, &TOKEN, 1).await,
        410,
        "INVITE_INVALID",
        "cancelled",
    );

    // Whoever saw half of a code could otherwise end somebody's invite.
    api.create(3, 600).await;
    for guess in 10..50 {
        assert_refused(
            api.claim(3, &[guess; 32], 1).await,
            403,
            "INVITE_INVALID",
            "wrong-key",
        );
        assert_refused(
            api.cancel(3, &[guess; 32]).await,
            403,
            "INVITE_INVALID",
            "wrong-key",
        );
    }
    assert_eq!(api.claim(3, &TOKEN, 1).await.0, StatusCode::OK);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_wrong_shape_or_size_are_refused() {
    let (relay, _folder, api) = generous().await;
    let post = async |body: String| api.call(Method::POST, "/v1/invites", body).await;
    let good = json!({
        "version": 1, "lookup": text(&[1; 16]), "claim_hash": text(&[2; 32]), "owner_hash": text(&[3; 32]),
        "offer": text(b"o"), "secrets": text(b"s"), "ttl_seconds": 60,
    });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let malformed = [
        String::new(),
        "null".into(),
        "[1]".into(),
        "{".into(),
        "\u{0}\u{1}".into(),
        with("lookup", json!(text(&[1; 15]))),
        with("lookup", json!(7)),
        with("claim_hash", json!("====")),
        with("offer", json!("")),
        with("offer", json!("not base64!")),
        with("secrets", json!(text(&[1; 8193]))),
        with("ttl_seconds", json!(0)),
        with("ttl_seconds", json!(601)),
        with("ttl_seconds", json!(-1)),
        with("version", json!("1")),
    ];
    for body in malformed {
        assert_refused(post(body).await, 400, "INVITE_INVALID", "malformed");
    }
    assert_refused(
        post(with("version", json!(2))).await,
        400,
        "INVITE_INVALID",
        "version",
    );
    assert_refused(
        post(json!({ "version": 2 }).to_string()).await,
        400,
        "INVITE_INVALID",
        "version",
    );
    let huge = with("offer", json!("A".repeat(40_000)));
    assert_refused(post(huge).await, 413, "INVITE_INVALID", "malformed");
    assert_refused(
        api.claim(1, &[1; 31], 1).await,
        400,
        "INVITE_INVALID",
        "malformed",
    );
    let strange = api.call(Method::GET, "/v1/invites/%00%ff..", "").await;
    assert!(strange.0.is_client_error());
    assert_eq!(
        api.call(Method::PUT, "/v1/invites", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(post(good.to_string()).await.0, StatusCode::CREATED);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_waits() {
    let (relay, _folder) = start().await;
    let api = Api(relay.http_url().to_owned());
    let mut limited = None;
    for _ in 0..80 {
        let (status, body) = api.look(1).await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(body);
            break;
        }
    }
    let body = limited.expect("a limit");
    assert_eq!(body["code"], "RATE_LIMITED");
    assert!((1..=1000).contains(&body["retry_after_ms"].as_u64().unwrap()));
    assert_eq!(api.call(Method::GET, "/health", "").await.0, StatusCode::OK);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_any_origin_may_ask() {
    let (relay, _folder) = start().await;
    let request = http()
        .request(
            Method::OPTIONS,
            format!("{}/v1/invites/x", relay.http_url()),
        )
        .header("origin", "https://app.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "content-type");
    let response = request.send().await.unwrap();
    assert!(response.status().is_success());
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), "*");
    assert_eq!(header("access-control-allow-methods"), "*");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_what_happens() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let mut session = device.session(&keys(1)).await;
    session.push(1, b"canary text").await;
    let api = Api(relay.http_url().to_owned());
    let (_, health) = api.call(Method::GET, "/health", "").await;
    assert_eq!(
        (&health["status"], &health["connections"]),
        (&json!("ok"), &json!(1))
    );
    assert_eq!(
        (&health["groups"], &health["blobs_buffered"]),
        (&json!(1), &json!(1))
    );
    let metrics = http()
        .get(format!("{}/metrics", api.0))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "zerok_relay_pushes_total 1",
        "zerok_relay_sessions 1",
        "# UNIT",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("canary"));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_app_is_served_with_the_right_types_and_its_own_paths() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web");
    std::fs::create_dir_all(web.join("assets")).unwrap();
    std::fs::write(web.join("index.html"), "<title>app</title>").unwrap();
    std::fs::write(web.join("sw.js"), "//").unwrap();
    std::fs::write(web.join("assets/core.wasm"), b"\0asm").unwrap();
    std::fs::write(folder.path().join("secret.txt"), "no").unwrap();
    let mut config = config(&folder);
    config.web = Some(web);
    let relay = Relay::start(config).await.unwrap();
    let get = async |path: &str| {
        let response = http()
            .get(format!("{}{path}", relay.http_url()))
            .send()
            .await
            .unwrap();
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        let (kind, cache) = (header("content-type"), header("cache-control"));
        (
            response.status().as_u16(),
            kind.unwrap_or_default(),
            cache.unwrap_or_default(),
        )
    };
    for page in ["/", "/index.html", "/list/7"] {
        assert_eq!(
            get(page).await,
            (200, "text/html".into(), "no-cache".into()),
            "{page}"
        );
    }
    assert_eq!(get("/sw.js").await.2, "no-cache");
    assert_eq!(
        get("/assets/core.wasm").await,
        (200, "application/wasm".into(), String::new())
    );
    assert_eq!(get("/assets/gone.js").await.0, 404);
    assert_eq!(get("/v1/nothing").await.0, 404);
    assert_eq!(get("/..%2fsecret.txt").await.0, 404);
    assert_eq!(get("/health").await.0, 200);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_or_half_of_it_is_dropped() {
    let (relay, _folder) = start().await;
    let address = relay.http_url().replace("http://", "");
    let mut garbage = TcpStream::connect(&address).await.unwrap();
    garbage.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await.unwrap();
    garbage.write_all(b"\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), garbage.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "closed");

    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: a")
        .await
        .unwrap();
    let mut idle = TcpStream::connect(&address).await.unwrap();
    for stream in [&mut slow, &mut idle] {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        assert!(read.await.is_ok(), "closed");
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_outlives_every_time_out_of_http() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::WebSocket).await;
    let mut session = device.session(&keys(1)).await;
    tokio::time::sleep(Duration::from_secs(33)).await;
    assert_eq!(session.push(1, b"still here").await, 1);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_start_says_what_to_change() {
    let (relay, _folder) = start().await;
    let port = relay
        .http_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut taken = config(&other);
    taken.port = port;
    let error = Relay::start(taken).await.err().unwrap().to_string();
    assert!(error.contains("--port"), "{error}");
    let mut no_app = config(&other);
    no_app.web = Some(other.path().join("nothing"));
    let error = Relay::start(no_app).await.err().unwrap().to_string();
    assert!(error.contains("--web"), "{error}");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_too_long_is_not_waited_for() {
    let (relay, _folder) = start().await;
    let mut stream = TcpStream::connect(relay.http_url().replace("http://", ""))
        .await
        .unwrap();
    let head =
        "POST /v1/invites HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 10000000000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    relay.shutdown().await;
}
