//! The relay under load.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use zerok_sync_test_postgres::Postgres;
use zerok_sync_tests::measure::{cpu_time, metrics};
use zerok_sync_tests::raw::spawn_relay;

use crate::Common;

/// Limits that a load from one address would meet, and which are switched off.
const UNLIMITED: [&str; 4] = [
    "--group-quota",
    "--device-messages",
    "--device-bytes",
    "--groups-per-day",
];

/// A relay process with a folder of its own.
pub struct Target {
    pub url: String,
    folder: TempDir,
    child: Child,
    /// Ends with it.
    _database: Option<Postgres>,
}

/// CPU time and counters at a moment.
pub struct Moment {
    metrics: HashMap<String, f64>,
    relay: Duration,
    generator: Duration,
    at: Instant,
}

impl Target {
    /// Starts a relay without the limits that are there for abuse.
    pub async fn start(common: &Common) -> Result<Self> {
        Self::spawn(common, &UNLIMITED).await
    }

    /// Starts a relay that has its usual limits, except that of what a group may store.
    pub async fn limited(common: &Common) -> Result<Self> {
        Self::spawn(common, &["--group-quota"]).await
    }

    /// Its data is beside its binary rather than in /tmp, which may be memory.
    async fn spawn(common: &Common, unlimited: &[&str]) -> Result<Self> {
        let binary = binary(common)?;
        let disk = binary.parent().context("the binary has no folder")?;
        let folder = tempfile::Builder::new()
            .prefix("zerok-load-")
            .tempdir_in(disk)?;
        let mut command = Command::new(&binary);
        command
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .args(unlimited.iter().flat_map(|name| [*name, "0"]))
            .args(&common.relay_arg)
            .env_remove("RUST_LOG")
            .stderr(Stdio::inherit());
        let mut database = None;
        if common.postgres {
            let mut server = Postgres::start_in(disk)?;
            command.arg("--database-url").arg(server.database()?);
            database = Some(server);
        }
        let (child, url) = spawn_relay(&mut command).await?;
        Ok(Self {
            url,
            folder,
            child,
            _database: database,
        })
    }

    /// Where else something may be written on the same disk.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the relay has ended")
    }

    /// Length of its write-ahead log.
    pub fn log_bytes(&self) -> u64 {
        let path = self.folder.path().join("data").join("relay.db-wal");
        std::fs::metadata(path).map_or(0, |data| data.len())
    }

    pub async fn moment(&self) -> Result<Moment> {
        Ok(Moment {
            metrics: metrics(&self.url).await?,
            relay: cpu_time(self.pid()?),
            generator: cpu_time(std::process::id()),
            at: Instant::now(),
        })
    }

    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

impl Moment {
    /// What a counter has grown by since another moment.
    pub fn grown(&self, since: &Self, name: &str) -> f64 {
        let name = format!("zerok_relay_{name}");
        let value = |moment: &Self| moment.metrics.get(&name).copied().unwrap_or(0.0);
        value(self) - value(since)
    }

    pub fn seconds(&self, since: &Self) -> f64 {
        (self.at - since.at).as_secs_f64()
    }

    /// CPUs that the relay kept busy.
    pub fn relay_cpus(&self, since: &Self) -> f64 {
        self.relay.saturating_sub(since.relay).as_secs_f64() / self.seconds(since)
    }

    /// CPUs that the generator kept busy.
    pub fn generator_cpus(&self, since: &Self) -> f64 {
        self.generator.saturating_sub(since.generator).as_secs_f64() / self.seconds(since)
    }
}

fn binary(common: &Common) -> Result<PathBuf> {
    let path = match (&common.relay_bin, std::env::var_os("RELAY_BIN")) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => path.into(),
        (None, None) => std::env::current_exe()?.with_file_name("zerok-relay"),
    };
    ensure!(
        path.is_file(),
        "the relay is not built: run `cargo build --release --package zerok-sync-relay --bins`"
    );
    Ok(path)
}
