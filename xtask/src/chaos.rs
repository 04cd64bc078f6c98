//! Real processes under faults: builds what takes part and runs it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{HandedOn, run as run_command};
use crate::setup::{self, node};
use crate::ui;
use crate::wasm::Profile;
use crate::workspace::Workspace;
use crate::{npm, programs};

/// `cargo xtask chaos`.
pub fn chaos(ws: &Workspace, args: &HandedOn) -> Result<ExitCode> {
    run(ws, "zerok-chaos", args)
}

/// `cargo xtask soak`.
pub fn soak(ws: &Workspace, args: &HandedOn) -> Result<ExitCode> {
    run(ws, "zerok-soak", args)
}

/// `cargo xtask kill`.
pub fn kill(ws: &Workspace, args: &HandedOn) -> Result<ExitCode> {
    ui::doing("compiling the relay and the devices…");
    programs::build(ws)?;
    let mut command = Command::new(ws.binary("debug", "zerok-kill"));
    command.env("RELAY_BIN", ws.binary("debug", "zerok-relay"));
    let status = command
        .args(&args.arguments)
        .status()
        .context("zerok-kill does not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The step of `cargo xtask test`: every scenario.
pub fn test(ws: &Workspace) -> Result<()> {
    let mut command = built(ws, "zerok-chaos")?;
    run_command(command.env("CHROMIUM", page(ws)?))
}

fn run(ws: &Workspace, program: &str, args: &HandedOn) -> Result<ExitCode> {
    let given = |name: &str| args.arguments.iter().any(|argument| argument == name);
    let questions = ["--list", "--help", "-h"];
    let mut command = built(ws, program)?;
    if !questions.iter().any(|name| given(name)) && !given("--no-browser") {
        command.env("CHROMIUM", page(ws)?);
    }
    let status = command.args(&args.arguments).status();
    let status = status.with_context(|| format!("{program} does not start"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn built(ws: &Workspace, program: &str) -> Result<Command> {
    ui::doing("compiling the relay and the devices…");
    programs::build(ws)?;
    let mut command = Command::new(ws.binary("debug", program));
    command
        .current_dir(&ws.root)
        .env("RELAY_BIN", ws.binary("debug", "zerok-relay"));
    Ok(command)
}

/// Builds the page that takes part, and gives the browser that opens it.
fn page(ws: &Workspace) -> Result<OsString> {
    let chromium = setup::browser()?;
    npm::build(ws, Profile::Dev)?;
    node::script(ws, "tests/browser", "page", &[])?;
    Ok(chromium.into())
}
