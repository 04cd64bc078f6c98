//! The demo app, served by a relay of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::npm;
use crate::process;
use crate::ui;
use crate::wasm::Profile;
use crate::workspace::Workspace;

/// How long a page waits for the relay before it is opened anyway.
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Args {
    /// Port of the relay, which serves the app as well.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Opens the page in the default browser.
    #[arg(long)]
    open: bool,
    /// Where the relay keeps its data [default: target/demo-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Uses the browser core as it is published: starts later, runs faster.
    #[arg(long)]
    publish: bool,
}

/// `cargo xtask demo`.
pub fn run(ws: &Workspace, args: &Args) -> Result<()> {
    let start = Instant::now();
    // Better now than after the build.
    TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .with_context(|| format!("port {} is in use: choose another with --port", args.port))?;

    npm::build(
        ws,
        if args.publish {
            Profile::Publish
        } else {
            Profile::Dev
        },
    )?;
    npm::build_if_changed(ws, "web-demo", &["web-demo", "npm/dist"])?;
    build_relay(ws)?;

    let data = args
        .data
        .clone()
        .unwrap_or_else(|| ws.target.join("demo-data"));
    std::fs::create_dir_all(&data).with_context(|| format!("can't create {}", data.display()))?;
    let mut relay = Command::new(ws.binary("debug", "zerok-relay"));
    relay
        .current_dir(&ws.root)
        .arg("--port")
        .arg(args.port.to_string());
    relay
        .arg("--data-dir")
        .arg(&data)
        .arg("--web")
        .arg(ws.path("web-demo/dist"));
    process::forget_outer_cargo(&mut relay);

    ui::heading(&format!("http://localhost:{}", args.port));
    println!("Open it in two browser profiles to see two devices sync. Ctrl-C stops everything.");
    println!(
        "Ready after {}. Data: {}\n",
        ui::since(start),
        data.display()
    );
    if args.open {
        let xtask = std::env::current_exe().context("can't find xtask itself")?;
        Command::new(xtask)
            .arg("open-when-ready")
            .arg(args.port.to_string())
            .spawn()?;
    }
    become_process(relay)
}

/// Builds the relay and the command-line client cheaply.
fn build_relay(ws: &Workspace) -> Result<()> {
    ui::doing("compiling the relay…");
    process::run(process::cargo(&ws.root).args(["build", "--package", "zerok-sync-relay"]))?;
    ui::done("relay");
    Ok(())
}

/// The relay takes our place, so that signals reach it and nothing else is left to stop.
#[cfg(unix)]
fn become_process(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).context("the relay could not be started")
}

#[cfg(not(unix))]
fn become_process(mut command: Command) -> Result<()> {
    process::run(&mut command)
}

/// Waits for the relay, then opens the page. Runs in a process of its own, beside the relay.
pub fn open_when_ready(port: u16) {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() && start.elapsed() < START_LIMIT
    {
        thread::sleep(Duration::from_millis(100));
    }
    let url = format!("http://localhost:{port}");
    let opener = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    if Command::new(opener).arg(&url).status().is_err() {
        ui::note(&format!("`{opener}` is missing: open {url} yourself"));
    }
}
