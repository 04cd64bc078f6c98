//! Late joiners and devices that were away for long, through a real relay process that has deleted what they need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Device, World, patient, wait_until, world_with};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use zerok_sync_client::store::{MemoryStore, Store};
use zerok_sync_client::{Client, ClientEvent, Path};
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::crypto::snapshot::{self, Header, Name};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation};
use zerok_sync_shared::store::Sequences;
use zerok_sync_tests::relay::RelayProcess;

/// A relay that deletes at once what it may.
async fn tidy(more: &[&str]) -> World {
    let args = [&["--cleanup-interval", "100ms"], more].concat();
    world_with(&args).await
}

/// An app whose state is the texts that it has, in order: it gives it whenever it is asked.
fn provides(device: &Device, group: GroupId) -> tokio::task::JoinHandle<()> {
    device.client.provide_snapshots(group, true).unwrap();
    let (client, events) = (device.client.clone(), device.events.clone());
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            let wanted: Vec<_> = {
                let events = events.lock().unwrap();
                let wanted = events[seen..].iter().filter_map(|event| match event {
                    ClientEvent::SnapshotWanted {
                        request, position, ..
                    } => Some((*request, *position)),
                    _ => None,
                });
                let wanted = wanted.collect();
                seen = events.len();
                wanted
            };
            for (request, position) in wanted {
                let state = state(&client, group).await;
                assert!(
                    state.lines().count() as u64
                        >= position.saturating_sub(restored(&client, group).await)
                );
                client.give_snapshot(group, request, Some(state.into()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// The position up to which the log is in the snapshot that the device has.
async fn restored(client: &Client, group: GroupId) -> u64 {
    let snapshots = client.snapshots(group).await.unwrap();
    snapshots.last().map_or(0, |newest| newest.position)
}

/// What an app makes of snapshot and log: one line for each text, each once.
async fn state(client: &Client, group: GroupId) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut after = 0;
    for snapshot in client.snapshots(group).await.unwrap() {
        let text = String::from_utf8(snapshot.data.to_vec()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
        after = snapshot.position;
    }
    loop {
        let page = client.pull(group, after, 1000, true).await.unwrap();
        for blob in page.blobs {
            let text = String::from_utf8(blob.data.to_vec()).unwrap();
            if !lines.contains(&text) {
                lines.push(text);
            }
        }
        after = page.next;
        if !page.has_more {
            return lines.iter().map(|line| format!("{line}\n")).collect();
        }
    }
}

async fn database(relay: &RelayProcess) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(relay.database());
    SqlitePool::connect_with(options).await.unwrap()
}

async fn number(pool: &SqlitePool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Waits until the relay has a snapshot and nothing of what it covers.
async fn dropped(relay: &RelayProcess) {
    let pool = database(relay).await;
    let gone = "SELECT count(*) FROM groups g JOIN snapshots s ON s.group_ref = g.id \
                WHERE s.complete = 1 AND g.dropped_to = s.covers AND s.covers > 0";
    patient(async {
        while number(&pool, gone).await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    pool.close().await;
}

async fn equal(devices: &[&Device], group: GroupId) {
    wait_until("version vectors are equal", || {
        let vectors = devices.iter().map(|device| {
            let view = device.client.group_view(group).unwrap();
            (view.version_vector, view.pending)
        });
        let vectors: Vec<_> = vectors.collect();
        vectors
            .iter()
            .all(|(vector, pending)| *pending == 0 && *vector == vectors[0].0)
    })
    .await;
}

fn names(device: &Device, group: GroupId) -> Vec<String> {
    let devices = device.client.devices(group).unwrap();
    let mut names: Vec<_> = devices
        .into_iter()
        .filter(|info| !info.revoked)
        .map(|info| info.name)
        .collect();
    names.sort();
    names
}

fn gaps(device: &Device) -> usize {
    let told = device.told();
    told.iter()
        .filter(|event| matches!(event, ClientEvent::Gap { .. }))
        .count()
}

fn taken(device: &Device) -> Vec<u64> {
    let told = device.told();
    let positions = told.iter().filter_map(|event| match event {
        ClientEvent::Snapshot { position, .. } => Some(*position),
        _ => None,
    });
    positions.collect()
}

fn id(device: &Device) -> DeviceId {
    device.client.device_id()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_late_gets_the_state_and_what_follows() {
    let world = tidy(&[]).await;
    let url = world.relay.url();
    let a = Device::named(url, Path::Any, "a").await;
    let b = Device::named(url, Path::WebSocket, "b").await;
    let group = a.client.create_group().await.unwrap();
    let app = provides(&a, group);
    for n in 0..30 {
        a.push(group, &format!("a{n}")).await;
    }
    patient(b.join(&a, group)).await;
    b.push(group, "b0").await;
    // Somebody has joined, so one is made; what it covers goes once both have it.
    dropped(&world.relay).await;
    a.push(group, "later").await;
    equal(&[&a, &b], group).await;

    let store = Arc::new(MemoryStore::default());
    let c = Device::named_on(url, Path::Any, "c", store.clone()).await;
    patient(c.join(&a, group)).await;
    c.push(group, "c0").await;
    equal(&[&a, &b, &c], group).await;
    let all = |device: &Device| {
        let client = device.client.clone();
        async move {
            let mut lines: Vec<_> = state(&client, group)
                .await
                .lines()
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        }
    };
    assert_eq!(all(&c).await, all(&a).await);
    assert_eq!(taken(&c), [0], "before everything else");
    assert!(!c.texts(group).await.contains(&"a0".to_owned()));
    assert_eq!((gaps(&c), c.errors()), (0, vec![]));
    wait_until("c knows everybody", || names(&c, group) == ["a", "b", "c"]).await;
    assert!(taken(&b).is_empty(), "who has everything takes none");

    // It is still there after a restart, and nothing is fetched twice.
    let before = state(&c.client, group).await;
    c.client.close().await;
    let c = Device::named_on(url, Path::Any, "c", store).await;
    c.push(group, "again").await;
    equal(&[&a, &b, &c], group).await;
    assert_eq!(state(&c.client, group).await, format!("{before}again\n"));
    assert!(taken(&c).is_empty());
    app.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_too_long_gets_the_state_and_keeps_what_it_has_not_sent() {
    let world = tidy(&["--inactive-after", "3s"]).await;
    let url = world.relay.url();
    let a = Device::named(url, Path::Any, "a").await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let b = Device::named_on(url, Path::Any, "b", store.clone()).await;
    let group = a.client.create_group().await.unwrap();
    a.push(group, "first").await;
    patient(b.join(&a, group)).await;
    equal(&[&a, &b], group).await;
    b.client.close().await;
    // Enough for a snapshot without anybody joining.
    for n in 0..1_100 {
        a.push(group, &format!("a{n}")).await;
    }
    a.flush(group).await;
    let app = provides(&a, group);
    // Only who is active is waited for, and who is here is active.
    let mut more = 0;
    let still_active = async {
        loop {
            a.push(group, &format!("more{more}")).await;
            more += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = dropped(&world.relay) => {}
        () = still_active => {}
    }

    let b = Device::named_on("http://127.0.0.1:1", Path::Any, "b", store.clone()).await;
    b.push(group, "offline").await;
    b.client.close().await;
    let b = Device::named_on(url, Path::Any, "b", store).await;
    equal(&[&a, &b], group).await;
    assert_eq!(taken(&b).len(), 1);
    assert_eq!(gaps(&b), 0);
    let lines = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = lines(state(&a.client, group).await);
    assert_eq!(expected.len(), 1_102 + more);
    assert_eq!(lines(state(&b.client, group).await), expected);
    let log = b.log(group).await;
    let own = log.iter().find(|blob| blob.data == "offline").unwrap();
    assert!(own.position > restored(&b.client, group).await);
    app.abort();
}

/// Puts a snapshot in the place of the relay's that somebody makes who has only the keys of an epoch; gives its author.
async fn forge(pool: &SqlitePool, group: GroupId, keys: &EpochKeys) -> DeviceId {
    let author = DeviceKeys::derive(&Secret::new([66; 32]));
    let state = Bytes::from_static(b"forged");
    let hashes: Vec<[u8; 32]> = snapshot::bodies(&state)
        .map(|body| Sha256::digest(&body).into())
        .collect();
    let covers = number(pool, "SELECT covers FROM snapshots").await;
    let header = Header {
        relay_id: author.id(),
        incarnation: Incarnation([0; 16]),
        cursor: covers.try_into().unwrap(),
        seen: [(author.id(), Sequences::up_to(100))].into(),
        roster: Vec::new(),
        len: state.len() as u64,
        hash: snapshot::hash_of(&hashes),
    };
    let name = Name {
        group_id: group,
        author: author.id(),
        snapshot_id: BlobId([6; 16]),
        epoch: keys.epoch(),
        parts: snapshot::parts_of(state.len()),
    };
    let mut fill = |bytes: &mut [u8]| bytes.fill(6);
    let payloads = [
        name.seal_header(keys, &author, header, &mut fill).unwrap(),
        name.seal_part(keys, 1, &state, &mut fill),
    ];
    for (part, payload) in (0i64..).zip(payloads) {
        sqlx::query("UPDATE snapshot_parts SET payload = ? WHERE part = ?")
            .bind(payload.to_vec())
            .bind(part)
            .execute(pool)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE snapshots SET author = ?, snapshot_id = ?, parts = 2, stored = 2")
        .bind(author.id().0.to_vec())
        .bind(name.snapshot_id.0.to_vec())
        .execute(pool)
        .await
        .unwrap();
    author.id()
}

/// A snapshot by somebody who was revoked since, or that the relay has changed, is not taken; what is missing is told, and
/// comes with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_trusted_is_not_taken() {
    let world = tidy(&[]).await;
    let url = &world.relay.url().to_owned();
    let a = Device::named(url, Path::Any, "a").await;
    let store = Arc::new(MemoryStore::default());
    let b = Device::named_on(url, Path::Any, "b", store.clone()).await;
    let group = a.client.create_group().await.unwrap();
    for n in 0..5 {
        a.push(group, &format!("a{n}")).await;
    }
    patient(b.join(&a, group)).await;
    equal(&[&a, &b], group).await;
    // Another newcomer, so that b makes it.
    let app = provides(&b, group);
    let x = Device::named(url, Path::Any, "x").await;
    patient(x.join(&a, group)).await;
    equal(&[&a, &b, &x], group).await;
    dropped(&world.relay).await;
    app.abort();

    // What came lately is still in the memory of the relay.
    let relay = RelayProcess::start(world.relay.kill().await.unwrap())
        .await
        .unwrap();
    let pool = database(&relay).await;
    let flip = "UPDATE snapshot_parts SET payload = CAST(substr(payload, 1, 40) || x'00' || substr(payload, 42) AS BLOB) \
                WHERE part = ?";
    sqlx::query(flip).bind(1).execute(&pool).await.unwrap();
    let c = Device::named(url, Path::Any, "c").await;
    patient(c.join(&a, group)).await;
    wait_until("c is told", || c.errors().contains(&"BLOB_REJECTED")).await;
    patient(c.client.ready(group)).await.unwrap();
    assert_eq!(state(&c.client, group).await, "");
    assert!(taken(&c).is_empty());

    patient(a.client.revoke(group, id(&b), Reason::Lost))
        .await
        .unwrap();
    patient(a.client.wait_revoked(group, id(&b))).await.unwrap();
    let d = Device::named(url, Path::Any, "d").await;
    patient(d.join(&a, group)).await;
    wait_until("d is told", || d.errors().contains(&"BLOB_REJECTED")).await;
    assert!(taken(&d).is_empty());

    // What b knows makes nobody a member who was none: an id that nobody has revoked does not help.
    let loaded = store.load().await.unwrap().groups.remove(0);
    let (epoch, secret) = loaded.membership.unwrap().epochs.remove(0);
    let forged = forge(&pool, group, &EpochKeys::derive(epoch, secret)).await;
    let f = Device::named(url, Path::Any, "f").await;
    patient(f.join(&a, group)).await;
    wait_until("f is told", || f.errors().contains(&"BLOB_REJECTED")).await;
    assert!(taken(&f).is_empty());
    assert!(
        f.client
            .devices(group)
            .unwrap()
            .iter()
            .all(|info| info.device != forged)
    );

    // The next one that is asked for is by somebody who may.
    let app = provides(&a, group);
    let e = Device::named(url, Path::Any, "e").await;
    patient(e.join(&a, group)).await;
    equal(&[&a, &c, &d, &e, &f], group).await;
    let expected = state(&a.client, group).await;
    for late in [&c, &d, &e, &f] {
        assert_eq!(state(&late.client, group).await, expected);
        assert_eq!(taken(late).len(), 1);
    }
    app.abort();
}
