//! Fleets under faults, from seeds. `cargo xtask sim` runs more of them and replays one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use zerok_sync_sim::{Detail, Plan, run};

#[test]
fn first() {
    for seed in 0..50 {
        match run(seed, &Plan::draw(seed), Detail::Last) {
            Ok(report) => println!("{seed}: {} {:?} {}", report.promised, report.simulated, report.happenings),
            Err(failure) => panic!("{failure}\n{}", failure.trace),
        }
    }
}
