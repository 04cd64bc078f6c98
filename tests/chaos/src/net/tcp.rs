//! The TCP proxy: HTTP, and the WebSocket through which browsers speak QUIC.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::dice::Dice;
use super::faults::{Accept, Faults};
use super::lane::{Lane, Way};
use super::owner::Owners;
use super::shaper::{Shaper, flip};

/// A segment, as large as on most networks: what is lost or late at once.
const SEGMENT: usize = 1448;
/// Most bytes on the way in one direction.
const MAX_IN_FLIGHT: usize = 1024 * 1024;

/// Forwards TCP connections to the relay and lets them suffer what their lane says.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    target: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts on a free port. Connections are refused until there is a target.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(owners: Arc<Owners>, dice: Dice) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(0));
        let to = target.clone();
        let task = tokio::spawn(async move {
            let count = AtomicU64::new(0);
            while let Ok((stream, from)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let (owners, to, dice) = (owners.clone(), to.clone(), dice.fork(number));
                tokio::spawn(async move {
                    let lane = owners.of_tcp(from.port(), port).await;
                    // How a connection ends is what its two sides see.
                    let _ = serve(stream, &to, &lane, &dice).await;
                });
            }
        });
        Ok(Self { port, target, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Connections go to this port.
    pub fn set_target(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut device: TcpStream,
    target: &AtomicU16,
    lane: &Lane,
    dice: &Dice,
) -> io::Result<()> {
    let mut cuts = lane.watch_cuts();
    let mut accept = lane.watch_accept();
    let now = *accept.borrow_and_update();
    match now {
        Accept::Forward => {}
        Accept::Refuse => return device.set_zero_linger(),
        Accept::Swallow => {
            tokio::select! {
                _ = swallow(&mut device) => {}
                _ = accept.changed() => {}
            }
            return device.set_zero_linger();
        }
    }
    let Ok(mut relay) = TcpStream::connect(("127.0.0.1", target.load(Ordering::Relaxed))).await
    else {
        return device.set_zero_linger();
    };
    device.set_nodelay(true)?;
    relay.set_nodelay(true)?;
    let orderly = {
        let (from_device, to_device) = device.split();
        let (from_relay, to_relay) = relay.split();
        let both = async {
            tokio::try_join!(
                pump(from_device, to_relay, &lane.tcp.up, lane, dice.fork(1)),
                pump(from_relay, to_device, &lane.tcp.down, lane, dice.fork(2)),
            )
        };
        tokio::select! {
            ended = both => ended.is_ok(),
            _ = cuts.changed() => false,
        }
    };
    if !orderly {
        device.set_zero_linger()?;
        relay.set_zero_linger()?;
    }
    Ok(())
}

async fn swallow(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    // A half-open connection does not even hear that the other side has gone.
    std::future::pending().await
}

/// Moves bytes in one direction until its end has come through.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: &Way,
    lane: &Lane,
    dice: Dice,
) -> io::Result<()> {
    let mut watch = way.watch();
    let mut shaper = Shaper::new(dice);
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut in_flight = 0;
    let mut ended = false;
    let mut buffer = vec![0; 16 * SEGMENT];
    loop {
        let faults = watch.borrow_and_update().clone();
        let unhindered = faults == Faults::default();
        let read_size = if unhindered { buffer.len() } else { SEGMENT };
        let due = queue.front().map(|(due, _)| *due);
        if ended && queue.is_empty() {
            return to.shutdown().await;
        }
        tokio::select! {
            biased;
            changed = watch.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !faults.is_dead() => {
                if let Some((_, bytes)) = queue.pop_front() {
                    in_flight -= bytes.len();
                    to.write_all(&bytes).await?;
                }
            }
            count = from.read(&mut buffer[..read_size]), if !ended && !faults.is_dead() && in_flight < room(&faults) => {
                let bytes = &mut buffer[..count?];
                if bytes.is_empty() {
                    ended = true;
                    continue;
                }
                if way.pass(bytes) {
                    lane.sever();
                    return Ok(());
                }
                if unhindered && queue.is_empty() {
                    to.write_all(bytes).await?;
                    continue;
                }
                let (due, bit) = shaper.segment(Instant::now(), bytes.len(), &faults);
                if let Some(bit) = bit {
                    flip(bytes, bit);
                }
                let mut bytes = bytes.to_vec();
                bytes.truncate(shaper.kept(bytes.len(), &faults));
                bytes.extend(shaper.injected(&faults).into_iter().flatten());
                in_flight += bytes.len();
                queue.push_back((due, bytes));
            }
        }
    }
}

/// What the network holds: at a bottleneck about a second's worth, as routers do.
fn room(faults: &Faults) -> usize {
    let rate = faults.rate.and_then(|rate| usize::try_from(rate).ok());
    rate.map_or(MAX_IN_FLIGHT, |rate| rate.clamp(4 * SEGMENT, MAX_IN_FLIGHT))
}
