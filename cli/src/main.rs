//! `zerok`: a device at the terminal.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use args::Cli;
use failure::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Failure, INTERRUPTED};
use output::{NO_READER, Output};

mod args;
mod commands;
mod failure;
mod folder;
mod output;
mod passphrase;
mod session;
mod settle;
mod signals;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error).into(),
    };
    let output = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
    };
    start_log(cli.global.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let text = format!("can't start: {error}");
            output.failure(&Failure::new("INTERNAL", text));
            return EXIT_FAILED.into();
        }
    };
    let result = runtime.block_on(commands::run(cli, output));
    // A read of standard input may be under way, and can't be stopped.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) if failure.code == NO_READER => EXIT_DONE,
        Err(failure) if failure.code == INTERRUPTED => EXIT_INTERRUPTED,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
    .into()
}

/// Help and version are answers, everything else is wrong usage.
fn not_understood(error: &clap::Error) -> u8 {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return EXIT_DONE;
    }
    if json {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        // What follows is the usage, in several lines.
        let text = text.split("\n\n").next().unwrap_or(text);
        let quiet = false;
        Output { json, quiet }.failure(&Failure::usage(text.trim()));
    } else {
        let _ = error.print();
    }
    EXIT_USAGE
}

/// Nothing is logged unless it was asked for. Our own lines hold no ids; those of the network below are addresses.
fn start_log(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => {
            "warn,zerok=info,zerok_cli=info,zerok_sync_client=info,zerok_sync_shared=info,iroh=error,noq=error"
        }
        2 => "warn,zerok=debug,zerok_cli=debug,zerok_sync_client=debug,zerok_sync_shared=debug",
        _ => "debug,zerok=trace,zerok_cli=trace,zerok_sync_client=trace,zerok_sync_shared=trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
}
