//! Runs scenarios beside each other and gathers what came of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::device::Kind;
use crate::fleet::{Fleet, Settled, Stage, Window};
use crate::net::lane::Counts;
use crate::scenario::Scenario;

/// A scenario that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(240);

/// How scenarios are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// So many at a time: mostly they wait.
    pub jobs: usize,
    /// What the faults' randomness is made of.
    pub seed: u64,
    /// Where the state of a failed scenario is written.
    pub out: PathBuf,
    /// Keeps the folders of all scenarios.
    pub keep: bool,
}

/// What came of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its id.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Its title.
    pub title: String,
    /// Whether a page took part.
    pub page: bool,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// How long all of it took.
    pub seconds: f64,
    /// Until all devices had the same, from the last push or the end of the last fault on.
    pub converged_seconds: Option<f64>,
    /// When that was, from the start of the scenario on.
    pub converged_at: Option<f64>,
    /// Blobs in every log at the end.
    pub blobs: usize,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// When what was wrong.
    pub windows: Vec<Window>,
    /// What each device had when.
    pub devices: Vec<Series>,
}

/// What one device had when.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Its letter and kind.
    pub name: String,
    /// Seconds since the start, and blobs in the log then.
    pub points: Vec<(f64, u64)>,
    /// TCP and UDP, each up and down.
    pub traffic: [Counts; 4],
}

impl Outcome {
    /// Whether everything held.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.error.is_none()
    }
}

/// Runs scenarios; the outcomes are in the order of the scenarios.
///
/// # Errors
/// When the harness itself fails.
pub async fn run(scenarios: &[Scenario], stage: &Stage, options: &Options) -> Result<Vec<Outcome>> {
    let room = Arc::new(Semaphore::new(options.jobs));
    let (done, mut outcomes) = mpsc::unbounded_channel();
    let (waiting, stage, options) = (scenarios.to_vec(), stage.clone(), options.clone());
    tokio::spawn(async move {
        for (index, scenario) in waiting.into_iter().enumerate() {
            let permit = room.clone().acquire_owned().await;
            let (done, stage, options) = (done.clone(), stage.clone(), options.clone());
            tokio::spawn(async move {
                println!("  … {} {}", scenario.id, scenario.title);
                let outcome = execute(scenario, stage, &options).await;
                drop(permit);
                let _ = done.send((index, outcome));
            });
        }
    });
    let mut all = Vec::new();
    while let Some((index, outcome)) = outcomes.recv().await {
        all.push((index, outcome));
        let outcome = &all[all.len() - 1].1;
        let sign = if outcome.passed() { "✓" } else { "✗" };
        let converged = outcome
            .converged_seconds
            .map_or_else(String::new, |seconds| {
                format!(", converged in {seconds:.1} s")
            });
        println!(
            "{sign} {:>2}/{} {} {} ({:.0} s{converged})",
            all.len(),
            scenarios.len(),
            outcome.id,
            outcome.title,
            outcome.seconds
        );
        if let Some(error) = &outcome.error {
            println!("      {error}");
        }
    }
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn execute(scenario: Scenario, stage: Stage, options: &Options) -> Outcome {
    let start = Instant::now();
    let name = scenario.id.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let fleet = Fleet::start_with(stage, options.seed ^ name, scenario.relay).await;
    let (mut fleet, result) = match fleet {
        Ok(fleet) => play(scenario, fleet).await,
        Err(error) => (None, Err(error.context("the fleet did not start"))),
    };
    let mut outcome = Outcome {
        id: scenario.id.to_owned(),
        group: scenario.group().to_owned(),
        title: scenario.title.to_owned(),
        page: scenario.page,
        error: result.as_ref().err().map(|error| format!("{error:#}")),
        seconds: start.elapsed().as_secs_f64(),
        converged_seconds: result.as_ref().ok().map(|settled| settled.converged),
        converged_at: result.as_ref().ok().map(|settled| settled.at),
        blobs: result.as_ref().map_or(0, |settled| settled.blobs),
        notes: Vec::new(),
        windows: Vec::new(),
        devices: Vec::new(),
    };
    if let Some(fleet) = &mut fleet {
        outcome.notes = fleet.notes().to_vec();
        outcome.windows = fleet.windows().to_vec();
        outcome.devices = fleet.devices.iter().map(series).collect();
        if options.keep {
            fleet.keep();
            outcome
                .notes
                .push(format!("kept in {}", fleet.folder().display()));
        }
        if !outcome.passed() {
            let dump = options.out.join(format!("{}.txt", scenario.id));
            let text = format!("{:?}\n\n{}", outcome.error, fleet.dump().await);
            let kept =
                std::fs::create_dir_all(&options.out).and_then(|()| std::fs::write(&dump, text));
            outcome.notes.push(match kept {
                Ok(()) => format!("state in {}", dump.display()),
                Err(error) => format!("the state could not be written: {error}"),
            });
        }
    }
    outcome
}

async fn play(scenario: Scenario, mut fleet: Fleet) -> (Option<Fleet>, Result<Settled>) {
    let all = async {
        (scenario.run)(&mut fleet).await?;
        fleet.settle().await
    };
    let result = timeout(DEADLINE, all).await;
    let result = result.unwrap_or_else(|_| Err(anyhow!("it hangs: not done after {DEADLINE:?}")));
    (Some(fleet), result)
}

fn series(device: &crate::device::Device) -> Series {
    let kind = match device.setup.kind {
        Kind::Udp => "UDP",
        Kind::WebSocket => "WebSocket",
        Kind::Page => "Chromium",
    };
    let letter = device
        .setup
        .folder
        .to_string_lossy()
        .chars()
        .last()
        .unwrap_or('?');
    Series {
        name: format!("{letter} ({kind})"),
        points: device.record().positions.clone(),
        traffic: device.lane.ways().map(crate::net::lane::Way::counts),
    }
}
