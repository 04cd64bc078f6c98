//! Revocation through a real relay process: who is out, who goes on, and what the one who is out can still do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, World, patient, wait_until, world};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteRow};
use zerok_sync_client::store::{MemoryStore, Store as _};
use zerok_sync_client::{ClientEvent, Path};
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::blob;
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::crypto::roster::SignedEntry;
use zerok_sync_shared::crypto::rotation::{self, Certificate, Reason, Rotation};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::{Hello, Message, Revoke};
use zerok_sync_shared::time::Timestamp;
use zerok_sync_tests::proxy::Proxy;
use zerok_sync_tests::raw::{Peer, keys};

fn has_new_keys(device: &Device, group: GroupId) -> bool {
    let devices = device.client.devices(group).unwrap();
    devices.iter().any(|info| info.revoked)
}

fn roster(device: &Device, group: GroupId) -> usize {
    let devices = device.client.devices(group).unwrap();
    devices.iter().filter(|info| !info.name.is_empty()).count()
}

async fn everybody_knows(devices: &[&Device], group: GroupId) {
    wait_until("everybody knows everybody", || {
        devices.iter().all(|d| roster(d, group) == devices.len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_told_and_the_others_go_on() {
    let world = world().await;
    let url = world.relay.url();
    let a = Device::named(url, Path::Any, "Laptop").await;
    let b = Device::named(url, Path::WebSocket, "Phone").await;
    let c = Device::named(url, Path::Any, "Lost phone").await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    patient(c.join(&a, group)).await;
    everybody_knows(&[&a, &b, &c], group).await;
    for (device, text) in [(&a, "a1"), (&b, "b1"), (&c, "c1")] {
        device.push(group, text).await;
        device.flush(group).await;
    }
    for device in [&a, &b, &c] {
        assert_eq!(device.wait_texts(group, 3).await.len(), 3);
    }

    let gone = c.client.device_id();
    a.client.revoke(group, gone, Reason::Lost).await.unwrap();
    patient(a.client.wait_revoked(group, gone)).await.unwrap();
    wait_until("the others have the new keys", || has_new_keys(&b, group)).await;
    wait_until("the lost phone knows that it is out", || {
        let devices = c.client.devices(group).unwrap();
        devices.iter().any(|info| info.own && info.revoked)
    })
    .await;
    let told = c.told();
    assert!(
        told.iter().any(|event| matches!(
            event,
            ClientEvent::DeviceRevoked { device, by, reason: Reason::Lost, epoch: 1, .. }
                if *device == gone && *by == a.client.device_id()
        )),
        "{told:?}"
    );

    // Both ways, with the new keys; what was before stays.
    a.push(group, "a2").await;
    b.push(group, "b2").await;
    for device in [&a, &b] {
        let texts = device.wait_texts(group, 5).await;
        assert!(
            ["a1", "b1", "c1", "a2", "b2"]
                .iter()
                .all(|t| texts.contains(&(*t).to_owned()))
        );
        assert!(device.errors().is_empty(), "{:?}", device.errors());
    }
    let refused = c.client.push(group, "c2".into(), 0).await.unwrap_err();
    assert_eq!(refused.code, "DEVICE_REVOKED");
    assert_eq!(c.texts(group).await.len(), 3, "what it has stays readable");

    // Somebody who joins later knows who is a member, and reads everything.
    let d = Device::named(url, Path::Any, "Tablet").await;
    patient(d.join(&b, group)).await;
    assert_eq!(d.wait_texts(group, 5).await.len(), 5);
    wait_until("the newcomer has the members and they have it", || {
        [&a, &b, &d].iter().all(|device| roster(device, group) >= 3)
    })
    .await;
    // It can change the keys, too.
    let gone = b.client.device_id();
    d.client
        .revoke(group, gone, Reason::Decommissioned)
        .await
        .unwrap();
    patient(d.client.wait_revoked(group, gone)).await.unwrap();
    d.push(group, "d1").await;
    assert_eq!(a.wait_texts(group, 6).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_away_for_several_changes_of_keys_comes_back() {
    let world = world().await;
    let url = world.relay.url();
    let proxy = Proxy::start(world.relay.port()).await.unwrap();
    let a = Device::named(url, Path::Any, "A").await;
    let away = Device::named(&proxy.url(), Path::WebSocket, "Away").await;
    let group = a.client.create_group().await.unwrap();
    patient(away.join(&a, group)).await;
    let mut others = Vec::new();
    for name in ["X", "Y"] {
        let device = Device::named(url, Path::Any, name).await;
        patient(device.join(&a, group)).await;
        others.push(device);
    }
    everybody_knows(&[&a, &away, &others[0], &others[1]], group).await;
    proxy.switch(false);
    away.push(group, "written while away").await;
    for device in &others {
        let gone = device.client.device_id();
        a.client
            .revoke(group, gone, Reason::Compromised)
            .await
            .unwrap();
        patient(a.client.wait_revoked(group, gone)).await.unwrap();
    }
    a.push(group, "new").await;
    proxy.switch(true);
    away.client.network_changed(true);
    assert_eq!(away.wait_texts(group, 2).await.len(), 2);
    let texts = a.wait_texts(group, 2).await;
    assert!(
        texts.contains(&"written while away".to_owned()),
        "{texts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_relay_ends_when_the_device_is_out() {
    let world = world().await;
    let a = Device::named(world.relay.url(), Path::Any, "A").await;
    let away = Device::named(world.relay.url(), Path::Any, "Away").await;
    let group = a.client.create_group().await.unwrap();
    patient(away.join(&a, group)).await;
    everybody_knows(&[&a, &away], group).await;
    away.client.network_changed(false);
    let said = away.client.push(group, "said to nobody".into(), 0).await;
    let position = said.unwrap().position;
    let gone = away.client.device_id();
    a.client.revoke(group, gone, Reason::Lost).await.unwrap();
    patient(a.client.wait_revoked(group, gone)).await.unwrap();
    away.client.network_changed(true);
    let (flushed, pushed) = tokio::join!(
        patient(away.client.flush(group)),
        patient(away.client.wait_pushed(group, position)),
    );
    assert_eq!(flushed.unwrap_err().code, "DEVICE_REVOKED");
    assert_eq!(pushed.unwrap_err().code, "DEVICE_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_revocations_at_once_both_happen() {
    let world = world().await;
    let url = world.relay.url();
    let mut devices = Vec::new();
    for name in ["A", "B", "X", "Y"] {
        devices.push(Device::named(url, Path::Any, name).await);
    }
    let [a, b, x, y] = devices.as_slice() else {
        unreachable!()
    };
    let group = a.client.create_group().await.unwrap();
    for device in [b, x, y] {
        patient(device.join(a, group)).await;
    }
    everybody_knows(&[a, b, x, y], group).await;
    let (gone_x, gone_y) = (x.client.device_id(), y.client.device_id());
    let (first, second) = tokio::join!(
        a.client.revoke(group, gone_x, Reason::Lost),
        b.client.revoke(group, gone_y, Reason::Lost),
    );
    first.and(second).unwrap();
    for device in [a, b] {
        wait_until("both are out", || {
            let devices = device.client.devices(group).unwrap();
            [gone_x, gone_y]
                .iter()
                .all(|gone| devices.iter().any(|d| d.device == *gone && d.revoked))
        })
        .await;
    }
    a.push(group, "still here").await;
    assert_eq!(b.wait_texts(group, 1).await, ["still here"]);
}

/// What the relay keeps.
struct Database(SqlitePool);

struct Row {
    epoch: u32,
    sender: [u8; 32],
    blob_id: [u8; 16],
    payload: Vec<u8>,
}

impl Database {
    async fn of(world: &World) -> Self {
        let file = world.folder.path().join("data/relay.db");
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        Self(SqlitePool::connect_with(options).await.unwrap())
    }

    async fn blobs(&self) -> Vec<Row> {
        let sql = "SELECT epoch, sender, blob_id, payload FROM blobs ORDER BY cursor";
        let rows = sqlx::query(sql).fetch_all(&self.0).await.unwrap();
        let row = |row: SqliteRow| Row {
            epoch: row.get(0),
            sender: row.get::<Vec<u8>, _>(1).try_into().unwrap(),
            blob_id: row.get::<Vec<u8>, _>(2).try_into().unwrap(),
            payload: row.get(3),
        };
        rows.into_iter().map(row).collect()
    }

    async fn bytes(&self, sql: &'static str) -> Vec<Vec<u8>> {
        let rows = sqlx::query(sql).fetch_all(&self.0).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// The attacker has everything that the revoked device ever had, and every byte that the relay keeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_and_its_relay_together_read_nothing_newer() {
    let world = world().await;
    let url = world.relay.url();
    let a = Device::named(url, Path::Any, "A").await;
    let b = Device::named(url, Path::Any, "B").await;
    let store = MemoryStore::default();
    let c = Device::named_on(url, Path::Any, "C", Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    patient(c.join(&a, group)).await;
    everybody_knows(&[&a, &b, &c], group).await;
    a.push(group, "before").await;
    assert_eq!(c.wait_texts(group, 1).await, ["before"]);
    let gone = c.client.device_id();
    a.client.revoke(group, gone, Reason::Lost).await.unwrap();
    patient(a.client.wait_revoked(group, gone)).await.unwrap();
    b.push(group, "after").await;
    b.flush(group).await;
    c.client.close().await;

    let stolen = store.load().await.unwrap();
    let device = stolen.device_key.unwrap();
    let membership = stolen.groups[0].membership.clone().unwrap();
    let old: Vec<EpochKeys> = membership
        .epochs
        .iter()
        .map(|(epoch, secret)| EpochKeys::derive(*epoch, secret.clone()))
        .collect();
    assert_eq!(old.len(), 1, "it never got a newer secret");
    let database = Database::of(&world).await;
    let (mut readable, mut sealed) = (0, 0);
    for row in database.blobs().await {
        let address = blob::Address {
            group_id: group,
            epoch: row.epoch,
            sender: DeviceId(row.sender),
            blob_id: BlobId(row.blob_id),
        };
        // With the right address, and with one that claims the epoch that it has keys for.
        let claimed = blob::Address {
            epoch: 0,
            ..address
        };
        let opens = |address| blob::open(&old[0], address, &row.payload).is_ok();
        match opens(&address) || opens(&claimed) {
            true => {
                readable += 1;
                assert_eq!(row.epoch, 0);
            }
            false => sealed += 1,
        }
    }
    assert!(readable >= 4 && sealed >= 1, "{readable} {sealed}");
    let keys = DeviceKeys::derive(&device);
    let certificates = database
        .bytes("SELECT certificate FROM rotations ORDER BY epoch")
        .await;
    let newest: Certificate = codec::from_bytes(certificates.last().unwrap()).unwrap();
    let packets = database.bytes("SELECT packet FROM key_packets").await;
    assert_eq!(packets.len(), 2);
    for packet in packets {
        assert!(rotation::open_packet(&keys, &newest.claims, &packet).is_err());
    }
    let members = database
        .bytes("SELECT members FROM rotations WHERE members IS NOT NULL")
        .await;
    let guess = old[0].secret().clone();
    assert!(rotation::follow(&[newest], guess, &members[0]).is_err());
}

async fn peer(url: &str, number: u8) -> Peer {
    let key = iroh::SecretKey::from_bytes(&[number; 32]);
    Peer::connect_as(url, key).await.unwrap()
}

/// What somebody who was revoked, or never was a member, can send to the relay by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_takes_no_rotation_and_no_return_that_is_not_a_members() {
    let world = world().await;
    let url = world.relay.url();
    let founding = keys(1);
    let group = founding.founded_group();
    let (author, lost) = (peer(url, 11).await, peer(url, 12).await);
    let entry = |number: u8| {
        let keys = DeviceKeys::derive(&Secret::new([number; 32]));
        SignedEntry::sign(group, &keys, "x", "y", Timestamp(0)).entry
    };
    let made = |by: u8, current: &EpochKeys, gone: u8, stay: &[u8]| {
        let author = DeviceKeys::derive(&Secret::new([by; 32]));
        let gone = DeviceKeys::derive(&Secret::new([gone; 32])).id();
        let stay: Vec<_> = stay.iter().map(|number| entry(*number)).collect();
        let mut next = 0u8;
        rotation::rotate(
            current,
            group,
            &author,
            &Secret::new([by; 32]),
            (Some(gone), Reason::Lost),
            stay.iter(),
            &mut move |bytes: &mut [u8]| {
                next = next.wrapping_add(1);
                bytes.fill(next);
            },
        )
    };
    let message = |rotation: &Rotation| {
        Message::Revoke(Revoke {
            certificate: codec::to_bytes(&rotation.certificate).into(),
            after_cursor: 0,
            members: rotation.members.clone(),
            packets: rotation.packets.clone(),
        })
    };
    let refused = async |peer: &Peer, message: Message| {
        let (mut stream, _) = peer.session(&founding).await.unwrap();
        stream.send(&message).await.unwrap();
        stream.refused().await.unwrap().code
    };

    let right = made(11, &founding, 12, &[11]);
    let stranger = EpochKeys::derive(0, Secret::new([99; 32]));
    let wrong = [
        (
            "by a key that is not the group's",
            message(&made(11, &stranger, 12, &[11])),
        ),
        (
            "in another's name",
            message(&made(12, &founding, 11, &[12])),
        ),
        (
            "with keys for the one who goes",
            message(&made(11, &founding, 12, &[11, 12])),
        ),
        (
            "without keys for its author",
            message(&made(11, &founding, 12, &[13])),
        ),
        ("with another's member list", {
            let other = made(11, &founding, 13, &[11, 14]);
            let mut mixed = message(&right);
            if let Message::Revoke(mixed) = &mut mixed {
                mixed.members = other.members;
            }
            mixed
        }),
    ];
    for (what, message) in wrong {
        let code = refused(&author, message).await;
        assert_eq!(code, ErrorCode::InvalidMessage, "{what}");
    }

    let (mut session, _) = author.session(&founding).await.unwrap();
    let (mut theirs, _) = lost.session(&founding).await.unwrap();
    session.send(&message(&right)).await.unwrap();
    let told = session.receive().await.unwrap();
    assert!(matches!(told, Message::KeyPacket(_)), "{told:?}");
    let told = theirs.receive().await.unwrap();
    assert!(matches!(told, Message::Revoked { .. }), "{told:?}");

    // The same again, and a concurrent one: the group has moved on.
    for rotation in [&right, &made(11, &founding, 13, &[11])] {
        let mut stream = author.open().await.unwrap();
        let hello = author.hello(&founding).unwrap();
        stream.send(&Message::Hello(hello)).await.unwrap();
        let told = stream.receive().await.unwrap();
        assert!(matches!(told, Message::KeyPacket(_)), "{told:?}");
        assert!(stream.send(&message(rotation)).await.is_err() || stream.receive().await.is_err());
    }
    // Back under its own name, and under a new one, with the keys that it had.
    let mut stream = lost.open().await.unwrap();
    let hello = lost.hello(&founding).unwrap();
    stream.send(&Message::Hello(hello)).await.unwrap();
    let told = stream.receive().await.unwrap();
    assert!(matches!(told, Message::Revoked { .. }), "{told:?}");
    let disguised = peer(url, 77).await;
    let mut stream = disguised.open().await.unwrap();
    let hello = disguised.hello(&founding).unwrap();
    stream.send(&Message::Hello(hello)).await.unwrap();
    assert_eq!(stream.refused().await.unwrap().code, ErrorCode::StaleEpoch);
    // With a rotation of its own making, as if it had come first.
    let own = made(12, &founding, 11, &[12]);
    let device = DeviceKeys::derive(&Secret::new([12; 32]));
    let claims = &own.certificate.claims;
    let secret = rotation::open_packet(&device, claims, &own.packets[0].1).unwrap();
    let next = EpochKeys::derive(1, secret);
    let exporter = lost.exporter().unwrap();
    let hello = lost.hello_for(&next, group, lost.relay(), lost.device(), &exporter);
    let hello = Hello {
        certificates: vec![codec::to_bytes(&own.certificate).into()],
        ..hello.unwrap()
    };
    let mut stream = lost.open().await.unwrap();
    stream.send(&Message::Hello(hello)).await.unwrap();
    let code = stream.refused().await.unwrap().code;
    let refusals = [
        ErrorCode::Unauthorized,
        ErrorCode::DeviceRevoked,
        ErrorCode::StaleEpoch,
    ];
    assert!(refusals.contains(&code), "{code:?}");
}
