//! Bytes a second when many devices read what is stored. A device that has everything begins anew in another session,
//! until the time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zerok_sync_shared::message::{Message, Subscribe};
use zerok_sync_tests::raw::Peer;

use crate::push::Pusher;
use crate::report::Report;
use crate::target::Target;
use crate::{Common, devices};

#[derive(clap::Args)]
pub struct Args {
    /// Devices that read
    #[arg(long, default_value_t = 20)]
    readers: usize,
    /// Groups they are spread over
    #[arg(long, default_value_t = 4)]
    groups: u64,
    /// Payload bytes of a blob
    #[arg(long, default_value_t = 16 * 1024)]
    size: usize,
    /// Megabytes that are stored, in all
    #[arg(long, default_value_t = 400)]
    stored_mb: u64,
    /// How long they read
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub async fn run(args: &Args, common: &Common) -> Result<Report> {
    let target = Target::start(common).await?;
    let groups = args.groups.max(1);
    let blobs = args.stored_mb * 1_000_000 / args.size.max(1) as u64 / groups;
    println!("{} blobs are stored …", blobs * groups);
    let writers = devices::connect(&target.url, groups as usize, common).await?;
    let mut filling = JoinSet::new();
    let streams = devices::sessions(&writers, |at| at as u64).await?;
    for (at, stream) in streams.into_iter().enumerate() {
        let pusher = Pusher::of_size(stream, at as u64, 64, args.size);
        let far = Instant::now() + Duration::from_secs(3600);
        filling.spawn(pusher.push(far, blobs));
    }
    while let Some(done) = filling.join_next().await {
        done??;
    }

    println!("{} devices read …", args.readers);
    let peers = devices::connect(&target.url, args.readers, common).await?;
    let read = Arc::new(AtomicU64::new(0));
    let mut reading = JoinSet::new();
    let before = target.moment().await?;
    for (at, peer) in peers.into_iter().enumerate() {
        reading.spawn(read_on(peer, at as u64 % groups, Arc::clone(&read)));
    }
    let mut log = 0;
    for _ in 0..args.seconds.max(1) {
        sleep(Duration::from_secs(1)).await;
        log = target.log_bytes().max(log);
        if let Some(ended) = reading.try_join_next() {
            ended??;
        }
    }
    let bytes = read.load(Ordering::Relaxed) as f64;
    let after = target.moment().await?;
    reading.shutdown().await;

    let seconds = after.seconds(&before);
    let mut report = Report::new(format!("catchup-{}-{}", common.way.name(), args.size));
    report.add("readers", args.readers);
    report.add("groups", groups);
    report.add("payload_bytes", args.size);
    report.number("mb_per_s", bytes / seconds / 1e6);
    report.number("relay_cpus", after.relay_cpus(&before));
    report.number("generator_cpus", after.generator_cpus(&before));
    let gigabyte = bytes / 1e9;
    report.number(
        "relay_cpu_s_per_gb",
        after.relay_cpus(&before) * seconds / gigabyte,
    );
    report.number(
        "generator_cpu_s_per_gb",
        after.generator_cpus(&before) * seconds / gigabyte,
    );
    report.number("log_mb", log as f64 / 1e6);
    target.stop().await?;
    Ok(report)
}

async fn read_on(peer: Peer, group: u64, read: Arc<AtomicU64>) -> Result<()> {
    let keys = devices::keys(group);
    loop {
        let (mut stream, _) = peer.session(&keys).await?;
        let subscribe = Subscribe {
            after_cursor: 0,
            window: 1 << 20,
        };
        stream.send(&Message::Subscribe(subscribe)).await?;
        loop {
            match stream.receive().await? {
                Message::Blob(blob) => {
                    read.fetch_add(blob.payload.len() as u64, Ordering::Relaxed);
                }
                Message::CaughtUp { .. } => break,
                other => bail!("not a blob but {other:?}"),
            }
        }
    }
}
