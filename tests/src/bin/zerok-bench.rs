//! Durable pushes a second through a relay, beside a bare SQLite loop on the same disk.
//!
//! The two take turns in one run, so that whatever else the machine does hits both. The bare loop commits as durably as the
//! relay (WAL, `synchronous=FULL`) and in batches of the mean size that the relay had in the round before, but has one table
//! without indexes and nothing to do with networks, keys or duplicates.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a report of measurements"
)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use zerok_sync_client::store::MemoryStore;
use zerok_sync_client::{Client, ClientEvent, Config};
use zerok_sync_shared::message::Message;
use zerok_sync_tests::bare::{Bare, Loop, Schema};
use zerok_sync_tests::measure::{cpu_time, metrics};
use zerok_sync_tests::raw::{Peer, Stream, blob_id, keys, push, spawn_relay};

const CLIENTS: u64 = 50;
const PAYLOAD: usize = 1024;
/// Unanswered pushes that each client keeps: what a device of ours keeps at most is 256.
const WINDOW: usize = 64;
/// Rounds of each kind, and how long one is: ten seconds and more of each in all.
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(3);
const GOAL: f64 = 0.5;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zerok-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let relay_bin = relay_binary()?;
    // Beside the binaries rather than in /tmp, which may be memory.
    let disk = relay_bin
        .parent()
        .context("the relay's binary has no folder")?;
    let folder = tempfile::Builder::new()
        .prefix("zerok-bench-")
        .tempdir_in(disk)?;
    let mut relay = Relay::start(&relay_bin, &folder.path().join("data")).await?;
    let mut bare = Bare::open(
        &folder.path().join("bare.db"),
        Schema::Minimal,
        CLIENTS,
        PAYLOAD,
    )?;
    let mut same = Bare::open(
        &folder.path().join("same.db"),
        Schema::OfTheRelay,
        CLIENTS,
        PAYLOAD,
    )?;

    println!(
        "{CLIENTS} clients over UDP, {PAYLOAD} B, {WINDOW} unanswered pushes each; connecting …"
    );
    let own = Fleet::connect(&relay.url, |client| client as u8).await?;
    let shared = Fleet::connect(&relay.url, |_| 200).await?;
    let devices = Devices::open(&relay.url).await?;
    let warm = relay.measure(own.push_for(WARM_UP)).await?;
    bare.run(WARM_UP / 3, warm.mean_batch())?;
    same.run(WARM_UP / 3, warm.mean_batch())?;

    let mut totals = [Round::default(), Round::default(), Round::default()];
    let [own_total, shared_total, devices_total] = &mut totals;
    let (mut bare_total, mut same_total) = (Loop::default(), Loop::default());
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let round = relay.measure(own.push_for(ROUND)).await?;
        let loops = bare.run(ROUND, round.mean_batch())?;
        let with_indexes = same.run(ROUND / 2, round.mean_batch())?;
        let in_one = relay.measure(shared.push_for(ROUND / 2)).await?;
        let real = relay.measure(devices.push_for(ROUND / 2)).await?;
        println!(
            "round {number}: relay {:.0}/s in batches of {:.0}, bare loop {:.0}/s, ratio {:.2}   \
             (loop with the relay's table {:.0}/s, one group {:.0}/s, whole clients {:.0}/s)",
            round.rate(),
            round.mean_batch(),
            loops.rate(),
            round.rate() / loops.rate(),
            with_indexes.rate(),
            in_one.rate(),
            real.rate(),
        );
        rounds.push(json!({
            "pushes_per_s": round.rate().round(),
            "sqlite_rows_per_s": loops.rate().round(),
            "ratio": round.rate() / loops.rate(),
            "mean_batch": round.mean_batch(),
        }));
        own_total.add(round);
        shared_total.add(in_one);
        devices_total.add(real);
        bare_total.add(loops);
        same_total.add(with_indexes);
    }
    relay.child.kill().await?;

    let ratio = own_total.rate() / bare_total.rate();
    let seconds = own_total.took.as_secs_f64();
    let result = json!({
        "name": "durable pushes a second, beside a bare SQLite loop",
        "goal": GOAL,
        "measured": ratio,
        "unit": "ratio",
        "met": ratio >= GOAL,
        "details": {
            "clients": CLIENTS,
            "payload_bytes": PAYLOAD,
            "window": WINDOW,
            "seconds": seconds,
            "pushes_per_s": own_total.rate().round(),
            "sqlite_rows_per_s": bare_total.rate().round(),
            "sqlite_with_the_relays_table_rows_per_s": same_total.rate().round(),
            "ratio_to_the_relays_table": own_total.rate() / same_total.rate(),
            "mean_batch": own_total.mean_batch(),
            "commits": own_total.commits,
            "commit_ms": own_total.commit_seconds / own_total.commits.max(1.0) * 1000.0,
            "writer_busy": own_total.commit_seconds / seconds,
            "ack_p50_ms": own_total.percentile(0.50),
            "ack_p99_ms": own_total.percentile(0.99),
            "relay_cpus": own_total.relay_cpu.as_secs_f64() / seconds,
            "load_generator_cpus": own_total.own_cpu.as_secs_f64() / seconds,
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "one_group": {
                "pushes_per_s": shared_total.rate().round(),
                "ratio": shared_total.rate() / bare_total.rate(),
                "ack_p50_ms": shared_total.percentile(0.50),
                "ack_p99_ms": shared_total.percentile(0.99),
            },
            "whole_clients": {
                "pushes_per_s": devices_total.rate().round(),
                "ratio": devices_total.rate() / bare_total.rate(),
            },
            "rounds": rounds,
        },
    });
    println!("{result:#}");
    let results =
        std::env::var_os("BENCH_RESULTS").map_or_else(|| "bench-results".into(), PathBuf::from);
    std::fs::create_dir_all(&results)?;
    std::fs::write(results.join("push.json"), format!("{result:#}\n"))?;
    Ok(())
}

/// `RELAY_BIN`, or beside this program.
fn relay_binary() -> Result<PathBuf> {
    let path = match std::env::var_os("RELAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("zerok-relay"),
    };
    if !path.is_file() {
        bail!("the relay is not built: run `cargo build --release --package zerok-sync-relay`");
    }
    Ok(path)
}

/// What was measured while clients pushed.
#[derive(Debug, Default)]
struct Round {
    pushes: u64,
    took: Duration,
    /// Of each push, in microseconds.
    ack_times: Vec<u32>,
    commits: f64,
    committed: f64,
    commit_seconds: f64,
    relay_cpu: Duration,
    own_cpu: Duration,
}

impl Round {
    fn rate(&self) -> f64 {
        self.pushes as f64 / self.took.as_secs_f64()
    }

    fn mean_batch(&self) -> f64 {
        self.committed / self.commits.max(1.0)
    }

    fn percentile(&mut self, part: f64) -> f64 {
        self.ack_times.sort_unstable();
        let at = (self.ack_times.len() as f64 * part) as usize;
        self.ack_times
            .get(at)
            .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }

    fn add(&mut self, other: Self) {
        self.pushes += other.pushes;
        self.took += other.took;
        self.ack_times.extend(other.ack_times);
        self.commits += other.commits;
        self.committed += other.committed;
        self.commit_seconds += other.commit_seconds;
        self.relay_cpu += other.relay_cpu;
        self.own_cpu += other.own_cpu;
    }
}

/// The relay, as a self-hoster runs it.
struct Relay {
    child: Child,
    url: String,
}

impl Relay {
    async fn start(binary: &Path, data: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("--data-dir").arg(data).args([
            "--bind",
            "127.0.0.1",
            "--port",
            "0",
            "--group-quota",
            "0",
        ]);
        let (child, url) =
            spawn_relay(command.env_remove("RUST_LOG").stderr(Stdio::inherit())).await?;
        Ok(Self { child, url })
    }

    /// Runs the work and adds what the relay says about it.
    async fn measure(&self, work: impl Future<Output = Result<Round>>) -> Result<Round> {
        let pid = self.child.id().context("the relay has ended")?;
        let (before, cpu, own) = (
            metrics(&self.url).await?,
            cpu_time(pid),
            cpu_time(std::process::id()),
        );
        let round = work.await?;
        let after = metrics(&self.url).await?;
        let grown = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
        Ok(Round {
            commits: grown("zerok_relay_commit_blobs_count"),
            committed: grown("zerok_relay_commit_blobs_sum"),
            commit_seconds: grown("zerok_relay_commit_seconds_sum"),
            relay_cpu: cpu_time(pid).saturating_sub(cpu),
            own_cpu: cpu_time(std::process::id()).saturating_sub(own),
            ..round
        })
    }
}

/// Clients that speak the bare protocol, so that only the relay is measured.
struct Fleet {
    sessions: Vec<Arc<tokio::sync::Mutex<Pusher>>>,
    _peers: Vec<Peer>,
}

struct Pusher {
    stream: Stream,
    next_id: u64,
    payload: Vec<u8>,
}

impl Fleet {
    async fn connect(url: &str, group_of: impl Fn(u64) -> u8) -> Result<Self> {
        let (mut sessions, mut peers) = (Vec::new(), Vec::new());
        for client in 0..CLIENTS {
            let peer = Peer::connect(url).await?;
            let (stream, _) = peer.session(&keys(group_of(client))).await?;
            // What is sealed looks random.
            let payload = (0..PAYLOAD as u64)
                .map(|at| (((at * at + client) * 2_654_435_761) >> 13) as u8)
                .collect();
            let pusher = Pusher {
                stream,
                next_id: (client << 48) | 1,
                payload,
            };
            sessions.push(Arc::new(tokio::sync::Mutex::new(pusher)));
            peers.push(peer);
        }
        Ok(Self {
            sessions,
            _peers: peers,
        })
    }

    /// Every client pushes with a full window for that time; what is under way then is waited for and counted.
    async fn push_for(&self, time: Duration) -> Result<Round> {
        let started = Instant::now();
        let tasks: Vec<_> = self
            .sessions
            .iter()
            .map(|pusher| {
                let pusher = pusher.clone();
                tokio::spawn(async move { pusher.lock().await.push_until(started + time).await })
            })
            .collect();
        let mut round = Round::default();
        for task in tasks {
            let times = task.await??;
            round.pushes += times.len() as u64;
            round.ack_times.extend(times);
        }
        round.took = started.elapsed();
        Ok(round)
    }
}

impl Pusher {
    async fn push_until(&mut self, end: Instant) -> Result<Vec<u32>> {
        let mut times = Vec::new();
        let mut waiting = VecDeque::with_capacity(WINDOW);
        loop {
            let now = Instant::now();
            while now < end && waiting.len() < WINDOW {
                self.stream.writer.queue(&push(self.next_id, &self.payload));
                waiting.push_back((blob_id(self.next_id), now));
                self.next_id += 1;
            }
            if waiting.is_empty() {
                return Ok(times);
            }
            self.stream.writer.flush().await?;
            let mut answer = Some(self.stream.receive().await?);
            while let Some(message) = answer {
                let Message::PushAck(ack) = message else {
                    bail!("no PUSH_ACK but {message:?}")
                };
                let (id, sent) = waiting.pop_front().context("an acknowledgement too many")?;
                anyhow::ensure!(ack.blob_id == id, "acknowledged out of order");
                times.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                answer = self.stream.reader.try_next(64 * 1024).transpose()?;
            }
        }
    }
}

/// Whole clients: keys, sealing, engine, a store in memory.
struct Devices(Vec<Device>);

struct Device {
    client: Client,
    group: zerok_sync_shared::ids::GroupId,
    acknowledged: Arc<AtomicU64>,
    changed: Arc<Notify>,
    sent: AtomicU64,
}

impl Devices {
    async fn open(url: &str) -> Result<Self> {
        let mut devices = Vec::new();
        for _ in 0..CLIENTS {
            let (acknowledged, changed) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
            let mut config = Config::new(vec![url.to_owned()], Arc::new(MemoryStore::default()));
            let (count, notify) = (acknowledged.clone(), changed.clone());
            config.on_event = Box::new(move |event| {
                if matches!(event, ClientEvent::Pushed { .. }) {
                    count.fetch_add(1, Ordering::Relaxed);
                    notify.notify_one();
                }
            });
            let client = Client::open(config).await?;
            let group = client.create_group().await?;
            devices.push(Device {
                client,
                group,
                acknowledged,
                changed,
                sent: AtomicU64::new(0),
            });
        }
        Ok(Self(devices))
    }

    async fn push_for(&self, time: Duration) -> Result<Round> {
        let started = Instant::now();
        let over = AtomicBool::new(false);
        let pushing = self.0.iter().map(|device| device.push_while(&over));
        let clock = async {
            tokio::time::sleep(time).await;
            over.store(true, Ordering::Relaxed);
            for device in &self.0 {
                device.changed.notify_one();
            }
        };
        let (counts, ()) = tokio::join!(futures_util::future::join_all(pushing), clock);
        let mut round = Round {
            took: started.elapsed(),
            ..Round::default()
        };
        for count in counts {
            round.pushes += count?;
        }
        Ok(round)
    }
}

impl Device {
    async fn push_while(&self, over: &AtomicBool) -> Result<u64> {
        // Sealed with its envelope, its nonce and its padding, this is a blob of about PAYLOAD bytes.
        let body = bytes::Bytes::from(vec![7; PAYLOAD - 100]);
        let before = self.acknowledged.load(Ordering::Relaxed);
        loop {
            let waiting =
                self.sent.load(Ordering::Relaxed) - self.acknowledged.load(Ordering::Relaxed);
            if over.load(Ordering::Relaxed) {
                if waiting == 0 {
                    return Ok(self.acknowledged.load(Ordering::Relaxed) - before);
                }
                self.changed.notified().await;
            } else if waiting < WINDOW as u64 {
                self.client.push(self.group, body.clone(), 0).await?;
                self.sent.fetch_add(1, Ordering::Relaxed);
            } else {
                self.changed.notified().await;
            }
        }
    }
}
