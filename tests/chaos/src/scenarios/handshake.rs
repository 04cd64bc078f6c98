//! E-HS: what happens between "connect" and a session that works.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use iroh::SecretKey;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zerok_sync_client::shared::codec::encode;
use zerok_sync_client::shared::error::ErrorCode;
use zerok_sync_client::shared::limits::{HELLO_TIMEOUT, SUBSCRIBE_WINDOW};
use zerok_sync_client::shared::message::{Message, Pull, PushAck, Subscribe};
use zerok_sync_client::shared::time::Timestamp;
use zerok_sync_tests::raw::{Peer, Stream, blob_id, keys, push};

use crate::PATIENCE;
use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new(
        "E-HS-01",
        "cut at sixteen points of the handshake through the WebSocket",
        |fleet| cut_in_handshake(fleet, &[Udp, WebSocket, WebSocket], 0, 16),
    ),
    Scenario::new(
        "E-HS-02",
        "cut at sixteen points of the handshake by UDP",
        |fleet| cut_in_handshake(fleet, &[WebSocket, Udp, Udp], 2, 16),
    ),
    Scenario::new(
        "E-HS-03",
        "cut at six points of a page's handshake",
        |fleet| cut_in_handshake(fleet, &[Udp, Page], 0, 6),
    )
    .with_page(),
    Scenario::new(
        "E-HS-04",
        "gone after HELLO, WELCOME, SUBSCRIBE, CAUGHT_UP and PUSH",
        gone_after_each,
    ),
    Scenario::new("E-HS-05", "5 s for each message", slow_messages),
    Scenario::new(
        "E-HS-06",
        "messages out of order and those of the other side",
        out_of_order,
    )
    .with_page(),
    Scenario::new(
        "E-HS-07",
        "two sessions at once from one device",
        two_sessions,
    ),
];

/// Where raw peers find the relay.
pub(super) fn direct(fleet: &Fleet) -> Result<String> {
    Ok(fleet
        .relay
        .direct_url()
        .context("the relay is off")?
        .to_owned())
}

/// Waits until a device's log is so long, as it says itself.
pub(super) async fn reaches(fleet: &Fleet, device: usize, length: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let position = fleet.devices[device].status().await?.position;
        if position >= length {
            return Ok(());
        }
        let name = fleet.devices[device].name();
        ensure!(
            Instant::now() < deadline,
            "{name} has {position} blobs and never gets to {length}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

fn subscribe() -> Message {
    Message::Subscribe(Subscribe {
        after_cursor: 0,
        window: SUBSCRIBE_WINDOW,
    })
}

/// Bytes that a direction of a device has carried so far; the numbers are those of `Lane::ways`.
fn carried(fleet: &Fleet, device: usize, way: usize) -> u64 {
    fleet.devices[device].lane.ways()[way].counts().bytes
}

/// Starts all but the founder anew, each with something to fetch. The second device counts upwards, the third downwards.
async fn reopen(fleet: &mut Fleet, cuts: &[(usize, u64)], first_way: usize) -> Result<()> {
    for index in 1..fleet.devices.len() {
        fleet.devices[index].kill().await?;
    }
    fleet.push(0, 1).await?;
    for (index, bytes) in cuts {
        let lane = &fleet.devices[*index].lane;
        lane.ways()[first_way + index - 1].cut_after(*bytes);
    }
    try_join_all(fleet.devices[1..].iter().map(|device| device.open())).await?;
    Ok(())
}

/// Waits for a device's cut; says whether it came, because a handshake may have taken fewer bytes than the one that was measured.
async fn is_cut(
    fleet: &Fleet,
    device: usize,
    cuts: &watch::Receiver<u64>,
    length: u64,
) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while !cuts.has_changed()? {
        if fleet.devices[device].status().await?.position >= length {
            return Ok(false);
        }
        let name = fleet.devices[device].name();
        ensure!(
            Instant::now() < deadline,
            "{name} is neither cut nor has it what is new"
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}

/// Measures how many bytes it takes until a device has what is new, and cuts at points of that: closer together at its
/// start, where the messages are short.
fn cut_in_handshake<'a>(
    fleet: &'a mut Fleet,
    kinds: &'static [crate::device::Kind],
    first_way: usize,
    steps: u64,
) -> Running<'a> {
    Box::pin(async move {
        fleet.group(kinds).await?;
        let victims: Vec<usize> = (1..kinds.len()).collect();
        fleet.push(0, 1).await?;
        for index in &victims {
            reaches(fleet, *index, 1).await?;
        }
        let way = |index: usize| first_way + index - 1;
        let before: Vec<_> = victims
            .iter()
            .map(|index| carried(fleet, *index, way(*index)))
            .collect();
        reopen(fleet, &[], first_way).await?;
        let mut whole = Vec::new();
        for (index, before) in victims.iter().zip(before) {
            reaches(fleet, *index, 2).await?;
            whole.push(carried(fleet, *index, way(*index)) - before);
        }
        fleet.note(format!("a whole handshake takes {whole:?} bytes"));
        let mut reached = 0;
        for step in 0..steps {
            fleet.begin("cut in the handshake");
            let part = |whole: &u64| (whole * step * step / (steps * steps)).max(1);
            let parts = whole.iter().map(part);
            let cuts: Vec<_> = victims.iter().copied().zip(parts).collect();
            let watched: Vec<_> = victims
                .iter()
                .map(|index| fleet.devices[*index].lane.watch_cuts())
                .collect();
            reopen(fleet, &cuts, first_way).await?;
            for (index, cuts) in victims.iter().zip(&watched) {
                reached += usize::from(is_cut(fleet, *index, cuts, step + 3).await?);
            }
            fleet.heal();
            for index in &victims {
                reaches(fleet, *index, step + 3)
                    .await
                    .with_context(|| format!("after {cuts:?} bytes"))?;
            }
        }
        fleet.note(format!("{reached} cuts"));
        ensure!(
            reached * 2 > victims.len() * usize::try_from(steps)?,
            "most handshakes were over before they were cut"
        );
        fleet.push_all(10).await
    })
}

/// The same device goes without a word after each message, comes back, and finds what it pushed once.
fn gone_after_each(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let (url, keys, device) = (direct(fleet)?, keys(1), SecretKey::generate());
        for (number, last) in (1..).zip(["HELLO", "WELCOME", "SUBSCRIBE", "CAUGHT_UP", "PUSH"]) {
            fleet.push_all(5).await?;
            let peer = Peer::connect_as(&url, device.clone()).await?;
            let mut stream = peer.open().await?;
            stream.send(&Message::Hello(peer.hello(&keys)?)).await?;
            if last != "HELLO" {
                let answer = stream.receive().await?;
                ensure!(
                    matches!(answer, Message::Welcome(_)),
                    "no WELCOME but {answer:?}"
                );
            }
            if number >= 3 {
                stream.send(&subscribe()).await?;
            }
            if number >= 4 {
                stream.receive().await?;
            }
            if last == "PUSH" {
                stream.send(&push(1, b"pushed and gone")).await?;
            }
            // Without BYE, and without an end of the stream.
            drop((stream, peer));

            let again = Peer::connect_as(&url, device.clone()).await?;
            let (mut stream, _) = again
                .session(&keys)
                .await
                .with_context(|| format!("the device does not get back in after {last}"))?;
            if last == "PUSH" {
                stream.send(&push(1, b"pushed and gone")).await?;
                let ack = stream.acknowledged().await?;
                ensure!(ack.cursor == 1, "the same blob twice: {ack:?}");
            }
            again.close().await;
        }
        fleet.push_all(5).await
    })
}

/// Under the limit it works, however slow; half a HELLO beyond it ends the stream. Devices suffer the same meanwhile.
fn slow_messages(fleet: &mut Fleet) -> Running<'_> {
    const PAUSE: Duration = Duration::from_secs(5);
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let (url, keys) = (direct(fleet)?, keys(1));
        let peer = Peer::connect(&url).await?;
        let hello = encode(&Message::Hello(peer.hello(&keys)?));
        fleet.fault_all("5 s for each message", &Faults::delay(2_500));
        fleet.push_all(10).await?;
        let patient = async {
            let mut stream = peer.open().await?;
            let (first, second) = hello.split_at(hello.len() / 2);
            stream.send_bytes(first).await?;
            sleep(PAUSE).await;
            stream.send_bytes(second).await?;
            let answer = stream.receive().await?;
            ensure!(
                matches!(answer, Message::Welcome(_)),
                "a HELLO in two parts, {PAUSE:?} apart, got {answer:?}"
            );
            sleep(PAUSE).await;
            stream.send(&subscribe()).await?;
            let answer = stream.receive().await?;
            ensure!(
                answer == Message::CaughtUp { max_cursor: 0 },
                "SUBSCRIBE got {answer:?}"
            );
            sleep(PAUSE).await;
            stream.send(&push(1, b"slowly")).await?;
            stream.acknowledged().await.map(drop)
        };
        let half = try_join_all([1, 2, 4, hello.len() - 1].map(|length| {
            let (peer, hello) = (&peer, &hello);
            async move {
                let mut stream = peer.open().await?;
                stream.send_bytes(&hello[..length]).await?;
                let error = stream.refused().await?;
                ensure!(
                    error.code == ErrorCode::InvalidMessage,
                    "{length} bytes of a HELLO got {error:?} after {HELLO_TIMEOUT:?}"
                );
                Ok(())
            }
        }));
        tokio::try_join!(patient, half)?;
        ensure!(
            peer.is_connected(),
            "the connection ended with one of its streams"
        );
        Ok(())
    })
}

async fn is_refused(mut stream: Stream, messages: &[Message]) -> Result<()> {
    for message in messages {
        stream.send(message).await?;
    }
    loop {
        match stream.receive().await? {
            Message::Error(error) if error.code == ErrorCode::InvalidMessage => break,
            Message::CaughtUp { .. } => {}
            other => bail!("{messages:?} got {other:?} instead of INVALID_MESSAGE"),
        }
    }
    let more = stream.next().await?;
    ensure!(
        more.is_none(),
        "the stream goes on after {messages:?}: {more:?}"
    );
    Ok(())
}

fn out_of_order(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        let (url, keys) = (direct(fleet)?, keys(1));
        let peer = Peer::connect(&url).await?;
        let (mut bystander, welcome) = peer.session(&keys).await?;
        let pull = Message::Pull(Pull {
            after_cursor: 0,
            limit: 10,
        });
        let has = Message::Has {
            blob_ids: vec![blob_id(1)],
        };
        let ack = PushAck {
            blob_id: blob_id(1),
            cursor: 1,
            timestamp: Timestamp(1),
        };
        let theirs = [
            Message::Welcome(welcome),
            Message::CaughtUp { max_cursor: 7 },
            Message::PushAck(ack),
            Message::HasResponse { marks: Vec::new() },
        ];
        fleet.begin("messages out of order");
        for before_hello in [
            push(1, b"x"),
            subscribe(),
            pull,
            has,
            Message::Ack { cursor: 1 },
        ]
        .iter()
        .chain(&theirs)
        {
            is_refused(peer.open().await?, std::slice::from_ref(before_hello)).await?;
            fleet.push_all(1).await?;
        }
        let hello = Message::Hello(peer.hello(&keys)?);
        for after_hello in [vec![hello], vec![subscribe(), subscribe()]]
            .into_iter()
            .chain(theirs.map(|message| vec![message]))
        {
            let (stream, _) = peer.session(&keys).await?;
            is_refused(stream, &after_hello).await?;
            fleet.push_all(1).await?;
        }
        let stored = bystander.has(&[1]).await?;
        ensure!(
            stored.is_empty(),
            "a PUSH before HELLO was carried out: {stored:?}"
        );
        ensure!(
            peer.is_connected(),
            "the connection ended with one of its streams"
        );
        Ok(())
    })
}

/// Both get everything, once and in order, and what both push is stored once.
fn two_sessions(fleet: &mut Fleet) -> Running<'_> {
    const BLOBS: u64 = 60;
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let (url, keys, device) = (direct(fleet)?, keys(1), SecretKey::generate());
        let one = Peer::connect_as(&url, device.clone()).await?;
        let two = Peer::connect_as(&url, device).await?;
        let mut sessions = Vec::new();
        // Two connections, and on the first of them two streams.
        for peer in [&one, &two, &one] {
            let (mut stream, _) = peer.session(&keys).await?;
            stream.send(&subscribe()).await?;
            sessions.push(stream);
        }
        let (mut first, _) = one.session(&keys).await?;
        let (mut second, _) = two.session(&keys).await?;
        for id in 0..BLOBS {
            fleet.push_all(1).await?;
            first.send(&push(id, b"the same from both")).await?;
            second.send(&push(id, b"the same from both")).await?;
            let acks = (first.acknowledged().await?, second.acknowledged().await?);
            ensure!(
                acks.0 == acks.1 && acks.0.cursor == id + 1,
                "one blob, two places: {acks:?}"
            );
        }
        for (number, stream) in sessions.iter_mut().enumerate() {
            let mut next = 1;
            while next <= BLOBS {
                match stream.receive().await? {
                    Message::Blob(blob) if blob.cursor == next => next += 1,
                    Message::CaughtUp { .. } => {}
                    other => bail!("session {number} waits for blob {next} and gets {other:?}"),
                }
            }
        }
        Ok(())
    })
}
