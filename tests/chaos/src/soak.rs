//! A mixed fleet under rotating faults for as long as asked: what it uses must not grow.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep, sleep_until};

use crate::device::Kind;
use crate::fleet::{CANARY, Fleet, Stage};
use crate::net::faults::Faults;
use crate::protocol::Body;
use crate::sample::{folder_kib, usage};

pub mod report;
pub mod verdict;

use verdict::Curve;

/// How often everything is measured.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long a fault lasts, and how long the calm after it.
const FAULT: Duration = Duration::from_secs(6);
const CALM: Duration = Duration::from_secs(4);
/// Padding of a body.
const PAD: usize = 400;

/// How long, and how much.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the fleet runs.
    pub length: Duration,
    /// Pushes of each device a second.
    pub rate: f64,
    /// How long the relay keeps blobs: longer than any fault, or devices miss some.
    pub ttl: Duration,
    /// What the faults' randomness is made of.
    pub seed: u64,
}

/// Everything that was measured.
#[derive(Debug, serde::Serialize)]
pub struct Soak {
    /// Curves over time.
    pub curves: Vec<Curve>,
    /// When which fault was on.
    pub windows: Vec<crate::fleet::Window>,
    /// Blobs in every log at the end.
    pub blobs: usize,
    /// What did not hold at the end, if something did not.
    pub error: Option<String>,
}

impl Soak {
    /// Whether every curve is flat and every invariant held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.curves.iter().all(|curve| curve.verdict.passed)
    }
}

/// Runs a fleet.
///
/// # Errors
/// When it does not start, or a push is refused.
pub async fn run(stage: Stage, options: &Options) -> Result<Soak> {
    let ttl = format!("{}s", options.ttl.as_secs().max(1));
    let relay = ["--blob-ttl", ttl.as_str(), "--cleanup-interval", "1s"];
    let mut kinds = vec![Kind::Udp, Kind::WebSocket];
    kinds.extend(stage.page.is_some().then_some(Kind::Page));
    let mut fleet = Fleet::start_with(stage, options.seed, &relay).await?;
    // A log of everything would be gigabytes, and slow the relay down.
    fleet.kill_relay().await?;
    fleet.relay.log_only("warn");
    fleet.start_relay().await?;
    fleet.group(&kinds).await?;

    let end = Instant::now() + options.length;
    let mut samples = Vec::new();
    let mut windows = Vec::new();
    let pushing = (0..fleet.devices.len()).map(|index| push(&fleet, index, options.rate, end));
    tokio::try_join!(
        futures_util::future::try_join_all(pushing),
        rotate(&fleet, end, &mut windows),
        sample(&fleet, end, &mut samples),
    )?;
    let settled = fleet.settle().await;
    let curves = verdict::curves(&fleet, &samples);
    Ok(Soak {
        curves,
        windows,
        blobs: settled.as_ref().map_or(0, |settled| settled.blobs),
        error: settled.err().map(|error| format!("{error:#}")),
    })
}

/// A device pushes at a steady rate, whatever happens around it.
async fn push(fleet: &Fleet, index: usize, rate: f64, end: Instant) -> Result<()> {
    let device = &fleet.devices[index];
    let start = Instant::now();
    for number in 0_u32.. {
        let due = start + Duration::from_secs_f64(f64::from(number) / rate);
        if due >= end {
            break;
        }
        sleep_until(due).await;
        let body = Body {
            head: format!("{CANARY} {index} {number}"),
            pad: PAD,
        };
        let refused = device.push(vec![body], false).await?;
        ensure!(refused.is_empty(), "push was refused: {:?}", refused[0]);
    }
    Ok(())
}

/// One fault after the other, with calm between them.
async fn rotate(
    fleet: &Fleet,
    end: Instant,
    windows: &mut Vec<crate::fleet::Window>,
) -> Result<()> {
    let faults = [
        ("100 ± 80 ms", Faults::jitter(100, 80)),
        ("10 % loss", Faults::loss(10.0)),
        ("partition", Faults::partition()),
        ("256 kbit/s", Faults::bits_per_second(256_000)),
        ("bursts", Faults::bursts(0.02, 0.2)),
        ("turned bits", Faults::corrupt(1.0)),
        ("cut", Faults::default()),
        ("relay hangs", Faults::default()),
    ];
    for round in 0.. {
        let (label, fault) = &faults[round % faults.len()];
        sleep_until((Instant::now() + CALM).min(end)).await;
        if Instant::now() + FAULT >= end {
            return Ok(());
        }
        let from = fleet.seconds();
        // Another half of the fleet each time.
        let hit = |index: usize| (index + round / faults.len()).is_multiple_of(2);
        for (_, device) in fleet
            .devices
            .iter()
            .enumerate()
            .filter(|(index, _)| hit(*index))
        {
            device.lane.set(fault, fault);
            if *label == "cut" {
                device.lane.cut();
            }
        }
        if *label == "relay hangs" {
            fleet.relay.freeze()?;
        }
        sleep(FAULT).await;
        fleet.relay.thaw()?;
        fleet.devices.iter().for_each(|device| device.lane.heal());
        windows.push(crate::fleet::Window {
            label: (*label).to_owned(),
            from,
            to: Some(fleet.seconds()),
        });
    }
    Ok(())
}

/// What was measured at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Of the relay and of each device: memory in MiB, descriptors, and KiB on disk.
    pub processes: Vec<(f64, f64, f64)>,
}

async fn sample(fleet: &Fleet, end: Instant, samples: &mut Vec<Sample>) -> Result<()> {
    while Instant::now() < end {
        let mut processes = Vec::new();
        let mut pids = vec![fleet.relay.pid()];
        let mut folders = vec![fleet.relay.data().to_path_buf()];
        for device in &fleet.devices {
            pids.push(device.pid().await);
            folders.push(device.setup.folder.clone());
        }
        for (pid, folder) in pids.into_iter().zip(&folders) {
            let used = pid.map(usage).unwrap_or_default();
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            processes.push((
                used.rss_kib as f64 / 1024.0,
                used.descriptors as f64,
                folder_kib(folder) as f64,
            ));
        }
        samples.push(Sample {
            at: fleet.seconds(),
            processes,
        });
        sleep(SAMPLE).await;
    }
    Ok(())
}
