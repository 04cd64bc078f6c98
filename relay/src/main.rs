//! `zerok-relay`: the relay as a program.

mod cli;
mod commands;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use zerok_sync_relay::access::{HashedToken, new_token};
use zerok_sync_relay::config::load::Loaded;
use zerok_sync_relay::config::{LogFormat, show};
use zerok_sync_relay::{Config, Relay, limits, probe, service};

use cli::{Command, TokenCommand};

/// What is logged unless RUST_LOG says otherwise. The iroh crates name addresses in their own warnings, and the end of the
/// endpoint's relay channel, which is a part of every orderly stop, is an error to them.
const LOGGED: &str = "warn,zerok_sync_relay=info,zerok_relay=info,iroh=error,iroh::socket::transports::relay=off,\
                      iroh::socket::transports::relay::actor=error,iroh_relay=error,noq=error";

fn main() -> ExitCode {
    let (command, loaded) = cli::parse();
    if let Command::Check { json } = command {
        return block_on(async move { shown(commands::check::run(loaded, json).await) });
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error.to_string()),
    };
    if matches!(command, Command::Run) {
        start_log(loaded.config.log_format);
        return block_on(run(loaded.config));
    }
    block_on(async move {
        let text = keep(command, &loaded).await;
        shown(text.map(|text| (text, ExitCode::SUCCESS)))
    })
}

/// Everything that gives a text and ends.
async fn keep(command: Command, loaded: &Loaded) -> anyhow::Result<String> {
    let data = &loaded.config.data_dir;
    match command {
        Command::Health => Ok(probe::ask(&loaded.config).await? + "\n"),
        Command::Token {
            command: TokenCommand::New { name },
        } => {
            let (token, hash) =
                new_token().map_err(|_| anyhow!("the system gives no random bytes"))?;
            Ok(token_text(&token, &hash, &name))
        }
        Command::Config { example: true } => Ok(show::example()?),
        Command::Config { example: false } => Ok(loaded.effective()?),
        Command::Backup { target } => commands::backup::run(loaded, &target).await,
        Command::Restore { source } => commands::restore::run(data, &source).await,
        Command::Stats { .. } | Command::Gc { .. } if loaded.config.database_url.is_some() => {
            Err(anyhow!(
                "the data is in PostgreSQL, which this command does not look into: /metrics and the status page have the \
                 numbers, the relay deletes what is due by itself, and autovacuum makes room"
            ))
        }
        Command::Stats { json } => commands::stats::run(data, json).await,
        Command::Gc { vacuum } => commands::gc::run(data, vacuum).await,
        Command::Run | Command::Check { .. } => Ok(String::new()),
    }
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // What still runs was given up; waiting for it would undo that.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(&format!("cannot start: {error}")),
    }
}

fn token_text(token: &str, hash: &HashedToken, name: &str) -> String {
    // A line of the file is one line.
    let name = name.replace(|c: char| c.is_control() || c == '#', " ");
    format!(
        "Give this token to the people who may use the relay. It is not stored anywhere:\n\n  {token}\n\n\
         Add this line to the file of access_tokens_file, or its first word to access_tokens:\n\n  {}\n",
        format!("{hash} {name}").trim()
    )
}

fn shown(result: anyhow::Result<(String, ExitCode)>) -> ExitCode {
    match result {
        Ok((text, code)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => code,
            // Nobody reads, such as behind `head`.
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn run(config: Config) -> ExitCode {
    // Installed first, so that a signal during the start is not lost.
    let mut stop = match StopSignal::listen() {
        Ok(stop) => stop,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    let relay = tokio::select! {
        relay = Relay::start(config) => match relay {
            Ok(relay) => relay,
            Err(error) => return fail(&error.to_string()),
        },
        () = stop.received() => return ExitCode::SUCCESS,
    };
    let version = env!("CARGO_PKG_VERSION");
    println!(
        "zerok-relay {version} is ready: give clients this URL: {}",
        relay.http_url()
    );
    service::ready();
    stop.received().await;
    tracing::info!("stopping; a second signal stops at once");
    service::stopping();
    tokio::select! {
        stopped = timeout(limits::STOP_TIMEOUT, relay.shutdown()) => if stopped.is_err() {
            tracing::warn!("the stop took too long and was given up; what was acknowledged is stored");
        },
        () = stop.received() => {
            tracing::warn!("stopped at once; what was acknowledged is stored");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The ways in which a process is asked to end.
struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes when the process is asked to end, once for each time.
    async fn received(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // In a journal or a file, colours are noise.
        .with_ansi(std::io::stderr().is_terminal())
        // Otherwise a log that cannot be written (its disk is full) ends the process by a panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("zerok-relay: {text}");
    ExitCode::FAILURE
}
