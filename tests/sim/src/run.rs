//! One seed: draw a plan, run it, let it settle, check; and find the smallest mix of faults that still fails.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use crate::coverage::Coverage;
use crate::faults::Faults;
use crate::rng::Rng;
use crate::trace::Detail;
use crate::world::World;

/// What a run does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What goes wrong.
    pub faults: Faults,
    /// Devices at the start.
    pub devices: usize,
    /// Groups.
    pub groups: usize,
    /// Pushes of all apps together.
    pub pushes: usize,
    /// Longest body.
    pub bodies: usize,
    /// Mean time between two.
    pub interval: Duration,
    /// Mean time between two faults.
    pub fault_interval: Duration,
    /// The run ends here at the latest.
    pub max_happenings: u64,
}

impl Plan {
    /// The plan of a seed: a hectic minute, or a quiet month.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5EED);
        let faults = Faults::draw(&mut rng);
        let interval = Duration::from_millis([50, 1_000, 30_000, 600_000, 7_200_000][rng.below(5)]);
        let rarer = [1, 3, 10][rng.below(3)];
        Self {
            faults,
            devices: 2 + rng.below(4),
            groups: 1 + rng.below(2),
            pushes: [20, 60, 200][rng.below(3)],
            interval,
            fault_interval: interval.max(Duration::from_millis(500)) * rarer,
            max_happenings: 60_000,
            // Now and then what waits does not fit a device's memory.
            bodies: if rng.once_in(25) { 400_000 } else { 3_000 },
        }
    }
}

impl Plan {
    /// The arguments of `cargo xtask sim` that run it.
    #[must_use]
    pub fn arguments(&self, seed: u64) -> String {
        let faults = self.faults.to_string();
        format!(
            "--from {seed} --faults {} --devices {} --groups {} --pushes {} --bodies {} --interval {} --fault-interval {}",
            faults.replace("no fault", "none"),
            self.devices,
            self.groups,
            self.pushes,
            self.bodies,
            self.interval.as_millis(),
            self.fault_interval.as_millis(),
        )
    }
}

/// A run that went well.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Pushes that had resolved.
    pub promised: usize,
    /// Altered blobs that devices reported.
    pub rejections: u64,
    /// Time that passed in the world.
    pub simulated: Duration,
    /// Happenings.
    pub happenings: u64,
    /// Which events met which states.
    pub coverage: Coverage,
    /// The same for two runs that did the same.
    pub hash: u64,
}

/// A run that broke a promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Its faults.
    pub faults: Faults,
    /// What was broken.
    pub message: String,
    /// The line that noticed.
    pub place: String,
    /// The last things that happened.
    pub trace: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "seed {} fails with {}: {} ({})",
            self.seed, self.faults, self.message, self.place
        )
    }
}

/// Runs a seed.
///
/// # Errors
/// When a promise is broken.
pub fn run(seed: u64, plan: &Plan, detail: Detail) -> Result<Report, Box<Failure>> {
    quiet_panics();
    let mut world = World::new(seed, plan.clone(), detail);
    let start = world.now;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        world.run();
        world.settle();
        let devices: Vec<_> = world.devices.iter().collect();
        world.ledger.check(&devices);
    }));
    match outcome {
        Ok(()) => Ok(Report {
            promised: world.ledger.promised(),
            rejections: world.ledger.rejections,
            simulated: world.now.since(start),
            happenings: world.happenings,
            coverage: world.coverage,
            hash: world.trace.hash(),
        }),
        Err(_) => {
            let (message, place) = BROKEN.take();
            let (faults, trace) = (plan.faults, world.trace.text());
            Err(Box::new(Failure {
                seed,
                faults,
                message,
                place,
                trace,
            }))
        }
    }
}

/// Seeds that are tried for a smaller plan: without a fault, chance falls differently.
const TRIES: u64 = 30;

/// Leaves out whatever a failure does not need: faults, then devices, groups and pushes. Gives the smallest plan found
/// that breaks the same promise, and how; its seed may be another one.
#[must_use]
pub fn minimise(failure: Box<Failure>, plan: &Plan) -> (Plan, Box<Failure>) {
    let mut smallest = plan.clone();
    let mut found = failure;
    loop {
        let fewer = smallest.faults.iter().map(|fault| Plan {
            faults: smallest.faults.without(fault),
            ..smallest.clone()
        });
        let fewer_devices = Plan {
            devices: (smallest.devices - 1).max(1),
            ..smallest.clone()
        };
        let one_group = Plan {
            groups: 1,
            ..smallest.clone()
        };
        let shorter = Plan {
            pushes: smallest.pushes * 3 / 4,
            ..smallest.clone()
        };
        let smaller = fewer.chain([fewer_devices, one_group, shorter]);
        let smaller = smaller
            .filter(|plan| *plan != smallest && plan.pushes > 0)
            .find_map(|plan| Some((breaks_as(&found, &plan)?, plan)));
        match smaller {
            Some((failure, plan)) => (smallest, found) = (plan, failure),
            None => return (smallest, found),
        }
    }
}

/// The first failure of a plan at the same place.
fn breaks_as(former: &Failure, plan: &Plan) -> Option<Box<Failure>> {
    let seeds = std::iter::once(former.seed).chain(0..TRIES);
    seeds
        .filter_map(|seed| run(seed, plan, Detail::Last).err())
        .find(|failure| failure.place == former.place)
}

thread_local! {
    /// Message and place of the last panic of this thread.
    static BROKEN: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

/// Broken promises are reported by the run, not by the panic hook.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location();
            // Panics of tests themselves are still printed.
            if place.is_some_and(|place| place.file().contains("tests/fleets")) {
                return former(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic").to_owned();
            let place = place.map_or(String::new(), ToString::to_string);
            BROKEN.set((text, place));
        }));
    });
}
