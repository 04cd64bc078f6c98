//! E-PQ: the hybrid key exchange of TLS, with shares that are not what they should be, on the way to a real relay.
//!
//! A device or relay that lies is our own TLS with one thing bent. What the relay takes for damage it refuses with an alert;
//! where both sides merely come to different secrets, QUIC drops what it can't read, and the attempt times out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use iroh::endpoint::{Connection, RelayMode};
use iroh::{Endpoint, EndpointAddr, SecretKey};
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};
use tokio::time::timeout;
use zerok_sync_client::shared::message::ALPN;
use zerok_sync_tests::raw::locate;
use zerok_sync_transport::{endpoint as transport, tls};

use super::handshake::direct;
use crate::PATIENCE;
use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("E-PQ-01", "an ML-KEM share that is corrupted", corrupted),
    Scenario::new(
        "E-PQ-02",
        "a share of which one half is missing",
        half_missing,
    ),
    Scenario::new("E-PQ-03", "each half of both shares is binding", binding),
    Scenario::new(
        "E-PQ-04",
        "no downgrade, except to a relay that has nothing else",
        no_downgrade,
    )
    .with_page(),
    Scenario::new("E-PQ-05", "clocks five minutes apart", clocks).with_page(),
];

/// Length of the first half, ML-KEM, of a device's share.
const DEVICE_HALF: usize = 1184;
/// Length of the first half of a relay's share.
const RELAY_HALF: usize = 1088;

type Bend = fn(&mut Vec<u8>);

/// A group of which one of the shares is bent on its way, and which knows whether the other side chose it.
#[derive(Debug, Clone)]
struct Bent {
    group: &'static dyn SupportedKxGroup,
    /// What becomes of the share that a device sends.
    ours: Bend,
    /// What becomes of the share that the relay sends.
    theirs: Bend,
    chosen: Arc<AtomicBool>,
}

struct Started {
    inner: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
    bent: Bent,
}

impl SupportedKxGroup for Bent {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let inner = self.group.start()?;
        let mut share = inner.pub_key().to_vec();
        (self.ours)(&mut share);
        Ok(Box::new(Started {
            inner,
            share,
            bent: self.clone(),
        }))
    }

    fn start_and_complete(&self, share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        self.group.start_and_complete(share)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.group.name()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.group.usable_for_version(version)
    }
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, Error> {
        self.bent.chosen.store(true, Ordering::Relaxed);
        let mut share = share.to_vec();
        (self.bent.theirs)(&mut share);
        self.inner.complete(&share)
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        self.inner.hybrid_component()
    }

    fn complete_hybrid_component(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, Error> {
        self.inner.complete_hybrid_component(share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        self.inner.group()
    }
}

/// The provider of every endpoint, with these groups only.
fn provider(groups: Vec<&'static dyn SupportedKxGroup>) -> CryptoProvider {
    CryptoProvider {
        kx_groups: groups,
        ..(*tls::provider()).clone()
    }
}

fn classical() -> Result<&'static dyn SupportedKxGroup> {
    let found = tls::provider()
        .kx_groups
        .iter()
        .copied()
        .find(|group| group.name() == NamedGroup::X25519);
    found.context("the provider has no X25519")
}

/// The hybrid group, bent, and whether it was chosen.
fn bent(ours: Bend, theirs: Bend) -> (&'static dyn SupportedKxGroup, Arc<AtomicBool>) {
    let chosen = Arc::new(AtomicBool::new(false));
    // Groups are static; a test can afford a few that nobody gives back.
    let group = Box::leak(Box::new(Bent {
        group: tls::X25519_MLKEM768,
        ours,
        theirs,
        chosen: chosen.clone(),
    }));
    (group, chosen)
}

const HANGS: &str = "the attempt hangs instead of failing";

/// Connects as a new device with this TLS.
async fn dial(provider: CryptoProvider, to: &EndpointAddr) -> Result<(Endpoint, Connection)> {
    let endpoint = transport::builder(SecretKey::generate())
        .crypto_provider(Arc::new(provider))
        .relay_mode(RelayMode::Disabled)
        .bind()
        .await?;
    let dialling = timeout(PATIENCE, endpoint.connect(to.clone(), ALPN)).await;
    let connection = dialling.context(HANGS)??;
    Ok((endpoint, connection))
}

/// Each of these shares ends the handshake, at the same time, while devices go on; an unbent one is welcome before and after.
async fn all_refused(fleet: &mut Fleet, cases: Vec<(&'static str, Bend, Bend)>) -> Result<()> {
    fleet.group(&[Udp, WebSocket]).await?;
    let (_, relay) = locate(&direct(fleet)?).await?;
    let honest = async || {
        let (group, chosen) = bent(|_| {}, |_| {});
        dial(provider(vec![group]), &relay)
            .await
            .context("an honest device is refused")?;
        ensure!(
            chosen.load(Ordering::Relaxed),
            "the relay did not choose X25519MLKEM768"
        );
        Ok(())
    };
    honest().await?;
    fleet.begin("bent shares");
    let attempts = cases.into_iter().map(|(what, ours, theirs)| {
        let relay = &relay;
        async move {
            let (group, _) = bent(ours, theirs);
            let connected = dial(provider(vec![group]), relay).await;
            let error = connected.err();
            let error = error.with_context(|| format!("{what}: the handshake succeeded"))?;
            let hangs = error.downcast_ref::<&str>() == Some(&HANGS);
            ensure!(!hangs, "{what}: {HANGS}");
            Ok(format!("{what}: {}", error.root_cause()))
        }
    });
    let (errors, pushed) = tokio::join!(try_join_all(attempts), fleet.push_all(20));
    pushed?;
    for error in errors? {
        fleet.note(error);
    }
    honest().await?;
    fleet.push_all(5).await
}

fn unchanged(_: &mut Vec<u8>) {}

fn corrupted(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        all_refused(
            fleet,
            vec![
                ("one bit at the start", |share| share[0] ^= 1, unchanged),
                (
                    "one bit in the seed of the matrix",
                    |share| share[DEVICE_HALF - 1] ^= 0x80,
                    unchanged,
                ),
                (
                    "coefficients out of range",
                    |share| share[..3].fill(0xFF),
                    unchanged,
                ),
                (
                    "nothing but zeros",
                    |share| share[..DEVICE_HALF].fill(0),
                    unchanged,
                ),
                ("one bit of the relay's ciphertext", unchanged, |share| {
                    share[RELAY_HALF / 2] ^= 1
                }),
            ],
        )
        .await
    })
}

fn half_missing(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        all_refused(
            fleet,
            vec![
                (
                    "only ML-KEM",
                    |share| share.truncate(DEVICE_HALF),
                    unchanged,
                ),
                (
                    "only X25519",
                    |share| drop(share.drain(..DEVICE_HALF)),
                    unchanged,
                ),
                (
                    "one byte short",
                    |share| share.truncate(share.len() - 1),
                    unchanged,
                ),
                ("one byte too many", |share| share.push(0), unchanged),
                ("of the relay's only ML-KEM", unchanged, |share| {
                    share.truncate(RELAY_HALF)
                }),
                ("of the relay's only X25519", unchanged, |share| {
                    drop(share.drain(..RELAY_HALF))
                }),
            ],
        )
        .await
    })
}

fn binding(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        all_refused(
            fleet,
            vec![
                (
                    "ML-KEM of the device",
                    |share| share[DEVICE_HALF / 2] ^= 1,
                    unchanged,
                ),
                (
                    "X25519 of the device",
                    |share| share[DEVICE_HALF] ^= 1,
                    unchanged,
                ),
                ("ML-KEM of the relay", unchanged, |share| share[0] ^= 1),
                ("X25519 of the relay", unchanged, |share| {
                    share[RELAY_HALF] ^= 1
                }),
            ],
        )
        .await
    })
}

/// A relay, as far as its handshakes go, that has only this group.
async fn relay_with(group: &'static dyn SupportedKxGroup) -> Result<(Endpoint, EndpointAddr)> {
    let endpoint = transport::builder(SecretKey::generate())
        .crypto_provider(Arc::new(provider(vec![group])))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((std::net::Ipv4Addr::LOCALHOST, 0))?
        .bind()
        .await?;
    let port = endpoint
        .bound_sockets()
        .first()
        .context("no socket")?
        .port();
    let address =
        EndpointAddr::new(endpoint.id()).with_ip_addr((std::net::Ipv4Addr::LOCALHOST, port).into());
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Some(incoming) = accepting.accept().await {
            open.extend(incoming.await.ok());
        }
    });
    Ok((endpoint, address))
}

/// Of all devices so far, as the relay's log has it.
fn devices_are_hybrid(fleet: &mut Fleet) -> Result<()> {
    let log = fleet.relay.log();
    let log = String::from_utf8_lossy(&log);
    let hellos: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sending server hello"))
        .collect();
    ensure!(
        hellos.len() >= fleet.devices.len(),
        "the log does not have a ServerHello for each device"
    );
    let other = hellos
        .iter()
        .find(|hello| !hello.contains("group: X25519MLKEM768"));
    ensure!(other.is_none(), "a device got another group: {other:?}");
    fleet.note(format!(
        "{} handshakes of devices, all hybrid",
        hellos.len()
    ));
    Ok(())
}

fn no_downgrade(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(10).await?;
        // A push is durable before its device has reached the relay.
        for device in &fleet.devices {
            device.flush().await?;
        }
        devices_are_hybrid(fleet)?;
        let (_, relay) = locate(&direct(fleet)?).await?;
        let classical = classical()?;

        let (group, chosen) = bent(|_| {}, |_| {});
        dial(provider(vec![group, classical]), &relay).await?;
        ensure!(
            chosen.load(Ordering::Relaxed),
            "our relay took X25519 from a device that offered X25519MLKEM768"
        );
        // A device that prefers X25519 sends a share of that alone, and gets it without another round trip: its own choice.
        let (group, chosen) = bent(|_| {}, |_| {});
        dial(provider(vec![classical, group]), &relay).await?;
        ensure!(
            !chosen.load(Ordering::Relaxed),
            "a device that prefers X25519 got the other group"
        );
        // The one fallback that is allowed: the other side has nothing else.
        dial(provider(vec![classical]), &relay)
            .await
            .context("a device that has only X25519 is refused by our relay")?;
        let (_keep, old_relay) = relay_with(classical).await?;
        let (group, chosen) = bent(|_| {}, |_| {});
        dial(provider(vec![group, classical]), &old_relay)
            .await
            .context("a relay that has only X25519 is refused")?;
        ensure!(
            !chosen.load(Ordering::Relaxed),
            "a group that the relay does not have was chosen"
        );
        let (group, _) = bent(|_| {}, |_| {});
        let forced = dial(provider(vec![group]), &old_relay).await;
        ensure!(
            forced.is_err(),
            "a device that offers nothing but the hybrid group was downgraded"
        );
        fleet.push_all(10).await
    })
}

/// A library that moves the wall clock of the process that loads it, and no other clock.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, id, time);
  const char *offset = getenv("CLOCK_OFFSET");
  if (result == 0 && id == CLOCK_REALTIME && offset) time->tv_sec += atoi(offset);
  return result;
}
"#;

/// Compiled with the compiler that linked this program.
async fn clock_library(fleet: &Fleet) -> Result<PathBuf> {
    let (source, library) = (
        fleet.folder().join("clock.c"),
        fleet.folder().join("clock.so"),
    );
    tokio::fs::write(&source, CLOCK).await?;
    let done = tokio::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .await
        .context("no C compiler, and without one no clock to move")?;
    ensure!(done.success(), "the clock does not compile");
    let moved = tokio::process::Command::new("date")
        .arg("+%Y")
        .env("LD_PRELOAD", &library)
        .env("CLOCK_OFFSET", (20 * 366 * 24 * 3600).to_string())
        .output()
        .await?;
    let plain = tokio::process::Command::new("date")
        .arg("+%Y")
        .output()
        .await?;
    ensure!(
        moved.stdout != plain.stdout,
        "the clock does not move, it is {:?}",
        String::from_utf8_lossy(&moved.stdout)
    );
    Ok(library)
}

/// Native devices with clocks that are wrong; the relay and the page keep theirs. Joining has to work from both sides.
fn clocks(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(10).await?;
        let library = clock_library(fleet).await?;
        let plain = fleet.devices[0].setup.command.clone();
        for (ahead, behind) in [(0, 1), (1, 0)] {
            fleet.begin("clocks five minutes apart");
            for (index, offset) in [(ahead, 300), (behind, -300)] {
                fleet.devices[index].kill().await?;
                let mut command = plain.clone();
                let program = command.pop().context("no program")?;
                let preload = format!("LD_PRELOAD={}", library.display());
                command.extend([
                    "env".to_owned(),
                    preload,
                    format!("CLOCK_OFFSET={offset}"),
                    program,
                ]);
                fleet.devices[index].setup.command = command;
                fleet.devices[index].open().await?;
                let pid = fleet.devices[index].pid().await;
                let pid = pid.context("the device is off")?;
                let maps = tokio::fs::read_to_string(format!("/proc/{pid}/maps")).await?;
                ensure!(
                    maps.contains("clock.so"),
                    "the device has not loaded the clock"
                );
            }
            fleet.push_all(20).await?;
            // By an invite of the first device, which is ahead and then behind.
            let late = fleet.stranger(WebSocket).await?;
            fleet.join(late).await?;
            fleet.push_all(5).await?;
            fleet.devices[0].flush().await?;
            fleet.end();
        }
        Ok(())
    })
}
