//! Durable pushes a second. Each client keeps a window of unanswered pushes full; a bare loop of commits of the same mean
//! size takes turns with them, so that whatever else the machine does hits both.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::JoinSet;
use zerok_sync_shared::ids::BlobIds;
use zerok_sync_shared::message::{Message, Push};
use zerok_sync_tests::bare::{Bare, Loop, Schema};
use zerok_sync_tests::raw::Stream;

use crate::report::{Report, Times};
use crate::target::Target;
use crate::{Common, devices};

const ROUNDS: u32 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Devices that push
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Groups they are spread over
    #[arg(long, default_value_t = 50)]
    groups: u64,
    /// Payload bytes of a blob
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Unanswered pushes of each device; a whole client keeps up to 256
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// How long, in all
    #[arg(long, default_value_t = 12)]
    seconds: u32,
}

pub async fn run(args: &Args, common: &Common) -> Result<Report> {
    let target = Target::start(common).await?;
    println!("{} clients are connecting …", args.clients);
    let peers = devices::connect(&target.url, args.clients, common).await?;
    let streams = devices::sessions(&peers, |at| at as u64 % args.groups.max(1)).await?;
    let mut pushers: Vec<Pusher> = streams
        .into_iter()
        .enumerate()
        .map(|(at, stream)| Pusher::new(stream, at as u64, args))
        .collect();
    let mut bare = Bare::open(
        &target.folder().join("bare.db"),
        Schema::Minimal,
        args.groups,
        args.size,
    )?;
    let mut times = Times::new()?;
    push_for(&mut pushers, Duration::from_secs(2), &mut times).await?;
    times = Times::new()?;

    let each = Duration::from_secs(args.seconds.into()) / ROUNDS;
    let mut loops = Loop::default();
    let (mut pushes, mut seconds, mut commits, mut commit_seconds) = (0.0, 0.0, 0.0, 0.0);
    let (mut relay_cpu, mut generator_cpu) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let before = target.moment().await?;
        let count = push_for(&mut pushers, each, &mut times).await? as f64;
        let after = target.moment().await?;
        let took = after.seconds(&before);
        pushes += count;
        seconds += took;
        let made = after.grown(&before, "commits_total");
        commits += made;
        commit_seconds += after.grown(&before, "commit_seconds_sum");
        relay_cpu += after.relay_cpus(&before) * took;
        generator_cpu += after.generator_cpus(&before) * took;
        loops.add(bare.run(each / 2, count / made.max(1.0))?);
    }
    let mut report = Report::new(format!("push-{}", common.way.name()));
    report.add("clients", args.clients);
    report.add("groups", args.groups);
    report.add("payload_bytes", args.size);
    report.add("window", args.window);
    report.number("pushes_per_s", pushes / seconds);
    report.number("bare_rows_per_s", loops.rate());
    report.number("ratio", pushes / seconds / loops.rate());
    report.number("mean_commit_blobs", pushes / commits.max(1.0));
    report.number("commit_ms", commit_seconds / commits.max(1.0) * 1000.0);
    report.number("writer_busy", commit_seconds / seconds);
    report.times("ack", &times);
    report.number("relay_cpus", relay_cpu / seconds);
    report.number("relay_cpu_us_per_push", relay_cpu / pushes * 1e6);
    report.number("generator_cpus", generator_cpu / seconds);
    report.number("log_mb", target.log_bytes() as f64 / 1e6);
    target.stop().await?;
    Ok(report)
}

/// A device that pushes as fast as its window lets it.
pub struct Pusher {
    stream: Stream,
    ids: BlobIds,
    pushed: u64,
    window: usize,
    payload: Vec<u8>,
}

impl Pusher {
    fn new(stream: Stream, number: u64, args: &Args) -> Self {
        Self::of_size(stream, number, args.window, args.size)
    }

    pub fn of_size(stream: Stream, number: u64, window: usize, size: usize) -> Self {
        Self {
            stream,
            ids: BlobIds::default(),
            pushed: 0,
            window: window.max(1),
            payload: devices::sealed(size, number),
        }
    }

    /// Pushes until the time or the number is up and all is acknowledged; how long each took.
    pub async fn push(mut self, end: Instant, most: u64) -> Result<(Self, Vec<Duration>)> {
        let mut times = Vec::new();
        let mut waiting = VecDeque::with_capacity(self.window);
        let last = self.pushed.saturating_add(most);
        loop {
            let now = Instant::now();
            while now < end && waiting.len() < self.window && self.pushed < last {
                let id = self.ids.draw(&mut random);
                self.pushed += 1;
                self.stream.writer.queue(&Message::Push(Push {
                    blob_id: id,
                    epoch: 0,
                    ttl: 0,
                    payload: self.payload.clone().into(),
                    origin: None,
                }));
                waiting.push_back((id, now));
            }
            if waiting.is_empty() {
                return Ok((self, times));
            }
            self.stream.writer.flush().await?;
            let mut answer = Some(self.stream.receive().await?);
            while let Some(message) = answer {
                let Message::PushAck(ack) = message else {
                    bail!("no PUSH_ACK but {message:?}")
                };
                let (id, sent) = waiting.pop_front().context("an acknowledgement too many")?;
                ensure!(ack.blob_id == id, "acknowledged out of order");
                times.push(sent.elapsed());
                answer = self.stream.reader.try_next(64 * 1024).transpose()?;
            }
        }
    }
}

async fn push_for(pushers: &mut Vec<Pusher>, time: Duration, times: &mut Times) -> Result<u64> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for pusher in pushers.drain(..) {
        tasks.spawn(pusher.push(end, u64::MAX));
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        let (pusher, each) = done??;
        pushers.push(pusher);
        count += each.len() as u64;
        each.into_iter().for_each(|time| times.add(time));
    }
    Ok(count)
}

#[expect(
    clippy::expect_used,
    reason = "a system without random bytes runs no load"
)]
fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system gives random bytes");
}
