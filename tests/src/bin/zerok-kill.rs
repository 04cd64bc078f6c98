//! A relay under load, killed as often as asked.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use anyhow::{Context as _, Result};
use zerok_sync_tests::kill;

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let kills = numbers
        .next()
        .transpose()
        .context("how often is a number")?
        .unwrap_or(100);
    let seed = numbers.next().transpose().context("the seed is a number")?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{kills} kills, seed {seed}");
    let folder = tempfile::tempdir()?;
    let report = kill::run(folder.path(), seed, u32::try_from(kills)?).await;
    let report = report.with_context(|| format!("seed {seed}"))?;
    println!(
        "{} blobs acknowledged, none lost or doubled; {} answers repeated, {} connections, {:.1} s",
        report.acknowledged,
        report.repeated,
        report.connections,
        report.took.as_secs_f64()
    );
    Ok(())
}
