//! Several relays on one PostgreSQL database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use crate::common::{Device, PATIENCE, patient};
use iroh::SecretKey;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::time::sleep;
use zerok_sync_client::Path;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::limits::MAX_EPHEMERAL_PAYLOAD;
use zerok_sync_shared::message::{Delete, Ephemeral, Message, Subscribe};
use zerok_sync_tests::postgres::Postgres;
use zerok_sync_tests::raw::{Peer, Stream, blob_id, http, keys, push};
use zerok_sync_tests::relay::{Options, RelayProcess};

/// A database server and relays that share it.
pub struct Deployment {
    pub database: String,
    pub relays: Vec<RelayProcess>,
    pub server: Postgres,
    _folder: TempDir,
}

pub async fn deployment(nodes: usize) -> Deployment {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Postgres::start().unwrap();
    let database = server.database().unwrap();
    let start = (0..nodes).map(|node| {
        let folder = folder.path().join(node.to_string());
        std::fs::create_dir(&folder).unwrap();
        let mut options = Options::in_folder(&folder);
        options.args = vec!["--database-url".into(), database.clone()];
        RelayProcess::start(options)
    });
    let relays = futures_util::future::try_join_all(start).await.unwrap();
    for relay in &relays {
        nodes_at(relay, nodes).await;
    }
    Deployment {
        database,
        relays,
        server,
        _folder: folder,
    }
}

async fn get(url: &str) -> Value {
    let answer = http().unwrap().get(url).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Waits until a relay lists so many nodes, itself among them, and gives their ids.
async fn nodes_at(relay: &RelayProcess, count: usize) -> Vec<String> {
    let looking = async {
        loop {
            let directory = get(&format!("{}/.well-known/iroh", relay.url())).await;
            let nodes = directory["nodes"].as_array().unwrap();
            let ids: Vec<String> = nodes
                .iter()
                .map(|node| node["endpoint_id"].as_str().unwrap().to_owned())
                .collect();
            if ids.len() == count {
                let own = directory["endpoint_id"].as_str().unwrap().to_owned();
                assert!(ids.contains(&own), "{directory}");
                return ids;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    patient(looking).await
}

async fn connections(relay: &RelayProcess) -> u64 {
    let health = get(&format!("{}/health", relay.url())).await;
    health["connections"].as_u64().unwrap()
}

async fn metric(relay: &RelayProcess, name: &str) -> f64 {
    let url = format!("{}/metrics", relay.url());
    let answer = http().unwrap().get(url).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().trim().parse().unwrap()
}

/// Every cursor of the group, in order: without a hole, and each blob once.
async fn assert_gapless(database: &str, group: GroupId, count: usize) {
    let sql = "SELECT b.cursor FROM blobs b JOIN groups g ON g.id = b.group_ref \
               WHERE g.group_id = $1 ORDER BY b.cursor";
    let mut connection = PgConnection::connect(database).await.unwrap();
    let cursors: Vec<i64> = sqlx::query_scalar(sql)
        .bind(group.0.as_slice())
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let count = i64::try_from(count).unwrap();
    assert_eq!(cursors, (1..=count).collect::<Vec<_>>());
}

/// Devices spread over the nodes, all in one group.
async fn devices(deployment: &Deployment, count: usize) -> (Vec<Device>, GroupId) {
    let mut devices = Vec::new();
    for n in 0..count {
        let url = deployment.relays[n % deployment.relays.len()].url();
        let path = [Path::Any, Path::WebSocket][n % 2];
        devices.push(Device::open(url, path).await);
    }
    let group = devices[0].client.create_group().await.unwrap();
    for device in &devices[1..] {
        patient(device.join(&devices[0], group)).await;
    }
    (devices, group)
}

async fn push_some(devices: &[Device], group: GroupId, numbers: std::ops::Range<usize>) {
    for n in numbers {
        for (who, device) in devices.iter().enumerate() {
            device.push(group, &format!("{who}:{n}")).await;
        }
    }
}

/// Everything is on every device, once and in the order of its sender, and in the database.
async fn assert_converged(devices: &[Device], group: GroupId, each: usize, database: &str) {
    for device in devices {
        device.flush(group).await;
    }
    for device in devices {
        let texts = device.wait_texts(group, devices.len() * each).await;
        for who in 0..devices.len() {
            let prefix = format!("{who}:");
            let theirs: Vec<_> = texts
                .iter()
                .filter_map(|text| text.strip_prefix(&prefix)?.parse::<usize>().ok())
                .collect();
            assert_eq!(theirs, (0..each).collect::<Vec<_>>());
        }
    }
    // With what each device has said of itself.
    assert_gapless(database, group, devices.len() * (each + 1)).await;
}

/// How a node ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

async fn a_node_ends_under_load(end: End) {
    let mut deployment = deployment(3).await;
    let (devices, group) = devices(&deployment, 6).await;
    push_some(&devices, group, 0..30).await;
    let mut victim = None;
    for (at, relay) in deployment.relays.iter().enumerate() {
        if connections(relay).await > 0 {
            victim = Some(at);
        }
    }
    let victim = deployment
        .relays
        .swap_remove(victim.expect("devices are connected"));
    push_some(&devices, group, 30..45).await;
    match end {
        End::Killed => drop(victim.kill().await.unwrap()),
        End::Stopped => drop(victim.terminate().await.unwrap()),
    }
    push_some(&devices, group, 45..60).await;
    assert_converged(&devices, group, 60, &deployment.database).await;
    for device in &devices {
        let errors = device.errors();
        assert!(!errors.contains(&"RELAY_IDENTITY_CHANGED"), "{errors:?}");
    }
    for relay in &deployment.relays {
        nodes_at(relay, 2).await;
    }
    for device in devices {
        device.client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_under_load_loses_nothing_and_its_devices_go_on_elsewhere() {
    a_node_ends_under_load(End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_under_load_loses_nothing_and_its_devices_go_on_elsewhere() {
    a_node_ends_under_load(End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_at_one_node_arrives_at_another_which_was_told() {
    let deployment = deployment(2).await;
    let [one, two] = deployment.relays.as_slice() else {
        panic!("two relays");
    };
    let keys = keys(1);
    let (sender, reader) = (
        Peer::connect(one.url()).await.unwrap(),
        Peer::connect(two.url()).await.unwrap(),
    );
    assert_ne!(sender.relay(), reader.relay());
    let (mut pushing, here) = sender.session(&keys).await.unwrap();
    let (mut reading, there) = reader.session(&keys).await.unwrap();
    assert_eq!(here.incarnation, there.incarnation);
    let subscribe = Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    };
    reading.send(&Message::Subscribe(subscribe)).await.unwrap();
    assert!(matches!(
        reading.receive().await.unwrap(),
        Message::CaughtUp { max_cursor: 0 }
    ));
    for n in 1..=20 {
        pushing.send(&push(n, b"payload")).await.unwrap();
        assert_eq!(pushing.acknowledged().await.unwrap().cursor, n);
        let blob = loop {
            match reading.receive().await.unwrap() {
                Message::Blob(blob) => break blob,
                Message::CaughtUp { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((blob.cursor, blob.blob_id), (n, blob_id(n)));
    }
    assert!(metric(two, "zerok_relay_notices_received_total").await >= 1.0);
    assert_eq!(metric(two, "zerok_relay_nodes").await, 2.0);

    // An invite that was left at one is served by the other.
    let text = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let lookup = text(&[3; 16]);
    let invite = json!({
        "version": 1, "lookup": lookup, "claim_hash": text(&[4; 32]), "owner_hash": text(&[5; 32]),
        "offer": text(b"offer"), "secrets": text(b"secrets"), "ttl_seconds": 60,
    });
    let made = http().unwrap().post(format!("{}/v1/invites", one.url()));
    assert_eq!(made.json(&invite).send().await.unwrap().status(), 201);
    let found = get(&format!("{}/v1/invites/{lookup}", two.url())).await;
    assert_eq!(found["offer"], text(b"offer"));

    // One that leaves in an orderly way is not listed any more.
    let mut relays = deployment.relays;
    let leaving = relays.swap_remove(0);
    leaving.terminate().await.unwrap();
    nodes_at(&relays[0], 1).await;
}

/// What a new subscriber is given.
async fn given(relay: &RelayProcess) -> Vec<u64> {
    let peer = Peer::connect(relay.url()).await.unwrap();
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    let subscribe = Subscribe {
        after_cursor: 0,
        window: 1 << 20,
    };
    stream.send(&Message::Subscribe(subscribe)).await.unwrap();
    let mut cursors = Vec::new();
    loop {
        match stream.receive().await.unwrap() {
            Message::Blob(blob) => cursors.push(blob.cursor),
            Message::CaughtUp { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    peer.close().await;
    cursors
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_at_one_node_comes_from_the_memory_of_no_other() {
    let deployment = deployment(2).await;
    let [one, two] = deployment.relays.as_slice() else {
        panic!("two relays");
    };
    let key = SecretKey::generate();
    let author = Peer::connect_as(one.url(), key.clone()).await.unwrap();
    let (mut pushing, _) = author.session(&keys(1)).await.unwrap();
    for n in 1..=3 {
        pushing.send(&push(n, b"payload")).await.unwrap();
        pushing.acknowledged().await.unwrap();
    }
    assert_eq!(given(one).await, [1, 2, 3]);
    assert!(metric(one, "zerok_relay_pages_from_memory_total").await > 0.0);
    let elsewhere = Peer::connect_as(two.url(), key).await.unwrap();
    let (mut erasing, _) = elsewhere.session(&keys(1)).await.unwrap();
    let delete = Delete {
        blob_id: blob_id(2),
        force: true,
    };
    erasing.send(&Message::Delete(delete)).await.unwrap();
    let answer = erasing.receive().await.unwrap();
    assert_eq!(
        answer,
        Message::Deleted {
            blob_id: blob_id(2)
        }
    );
    let forgotten = async {
        while given(one).await != [1, 3] {
            sleep(Duration::from_millis(50)).await;
        }
    };
    patient(forgotten).await;
    author.close().await;
    elsewhere.close().await;
}

/// A session that hears who is there, and who was there when it began.
async fn listening(peer: &Peer) -> (Stream, Vec<DeviceId>) {
    let (mut stream, _) = peer.session(&keys(1)).await.unwrap();
    stream.send(&Message::Devices).await.unwrap();
    let Message::DevicesResponse { devices } = stream.receive().await.unwrap() else {
        panic!("no list");
    };
    let online = devices.iter().filter(|listed| listed.online);
    (stream, online.map(|listed| listed.device).collect())
}

/// Waits until somebody has come, or has gone.
async fn wait_presence(stream: &mut Stream, of: DeviceId, online: bool) {
    let waiting = async {
        loop {
            match stream.receive().await.unwrap() {
                Message::Presence(presence) if presence.device == of => {
                    if presence.online == online {
                        return;
                    }
                }
                Message::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    patient(waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_at_two_nodes_see_and_hear_each_other_until_one_node_dies() {
    let mut deployment = deployment(2).await;
    let two = deployment.relays.pop().unwrap();
    let one = &deployment.relays[0];
    let (here, there) = (
        Peer::connect(one.url()).await.unwrap(),
        Peer::connect(two.url()).await.unwrap(),
    );
    let (mut first, _) = listening(&here).await;
    let (mut second, mut online) = listening(&there).await;
    wait_presence(&mut first, there.device(), true).await;
    if !online.contains(&here.device()) {
        wait_presence(&mut second, here.device(), true).await;
        online.push(here.device());
    }
    assert_eq!(online.len(), 2);
    for n in 0..20_u8 {
        let said = Ephemeral {
            sender: there.device(),
            epoch: 0,
            payload: vec![n; MAX_EPHEMERAL_PAYLOAD].into(),
        };
        second
            .send(&Message::Ephemeral(said.clone()))
            .await
            .unwrap();
        let heard = patient(first.receive()).await.unwrap();
        assert_eq!(heard, Message::Ephemeral(said));
    }
    two.kill().await.unwrap();
    wait_presence(&mut first, there.device(), false).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_under_load_loses_nothing_and_needs_no_hand() {
    let mut deployment = deployment(2).await;
    let (devices, group) = devices(&deployment, 3).await;
    push_some(&devices, group, 0..30).await;
    deployment.server.stop().unwrap();
    push_some(&devices, group, 30..40).await;
    deployment.server.resume().unwrap();
    push_some(&devices, group, 40..60).await;
    deployment.server.kill().unwrap();
    push_some(&devices, group, 60..70).await;
    deployment.server.resume().unwrap();
    push_some(&devices, group, 70..90).await;
    assert_converged(&devices, group, 90, &deployment.database).await;
    let well = async {
        for relay in &deployment.relays {
            while get(&format!("{}/health", relay.url())).await["status"] != "ok" {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, well).await.is_ok());
}
