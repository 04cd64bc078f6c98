//! Fleets under faults, from seeds. A failing seed is in the name of the panic; replay it with `SIM_SEED=n`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use zerok_sync_sim::{Faults, Rng, World};

/// Seeds that have failed once, with what they found.
const REGRESSIONS: &[u64] = &[];
/// Seeds of every run; `SIM_SEEDS` asks for more.
const SEEDS: u64 = 300;

fn run(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let faults = Faults::draw(&mut rng);
    let devices = 2 + rng.below(3);
    let mut world = World::new(rng.number(), devices, faults);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.run(6_000);
        world.settle();
        world.check();
        world.promised()
    }));
    result.unwrap_or_else(|_| panic!("seed {seed} fails, with {faults:?}"))
}

#[test]
fn every_promise_holds_under_every_mix_of_faults() {
    if let Some(seed) = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        run(seed);
        return;
    }
    let seeds = std::env::var("SIM_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(SEEDS);
    let promised: usize = REGRESSIONS.iter().copied().chain(0..seeds).map(run).sum();
    assert!(promised > 10_000, "the fleets did push: {promised}");
}

#[test]
fn tampered_blobs_are_reported_and_the_rest_arrives() {
    let mut rejections = 0;
    for seed in 0..50 {
        let mut world = World::new(
            seed,
            3,
            Faults {
                tamper: true,
                cut: true,
                ..Faults::default()
            },
        );
        world.run(4_000);
        world.settle();
        world.check();
        rejections += world.rejections();
    }
    assert!(rejections > 50, "{rejections}");
}
