//! What was acknowledged survives `kill -9`, a hundred times.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use zerok_sync_tests::kill;

const KILLS: u32 = 100;
const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_a_hundred_times_under_load_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let report = kill::run(folder.path(), SEED, KILLS).await.unwrap();
    assert!(report.acknowledged > 1_000, "{report:?}");
    println!("{report:?}");
}
