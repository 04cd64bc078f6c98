//! Benchmarks: natively, in a browser, and the size of what a browser downloads.

mod chart;
mod results;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use crate::process::{cargo, run as run_command};
use crate::setup::{self, node};
use crate::ui;
use crate::wasm::{self, Profile};
use crate::workspace::Workspace;

const RESULTS: &str = "bench-results";

/// What the browser core may weigh: a bare iroh client with our crypto and storage crates is 594 KB.
const WASM_GOAL_KB: u64 = 660;

#[derive(clap::Args)]
pub struct Args {
    /// Runs the native benchmarks.
    #[arg(long)]
    native: bool,
    /// Runs the benchmarks in a browser.
    #[arg(long)]
    browser: bool,
    /// Measures the size of the browser core.
    #[arg(long)]
    size: bool,
    /// Only draws the results that are there.
    #[arg(long, conflicts_with_all = ["native", "browser", "size"])]
    report: bool,
    /// Arguments for the native benchmarks.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// `cargo xtask bench`. Fails if a goal is not met.
pub fn run(ws: &Workspace, args: &Args) -> Result<ExitCode> {
    let dir = ws.path(RESULTS);
    fs::create_dir_all(&dir).with_context(|| format!("can't create {}", dir.display()))?;
    let all = !args.native && !args.browser && !args.size && !args.report;
    if all || args.native {
        ui::heading("Native benchmarks");
        native(ws, &dir, &args.args)?;
    }
    if all || args.browser {
        ui::heading("Browser benchmarks");
        browser(ws, &dir)?;
    }
    if all || args.size {
        ui::heading("Size of the browser core");
        size(ws, &dir)?;
    }

    let measurements = results::read(&dir)?;
    fs::write(dir.join("summary.svg"), chart::draw(&measurements))?;
    ui::heading("Results");
    print!("{}", results::table(&measurements));
    println!("chart: {RESULTS}/summary.svg");
    let met = measurements.iter().all(|measurement| measurement.met);
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn native(ws: &Workspace, dir: &Path, args: &[OsString]) -> Result<()> {
    build_relay(ws)?;
    let mut bench = cargo(&ws.root);
    bench.args([
        "run",
        "--release",
        "--package",
        "zerok-sync-tests",
        "--bin",
        "zerok-bench",
        "--",
    ]);
    bench
        .args(args)
        .env("BENCH_RESULTS", dir)
        .env("RELAY_BIN", ws.binary("release", "zerok-relay"));
    run_command(&mut bench)
}

fn browser(ws: &Workspace, dir: &Path) -> Result<()> {
    let chromium = setup::browser()?;
    build_relay(ws)?;
    crate::npm::build(ws, Profile::Publish)?;
    let core = wasm::build_testing(ws, Profile::Publish)?;
    let relay = ws.binary("release", "zerok-relay");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let env = [
        ("CHROMIUM", text(&chromium)),
        ("RELAY_BIN", text(&relay)),
        ("TESTING_CORE", text(&core)),
        ("BENCH_RESULTS", text(dir)),
    ];
    node::script(ws, "tests/browser", "bench", &env)
}

fn build_relay(ws: &Workspace) -> Result<()> {
    run_command(cargo(&ws.root).args(["build", "--release", "--package", "zerok-sync-relay"]))
}

fn size(ws: &Workspace, dir: &Path) -> Result<()> {
    let sizes = wasm::build(ws, Profile::Publish)?;
    let result = json!({
        "name": "browser core, compressed",
        "goal": WASM_GOAL_KB,
        "measured": sizes.brotli as f64 / 1000.0,
        "unit": "KB",
        "met": sizes.brotli <= WASM_GOAL_KB * 1000,
        "details": { "raw_bytes": sizes.raw, "brotli_bytes": sizes.brotli },
    });
    fs::write(dir.join("wasm-size.json"), format!("{result:#}\n"))?;
    Ok(())
}
