//! A mixed fleet under rotating faults for as long as asked, and whether its curves stay flat.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use zerok_sync_chaos::fleet::Stage;
use zerok_sync_chaos::page::Pages;
use zerok_sync_chaos::soak::{self, Options, report};

/// Devices push at a steady rate while one fault follows the other; memory, file descriptors, databases and delays are measured
/// every second and must not grow.
#[derive(Debug, Parser)]
#[command(name = "zerok-soak", disable_version_flag = true)]
struct Args {
    /// How long: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time)]
    length: Duration,
    /// Pushes of each device a second
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// How long the relay keeps blobs
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = time)]
    ttl: Duration,
    /// Makes the faults' randomness repeatable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where soak.json and soak.html are written
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    out: PathBuf,
    /// Leaves out the page in Chromium
    #[arg(long)]
    no_browser: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "a number and s, m or h is needed, such as 10m".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        args.rate > 0.0 && args.rate <= 1000.0,
        "--rate is between 0 and 1000"
    );
    let pages = if args.no_browser {
        None
    } else {
        Some(Pages::serve().await?)
    };
    let stage = Stage::new(&args.out, pages.as_ref())?;
    println!(
        "{} s with {}",
        args.length.as_secs(),
        if args.no_browser {
            "two devices"
        } else {
            "three devices"
        }
    );
    let options = Options {
        length: args.length,
        rate: args.rate,
        ttl: args.ttl,
        seed: args.seed,
    };
    let soak = soak::run(stage, &options).await?;
    report::write(&args.out, &soak)?;
    print!("{}", report::table(&soak));
    println!("report: {}", args.out.join("soak.html").display());
    println!("{}", if soak.passed() { "flat" } else { "not flat" });
    Ok(if soak.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
