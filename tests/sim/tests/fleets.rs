//! Fleets under faults, from seeds. `cargo xtask sim` runs more of them and replays one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use zerok_sync_sim::{Coverage, Detail, Fault, Faults, Plan, Report, run};

/// Seeds of every test run; the step "simulation" of `cargo xtask test` runs for a minute more.
const SEEDS: u64 = 400;

fn ok(seed: u64, plan: &Plan) -> Report {
    match run(seed, plan, Detail::Hash) {
        Ok(report) => report,
        Err(failure) => panic!(
            "{failure}\nreplay it with: cargo xtask sim --trace {}",
            plan.arguments(seed)
        ),
    }
}

#[test]
fn every_promise_holds_under_every_mix_of_faults() {
    let mut coverage = Coverage::default();
    let (mut promised, mut rejections) = (0, 0);
    for seed in 0..SEEDS {
        let report = ok(seed, &Plan::draw(seed));
        promised += report.promised;
        rejections += report.rejections;
        coverage.merge(&report.coverage);
    }
    // A simulation that has gone blind finds nothing either.
    assert!(promised > 20_000, "the fleets did push: {promised}");
    assert!(rejections > 20, "altered blobs were met: {rejections}");
    let [(device, _), (relay, _)] = coverage.pairs();
    assert!(device >= 110 && relay >= 28, "{}", coverage.table());
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let plan = Plan::draw(seed);
        let (first, again) = (ok(seed, &plan), ok(seed, &plan));
        assert_eq!(first.hash, again.hash);
        assert_eq!(first.happenings, again.happenings);
    }
}

/// Faults, devices, groups, pushes, milliseconds between pushes and between faults: the smallest plans that once broke a
/// promise, and which.
type Regression = (
    &'static str,
    &'static [Fault],
    (usize, usize, usize),
    (u64, u64),
);

const REGRESSIONS: &[Regression] = &[
    (
        "a relay that was set back and has grown again was trusted: acknowledged blobs were gone for ever",
        &[Fault::RelayRollback],
        (2, 1, 6),
        (1_000, 1_000),
    ),
    (
        "a relay that was set back hid behind blobs that had expired",
        &[Fault::RelayRollback, Fault::Expiry, Fault::Rotation],
        (3, 1, 200),
        (30_000, 30_000),
    ),
    (
        "a device that left and came back began its sequence at 1: others took its blobs for old ones",
        &[Fault::RelayRollback, Fault::Leaving],
        (2, 1, 10),
        (600_000, 600_000),
    ),
    (
        "a relay's new life was told the cursor of its former one",
        &[Fault::RelayWipe],
        (1, 1, 84),
        (600_000, 600_000),
    ),
    (
        "a session that opened while the group moved on delivered blobs that its device could not read",
        &[Fault::Delay, Fault::Rotation],
        (2, 1, 35),
        (50, 500),
    ),
    (
        "a repair gave blobs a longer life than their sender had asked for",
        &[Fault::RelayWipe, Fault::Expiry, Fault::Clock],
        (3, 1, 150),
        (30_000, 30_000),
    ),
    (
        "only the first hole of a sender was told",
        &[Fault::RelayRollback, Fault::Expiry, Fault::LateJoiner],
        (3, 2, 200),
        (30_000, 30_000),
    ),
    (
        "nobody replaced the snapshot of a device that was revoked: what only that had was gone for who came back later",
        &[
            Fault::DeviceSleep,
            Fault::DeviceUnreadable,
            Fault::RelayUnreadable,
            Fault::LateJoiner,
            Fault::Rotation,
            Fault::Snapshots,
        ],
        (1, 1, 112),
        (7_200_000, 7_200_000),
    ),
    (
        "a snapshot was taken twice when it was asked for again before it was on the disk",
        &[Fault::RelayCrash, Fault::LateJoiner, Fault::Snapshots],
        (3, 2, 150),
        (30_000, 30_000),
    ),
];

#[test]
fn what_was_broken_once_holds() {
    for (what, faults, (devices, groups, pushes), (interval, fault_interval)) in REGRESSIONS {
        let plan = Plan {
            faults: faults.iter().copied().fold(Faults::default(), Faults::with),
            devices: *devices,
            groups: *groups,
            pushes: *pushes,
            interval: Duration::from_millis(*interval),
            fault_interval: Duration::from_millis(*fault_interval),
            ..Plan::draw(0)
        };
        for seed in 0..40 {
            let report = ok(seed, &plan);
            assert!(report.happenings > 0, "{what}");
        }
    }
}
