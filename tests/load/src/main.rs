//! `zerok-load`: what one relay holds. Real relay process, native devices over UDP or through the WebSocket.
//!
//! - [`push`]: durable pushes a second, beside a bare loop of commits
//! - [`fanout`]: from a push to its delivery at a thousand subscribers
//! - [`idle`]: memory and CPU time of connections on which nothing happens, beside bare iroh connections
//! - [`catchup`]: bytes a second when many devices read what is stored
//! - [`isolation`]: what a flood on one group does to the pushes of another
//!
//! Devices speak the bare protocol, so that the generator takes as little as it can of the machine that it shares with
//! the relay. Each has an endpoint, and with it a key and a socket, of its own unless said otherwise.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a report of measurements"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod catchup;
mod devices;
mod fanout;
mod idle;
mod isolation;
mod push;
mod report;
mod target;

/// Puts load on a relay that it starts, and says what came of it
#[derive(Parser)]
#[command(name = "zerok-load", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Clone)]
struct Common {
    /// The relay to start [default: RELAY_BIN, or the one beside this program]
    #[arg(long, global = true)]
    relay_bin: Option<PathBuf>,
    /// Further argument of the relay, such as --relay-arg=--blob-ttl=1d; can be given several times
    #[arg(long, global = true, allow_hyphen_values = true)]
    relay_arg: Vec<String>,
    /// Keep the relay's data in a PostgreSQL server that is started beside it
    #[arg(long, global = true)]
    postgres: bool,
    /// How devices reach the relay
    #[arg(long, global = true, default_value = "udp")]
    way: devices::Way,
    /// Devices that share an endpoint and its key, each with a connection of its own
    #[arg(long, global = true, default_value_t = 1)]
    sharing: usize,
    /// Folder of the JSON results
    #[arg(long, global = true, default_value = "bench-results")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Mode {
    /// Durable pushes a second
    Push(push::Args),
    /// From a push to its delivery at many subscribers
    Fanout(fanout::Args),
    /// Connections on which nothing happens
    Idle(idle::Args),
    /// Many devices read what is stored
    Catchup(catchup::Args),
    /// Pushes of one group beside a flood on another
    Isolation(isolation::Args),
    /// A bare iroh endpoint, with which `idle` compares
    #[command(hide = true)]
    Bare,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zerok-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let report = match cli.mode {
        Mode::Push(args) => push::run(&args, &cli.common).await?,
        Mode::Fanout(args) => fanout::run(&args, &cli.common).await?,
        Mode::Idle(args) => idle::run(&args, &cli.common).await?,
        Mode::Catchup(args) => catchup::run(&args, &cli.common).await?,
        Mode::Isolation(args) => isolation::run(&args, &cli.common).await?,
        Mode::Bare => return idle::bare_endpoint().await,
    };
    let report = match cli.common.postgres {
        true => report.on("postgres"),
        false => report,
    };
    report.publish(&cli.common.out)
}
