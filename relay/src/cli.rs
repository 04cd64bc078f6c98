//! The command line of `zerok-relay`.

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use zerok_sync_relay::config::load::{ConfigError, Loaded, with_flags};

/// A relay that anyone can host.
///
/// It moves encrypted blobs between the devices of a group and learns nothing but their sizes and times. It runs without
/// any configuration: it makes ./data, listens on port 8080 (TCP for browsers, UDP for native devices) and prints the URL
/// to give to clients.
#[derive(Debug, Parser)]
#[command(name = "zerok-relay", version, about, long_about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is to be done.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the relay, as without any command
    Run,
    /// Ask the relay that runs with these settings whether it is well, and say so by the exit code
    Health,
    /// Show the settings in effect and where each comes from
    Config {
        /// Write a configuration file with every setting explained and nothing set
        #[arg(long)]
        example: bool,
    },
    /// Make access tokens, for `access = "token"`
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// See whether the relay would run with these settings, or runs, and what to do where it would not
    Check {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy database, key and configuration to a new folder, also while the relay runs
    Backup {
        /// Folder to make
        #[arg(value_name = "DEST")]
        target: PathBuf,
    },
    /// Put a backup into the data folder, which must have no relay yet
    Restore {
        /// Folder that `backup` made
        #[arg(value_name = "SRC")]
        source: PathBuf,
    },
    /// Show what the relay holds, without naming anybody
    Stats {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete expired blobs and invites and give storage back to the disk now, also while the relay runs
    Gc {
        /// Write the whole database anew, as small as it gets; the relay must not run
        #[arg(long)]
        vacuum: bool,
    },
}

/// What is to be done with access tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Print a new token, and the line for the relay's file of tokens
    New {
        /// What the line says whose it is
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
    },
}

/// What was asked for, and the settings for it. A command line that clap refuses ends the process.
pub fn parse() -> (Command, Result<Loaded, ConfigError>) {
    let mut command = with_flags(Cli::command());
    // Each takes the settings too; only the first help text lists them.
    for name in subcommands(&command) {
        command = command.mut_subcommand(name, |command| {
            let lists = command.get_name() == "run";
            let own: Vec<_> = command
                .get_arguments()
                .map(|a| a.get_id().clone())
                .collect();
            let with_settings = with_flags(command);
            if lists {
                return with_settings;
            }
            with_settings
                .mut_args(|argument| {
                    let hidden = !own.contains(argument.get_id());
                    argument.hide(hidden)
                })
                .after_help("The settings of the relay can be given too: see `zerok-relay --help`.")
        });
    }
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let mut levels = vec![&matches];
    levels.extend(matches.subcommand().map(|(_, matches)| matches));
    let loaded = Loaded::new(&levels, std::env::vars_os());
    (cli.command.unwrap_or(Command::Run), loaded)
}

fn subcommands(command: &clap::Command) -> Vec<String> {
    let names = command.get_subcommands().map(clap::Command::get_name);
    names.map(str::to_owned).collect()
}
