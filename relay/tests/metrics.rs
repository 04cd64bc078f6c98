//! What a real relay tells a monitoring system after real traffic, and that the documents say the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::common::{Device, PATIENCE, Way, config, http, keys};
use data_encoding::BASE64URL_NOPAD;
use prometheus_parse::{Scrape, Value};
use serde_json::json;
use zerok_sync_relay::Relay;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::invite::hash_claim;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::crypto::roster::SignedEntry;
use zerok_sync_shared::crypto::rotation::{self, Reason};
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::message::{Ephemeral, Message, Pull, Push, Revoke};
use zerok_sync_shared::time::Timestamp;
use zerok_sync_transport::endpoint as transport;

/// What an operator reads.
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Metrics that this traffic leaves at nought.
const STILL: [&str; 13] = [
    "zerok_relay_snapshots_total",
    "zerok_relay_writer_queue",
    "zerok_relay_writer_queue_bytes",
    "zerok_relay_storage_failing",
    "zerok_relay_database_log_bytes",
    "zerok_relay_forward_refused_total",
    "zerok_relay_crowded_total",
    "zerok_relay_nodes",
    "zerok_relay_notices_sent_total",
    "zerok_relay_notices_received_total",
    "zerok_relay_acknowledged_blobs_deleted_total",
    "zerok_relay_pages_from_storage_total",
    // relay/tests/presence.rs moves it.
    "zerok_relay_ephemeral_dropped_total",
];

/// Name to type and help.
type Described = BTreeMap<String, (String, String)>;

/// What the relay says of its metrics, by the name under which they are asked for.
fn described(text: &str) -> Described {
    let mut found: Described = BTreeMap::new();
    let mut counters = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(1);
        let (Some(kind), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let metric = found.entry(name.to_owned());
        match kind {
            "TYPE" if line.starts_with('#') => {
                if rest == "counter" {
                    counters.push(name.to_owned());
                }
                metric.or_default().0 = rest.trim().to_owned();
            }
            "HELP" if line.starts_with('#') => {
                metric.or_default().1 = rest.trim().trim_end_matches('.').to_owned()
            }
            _ => {
                found.retain(|_, described| !described.0.is_empty() || !described.1.is_empty());
            }
        }
    }
    for name in counters {
        let described = found.remove(&name).unwrap();
        found.insert(format!("{name}_total"), described);
    }
    if let Some(build) = found.remove("zerok_relay_build") {
        found.insert("zerok_relay_build_info".into(), build);
    }
    found
}

/// The table of the document.
fn documented() -> Described {
    let section = OPERATIONS
        .split("\n## Metrics\n")
        .nth(1)
        .expect("a section");
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let name = cells.next()?.trim_end_matches('`').to_owned();
            let is_metric = name.starts_with("zerok_relay_") || name.starts_with("process_");
            is_metric.then_some(())?;
            Some((name, (cells.next()?.to_owned(), cells.next()?.to_owned())))
        })
        .collect()
}

fn table(described: &Described) -> String {
    let row = |(name, (kind, help)): (&String, &(String, String))| {
        format!("| `{name}` | {kind} | {help} |\n")
    };
    described.iter().map(row).collect()
}

async fn scrape(relay: &Relay) -> String {
    let url = format!("{}/metrics", relay.http_url());
    http().get(url).send().await.unwrap().text().await.unwrap()
}

/// The sum over all labels, and for a histogram how much it has seen.
fn sums(text: &str) -> HashMap<String, f64> {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let parsed = Scrape::parse(lines).expect("the text format of Prometheus");
    let mut sums = HashMap::new();
    for sample in parsed.samples {
        let value = match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            Value::Histogram(buckets) => buckets.last().map_or(0.0, |bucket| bucket.count),
            Value::Summary(_) => panic!("there are no summaries"),
        };
        *sums.entry(sample.metric).or_default() += value;
    }
    sums
}

async fn invites(url: &str) {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let invite = json!({
        "version": 1, "lookup": text(&[1; 16]), "claim_hash": text(&hash_claim(&[5; 32])), "owner_hash": text(&hash_claim(&[5; 32])),
        "offer": text(b"offer"), "secrets": text(b"secrets"), "ttl_seconds": 60,
    });
    let claim = json!({ "token": text(&[5; 32]), "claimant": text(&[1; 16]) });
    let at = format!("{url}/v1/invites/{}", text(&[1; 16]));
    for (url, body) in [
        (format!("{url}/v1/invites"), invite),
        (format!("{at}/claim"), claim),
    ] {
        let answer = http()
            .post(url)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
    assert_eq!(http().get(at).send().await.unwrap().status(), 410);
}

/// Somebody is revoked in a group of its own.
async fn rotate(author: &Device) {
    let founding = keys(2);
    let group = crate::common::group(&founding);
    let secret = Secret::new(author.endpoint.secret_key().to_bytes());
    let device = DeviceKeys::derive(&secret);
    let gone = DeviceKeys::derive(&Secret::new([7; 32])).id();
    let entry = SignedEntry::sign(group, &device, "name", "platform", Timestamp(0)).entry;
    let rotation = rotation::rotate(
        &founding,
        group,
        &device,
        &secret,
        (Some(gone), Reason::Lost),
        [&entry].into_iter(),
        &mut |bytes: &mut [u8]| bytes.fill(9),
    );
    let mut session = author.session(&founding).await;
    let revoke = Revoke {
        certificate: codec::to_bytes(&rotation.certificate).into(),
        after_cursor: 0,
        members: rotation.members,
        packets: rotation.packets,
    };
    session.send(Message::Revoke(revoke)).await;
    assert!(matches!(session.receive().await, Message::KeyPacket(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_parses_and_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.cleanup_interval = Duration::from_millis(50);
    let relay = Relay::start(config).await.unwrap();

    let native = Device::connect(relay.http_url(), Way::Udp).await;
    let browser = Device::connect(relay.http_url(), Way::WebSocket).await;
    let keys = keys(1);
    let mut one = native.session(&keys).await;
    let mut two = browser.session(&keys).await;
    two.subscribe(0).await;
    one.push(1, b"canary text").await;
    while !matches!(two.receive().await, Message::Blob(_)) {}
    two.send(Message::Devices).await;
    while !matches!(two.receive().await, Message::DevicesResponse { .. }) {}
    one.send(Message::Ephemeral(Ephemeral {
        sender: transport::device_id(native.endpoint.id()),
        epoch: 0,
        payload: b"canary text".as_slice().into(),
    }))
    .await;
    let pull = Pull {
        after_cursor: 0,
        limit: 10,
    };
    one.send(Message::Pull(pull)).await;
    assert!(matches!(one.receive().await, Message::PullResponse(_)));
    one.send(Message::Push(Push {
        blob_id: BlobId([9; 16]),
        epoch: 0,
        ttl: 1,
        payload: b"short-lived".as_slice().into(),
        origin: None,
    }))
    .await;
    let mut refused = native.stream().await;
    refused
        .send_bytes(&codec::encode(&Message::Pull(pull)))
        .await;
    refused.refused().await;
    invites(relay.http_url()).await;
    rotate(&native).await;

    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = scrape(&relay).await;
        let sums = sums(&text);
        let still: Vec<_> = described(&text)
            .into_keys()
            .filter(|name| !STILL.contains(&name.as_str()))
            .filter(|name| sums.get(name).is_none_or(|value| *value <= 0.0))
            .collect();
        if still.is_empty() {
            break text;
        }
        assert!(Instant::now() < deadline, "{still:?} in {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };

    let described = described(&text);
    assert_eq!(
        described,
        documented(),
        "docs/operations.md has to say:\n{}",
        table(&described)
    );
    let sums = sums(&text);
    for name in STILL {
        assert!(sums.contains_key(name), "{name} in {text}");
    }
    assert!(sums["zerok_relay_disk_free_bytes"] > 1e6);
    assert!(sums["process_resident_memory_bytes"] > 1e6);
    assert_eq!(sums["zerok_relay_connections"], 2.0);
    for line in [
        "zerok_relay_connections{path=\"udp\"} 1",
        "zerok_relay_connections{path=\"relayed\"} 1",
        "zerok_relay_delivered_bytes_total 33",
        "zerok_relay_refusals_total{via=\"session\",code=\"INVALID_MESSAGE\"} 1",
        "zerok_relay_refusals_total{via=\"http\",code=\"INVITE_INVALID\"} 1",
        "zerok_relay_push_bytes_total 22",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let ids = [
        native.hello(&keys).group_id.to_string(),
        native.endpoint.id().to_string(),
        "canary".into(),
        "127.0.0.1".into(),
    ];
    for id in ids {
        assert!(!text.contains(&id), "{id} in {text}");
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_gone_is_no_longer_counted() {
    let (relay, _folder) = crate::common::start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let _session = device.session(&keys(1)).await;
    let counted = async |wanted: f64| {
        let deadline = Instant::now() + PATIENCE;
        while sums(&scrape(&relay).await).get("zerok_relay_connections") != Some(&wanted) {
            assert!(Instant::now() < deadline, "never {wanted} connections");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    counted(1.0).await;
    device.endpoint.close().await;
    counted(0.0).await;
    relay.shutdown().await;
}
