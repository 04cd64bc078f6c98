//! `cargo xtask …`: everything that is set up, built, checked and measured in this repository.

mod bench;
mod chaos;
mod demo;
mod deny;
mod fuzz;
mod image;
mod lint;
mod load;
mod npm;
mod process;
mod programs;
mod setup;
mod sim;
mod stamp;
mod test;
mod ui;
mod wasm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Sets up, builds, tests and measures 0k-Sync. Every command first sets up what it needs.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what building and testing need: wasm standard library, clang, browser, npm packages.
    Setup,
    /// Builds the browser core into npm/wasm/.
    Wasm(wasm::Args),
    /// Builds the npm package @0k-sync/client: the browser core, then `npm run build`.
    Npm(npm::Args),
    /// Builds everything and serves the demo app with a relay of its own.
    Demo(demo::Args),
    /// Builds the container image of the relay, with Docker, podman or buildah.
    Image(image::Args),
    /// Runs every check and every test.
    Test(test::Args),
    /// Simulates fleets under faults; `cargo xtask sim --help` lists its arguments, `--planted` tests it by planted bugs.
    #[command(disable_help_flag = true)]
    Sim(process::HandedOn),
    /// Real processes under faults; `cargo xtask chaos --help` lists its arguments.
    #[command(disable_help_flag = true)]
    Chaos(process::HandedOn),
    /// A mixed fleet under rotating faults for as long as asked, and whether its curves stay flat.
    #[command(disable_help_flag = true)]
    Soak(process::HandedOn),
    /// Lets libFuzzer look for bytes from outside that break something.
    Fuzz(fuzz::Args),
    /// Kills a relay under load, 100 times or as often as its first argument says; the second is the seed.
    Kill(process::HandedOn),
    /// What one relay holds: `cargo xtask load push`, fanout, idle, catchup or isolation; `cargo xtask load --help` lists more.
    #[command(disable_help_flag = true)]
    Load(process::HandedOn),
    /// Checks licences, sources, banned crates and known vulnerabilities of all dependencies.
    Deny,
    /// Runs the benchmarks and writes bench-results/.
    Bench(bench::Args),
    /// Runs any cargo command on client-wasm with the wasm toolchain, e.g. `cargo xtask wasm-cargo check`.
    #[command(disable_help_flag = true)]
    WasmCargo {
        /// Arguments for cargo.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<OsString>,
    },
    /// Waits until a local port answers, then opens a page.
    #[command(hide = true)]
    OpenWhenReady {
        /// The page; its port is the one that is waited for.
        port: u16,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            ui::failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let ws = Workspace::find()?;
    match command {
        Command::Setup => setup::everything(&ws)?,
        Command::Wasm(args) => wasm::run(&ws, &args)?,
        Command::Npm(args) => npm::run(&ws, &args)?,
        Command::Demo(args) => demo::run(&ws, &args)?,
        Command::Image(args) => image::run(&ws, &args)?,
        Command::Test(args) => return test::run(&ws, &args),
        Command::Sim(args) => return sim::run(&ws, &args),
        Command::Chaos(args) => return chaos::chaos(&ws, &args),
        Command::Soak(args) => return chaos::soak(&ws, &args),
        Command::Fuzz(args) => fuzz::run(&ws, &args)?,
        Command::Kill(args) => return chaos::kill(&ws, &args),
        Command::Load(args) => return load::run(&ws, &args),
        Command::Deny => deny::run(&ws)?,
        Command::Bench(args) => return bench::run(&ws, &args),
        Command::WasmCargo { args } => wasm::cargo(&ws, &args)?,
        Command::OpenWhenReady { port } => demo::open_when_ready(port),
    }
    Ok(ExitCode::SUCCESS)
}
