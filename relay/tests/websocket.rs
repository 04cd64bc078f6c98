//! The embedded iroh relay: whom it serves, how much of it, and what it does not put up with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use crate::common::{Device, PATIENCE, Way, config, http, keys, start};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use iroh::dns::DnsResolver;
use iroh::{EndpointAddr, EndpointId, RelayUrl, SecretKey};
use iroh_relay::client::{Client, ClientBuilder};
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};
use iroh_relay::tls::CaTlsConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zerok_sync_relay::Relay;
use zerok_sync_relay::access::{AccessMode, HashedToken};
use zerok_sync_shared::crypto::token::TokenHash;
use zerok_sync_shared::message::ALPN;
use zerok_sync_transport::{endpoint as transport, tls};

/// A client of the iroh relay that is no device of ours.
struct Stranger {
    client: Client,
    id: EndpointId,
}

impl Stranger {
    async fn connect(relay: &Relay) -> Self {
        let key = SecretKey::generate();
        let id = key.public();
        let url: RelayUrl = relay.http_url().parse().unwrap();
        let client = ClientBuilder::new(url, key, DnsResolver::new())
            .tls_client_config(
                CaTlsConfig::embedded()
                    .client_config(tls::provider())
                    .unwrap(),
            )
            .connect()
            .await
            .unwrap();
        Self { client, id }
    }

    async fn send(&mut self, to: EndpointId, bytes: usize) {
        let datagrams = Datagrams {
            ecn: None,
            segment_size: None,
            contents: Bytes::from(vec![7; bytes]),
        };
        let message = ClientToRelayMsg::Datagrams {
            dst_endpoint_id: to,
            datagrams,
        };
        self.client.send(message).await.unwrap();
    }

    /// Waits until the relay has dealt with everything that was sent.
    async fn ping(&mut self) {
        self.client
            .send(ClientToRelayMsg::Ping([1; 8]))
            .await
            .unwrap();
        self.pong().await;
    }

    async fn pong(&mut self) {
        while !matches!(self.receive().await, RelayToClientMsg::Pong(_)) {}
    }

    async fn receive(&mut self) -> RelayToClientMsg {
        timeout(PATIENCE, self.client.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

async fn metric(relay: &Relay, name: &str) -> u64 {
    let text = http()
        .get(format!("{}/metrics", relay.http_url()))
        .send()
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn own_id(relay: &Relay) -> EndpointId {
    transport::endpoint_id(relay.endpoint_id()).unwrap()
}

/// Sends the head of a request and gives the connection back with the head of the answer.
async fn request(relay: &Relay, head: &str) -> (TcpStream, String) {
    let address = relay.http_url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    (stream, String::from_utf8(answer).unwrap())
}

const UPGRADE: &str = "GET /relay HTTP/1.1\r\nHost: relay.test\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: iroh-relay-v1, iroh-relay-v2\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_exchange_packets_through_the_relay() {
    let (relay, _folder) = start().await;
    let (mut one, mut other) = (
        Stranger::connect(&relay).await,
        Stranger::connect(&relay).await,
    );
    one.send(other.id, 100).await;
    one.ping().await;
    assert_eq!(metric(&relay, "zerok_relay_forward_refused_total").await, 1);
    other.ping().await;
    // What is for the relay itself is no matter of this count.
    one.send(own_id(&relay), 100).await;
    one.ping().await;
    assert_eq!(metric(&relay, "zerok_relay_forward_refused_total").await, 1);
    assert_eq!(
        other.client.next().now_or_never().map(|_| ()),
        None,
        "nothing came"
    );
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_opened_forwards_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.open_forwarding = true;
    let relay = Relay::start(config).await.unwrap();
    let (mut one, mut other) = (
        Stranger::connect(&relay).await,
        Stranger::connect(&relay).await,
    );
    one.send(other.id, 100).await;
    match other.receive().await {
        RelayToClientMsg::Datagrams {
            remote_endpoint_id,
            datagrams,
        } => {
            assert_eq!(remote_endpoint_id, one.id);
            assert_eq!(datagrams.contents.len(), 100);
        }
        message => panic!("{message:?}"),
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_fast_waits_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.websocket_rate = 50_000;
    let relay = Relay::start(config).await.unwrap();
    let own = own_id(&relay);
    let (mut fast, mut other) = (
        Stranger::connect(&relay).await,
        Stranger::connect(&relay).await,
    );
    for _ in 0..200 {
        fast.send(own, 1_000).await;
    }
    fast.client
        .send(ClientToRelayMsg::Ping([1; 8]))
        .await
        .unwrap();
    other.ping().await;
    let answered = fast.client.next().now_or_never();
    assert!(answered.is_none(), "200 KB have to wait at 50 KB a second");
    // Nothing was lost: what waited is read in the end.
    fast.pong().await;
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_whose_handshake_is_not_completed_is_cut() {
    let (relay, _folder) = start().await;
    let (mut stream, answer) = request(&relay, &format!("{UPGRADE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );
    assert!(
        answer.contains("sec-websocket-protocol: iroh-relay-v2\r\n"),
        "{answer}"
    );
    // A challenge comes, which is never answered.
    let mut challenge = Vec::new();
    timeout(Duration::from_secs(25), stream.read_to_end(&mut challenge))
        .await
        .expect("cut")
        .unwrap();
    assert!(!challenge.is_empty());
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pings_and_never_reads_is_cut() {
    let (relay, _folder) = start().await;
    let (mut stream, _) = request(&relay, &format!("{UPGRADE}\r\n")).await;
    // An empty ping of a client: final, masked, mask zero.
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(10_000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    timeout(Duration::from_secs(40), flood).await.expect("cut");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_websocket_is_told_so() {
    let (relay, _folder) = start().await;
    let refused = async |head: &str| request(&relay, head).await.1;
    let plain = refused("GET /relay HTTP/1.1\r\nHost: relay.test\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    assert!(plain.contains("upgrade: websocket"), "{plain}");
    let post = refused(&format!("{UPGRADE}\r\n").replace("GET", "POST")).await;
    assert!(post.starts_with("HTTP/1.1 400"), "{post}");
    let old = refused(&format!("{UPGRADE}\r\n").replace("Version: 13", "Version: 12")).await;
    assert!(
        old.starts_with("HTTP/1.1 400") && old.contains("sec-websocket-version: 13"),
        "{old}"
    );
    let unknown = refused(&format!("{UPGRADE}\r\n").replace("iroh-relay", "other")).await;
    assert!(unknown.starts_with("HTTP/1.1 400"), "{unknown}");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_and_others_have_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.trusted_proxies = vec!["loopback".parse().unwrap()];
    config.connections_per_address = 2;
    let relay = Relay::start(config).await.unwrap();
    let from = async |address: &str| {
        request(
            &relay,
            &format!("{UPGRADE}X-Forwarded-For: 192.0.2.1, {address}\r\n\r\n"),
        )
        .await
    };
    let (first, answer) = from("203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let (_second, _) = from("203.0.113.1").await;
    let (_, answer) = from("203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 10"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    assert_eq!(metric(&relay, "zerok_relay_crowded_total").await, 1);
    let (_other, answer) = from("203.0.113.2").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // A seat is free again once its connection is gone.
    drop(first);
    let freed = async { while !from("203.0.113.1").await.1.starts_with("HTTP/1.1 101") {} };
    timeout(PATIENCE, freed).await.expect("a free seat");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_proxy_counts_only_if_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(&folder)).await.unwrap();
    let url = async |relay: &Relay| {
        let found = http()
            .get(format!("{}/.well-known/iroh", relay.http_url()))
            .header("X-Forwarded-Proto", "https")
            .send()
            .await
            .unwrap();
        let found: serde_json::Value = found.json().await.unwrap();
        found["relay_url"].as_str().unwrap().to_owned()
    };
    assert!(url(&relay).await.starts_with("http://"));
    relay.shutdown().await;
    let mut config = config(&folder);
    config.trusted_proxies = vec!["loopback".parse().unwrap()];
    let relay = Relay::start(config).await.unwrap();
    assert!(url(&relay).await.starts_with("https://"));
    relay.shutdown().await;
}

/// A proxy on a port of its own that says that everybody comes from `address`.
async fn proxy(relay: &Relay, address: &'static str) -> String {
    let upstream = relay.http_url().replace("http://", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut relay = TcpStream::connect(&upstream).await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                head.truncate(head.len() - 2);
                let line = format!("X-Forwarded-For: {address}\r\n\r\n");
                relay.write_all(&head).await.unwrap();
                relay.write_all(line.as_bytes()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut relay).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_quic_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.trusted_proxies = vec!["loopback".parse().unwrap()];
    config.connections_per_address = 1;
    let relay = Relay::start(config).await.unwrap();
    let url = proxy(&relay, "203.0.113.1").await;
    let device = Device::connect(&url, Way::WebSocket).await;
    device.session(&keys(1)).await;
    let again = EndpointAddr::new(own_id(&relay)).with_relay_url(url.parse().unwrap());
    let again = device.endpoint.connect(again, ALPN);
    assert!(
        timeout(PATIENCE, again).await.unwrap().is_err(),
        "one more from the same address"
    );
    // More often than once if it asked again before it had heard.
    assert!(metric(&relay, "zerok_relay_crowded_total").await > 0);
    let url = proxy(&relay, "203.0.113.2").await;
    let other = Device::connect(&url, Way::WebSocket).await;
    other.session(&keys(1)).await;
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_over_the_loopback_interface_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.connections_per_address = 1;
    let relay = Relay::start(config).await.unwrap();
    let first = Device::connect(relay.http_url(), Way::WebSocket).await;
    let second = Device::connect(relay.http_url(), Way::Udp).await;
    first.session(&keys(1)).await;
    second.session(&keys(1)).await;
    relay.shutdown().await;
}

/// Whether a client with this key gets in by this ticket, as a native client and as a browser shows it.
async fn is_let_in(relay: &Relay, key: &SecretKey, ticket: &str) -> [bool; 2] {
    let tls = || {
        CaTlsConfig::embedded()
            .client_config(tls::provider())
            .unwrap()
    };
    let plain: RelayUrl = relay.http_url().parse().unwrap();
    let in_url: RelayUrl = format!("{}/?token={ticket}", relay.http_url())
        .parse()
        .unwrap();
    let header = ClientBuilder::new(plain, key.clone(), DnsResolver::new())
        .tls_client_config(tls())
        .auth_token(ticket);
    let url = ClientBuilder::new(in_url, key.clone(), DnsResolver::new()).tls_client_config(tls());
    [header.connect().await.is_ok(), url.connect().await.is_ok()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_asks_for_tokens_opens_websockets_for_tickets() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.access = AccessMode::Token;
    config.access_tokens = vec![HashedToken::of("0kt_ours")];
    // That it starts shows that its own endpoint needs none.
    let relay = Relay::start(config).await.unwrap();
    let (key, other) = (SecretKey::generate(), SecretKey::generate());
    let ticket =
        |token, key: &SecretKey| TokenHash::of(token).ticket(transport::device_id(key.public()));
    let ours = ticket("0kt_ours", &key);
    assert_eq!(is_let_in(&relay, &key, &ours).await, [true; 2]);
    assert_eq!(is_let_in(&relay, &other, &ours).await, [false; 2]);
    let wrong = ticket("0kt_other", &key);
    for wrong in [wrong.as_str(), "0kt_ours", "x"] {
        assert_eq!(is_let_in(&relay, &key, wrong).await, [false; 2], "{wrong}");
    }
    relay.shutdown().await;
}
