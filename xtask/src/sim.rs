//! The simulation, and whether it finds bugs that are planted in the core.

mod planted;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{HandedOn, cargo, run as run_command};
use crate::workspace::Workspace;

/// Seconds of simulation in `cargo xtask test`.
const TEST_SECONDS: &str = "60";

/// `cargo xtask sim`.
pub fn run(ws: &Workspace, args: &HandedOn) -> Result<ExitCode> {
    if args
        .arguments
        .iter()
        .any(|argument| argument == "--planted")
    {
        planted(ws)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut simulation = built(ws)?;
    let status = simulation.args(&args.arguments).status();
    let status = status.context("the simulation does not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The step of `cargo xtask test`: a minute of seeds.
pub fn test(ws: &Workspace) -> Result<()> {
    let mut simulation = built(ws)?;
    let seeds = u32::MAX.to_string();
    run_command(simulation.args(["--seeds", &seeds, "--time", TEST_SECONDS, "--coverage"]))
}

/// The step of `cargo xtask test` that tests the simulation itself.
pub fn planted(ws: &Workspace) -> Result<()> {
    planted::run(ws)
}

fn built(ws: &Workspace) -> Result<Command> {
    let build = ["build", "--profile", "sim", "--package", "zerok-sync-sim"];
    run_command(cargo(&ws.root).args(build))?;
    Ok(Command::new(ws.binary("sim", "zerok-sim")))
}
