//! A-PROTO: a relay that lies, thieves, and bytes that nobody of the group sent.

use anyhow::{Context as _, Result, ensure};
use data_encoding::HEXLOWER;
use iroh::SecretKey;
use rusqlite::Connection;
use zerok_sync_client::shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::message::{Hello, Message};
use zerok_sync_tests::canary::{Needle, files};
use zerok_sync_tests::raw::{Peer, keys, push};

use super::encryption::{damaged, send_to, udp_port};
use super::handshake::{direct, reaches};
use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::dice::Dice;
use crate::net::faults::Faults;
use crate::protocol::Op;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new(
        "A-PROTO-01",
        "the relay changes, swaps and re-attributes blobs",
        tampering,
    )
    .with_page(),
    Scenario::new("A-PROTO-02", "the relay serves old blobs again", replay),
    Scenario::new("A-PROTO-03", "a stolen identity", stolen),
    Scenario::new("A-PROTO-04", "the relay reads along", reading).with_page(),
    Scenario::new("A-PROTO-05", "bytes injected into both paths", injected).with_page(),
    Scenario::new(
        "A-PROTO-06",
        "blobs made up by who has the key to the relay only",
        made_up,
    ),
    Scenario::new(
        "A-PROTO-07",
        "the relay serves blobs in another order",
        reordering,
    ),
];

/// Changes the database of the relay behind its back, while it is off.
async fn edit(fleet: &mut Fleet, changes: &[&str]) -> Result<()> {
    fleet.stop_relay().await?;
    let database = Connection::open(fleet.relay.database())?;
    database.execute_batch("CREATE TEMP TABLE was AS SELECT cursor, payload FROM blobs")?;
    for change in changes {
        let rows = database
            .execute(change, [])
            .with_context(|| (*change).to_owned())?;
        ensure!(rows == 1, "{rows} rows were changed by {change}");
    }
    database.close().map_err(|(_, error)| error)?;
    fleet.start_relay().await
}

async fn everywhere(fleet: &Fleet, blobs: u64) -> Result<()> {
    for (index, device) in fleet.devices.iter().enumerate() {
        device.flush().await?;
        reaches(fleet, index, blobs).await?;
    }
    Ok(())
}

/// Two devices are away when it happens: they report every blob that was touched and get all others.
fn tampering(fleet: &mut Fleet) -> Running<'_> {
    const CHANGES: &[&str] = &[
        // A part of the payload.
        "UPDATE blobs SET payload = CAST(substr(payload, 1, 40) || zeroblob(8) || substr(payload, 49) AS BLOB) \
         WHERE cursor = (SELECT max(cursor) - 8 FROM was)",
        // The payloads of two blobs, swapped.
        "UPDATE blobs SET payload = (SELECT payload FROM was WHERE was.cursor = blobs.cursor + 1) \
         WHERE cursor = (SELECT max(cursor) - 6 FROM was)",
        "UPDATE blobs SET payload = (SELECT payload FROM was WHERE was.cursor = blobs.cursor - 1) \
         WHERE cursor = (SELECT max(cursor) - 5 FROM was)",
        // Said to be from another member, and under another id.
        "UPDATE blobs SET sender = (SELECT other.sender FROM blobs other WHERE other.sender <> blobs.sender LIMIT 1) \
         WHERE cursor = (SELECT max(cursor) - 4 FROM was)",
        "UPDATE blobs SET blob_id = randomblob(16) WHERE cursor = (SELECT max(cursor) - 3 FROM was)",
    ];
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        for index in 0..3 {
            fleet.push(index, 1).await?;
            everywhere(fleet, index as u64 + 1).await?;
        }
        for index in [1, 2] {
            fleet.devices[index].close().await?;
        }
        fleet.push(0, 10).await?;
        fleet.devices[0].flush().await?;
        fleet.begin("the relay has changed five blobs");
        edit(fleet, CHANGES).await?;
        for index in [1, 2] {
            fleet.expect_damage(index, CHANGES.len(), "BLOB_REJECTED");
            fleet.devices[index].open().await?;
            reaches(fleet, index, 13 - CHANGES.len() as u64).await?;
        }
        fleet.push_all(5).await?;
        ensure!(
            !fleet.devices[0].told_error("BLOB_REJECTED"),
            "who made the blobs has them unchanged, and was told otherwise"
        );
        Ok(())
    })
}

/// One comes again under a new id and cursor, another under its own id and a new cursor: neither is delivered twice.
fn replay(fleet: &mut Fleet) -> Running<'_> {
    const CHANGES: &[&str] = &[
        "INSERT INTO blobs (group_ref, cursor, blob_id, sender, epoch, timestamp, expires_at, size, payload) \
         SELECT group_ref, (SELECT max(cursor) + 1 FROM was), randomblob(16), sender, epoch, timestamp, expires_at, size, payload \
         FROM blobs WHERE cursor = (SELECT max(cursor) - 10 FROM was)",
        "UPDATE blobs SET cursor = (SELECT max(cursor) + 2 FROM was) WHERE cursor = (SELECT max(cursor) - 8 FROM was)",
        "UPDATE groups SET max_cursor = max_cursor + 2",
    ];
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(15).await?;
        everywhere(fleet, 30).await?;
        fleet.begin("the relay serves old blobs again");
        edit(fleet, CHANGES).await?;
        // What comes after them in the order of cursors.
        fleet.push_all(5).await?;
        everywhere(fleet, 40).await?;
        for device in &fleet.devices {
            ensure!(
                device.told_error("BLOB_REJECTED"),
                "{} does not tell that a blob came under another id",
                device.name()
            );
        }
        Ok(())
    })
}

/// Who was there has them in their order; who comes later gets all, and says that they were mixed up.
fn reordering(fleet: &mut Fleet) -> Running<'_> {
    const CHANGES: &[&str] = &[
        "UPDATE blobs SET cursor = 1000 WHERE cursor = (SELECT max(cursor) - 5 FROM was)",
        "UPDATE blobs SET cursor = cursor - 1 WHERE cursor = (SELECT max(cursor) - 4 FROM was)",
        "UPDATE blobs SET cursor = (SELECT max(cursor) - 4 FROM was) WHERE cursor = 1000",
    ];
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push(0, 20).await?;
        everywhere(fleet, 20).await?;
        fleet.begin("the relay has swapped two blobs");
        edit(fleet, CHANGES).await?;
        for kind in [Udp, WebSocket] {
            let late = fleet.stranger(kind).await?;
            fleet.expect_disorder(late);
            fleet.join(late).await?;
            reaches(fleet, late, 20).await?;
        }
        fleet.push_all(5).await?;
        everywhere(fleet, 40).await
    })
}

/// The secret of the group and the key of a native device.
async fn secrets(fleet: &Fleet, device: usize) -> Result<(EpochKeys, SecretKey)> {
    let secrets: Vec<String> = fleet.devices[device].call(Op::Secrets).await?;
    let bytes = |text: Option<&String>| -> Result<[u8; 32]> {
        let text = text.context("the device has no secret")?;
        let bytes = HEXLOWER.decode(text.as_bytes())?;
        bytes.try_into().ok().context("not 32 bytes")
    };
    let keys = EpochKeys::derive(0, Secret::new(bytes(secrets.first())?));
    Ok((keys, SecretKey::from_bytes(&bytes(secrets.last())?)))
}

async fn refusal(peer: &Peer, hello: Hello) -> Result<ErrorCode> {
    let mut stream = peer.open().await?;
    stream.send(&Message::Hello(hello)).await?;
    Ok(stream.refused().await?.code)
}

/// The key of a device without the group's, the group's id with another group's keys, and a proof of another connection.
fn stolen(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        let (real, device) = secrets(fleet, 1).await?;
        let (group, url) = (real.founded_group(), direct(fleet)?);
        fleet.begin("somebody with a stolen identity");
        let thief = Peer::connect_as(&url, device.clone()).await?;
        let other = Peer::connect_as(&url, device).await?;
        let stranger = Peer::connect(&url).await?;
        let later = EpochKeys::derive(1, Secret::new([7; 32]));
        let forged = |peer: &Peer, keys: &EpochKeys| {
            peer.hello_for(keys, group, peer.relay(), peer.device(), &peer.exporter()?)
        };
        let unsigned = Hello {
            proof: forged(&thief, &keys(9))?.proof,
            ..thief.hello(&real)?
        };
        let cases = [
            (
                "the device's key without the group's",
                &thief,
                forged(&thief, &keys(9))?,
                ErrorCode::Unauthorized,
            ),
            (
                "the group's public key, and a proof of another",
                &thief,
                unsigned,
                ErrorCode::Unauthorized,
            ),
            (
                "a member of another group",
                &stranger,
                forged(&stranger, &keys(9))?,
                ErrorCode::Unauthorized,
            ),
            (
                "an epoch that nobody certified",
                &stranger,
                forged(&stranger, &later)?,
                ErrorCode::UnknownGroup,
            ),
            (
                "a proof of the same device's other connection",
                &thief,
                other.hello(&real)?,
                ErrorCode::Unauthorized,
            ),
            (
                "a proof of another device",
                &stranger,
                thief.hello(&real)?,
                ErrorCode::Unauthorized,
            ),
        ];
        for (what, peer, hello, expected) in cases {
            let code = refusal(peer, hello).await?;
            ensure!(
                code == expected,
                "{what} got {code:?} instead of {expected:?}"
            );
            fleet.push_all(1).await?;
        }
        // It was the proof and nothing else that was missing.
        thief
            .session(&real)
            .await
            .context("the right proof on the right connection is refused")?;
        Ok(())
    })
}

/// Everything that the relay had to do with, while it runs and when it has stopped; and the search finds what is there.
fn reading(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        for _ in 0..3 {
            fleet.push_all(10).await?;
            fleet.collect_answers().await?;
        }
        everywhere(fleet, 90).await?;
        fleet.check_leaks().await.context("while it runs")?;
        fleet.stop_relay().await?;
        let blob = fleet.devices[0].record().promised[0].0.clone();
        let blob = Needle::new("a blob id", &HEXLOWER.decode(blob.as_bytes())?);
        let found = files(fleet.relay.data())
            .iter()
            .any(|(_, bytes)| blob.is_in(bytes));
        ensure!(
            found,
            "the search does not find what has to be there: the id of a blob"
        );
        fleet.start_relay().await?;
        let late = fleet.stranger(WebSocket).await?;
        fleet.join(late).await?;
        reaches(fleet, late, 90).await?;
        fleet
            .check_leaks()
            .await
            .context("after it has read everything back")
    })
}

/// The paths carry bytes that nobody sent, and sockets get datagrams of strangers.
fn injected(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        let kinds = &[Udp, WebSocket, Page];
        damaged(
            fleet,
            kinds,
            "5 % followed by other bytes",
            Faults::inject(5.0),
        )
        .await?;
        let mut dice = Dice::new(fleet.dice.next());
        let mut noise: Vec<Vec<u8>> = (1..1_400)
            .map(|length| (0..length).map(|_| dice.next().to_le_bytes()[0]).collect())
            .collect();
        // Half of them with the bits of a long header and a version that QUIC has.
        for datagram in noise
            .iter_mut()
            .step_by(2)
            .filter(|datagram| datagram.len() > 5)
        {
            datagram[..5].copy_from_slice(&[0xC3, 0, 0, 0, 1]);
        }
        let relay = udp_port(fleet.relay.pid().context("the relay is off")?)?;
        // A wrapper becomes the device, and keeps its id.
        let device = udp_port(fleet.devices[0].pid().await.context("the device is off")?)?;
        for port in [relay, device] {
            send_to(port, noise.iter().map(Vec::as_slice)).await?;
        }
        fleet.push_all(10).await
    })
}

/// Who has the access key gets past the relay; without the blob key nothing of theirs gets past a device.
fn made_up(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        let (real, _) = secrets(fleet, 0).await?;
        let peer = Peer::connect(&direct(fleet)?).await?;
        let (mut stream, _) = peer.session(&real).await?;
        fleet.begin("made-up blobs");
        for id in 0..20 {
            let length = usize::try_from(id * 17)? + 1;
            stream.send(&push(id, &vec![7; length])).await?;
            stream.acknowledged().await?;
            fleet.push_all(1).await?;
        }
        everywhere(fleet, 60).await?;
        for device in &fleet.devices {
            ensure!(
                device.told_error("BLOB_REJECTED"),
                "{} does not tell of blobs that nobody of the group sealed",
                device.name()
            );
        }
        Ok(())
    })
}
