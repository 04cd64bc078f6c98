//! A-RES: whoever reaches the relay tries to use it up.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use rusqlite::Connection;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zerok_sync_client::shared::codec::encode;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::ids::BlobId;
use zerok_sync_client::shared::limits::{HELLO_TIMEOUT, MAX_FRAME, MAX_HELLO_FRAME};
use zerok_sync_client::shared::message::Message;
use zerok_sync_tests::raw::{Peer, http, keys, push};

use super::handshake::{direct, reaches};
use crate::PATIENCE;
use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::sample::{folder_kib, usage};
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("A-RES-01", "1,000 connections at once", connections).with_page(),
    Scenario::new(
        "A-RES-02",
        "oversize messages are refused at the header",
        oversize,
    ),
    Scenario::new("A-RES-03", "a hundred senders of a byte a second", slow),
    Scenario::new("A-RES-04", "three groups flood the storage", flood)
        .with_relay(&["--group-quota", "3M"]),
    Scenario::new("A-RES-05", "ids and nonces of 10,000 blobs", entropy).with_page(),
];

const MIB: u64 = 1024;

fn rss(fleet: &Fleet) -> Result<u64> {
    Ok(usage(fleet.relay.pid().context("the relay is off")?).rss_kib)
}

fn descriptors(fleet: &Fleet) -> u64 {
    fleet.relay.pid().map_or(0, |pid| usage(pid).descriptors)
}

async fn is_healthy(fleet: &Fleet) -> Result<()> {
    let answer = http()?
        .get(format!("{}/health", direct(fleet)?))
        .send()
        .await?;
    ensure!(
        answer.status().is_success(),
        "/health answers {}",
        answer.status()
    );
    Ok(())
}

/// Connects by TCP, past the proxy, and sends something.
async fn tcp(fleet_url: &str, request: &[u8]) -> Result<TcpStream> {
    let address = fleet_url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    Ok(stream)
}

/// The first line of the answer.
async fn status_line(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    let reading = async {
        while !line.ends_with(b"\r\n") && line.len() < 200 {
            line.push(stream.read_u8().await?);
        }
        std::io::Result::Ok(())
    };
    timeout(PATIENCE, reading)
        .await
        .context("no answer to a request")??;
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

const UPGRADE: &str = "GET /relay HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: iroh-relay-v2,iroh-relay-v1\r\n\r\n";

/// A third says nothing, a third half a request, a third upgrades to a WebSocket and then says nothing.
fn connections(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(10).await?;
        let url = direct(fleet)?;
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let count = 1_000.min(allowed.saturating_sub(300) / 2);
        let before = descriptors(fleet);
        fleet.begin("connections that say nothing");
        let requests = ["", "GET /health HTTP/1.1\r\nHost: rel", UPGRADE];
        let mut open = Vec::new();
        for (_, request) in (0..count).zip(requests.iter().cycle()) {
            let mut stream = tcp(&url, request.as_bytes()).await?;
            if *request == UPGRADE {
                let status = status_line(&mut stream).await?;
                ensure!(
                    status.contains(" 101 "),
                    "a WebSocket among many got {status}"
                );
            }
            open.push(stream);
        }
        fleet.note(format!("{count} connections"));
        is_healthy(fleet).await?;
        fleet.push_all(20).await?;
        let late = fleet.stranger(WebSocket).await?;
        fleet.join(late).await?;
        for index in 0..4 {
            reaches(fleet, index, 90).await?;
        }
        drop(open);
        fleet
            .until("the relay has let go of the connections", |fleet| {
                descriptors(fleet) < before + 50
            })
            .await
    })
}

/// By the length in front, on streams before and after HELLO, and by HTTP. No memory is spent on what is only announced.
fn oversize(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        let url = direct(fleet)?;
        let peer = Peer::connect(&url).await?;
        let before = rss(fleet)?;
        fleet.begin("oversize messages");
        for round in 0..100 {
            let lengths = if round % 2 == 0 {
                [u32::MAX, u32::MAX]
            } else {
                [
                    u32::try_from(MAX_HELLO_FRAME + 1)?,
                    u32::try_from(MAX_FRAME + 1)?,
                ]
            };
            let streams = [peer.open().await?, peer.session(&keys(1)).await?.0];
            for (mut stream, length) in streams.into_iter().zip(lengths) {
                stream.send_bytes(&length.to_le_bytes()).await?;
                let error = stream.refused().await?;
                ensure!(
                    error.code == ErrorCode::InvalidMessage,
                    "a frame of {length} bytes got {error:?}"
                );
            }
        }
        let body = "POST /v1/invites HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n{";
        let headers = format!(
            "GET / HTTP/1.1\r\nHost: relay\r\nX: {}\r\n\r\n",
            "x".repeat(60_000)
        );
        for request in [&headers, body] {
            for _ in 0..50 {
                let mut stream = tcp(&url, request.as_bytes()).await?;
                let status = status_line(&mut stream).await?;
                ensure!(
                    status.contains(" 413 ") || status.contains(" 431 "),
                    "an oversize request got {status}"
                );
            }
        }
        let grown = rss(fleet)?.saturating_sub(before);
        fleet.note(format!("the relay grew by {grown} KiB"));
        ensure!(
            grown < 64 * MIB,
            "the relay grew by {grown} KiB over messages that were only announced"
        );
        ensure!(peer.is_connected(), "the connection ended with its streams");
        fleet.push_all(10).await
    })
}

/// Sends a HELLO byte by byte, until its time is over.
async fn drip(peer: &Peer, hello: &[u8]) -> Result<()> {
    let mut stream = peer.open().await?;
    let most = usize::try_from(HELLO_TIMEOUT.as_secs())? * 2;
    for byte in hello[..most].chunks(1) {
        if stream.send_bytes(byte).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let error = stream.refused().await?;
    ensure!(
        error.code == ErrorCode::InvalidMessage,
        "a HELLO of a byte a second got {error:?}"
    );
    Ok(())
}

/// Sends headers byte by byte, until the relay has had enough.
async fn drip_headers(url: &str) -> Result<()> {
    const MOST: usize = 90;
    let mut stream = tcp(url, b"GET / HTTP/1.1\r\nHost: relay\r\nX: ").await?;
    for _ in 0..MOST {
        if stream.write_all(b"x").await.is_err() {
            return Ok(());
        }
        // An end, or an answer that it took too long.
        let ended = timeout(Duration::from_secs(1), stream.read(&mut [0; 512])).await;
        if ended.is_ok() {
            return Ok(());
        }
    }
    bail!("headers of a byte a second are read for {MOST} s and longer")
}

fn slow(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        let url = direct(fleet)?;
        let peers = try_join_all((0..12).map(|_| Peer::connect(&url))).await?;
        let hello = encode(&Message::Hello(peers[0].hello(&keys(1))?));
        fleet.begin("slow senders");
        let streams = peers
            .iter()
            .flat_map(|peer| std::iter::repeat_n(peer, 6))
            .map(|peer| drip(peer, &hello));
        let headers = (0..30).map(|_| drip_headers(&url));
        let members = async {
            for _ in 0..10 {
                fleet.push_all(5).await?;
                is_healthy(fleet).await?;
            }
            for index in 0..2 {
                reaches(fleet, index, 120).await?;
            }
            Ok(())
        };
        tokio::try_join!(try_join_all(streams), try_join_all(headers), members)?;
        for peer in &peers {
            let (mut stream, _) = peer
                .session(&keys(1))
                .await
                .context("who was slow once does not get in any more")?;
            stream.has(&[1]).await?;
        }
        Ok(())
    })
}

/// Pushes until the quota is used up; gives how many bytes were stored.
async fn fill(url: &str, seed: u8) -> Result<usize> {
    const BLOB: usize = 100 * 1024;
    const MOST: u64 = 60;
    let peer = Peer::connect(url).await?;
    let (mut stream, welcome) = peer.session(&keys(seed)).await?;
    for id in 0..MOST {
        stream.send(&push(id, &vec![seed; BLOB])).await?;
        match stream.receive().await? {
            Message::PushAck(_) => {}
            Message::Error(error) => {
                ensure!(
                    error.code == ErrorCode::GroupQuotaExceeded && error.retry_after_ms.is_some(),
                    "a flood got {error:?}"
                );
                let stored = usize::try_from(id)? * BLOB;
                ensure!(
                    stored as u64 <= welcome.limits.group_quota,
                    "{stored} bytes were stored, more than the quota"
                );
                return Ok(stored);
            }
            other => bail!("a flood got {other:?}"),
        }
    }
    bail!("a group stored {MOST} blobs of {BLOB} bytes and was never refused")
}

fn flood(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        let url = direct(fleet)?;
        fleet.begin("three groups flood");
        let floods = try_join_all([1, 2, 3].map(|seed| fill(&url, seed)));
        let members = async {
            fleet.push_sized(0, 10, 40 * 1024).await?;
            fleet.push_sized(1, 10, 40 * 1024).await
        };
        let (stored, ()) = tokio::try_join!(floods, members)?;
        for index in 0..2 {
            fleet.devices[index].flush().await?;
            reaches(fleet, index, 40).await?;
            ensure!(
                !fleet.devices[index].told_error("GROUP_QUOTA_EXCEEDED"),
                "the flood of others used up the quota of this group"
            );
        }
        // Again at once, from new connections: nothing more gets in.
        for seed in 1..=3 {
            let more = Peer::connect(&url).await?;
            let (mut stream, _) = more.session(&keys(seed)).await?;
            stream.send(&push(1_000, &[0; 100 * 1024])).await?;
            let error = stream.error().await?;
            ensure!(
                error.code == ErrorCode::GroupQuotaExceeded,
                "a full group got {error:?}"
            );
        }
        let kib = folder_kib(fleet.relay.data());
        fleet.note(format!("stored {stored:?} bytes, folder {kib} KiB"));
        ensure!(kib < 40 * MIB, "the relay's folder has {kib} KiB");
        is_healthy(fleet).await
    })
}

/// Chi-square of the values of bytes: 255 degrees of freedom, so 255 ± 23 for random ones.
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0_u64; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let expected = bytes.len() as f64 / 256.0;
    counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum()
}

/// Correlation of each byte with the next; for random ones 0 ± 1/√n.
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn serial_correlation(bytes: &[u8]) -> f64 {
    let centred: Vec<f64> = bytes.iter().map(|byte| f64::from(*byte) - 127.5).collect();
    let product: f64 = centred.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let square: f64 = centred.iter().map(|value| value * value).sum();
    product / square
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn looks_random(what: &str, bytes: &[u8]) -> Result<String> {
    let (chi, serial) = (chi_square(bytes), serial_correlation(bytes));
    // Six standard deviations.
    ensure!(
        (120.0..400.0).contains(&chi),
        "the bytes of {what} are not evenly spread: chi-square {chi:.0}, expected 255"
    );
    ensure!(
        serial.abs() < 6.0 / (bytes.len() as f64).sqrt(),
        "the bytes of {what} depend on each other: serial correlation {serial:.4}"
    );
    Ok(format!("{what}: chi-square {chi:.0}, serial {serial:+.4}"))
}

/// Bytes of a nonce, at the start of a payload.
const NONCE: usize = 24;

fn entropy(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        // All at once: whoever is in a hurry must not take the same random bytes twice.
        for _ in 0..3 {
            let bodies = [1_600, 1_600, 200].map(|count| fleet.bodies(count, 0));
            let pushes = fleet
                .devices
                .iter()
                .zip(bodies)
                .map(|(device, bodies)| device.push(bodies, true));
            let refused = try_join_all(pushes).await?;
            ensure!(
                refused.iter().all(Vec::is_empty),
                "pushes were refused: {refused:?}"
            );
        }
        for (index, device) in fleet.devices.iter().enumerate() {
            device.flush().await?;
            reaches(fleet, index, 10_200).await?;
        }
        // And what each device has said of itself.
        let stored = 10_200 + fleet.devices.len();
        fleet.stop_relay().await?;
        let database = Connection::open(fleet.relay.database())?;
        let mut query = database.prepare("SELECT blob_id, payload FROM blobs ORDER BY id")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<(Vec<u8>, Vec<u8>)>>>()?;
        // The first half of an id counts.
        let ids: Vec<_> = rows.iter().map(|(id, _)| &id[BlobId::LEN / 2..]).collect();
        let nonces: Vec<_> = rows.iter().map(|(_, payload)| &payload[..NONCE]).collect();
        for (what, all) in [("random halves of ids", &ids), ("nonces", &nonces)] {
            let distinct: HashSet<_> = all.iter().collect();
            ensure!(
                all.len() == stored && distinct.len() == all.len(),
                "{} of {} {what} are distinct",
                distinct.len(),
                all.len()
            );
            fleet.note(looks_random(what, &all.concat())?);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dice::Dice;

    #[test]
    fn random_bytes_pass_and_others_do_not() {
        let mut dice = Dice::new(5);
        let random: Vec<u8> = (0..50_000)
            .flat_map(|_| dice.next().to_le_bytes())
            .collect();
        looks_random("these", &random).unwrap();
        let skewed: Vec<u8> = random.iter().map(|byte| byte & 0xFE).collect();
        assert!(looks_random("these", &skewed).is_err());
        let counted: Vec<u8> = (0..400_000_u32).map(|number| (number >> 4) as u8).collect();
        assert!(looks_random("these", &counted).is_err());
    }
}
