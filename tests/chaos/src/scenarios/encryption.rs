//! E-ENC: the path changes, shortens, repeats and makes up what it carries; and it carries a lot.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::UdpSocket;

use crate::device::Kind::{self, Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::net::filter::PROXY;
use crate::net::owner;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("E-ENC-01", "bits turned on both paths", |fleet| {
        let kinds = &[Udp, WebSocket, Page];
        damaged(fleet, kinds, "3 % with a turned bit", Faults::corrupt(3.0))
    })
    .with_page(),
    Scenario::new("E-ENC-02", "packets cut short on both paths", |fleet| {
        damaged(
            fleet,
            &[Udp, WebSocket],
            "3 % cut short",
            Faults::truncate(3.0),
        )
    }),
    Scenario::new(
        "E-ENC-03",
        "every UDP packet comes twice and again",
        replayed,
    ),
    Scenario::new("E-ENC-04", "1,000 messages a second, five times", thousands),
];

/// Everybody pushes while the path damages what it carries; nothing of it may get as far as a blob.
pub(super) fn damaged<'a>(
    fleet: &'a mut Fleet,
    kinds: &'static [Kind],
    label: &'static str,
    faults: Faults,
) -> Running<'a> {
    Box::pin(async move {
        fleet.group(kinds).await?;
        fleet.push_all(10).await?;
        fleet.fault_all(label, &faults);
        for _ in 0..8 {
            fleet.push_all(15).await?;
            fleet.last(Duration::from_secs(1)).await;
        }
        note_logged(fleet, "failed to authenticate packet");
        nothing_rejected(fleet)
    })
}

/// How often the relay's log has something, for the table.
fn note_logged(fleet: &mut Fleet, text: &str) {
    let log = fleet.relay.log();
    let count = String::from_utf8_lossy(&log).matches(text).count();
    fleet.note(format!("the relay logged {count} × {text:?}"));
}

/// What the path changes is refused by QUIC, long before it could be taken for a blob.
pub(super) fn nothing_rejected(fleet: &Fleet) -> Result<()> {
    for device in &fleet.devices {
        ensure!(
            !device.told_error("BLOB_REJECTED"),
            "{} was given a damaged blob: the connection let it through",
            device.name()
        );
    }
    Ok(())
}

/// The port of a process' UDP socket.
pub(super) fn udp_port(pid: u32) -> Result<u16> {
    let own = owner::descriptors(pid);
    let found = owner::sockets("udp")
        .into_iter()
        .find(|socket| own.iter().any(|(_, inode)| *inode == socket.inode));
    Ok(found.context("the process has no UDP socket")?.local)
}

/// Sends datagrams to a port from where the proxy sends.
pub(super) async fn send_to(port: u16, datagrams: impl Iterator<Item = &[u8]>) -> Result<()> {
    let socket = UdpSocket::bind((PROXY, 0)).await?;
    for datagram in datagrams {
        socket
            .send_to(datagram, (Ipv4Addr::LOCALHOST, port))
            .await?;
    }
    Ok(())
}

/// Each packet comes twice, up to a second apart; and then everything that was recorded once more, from elsewhere.
fn replayed(fleet: &mut Fleet) -> Running<'_> {
    /// A first packet is at least so long, and the recording begins with it.
    const INITIAL: usize = 1_200;
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Udp]).await?;
        let twice = Faults {
            duplicate: 1.0,
            ..Faults::jitter(500, 500)
        };
        fleet.fault_all("every packet twice, 500 ± 500 ms", &twice);
        for _ in 0..5 {
            fleet.push_all(20).await?;
            fleet.last(Duration::from_secs(1)).await;
        }
        fleet.heal();
        fleet.begin("recorded packets again");
        let port = udp_port(fleet.relay.pid().context("the relay is off")?)?;
        for index in [0, 2] {
            let recorded = fleet.devices[index].lane.udp.up.captured();
            ensure!(
                recorded.len() > INITIAL,
                "nothing was recorded of {}",
                fleet.devices[index].name()
            );
            send_to(port, std::iter::repeat_n(&recorded[..INITIAL], 100)).await?;
            send_to(port, recorded.chunks(INITIAL).take(500)).await?;
        }
        fleet.push_all(20).await?;
        note_logged(fleet, "discarding possible duplicate packet");
        nothing_rejected(fleet)
    })
}

fn thousands(fleet: &mut Fleet) -> Running<'_> {
    const EACH: usize = 500;
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Udp]).await?;
        let start = fleet.seconds();
        for round in 1..=5 {
            let second = tokio::time::sleep(Duration::from_secs(1));
            let bodies = [fleet.bodies(EACH, 0), fleet.bodies(EACH, 0)];
            let [one, two] = bodies;
            let refused = tokio::try_join!(
                fleet.devices[0].push(one, true),
                fleet.devices[1].push(two, true)
            )?;
            ensure!(
                refused.0.is_empty() && refused.1.is_empty(),
                "round {round}: pushes were refused: {refused:?}"
            );
            second.await;
        }
        for index in 0..3 {
            super::handshake::reaches(fleet, index, 10 * EACH as u64).await?;
        }
        let seconds = fleet.seconds() - start;
        fleet.note(format!("{} on all devices after {seconds:.1} s", 10 * EACH));
        Ok(())
    })
}
