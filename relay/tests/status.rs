//! The page for people, from a real relay after real traffic, and who gets to see the numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::{SocketAddr, TcpListener};

use crate::common::{Device, Way, config, http, keys, start};
use data_encoding::BASE64;
use reqwest::header::HeaderMap;
use sha2::{Digest as _, Sha256};
use zerok_sync_relay::Relay;

async fn get(url: &str) -> (u16, HeaderMap, String) {
    let answer = http().get(url).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.unwrap())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_the_relay_holds_and_did_and_nobodys_id() {
    let (relay, _folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let keys = keys(1);
    let mut session = device.session(&keys).await;
    for id in 1..=3 {
        session.push(id, &[b'c'; 1024]).await;
    }
    let (status, headers, page) = get(relay.http_url()).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    for text in [
        "This relay is well",
        "<dd>1</dd><dd class=\"note\">1 by UDP, 0 by&nbsp;WebSocket</dd>",
        "3 blobs kept",
        "<dd>3.0\u{a0}KiB</dd>",
        "aria-label=\"Pushes a minute over the last hour: 3 now, 3 at most\"",
        "aria-label=\"Received a minute over the last hour: 3.0\u{a0}KiB now",
        "for 30 days",
        "open to everybody",
        "up to 1.0\u{a0}GiB",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let url = between(&page, "<code id=\"url\">", "</code>");
    assert_eq!(url, relay.http_url());
    let ids = [
        device.hello(&keys).group_id.to_string(),
        device.endpoint.id().to_string(),
        relay.endpoint_id().to_string(),
    ];
    for id in ids {
        assert!(!page.contains(&id), "{id} in {page}");
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_nothing_and_runs_only_its_own_script() {
    let (relay, _folder) = start().await;
    let (_, headers, page) = get(&format!("{}/status", relay.http_url())).await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    for (kind, start, end) in [
        ("style-src", "<style>", "</style>"),
        ("script-src", "<script>", "</script>"),
    ] {
        let hash = BASE64.encode(&Sha256::digest(between(&page, start, end)));
        let allowed = format!("{kind} 'sha256-{hash}'");
        assert!(policy.contains(&allowed), "{allowed} in {policy}");
    }
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for outside in [
        " src=",
        "@import",
        "url(",
        "<iframe",
        " style=",
        " onclick=",
    ] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    let links = page.matches("href=").count();
    assert_eq!((links, page.matches("href=\"data:,\"").count()), (1, 1));
    assert_eq!(headers["cache-control"], "no-store");
    assert!(!headers.contains_key("access-control-allow-origin"));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_app_keeps_the_root_and_the_page_is_at_status() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web");
    std::fs::create_dir_all(&web).unwrap();
    std::fs::write(web.join("index.html"), "<title>app</title>").unwrap();
    let mut config = config(&folder);
    config.web = Some(web);
    let relay = Relay::start(config).await.unwrap();
    let (_, _, root) = get(relay.http_url()).await;
    assert_eq!(root, "<title>app</title>");
    let (_, _, page) = get(&format!("{}/status", relay.http_url())).await;
    assert!(page.contains("This relay is well"), "{page}");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_can_be_the_operators_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    let operator: SocketAddr = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    config.metrics_bind = Some(operator);
    let relay = Relay::start(config).await.unwrap();
    let public = relay.http_url().to_owned();
    let operator = format!("http://{operator}");

    assert_eq!(get(&format!("{public}/metrics")).await.0, 404);
    for path in ["/", "/status"] {
        let (status, _, page) = get(&format!("{public}{path}")).await;
        assert_eq!(status, 200);
        assert!(page.contains("This relay is well") && page.contains(&public));
        for number in ["<dl>", "<rect", "Connected"] {
            assert!(!page.contains(number), "{number} in {page}");
        }
    }
    let (status, _, health) = get(&format!("{public}/health")).await;
    assert_eq!(status, 200);
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    let keys: Vec<_> = health.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["status", "version"]);

    let (_, _, metrics) = get(&format!("{operator}/metrics")).await;
    assert!(metrics.contains("zerok_relay_sessions 0"), "{metrics}");
    let (_, _, page) = get(&operator).await;
    assert!(
        page.contains("<dl>") && page.contains(&public.replace("127.0.0.1", "localhost")),
        "{page}"
    );
    let (_, _, health) = get(&format!("{operator}/health")).await;
    assert!(health.contains("blobs_buffered"), "{health}");
    relay.shutdown().await;
}
