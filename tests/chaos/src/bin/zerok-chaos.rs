//! Runs the catalogue of scenarios, or a part of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use zerok_sync_chaos::fleet::Stage;
use zerok_sync_chaos::runner::{self, Options};
use zerok_sync_chaos::scenario::{Scenario, catalogue};
use zerok_sync_chaos::{page, report};

/// Real processes under faults: every scenario ends with all devices having the same, nothing lost, doubled, reordered or
/// leaked.
#[derive(Debug, Parser)]
#[command(name = "zerok-chaos", disable_version_flag = true)]
struct Args {
    /// Only prints the catalogue
    #[arg(long)]
    list: bool,
    /// Runs only scenarios whose id or title contains one of these texts
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    filter: Vec<String>,
    /// Scenarios at a time; they mostly wait
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Makes the faults' randomness repeatable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where results.json and index.html are written
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    out: PathBuf,
    /// Leaves out scenarios with a page in Chromium
    #[arg(long)]
    no_browser: bool,
    /// Keeps the folders of all scenarios
    #[arg(long)]
    keep: bool,
}

impl Args {
    fn chosen(&self) -> Vec<Scenario> {
        let matches = |scenario: &Scenario| {
            let text = |text: &String| scenario.id.contains(text) || scenario.title.contains(text);
            self.filter.is_empty() || self.filter.iter().any(text)
        };
        let mut chosen = catalogue();
        chosen.retain(|scenario| matches(scenario) && !(self.no_browser && scenario.page));
        chosen
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let scenarios = args.chosen();
    if args.list {
        for scenario in &scenarios {
            let page = if scenario.page {
                "  (with Chromium)"
            } else {
                ""
            };
            println!("{:<9} {}{page}", scenario.id, scenario.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(
        !scenarios.is_empty(),
        "no scenario is called that; --list prints them"
    );
    let pages = if scenarios.iter().any(|scenario| scenario.page) {
        Some(page::Pages::serve().await?)
    } else {
        None
    };
    let stage = Stage::new(&args.out, pages.as_ref())?;
    let options = Options {
        jobs: args.jobs.max(1),
        seed: args.seed,
        out: args.out.clone(),
        keep: args.keep,
    };
    let started = std::time::Instant::now();
    let outcomes = runner::run(&scenarios, &stage, &options).await?;
    report::write(&args.out, args.seed, &outcomes)?;
    println!("\n{}", report::table(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    println!("report: {}", args.out.join("index.html").display());
    println!(
        "{} passed, {failed} failed, {:.0} s, seed {}",
        outcomes.len() - failed,
        started.elapsed().as_secs_f64(),
        args.seed
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
