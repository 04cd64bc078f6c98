//! `cargo xtask sim`: runs seeds until one fails.

#![allow(clippy::print_stdout, reason = "it talks to a terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use zerok_sync_sim::{Coverage, Detail, Failure, Fault, Faults, Plan, minimise, run};

/// Simulates fleets of devices and their relay under faults, one world per seed, and checks that nothing is lost,
/// doubled, reordered or altered.
#[derive(Parser)]
#[command(
    name = "cargo xtask sim",
    bin_name = "cargo xtask sim",
    disable_version_flag = true
)]
struct Args {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,

    /// Stop after so many seconds, even with seeds left
    #[arg(long, value_name = "SECONDS")]
    time: Option<u64>,

    /// Use exactly these faults instead of what each seed draws, separated by commas; "none" for none
    #[arg(long, value_name = "NAMES", value_parser = faults)]
    faults: Option<Faults>,

    /// Leave these out of what each seed draws
    #[arg(long, value_name = "NAMES", value_parser = faults)]
    without: Option<Faults>,

    /// Devices at the start, instead of what each seed draws
    #[arg(long, value_name = "N")]
    devices: Option<usize>,

    /// Groups, instead of what each seed draws
    #[arg(long, value_name = "N")]
    groups: Option<usize>,

    /// Pushes of all devices together, instead of what each seed draws
    #[arg(long, value_name = "N")]
    pushes: Option<usize>,

    /// Longest body of a push, instead of what each seed draws
    #[arg(long, value_name = "BYTES")]
    bodies: Option<usize>,

    /// Mean time between two pushes, instead of what each seed draws
    #[arg(long, value_name = "MS")]
    interval: Option<u64>,

    /// Mean time between two faults, instead of what each seed draws
    #[arg(long, value_name = "MS")]
    fault_interval: Option<u64>,

    /// Print everything that happens: for one seed
    #[arg(long)]
    trace: bool,

    /// Print which events met which states
    #[arg(long)]
    coverage: bool,

    /// Do not look for the smallest plan that fails
    #[arg(long)]
    brief: bool,

    /// Worlds at the same time [default: one per core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

fn faults(text: &str) -> Result<Faults, String> {
    if text == "none" {
        return Ok(Faults::default());
    }
    text.split(',').try_fold(Faults::default(), |faults, name| {
        let known = || Fault::ALL.iter().map(|fault| fault.name());
        let known = || known().collect::<Vec<_>>().join(", ");
        let fault = Fault::parse(name.trim());
        fault
            .map(|fault| faults.with(fault))
            .ok_or_else(|| format!("{name:?} is none of: {}", known()))
    })
}

#[derive(Default)]
struct Total {
    runs: u64,
    promised: u64,
    rejections: u64,
    happenings: u64,
    simulated: Duration,
    coverage: Coverage,
    failure: Option<Box<Failure>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = |seed| {
        let plan = Plan::draw(seed);
        Plan {
            faults: args
                .without
                .into_iter()
                .flat_map(Faults::iter)
                .fold(args.faults.unwrap_or(plan.faults), Faults::without),
            devices: args.devices.unwrap_or(plan.devices),
            groups: args.groups.unwrap_or(plan.groups),
            pushes: args.pushes.unwrap_or(plan.pushes),
            bodies: args.bodies.unwrap_or(plan.bodies),
            interval: args.interval.map_or(plan.interval, Duration::from_millis),
            fault_interval: args
                .fault_interval
                .map_or(plan.fault_interval, Duration::from_millis),
            ..plan
        }
    };
    if args.trace {
        return match run(args.from, &plan(args.from), Detail::Everything) {
            Ok(report) => {
                println!("seed {}: {} pushes kept", args.from, report.promised);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let start = Instant::now();
    let total = run_all(&args, &plan, start);
    let seconds = start.elapsed().as_secs_f64();
    let hours = total.simulated.as_secs_f64() / 3600.0;
    println!(
        "{} seeds in {seconds:.1} s: {} pushes kept, {} altered blobs reported, {} happenings; {hours:.0} simulated hours, {:.0} a minute",
        total.runs,
        total.promised,
        total.rejections,
        total.happenings,
        hours / seconds * 60.0,
    );
    let [device, relay] = total.coverage.pairs();
    println!(
        "pairs of state and event: device {} of {}, relay session {} of {}",
        device.0, device.1, relay.0, relay.1
    );
    if args.coverage {
        println!("\n{}", total.coverage.table());
    }
    let Some(failure) = total.failure else {
        return ExitCode::SUCCESS;
    };
    if args.brief {
        println!("{failure}");
        return ExitCode::FAILURE;
    }
    println!("\n{failure}\nlooking for the smallest plan that fails in the same way …");
    let drawn = plan(failure.seed);
    let (smallest, failure) = minimise(failure, &drawn);
    println!("\n{}\n{failure}", failure.trace);
    println!(
        "replay it with: cargo xtask sim --trace {}",
        smallest.arguments(failure.seed)
    );
    ExitCode::FAILURE
}

/// Runs seeds on all cores until there are no more, one fails, or the time is over.
fn run_all(args: &Args, plan: &(impl Fn(u64) -> Plan + Sync), start: Instant) -> Total {
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(args.from);
    let stop = AtomicBool::new(false);
    let end = args.from.saturating_add(args.seeds);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let late = args
            .time
            .is_some_and(|time| start.elapsed().as_secs() >= time);
        if seed >= end || late || stop.load(Ordering::Relaxed) {
            return;
        }
        let result = run(seed, &plan(seed), Detail::Hash);
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.runs += 1;
        match result {
            Ok(report) => {
                total.promised += report.promised as u64;
                total.rejections += report.rejections;
                total.happenings += report.happenings;
                total.simulated += report.simulated;
                total.coverage.merge(&report.coverage);
            }
            Err(failure) => {
                stop.store(true, Ordering::Relaxed);
                // The lowest seed of those that failed at the same time, so that two runs say the same.
                if total
                    .failure
                    .as_ref()
                    .is_none_or(|former| failure.seed < former.seed)
                {
                    total.failure = Some(failure);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.unwrap_or(cores) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}
