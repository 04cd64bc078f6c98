//! The UDP proxy: QUIC of native devices.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{self, Instant};

use super::dice::Dice;
use super::filter::PROXY;
use super::lane::{Lane, Way};
use super::owner::Owners;
use super::shaper::{Shaper, flip};

/// Longer than any datagram.
const BUFFER: usize = 65_536;
/// The first byte of a QUIC packet and the longest id of a connection.
const HEAD: usize = 21;

/// Forwards datagrams to the relay and lets them suffer what their lane says.
#[derive(Debug)]
pub struct UdpProxy {
    port: u16,
    target: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl UdpProxy {
    /// Starts on a free port. Datagrams are lost until there is a target.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(owners: Arc<Owners>, dice: Dice) -> Result<Self> {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        let port = socket.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(0));
        let task = tokio::spawn(run(socket, target.clone(), owners, dice));
        Ok(Self { port, target, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Datagrams go to this port.
    pub fn set_target(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What comes from one socket of a device.
struct Flow {
    lane: Arc<Lane>,
    upstream: Arc<UdpSocket>,
    shaper: Shaper,
}

async fn run(socket: Arc<UdpSocket>, target: Arc<AtomicU16>, owners: Arc<Owners>, dice: Dice) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    // Ends with this one.
    let mut readers = JoinSet::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        // On loopback an error tells that an earlier datagram found nobody, which is its own business.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let to = target.load(Ordering::Relaxed);
        if to == 0 {
            continue;
        }
        if !flows.contains_key(&from) {
            let lane = owners.of_udp(from.port()).await;
            let Ok(upstream) = connect(to).await else {
                continue;
            };
            let dice = dice.fork(flows.len() as u64);
            let (back, answers, reader) = (socket.clone(), upstream.clone(), lane.clone());
            let shaper = Shaper::new(dice.fork(2));
            readers.spawn(async move { receive(&answers, back, from, &reader, shaper).await });
            let shaper = Shaper::new(dice.fork(1));
            flows.insert(
                from,
                Flow {
                    lane,
                    upstream,
                    shaper,
                },
            );
        }
        if let Some(flow) = flows.get_mut(&from) {
            let send = Send {
                socket: flow.upstream.clone(),
                to: None,
            };
            forward(
                &mut buffer[..length],
                &flow.lane.udp.up,
                &flow.lane,
                &mut flow.shaper,
                send,
            )
            .await;
        }
    }
}

async fn connect(port: u16) -> std::io::Result<Arc<UdpSocket>> {
    let upstream = UdpSocket::bind((PROXY, 0)).await?;
    upstream.connect(("127.0.0.1", port)).await?;
    Ok(Arc::new(upstream))
}

async fn receive(
    answers: &UdpSocket,
    back: Arc<UdpSocket>,
    to: SocketAddr,
    lane: &Lane,
    mut shaper: Shaper,
) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(length) = answers.recv(&mut buffer).await else {
            // The relay is not there at the moment.
            time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        let send = Send {
            socket: back.clone(),
            to: Some(to),
        };
        forward(
            &mut buffer[..length],
            &lane.udp.down,
            lane,
            &mut shaper,
            send,
        )
        .await;
    }
}

#[derive(Clone)]
struct Send {
    socket: Arc<UdpSocket>,
    to: Option<SocketAddr>,
}

impl Send {
    async fn now(&self, bytes: &[u8]) {
        // A datagram that can't be sent is lost, as datagrams are.
        let _ = match self.to {
            Some(to) => self.socket.send_to(bytes, to).await,
            None => self.socket.send(bytes).await,
        };
    }

    fn later(self, bytes: Vec<u8>, due: Instant) {
        tokio::spawn(async move {
            time::sleep_until(due).await;
            self.now(&bytes).await;
        });
    }
}

async fn forward(bytes: &mut [u8], way: &Way, lane: &Lane, shaper: &mut Shaper, send: Send) {
    if way.pass(bytes) {
        lane.sever();
    }
    let now = Instant::now();
    let faults = way.faults();
    let Some(arrival) = shaper.datagram(now, bytes.len(), &faults) else {
        way.lose();
        return;
    };
    if let Some(bit) = arrival.flipped_bit {
        flip(bytes, bit);
    }
    let bytes = &bytes[..shaper.kept(bytes.len(), &faults)];
    if let Some(mut strange) = shaper.injected(&faults) {
        // Addressed to the same connection: at anything else nobody looks twice.
        let head = HEAD.min(bytes.len()).min(strange.len());
        strange[..head].copy_from_slice(&bytes[..head]);
        send.now(&strange).await;
    }
    if let Some(due) = arrival.copy {
        send.clone().later(bytes.to_vec(), due);
    }
    if arrival.due <= now {
        send.now(bytes).await;
    } else {
        send.later(bytes.to_vec(), arrival.due);
    }
}
