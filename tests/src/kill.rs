//! A relay under load that is killed again and again, at moments from a seed: `kill -9`, while starting too.
//!
//! Devices push over UDP without waiting for answers, and push again what was not answered; others subscribe. In the end
//! the ledger of what was acknowledged is compared with what subscribers got and with the database's file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use iroh::endpoint::RelayMode;
use iroh::{Endpoint, SecretKey};
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::message::{Message, Subscribe};
use zerok_sync_transport::endpoint as transport;

use crate::raw::{Peer, Stream, keys, push};
use crate::relay::{Options, RelayProcess};

const GROUPS: u8 = 3;
/// Of each group.
const PUSHERS: u64 = 2;
/// Of each group.
const SUBSCRIBERS: usize = 1;
/// Pushes that one device leaves unanswered.
const IN_FLIGHT: usize = 64;
/// A device does not push more than so many for each life of the relay, so that the load does not grow with a slow machine.
const PER_LIFE: usize = 200;
/// Longest time from the start of a relay to its end.
const LONGEST_LIFE: Duration = Duration::from_millis(500);
/// One life in so many ends before the relay is ready.
const STILLBORN: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The relay's ends.
    pub kills: u32,
    /// Blobs that were acknowledged.
    pub acknowledged: usize,
    /// Answers to blobs that had been acknowledged before.
    pub repeated: usize,
    /// Connections that were made.
    pub connections: usize,
    /// How long it took.
    pub took: Duration,
}

/// What devices were told.
#[derive(Debug, Default)]
struct Ledger {
    /// Per group: where each acknowledged blob is.
    acknowledged: BTreeMap<u8, BTreeMap<BlobId, u64>>,
    /// Per subscriber: what it got, in order.
    received: BTreeMap<(u8, usize), Vec<BlobId>>,
    repeated: usize,
    connections: usize,
}

/// The state of the world, as devices see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    /// Where the relay is, and which of its lives it is; none while it is off.
    relay: Option<(u32, String)>,
    /// No new pushes.
    ending: bool,
    /// Everything that was pushed is acknowledged.
    drained: bool,
}

type Shared = Arc<Mutex<Ledger>>;

fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.next() as f64 / u64::MAX as f64)
    }
}

/// Kills a relay so many times under load, then checks everything.
///
/// # Errors
/// What was lost, doubled or out of order.
pub async fn run(folder: &Path, seed: u64, kills: u32) -> Result<Report> {
    let started = Instant::now();
    let mut dice = Dice(seed);
    let ledger = Shared::default();
    let (world, _) = watch::channel(World {
        relay: None,
        ending: false,
        drained: false,
    });
    let mut pushers = JoinSet::new();
    let mut subscribers = JoinSet::new();
    for group in 1..=GROUPS {
        for number in 0..PUSHERS {
            pushers.spawn(pusher(group, number, world.subscribe(), ledger.clone()));
        }
        for number in 0..SUBSCRIBERS {
            subscribers.spawn(subscriber(group, number, world.subscribe(), ledger.clone()));
        }
    }

    let mut options = Options::in_folder(folder);
    options.log_filter = "warn,zerok_sync_relay=info".to_owned();
    let mut last = None;
    for life in 0..=kills {
        let end = life == kills;
        if !end && dice.next().is_multiple_of(STILLBORN) && options.port != 0 {
            // Dropped before it is ready, which kills it.
            let _ = timeout(
                dice.below(LONGEST_LIFE),
                RelayProcess::start(options.clone()),
            )
            .await;
            continue;
        }
        let relay = start(&options).await?;
        world.send_modify(|world| world.relay = Some((life, relay.url().to_owned())));
        if end {
            last = Some(relay);
            break;
        }
        sleep(dice.below(LONGEST_LIFE)).await;
        options = relay.kill().await?;
        world.send_modify(|world| world.relay = None);
    }
    let relay = last.context("no relay")?;

    world.send_modify(|world| world.ending = true);
    timeout(PATIENCE, all(&mut pushers))
        .await
        .context("pushes do not arrive")??;
    world.send_modify(|world| world.drained = true);
    timeout(PATIENCE, all(&mut subscribers))
        .await
        .context("blobs do not arrive")??;
    let database = relay.database();
    relay.terminate().await?;
    check(&lock(&ledger), &database)?;
    let ledger = lock(&ledger);
    Ok(Report {
        kills,
        acknowledged: ledger.acknowledged.values().map(BTreeMap::len).sum(),
        repeated: ledger.repeated,
        connections: ledger.connections,
        took: started.elapsed(),
    })
}

/// The port of one that was killed is free a moment later.
async fn start(options: &Options) -> Result<RelayProcess> {
    let started = Instant::now();
    loop {
        match RelayProcess::start(options.clone()).await {
            Err(error)
                if error.to_string().contains("cannot listen") && started.elapsed() < PATIENCE =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

async fn all(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

async fn endpoint() -> Result<Endpoint> {
    let builder = transport::builder(SecretKey::generate()).relay_mode(RelayMode::Disabled);
    Ok(builder.bind().await?)
}

/// Waits for a relay, and gives its life and its URL.
async fn next_life(
    world: &mut watch::Receiver<World>,
    after: Option<u32>,
) -> Result<(u32, String)> {
    let is_new = |world: &World| {
        world
            .relay
            .as_ref()
            .is_some_and(|(life, _)| Some(*life) != after)
    };
    let world = world.wait_for(is_new).await?;
    world.relay.clone().context("no relay")
}

/// Completes when the relay of this life is gone.
async fn gone(world: &mut watch::Receiver<World>, life: u32) {
    let is_gone = |world: &World| world.relay.as_ref().is_none_or(|(now, _)| *now != life);
    let _ = world.wait_for(is_gone).await;
}

fn payload(id: u64) -> Vec<u8> {
    let length = 50 + (id.wrapping_mul(7919) % 4000) as usize;
    id.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// The number in a blob's id.
fn number(id: BlobId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(bytes)
}

async fn pusher(
    group: u8,
    number: u64,
    mut world: watch::Receiver<World>,
    ledger: Shared,
) -> Result<()> {
    let endpoint = endpoint().await?;
    // Ids of all pushers are different.
    let mut next = (number + 1) << 32;
    let mut unanswered = BTreeSet::new();
    let mut last = None;
    loop {
        let (life, url) = next_life(&mut world, last).await?;
        last = Some(life);
        let mut watching = world.clone();
        let work = async {
            let peer = Peer::connect_on(&endpoint, &url).await?;
            lock(&ledger).connections += 1;
            let (mut stream, _) = peer.session(&keys(group)).await?;
            push_all(
                &mut stream,
                group,
                &mut next,
                &mut unanswered,
                &world,
                &ledger,
            )
            .await
        };
        let result = tokio::select! {
            result = work => result,
            () = gone(&mut watching, life) => continue,
        };
        if world.borrow().ending {
            return result;
        }
        // A relay that is dying says so in many ways.
        gone(&mut watching, life).await;
    }
}

/// Pushes what was not answered in former lives, and then new blobs.
async fn push_all(
    stream: &mut Stream,
    group: u8,
    next: &mut u64,
    unanswered: &mut BTreeSet<u64>,
    world: &watch::Receiver<World>,
    ledger: &Shared,
) -> Result<()> {
    let mut in_flight = unanswered.len();
    for id in unanswered.iter() {
        stream.writer.queue(&push(*id, &payload(*id)));
    }
    let mut fresh = 0;
    loop {
        while in_flight < IN_FLIGHT && fresh < PER_LIFE && !world.borrow().ending {
            stream.writer.queue(&push(*next, &payload(*next)));
            unanswered.insert(*next);
            *next += 1;
            fresh += 1;
            in_flight += 1;
        }
        stream.writer.flush().await?;
        if in_flight == 0 {
            if world.borrow().ending {
                return Ok(());
            }
            let mut world = world.clone();
            world.wait_for(|world| world.ending).await?;
            continue;
        }
        let ack = stream.acknowledged().await?;
        in_flight -= 1;
        unanswered.remove(&number(ack.blob_id));
        let mut ledger = lock(ledger);
        let former = ledger
            .acknowledged
            .entry(group)
            .or_default()
            .insert(ack.blob_id, ack.cursor);
        if let Some(former) = former {
            ledger.repeated += 1;
            ensure!(
                former == ack.cursor,
                "a blob moved from {former} to {}",
                ack.cursor
            );
        }
    }
}

async fn subscriber(
    group: u8,
    number: usize,
    mut world: watch::Receiver<World>,
    ledger: Shared,
) -> Result<()> {
    let endpoint = endpoint().await?;
    let mut last = None;
    loop {
        let (life, url) = next_life(&mut world, last).await?;
        last = Some(life);
        let mut watching = world.clone();
        let work = async {
            let peer = Peer::connect_on(&endpoint, &url).await?;
            lock(&ledger).connections += 1;
            let (mut stream, _) = peer.session(&keys(group)).await?;
            receive_all(&mut stream, (group, number), &world, &ledger).await
        };
        let result = tokio::select! {
            result = work => result,
            () = gone(&mut watching, life) => continue,
        };
        match result {
            Err(error) if error.is::<Wrong>() || world.borrow().ending => return Err(error),
            Ok(()) => return Ok(()),
            Err(_) => gone(&mut watching, life).await,
        }
    }
}

/// A promise was broken.
#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Receives until everything that was acknowledged is here and nothing more comes.
async fn receive_all(
    stream: &mut Stream,
    who: (u8, usize),
    world: &watch::Receiver<World>,
    ledger: &Shared,
) -> Result<()> {
    let after_cursor = lock(ledger).received.get(&who).map_or(0, Vec::len) as u64;
    let subscribe = Subscribe {
        after_cursor,
        window: 1 << 20,
    };
    stream.send(&Message::Subscribe(subscribe)).await?;
    loop {
        {
            let ledger = lock(ledger);
            let received = ledger.received.get(&who).map_or(0, Vec::len);
            let acknowledged = ledger.acknowledged.get(&who.0).map_or(0, BTreeMap::len);
            if world.borrow().drained && received >= acknowledged && received > 0 {
                return Ok(());
            }
        }
        let message = match timeout(Duration::from_millis(200), stream.reader.next(1 << 21)).await {
            // Perhaps there is nothing more to come.
            Err(_) => continue,
            Ok(message) => message?.context("the stream ended")??,
        };
        match message {
            Message::Blob(blob) => {
                let mut ledger = lock(ledger);
                let received = ledger.received.entry(who).or_default();
                let expected = received.len() as u64 + 1;
                if blob.cursor != expected {
                    bail!(Wrong(format!(
                        "cursor {} instead of {expected}",
                        blob.cursor
                    )));
                }
                if blob.payload != payload(number(blob.blob_id)) {
                    bail!(Wrong(format!("the blob at {expected} was altered")));
                }
                received.push(blob.blob_id);
            }
            Message::CaughtUp { .. } => {}
            other => bail!("{other:?}"),
        }
    }
}

/// The database's file against the ledger.
fn check(ledger: &Ledger, database: &Path) -> Result<()> {
    let connection = Connection::open(database)?;
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(sound == "ok", "the database is damaged: {sound}");
    for group in 1..=GROUPS {
        let id = keys(group).founded_group();
        let sql = "SELECT id, max_cursor, blob_count, bytes_used FROM groups WHERE group_id = ?";
        let (key, max, count, bytes): (i64, i64, i64, i64) =
            connection.query_row(sql, [&id.0[..]], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let mut sql = connection.prepare(
            "SELECT cursor, blob_id, size FROM blobs WHERE group_ref = ? ORDER BY cursor",
        )?;
        let rows = sql.query_map([key], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, [u8; 16]>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })?;
        let rows: Vec<(i64, [u8; 16], i64)> = rows.collect::<Result<_, _>>()?;
        ensure!(
            rows.iter().map(|row| row.0).eq(1..=max),
            "the cursors of group {group} are not 1 to {max}"
        );
        ensure!(
            count == max,
            "group {group} counts {count} blobs and has {max}"
        );
        let sum: i64 = rows.iter().map(|row| row.2).sum();
        ensure!(
            bytes == sum,
            "group {group} counts {bytes} bytes and has {sum}"
        );
        let stored: BTreeMap<BlobId, u64> = rows
            .iter()
            .map(|row| (BlobId(row.1), row.0.cast_unsigned()))
            .collect();
        ensure!(stored.len() == rows.len(), "group {group} has a blob twice");
        let acknowledged = ledger
            .acknowledged
            .get(&group)
            .context("nothing was acknowledged")?;
        for (id, cursor) in acknowledged {
            ensure!(
                stored.get(id) == Some(cursor),
                "group {group}: acknowledged at {cursor}, stored at {:?}",
                stored.get(id)
            );
        }
        ensure!(
            &stored == acknowledged,
            "everything was pushed until it was acknowledged"
        );
        for number in 0..SUBSCRIBERS {
            let received = ledger
                .received
                .get(&(group, number))
                .context("nothing was received")?;
            let stored = rows.iter().map(|row| BlobId(row.1));
            ensure!(
                received.iter().copied().eq(stored),
                "a subscriber of group {group} has other blobs"
            );
        }
    }
    Ok(())
}
