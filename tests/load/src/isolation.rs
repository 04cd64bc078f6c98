//! What a flood on one group does to the pushes of another: a device pushes at a steady pace, alone and then beside the
//! flood, in turns. The relay has its usual limits here, since they are a part of what keeps groups apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use tokio::task::JoinSet;
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::limits::{MAX_PUSHES_IN_FLIGHT, MAX_SNAPSHOT_PARTS};
use zerok_sync_shared::message::{Delete, Message, SnapshotPart};
use zerok_sync_tests::raw::{Peer, Stream, push};

use crate::report::{Report, Times};
use crate::target::Target;
use crate::{Common, devices};

/// How often each of the two is measured.
const ROUNDS: u32 = 3;
/// What the device pushes that is measured, and how often.
const PAYLOAD: usize = 1024;
const EVERY: Duration = Duration::from_millis(20);
const VICTIM: u64 = 1;
const FLOODED: u64 = 2;
/// Messages of the flood that go out together.
const BATCH: usize = 32;
/// Bytes of a part of a snapshot.
const PART: usize = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// Devices of the other group that flood
    #[arg(long, default_value_t = 8)]
    flooding: usize,
    /// What they do
    #[arg(long, default_value = "push")]
    flood: Kind,
    /// Payload bytes of a blob of the flood
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// How long, in all
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Push without end
    Push,
    /// Push, and erase each blob again
    Erase,
    /// Upload snapshots of 16 MiB, one after the other
    Snapshot,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Erase => "erase",
            Self::Snapshot => "snapshot",
        }
    }
}

pub async fn run(args: &Args, common: &Common) -> Result<Report> {
    let target = Target::limited(common).await?;
    let victim = devices::connect(&target.url, 1, common).await?;
    let mut stream = devices::sessions(&victim, |_| VICTIM).await?.remove(0);
    let time = Duration::from_secs(args.seconds.into()) / (2 * ROUNDS);
    let mut next = 0;
    // What is done for the first time takes longer.
    measure(&mut stream, &mut next, time / 5, &mut Times::new()?).await?;
    let (mut alone, mut beside) = (Times::new()?, Times::new()?);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        measure(&mut stream, &mut next, time, &mut alone).await?;
        let flood = Flood::start(&target.url, args, common).await?;
        measure(&mut stream, &mut next, time / 5, &mut Times::new()?).await?;
        let before = flood.answered.load(Ordering::Relaxed);
        measure(&mut stream, &mut next, time, &mut beside).await?;
        answered += flood.answered.load(Ordering::Relaxed) - before;
        refused += flood.stop().await?;
    }
    target.stop().await?;

    let mut report = Report::new(format!(
        "isolation-{}-{}",
        args.flood.name(),
        common.way.name()
    ));
    report.add("flooding_devices", args.flooding);
    report.add("flood_payload_bytes", args.size);
    let seconds = f64::from(ROUNDS) * time.as_secs_f64();
    report.number("flood_answers_per_s", answered as f64 / seconds);
    report.add("flood_refusals", refused);
    report.times("alone", &alone);
    report.times("flooded", &beside);
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        report.number(&format!("{name}_ratio"), beside.at(part) / alone.at(part));
    }
    Ok(report)
}

/// Pushes at a steady pace, and adds how long each took to be acknowledged.
async fn measure(
    stream: &mut Stream,
    next: &mut u64,
    time: Duration,
    times: &mut Times,
) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        *next += 1;
        let sent = Instant::now();
        stream.send(&push(*next, &[1; PAYLOAD])).await?;
        stream.acknowledged().await?;
        times.add(sent.elapsed());
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

struct Flood {
    answered: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Flood {
    async fn start(url: &str, args: &Args, common: &Common) -> Result<Self> {
        let (answered, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for peer in devices::connect(url, args.flooding, common).await? {
            let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
            let (kind, size) = (args.flood, args.size);
            tasks.spawn(async move {
                let mut next = u64::from_le_bytes(*peer.device().0.first_chunk().context("id")?);
                loop {
                    let wait = match kind {
                        Kind::Snapshot => snapshots(&peer, &mut next, &answered).await?,
                        _ => flood(&peer, kind, size, &mut next, &answered).await?,
                    };
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(wait).await;
                }
            });
        }
        Ok(Self {
            answered,
            refused,
            tasks,
        })
    }

    /// Ends it; how often it was refused. A device that stopped by itself did not flood, and nothing was measured.
    async fn stop(mut self) -> Result<u64> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        self.tasks.shutdown().await;
        Ok(self.refused.load(Ordering::Relaxed))
    }
}

/// Sends without end, until the relay says for how long not to.
async fn flood(
    peer: &Peer,
    kind: Kind,
    size: usize,
    next: &mut u64,
    answered: &AtomicU64,
) -> Result<Duration> {
    let (mut stream, _) = peer.session(&devices::keys(FLOODED)).await?;
    let payload = devices::sealed(size, FLOODED);
    let mut waiting = 0;
    loop {
        while waiting >= MAX_PUSHES_IN_FLIGHT {
            match stream.receive().await? {
                Message::PushAck(_) | Message::Deleted { .. } => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    waiting -= 1;
                }
                Message::Error(error) => {
                    let wait = error.retry_after_ms.context("refused for good")?;
                    return Ok(Duration::from_millis(wait));
                }
                other => bail!("{other:?}"),
            }
        }
        for _ in 0..BATCH {
            // Other devices begin elsewhere.
            *next = next.wrapping_add(1);
            let message = push(*next, &payload);
            let erased = match &message {
                Message::Push(push) if kind == Kind::Erase => Some(push.blob_id),
                _ => None,
            };
            stream.writer.queue(&message);
            waiting += 1;
            if let Some(blob_id) = erased {
                stream.writer.queue(&erase(blob_id));
                waiting += 1;
            }
        }
        stream.writer.flush().await?;
    }
}

/// Uploads snapshots without end, until the relay says for how long not to.
async fn snapshots(peer: &Peer, next: &mut u64, answered: &AtomicU64) -> Result<Duration> {
    let (mut stream, _) = peer.session(&devices::keys(FLOODED)).await?;
    *next = next.wrapping_add(1);
    stream.send(&push(*next, &[1; PAYLOAD])).await?;
    stream.acknowledged().await?;
    let payload: Bytes = devices::sealed(PART, FLOODED).into();
    loop {
        *next = next.wrapping_add(1);
        let mut snapshot_id = BlobId([0; 16]);
        snapshot_id.0[..8].copy_from_slice(&next.to_le_bytes());
        for part in 0..MAX_SNAPSHOT_PARTS {
            // What the first cursor has, so that none is newer than another.
            let part = SnapshotPart {
                snapshot_id,
                author: peer.device(),
                epoch: 0,
                covers: 1,
                part,
                parts: MAX_SNAPSHOT_PARTS,
                payload: payload.clone(),
            };
            stream.send(&Message::Snapshot(part)).await?;
            let error = match stream.receive().await? {
                Message::SnapshotAnswer(answer) => answer.refused,
                Message::Error(error) => Some(error),
                other => bail!("{other:?}"),
            };
            if let Some(error) = error {
                let wait = error.retry_after_ms.context("refused for good")?;
                return Ok(Duration::from_millis(wait));
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn erase(blob_id: BlobId) -> Message {
    Message::Delete(Delete {
        blob_id,
        force: true,
    })
}
