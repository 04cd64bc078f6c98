//! From a push to its delivery at every subscriber of a group. The payload carries when it was sent; sender and
//! subscribers are one process and have one clock.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use zerok_sync_shared::message::{Message, Subscribe};
use zerok_sync_tests::raw::{Stream, push};

use crate::report::{Report, Times};
use crate::target::Target;
use crate::{Common, devices};

#[derive(clap::Args)]
pub struct Args {
    /// Devices that subscribe
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Blobs that are pushed
    #[arg(long, default_value_t = 50)]
    pushes: u64,
    /// Milliseconds between them
    #[arg(long, default_value_t = 500)]
    every_ms: u64,
    /// Payload bytes of a blob
    #[arg(long, default_value_t = 1024)]
    size: usize,
}

/// Pushes before those that count.
const WARM_UP: u64 = 3;

pub async fn run(args: &Args, common: &Common) -> Result<Report> {
    let target = Target::start(common).await?;
    println!("{} subscribers are connecting …", args.subscribers);
    let peers = devices::connect(&target.url, args.subscribers, common).await?;
    let mut streams = devices::sessions(&peers, |_| 1).await?;
    for stream in &mut streams {
        let subscribe = Subscribe {
            after_cursor: 0,
            window: 1 << 20,
        };
        stream.send(&Message::Subscribe(subscribe)).await?;
        let Message::CaughtUp { .. } = stream.receive().await? else {
            bail!("the group is not empty")
        };
    }
    let pusher = devices::connect(&target.url, 1, common).await?;
    let mut pusher = devices::sessions(&pusher, |_| 1).await?.remove(0);

    let start = Instant::now();
    let total = args.pushes + WARM_UP;
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(receive(stream, start, total));
    }
    let mut ticks = interval(Duration::from_millis(args.every_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acks = Times::new()?;
    let before = target.moment().await?;
    for id in 0..total {
        ticks.tick().await;
        let mut payload = devices::sealed(args.size.max(8), id);
        let sent = start.elapsed();
        payload[..8].copy_from_slice(&(sent.as_nanos() as u64).to_le_bytes());
        pusher.send(&push(id, &payload)).await?;
        pusher.acknowledged().await?;
        if id >= WARM_UP {
            acks.add(start.elapsed() - sent);
        }
    }
    let mut each = Times::new()?;
    let mut last = vec![Duration::ZERO; args.pushes as usize];
    while let Some(done) = tasks.join_next().await {
        for (slowest, time) in last.iter_mut().zip(done??) {
            each.add(time);
            *slowest = time.max(*slowest);
        }
    }
    let after = target.moment().await?;
    let mut slowest = Times::new()?;
    last.into_iter().for_each(|time| slowest.add(time));

    let deliveries = total as f64 * args.subscribers as f64;
    let mut report = Report::new(format!("fanout-{}", common.way.name()));
    report.add("subscribers", args.subscribers);
    report.add("devices_per_endpoint", common.sharing);
    report.add("pushes", args.pushes);
    report.add("payload_bytes", args.size);
    report.times("push_to_delivery", &each);
    report.times("push_to_last_delivery", &slowest);
    report.times("ack", &acks);
    let seconds = after.seconds(&before);
    let cpu = |cpus: f64| cpus * seconds / deliveries * 1e6;
    report.number("relay_cpu_us_per_delivery", cpu(after.relay_cpus(&before)));
    report.number(
        "generator_cpu_us_per_delivery",
        cpu(after.generator_cpus(&before)),
    );
    for pages in ["pages_from_memory", "pages_from_storage"] {
        report.number(pages, after.grown(&before, &format!("{pages}_total")));
    }
    target.stop().await?;
    Ok(report)
}

/// How long each of the blobs that count took.
async fn receive(mut stream: Stream, start: Instant, total: u64) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..total {
        let Message::Blob(blob) = stream.receive().await? else {
            bail!("not a blob")
        };
        let now = start.elapsed();
        if number >= WARM_UP
            && let Some(sent) = blob.payload.first_chunk::<8>()
        {
            times.push(now.saturating_sub(Duration::from_nanos(u64::from_le_bytes(*sent))));
        }
    }
    Ok(times)
}
