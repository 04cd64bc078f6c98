//! What a flood on one group does to the pushes of another: a device pushes alone, then beside the flood, in turns in one
//! run, and both latencies are printed with their ratio.
//!
//! `cargo run --release -p zerok-sync-tests --bin zerok-isolation -- [SECONDS] [FLOODING DEVICES] [BYTES] [RELAY ARGUMENTS…]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;
use zerok_sync_shared::limits::MAX_PUSHES_IN_FLIGHT;
use zerok_sync_shared::message::Message;
use zerok_sync_tests::raw::{Peer, Stream, keys, push};
use zerok_sync_tests::relay::{Options, RelayProcess};

/// How often each of the two is measured.
const ROUNDS: usize = 3;
/// What the device pushes that is measured, and how often.
const PAYLOAD: usize = 1024;
const EVERY: Duration = Duration::from_millis(20);
const VICTIM: u8 = 1;
const FLOOD: u8 = 2;

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = |default: u64| words.next().map_or(Ok(default), |word| word.parse());
    let (seconds, devices, bytes) = (number(10)?, number(8)?, number(4096)?);
    let bytes = usize::try_from(bytes)?;
    let folder = tempfile::tempdir()?;
    let mut options = Options::in_folder(folder.path());
    options.log_filter = "warn".into();
    options.args = words.collect();
    let relay = RelayProcess::start(options).await?;

    let victim = Peer::connect(relay.url()).await?;
    let (mut stream, _) = victim.session(&keys(VICTIM)).await?;
    let time = Duration::from_secs(seconds);
    let mut next = 0;
    // What is done for the first time takes longer.
    measure(&mut stream, &mut next, time / 5).await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut flooded, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        alone.extend(measure(&mut stream, &mut next, time).await?);
        let flood = Flood::start(relay.url(), devices, bytes).await?;
        measure(&mut stream, &mut next, time / 5).await?;
        let before = flood.stored.load(Ordering::Relaxed);
        beside.extend(measure(&mut stream, &mut next, time).await?);
        flooded += flood.stored.load(Ordering::Relaxed) - before;
        refused += flood.stop().await;
    }
    victim.close().await;

    let total = (ROUNDS as f64) * time.as_secs_f64();
    println!(
        "flood: {devices} devices, {bytes} bytes a blob, {:.0} blobs/s, {:.1} MB/s, {refused} refusals",
        flooded as f64 / total,
        flooded as f64 / total * bytes as f64 / 1e6,
    );
    println!(
        "{:8} {:>8} {:>9} {:>9} {:>9}",
        "", "pushes", "p50 ms", "p99 ms", "max ms"
    );
    for (name, times) in [("alone", &mut alone), ("flooded", &mut beside)] {
        times.sort_unstable();
        println!(
            "{name:8} {:>8} {:>9.2} {:>9.2} {:>9.2}",
            times.len(),
            percentile(times, 50),
            percentile(times, 99),
            percentile(times, 100),
        );
    }
    let ratio = |percent| percentile(&beside, percent) / percentile(&alone, percent);
    println!(
        "ratio             {:>9.2} {:>9.2} {:>9.2}",
        ratio(50),
        ratio(99),
        ratio(100)
    );
    Ok(())
}

/// Milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Pushes at a steady pace and gives how long each took to be acknowledged.
async fn measure(stream: &mut Stream, next: &mut u64, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        *next += 1;
        let started = Instant::now();
        stream.send(&push(*next, &[1; PAYLOAD])).await?;
        stream.acknowledged().await?;
        times.push(started.elapsed());
        tokio::time::sleep(EVERY).await;
    }
    Ok(times)
}

struct Flood {
    stored: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Flood {
    async fn start(url: &str, devices: u64, bytes: usize) -> Result<Self> {
        let (stored, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..devices {
            let peer = Peer::connect(url).await?;
            let (stored, refused) = (Arc::clone(&stored), Arc::clone(&refused));
            tasks.spawn(async move {
                let mut next = u64::from_le_bytes(*peer.device().0.first_chunk().context("id")?);
                loop {
                    let wait = flood(&peer, bytes, &mut next, &stored).await?;
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(wait).await;
                }
            });
        }
        Ok(Self {
            stored,
            refused,
            tasks,
        })
    }

    async fn stop(mut self) -> u64 {
        self.tasks.shutdown().await;
        self.refused.load(Ordering::Relaxed)
    }
}

/// Pushes without end, until the relay says for how long not to.
async fn flood(peer: &Peer, bytes: usize, next: &mut u64, stored: &AtomicU64) -> Result<Duration> {
    let (mut stream, _) = peer.session(&keys(FLOOD)).await?;
    let payload = vec![2; bytes];
    let mut waiting = 0;
    loop {
        while waiting >= MAX_PUSHES_IN_FLIGHT {
            match stream.receive().await? {
                Message::PushAck(_) => {
                    stored.fetch_add(1, Ordering::Relaxed);
                    waiting -= 1;
                }
                Message::Error(error) => {
                    let wait = error.retry_after_ms.context("refused for good")?;
                    return Ok(Duration::from_millis(wait));
                }
                other => bail!("{other:?}"),
            }
        }
        // Other devices begin elsewhere.
        *next = next.wrapping_add(1);
        stream.writer.queue(&push(*next, &payload));
        waiting += 1;
        if waiting % 32 == 0 {
            stream.writer.flush().await?;
        }
    }
}
