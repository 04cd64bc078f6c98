//! The load generator: builds it and the relay, optimised, and runs it.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{HandedOn, cargo, run as run_command};
use crate::ui;
use crate::workspace::Workspace;

/// `cargo xtask load`.
pub fn run(ws: &Workspace, args: &HandedOn) -> Result<ExitCode> {
    ui::doing("compiling the relay and the load generator…");
    let packages = [
        "--package",
        "zerok-sync-relay",
        "--package",
        "zerok-sync-load",
    ];
    let mut build = cargo(&ws.root);
    run_command(build.args(["build", "--release", "--bins"]).args(packages))?;
    let status = Command::new(ws.binary("release", "zerok-load"))
        .current_dir(&ws.root)
        .env("RELAY_BIN", ws.binary("release", "zerok-relay"))
        .args(&args.arguments)
        .status()
        .context("zerok-load does not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
