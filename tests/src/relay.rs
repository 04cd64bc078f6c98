//! A relay process of its own for each test: free ports, a temporary folder, killed when dropped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time;

/// A relay that does not say that it is ready by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running relay.
pub struct RelayProcess {
    child: Child,
    options: Options,
    port: u16,
    url: String,
}

/// How a relay is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its data folder.
    pub data: PathBuf,
    /// Where everything that it logs goes.
    pub log: PathBuf,
    /// TCP and UDP port; 0 picks a free one.
    pub port: u16,
    /// Further arguments.
    pub args: Vec<String>,
    /// What is logged, as RUST_LOG has it.
    pub log_filter: String,
    /// A command that ends by becoming the command that follows it, such as `nice`; may be empty.
    pub wrapper: Vec<String>,
}

impl Options {
    /// Data and log in a folder, any port.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            data: folder.join("data"),
            log: folder.join("relay.log"),
            port: 0,
            args: Vec::new(),
            log_filter: "trace".to_owned(),
            wrapper: Vec::new(),
        }
    }
}

impl RelayProcess {
    /// Starts a relay and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is missing, or ends before it is ready: the message has its log.
    pub async fn start(options: Options) -> Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&options.log)?;
        let mut words = options
            .wrapper
            .iter()
            .map(OsString::from)
            .collect::<Vec<_>>();
        words.push(binary()?.into());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg("--data-dir")
            .arg(&options.data)
            .args(["--bind", "127.0.0.1", "--port", &options.port.to_string()])
            .args(&options.args)
            .env("RUST_LOG", &options.log_filter)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .context("the relay has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once("give clients this URL: ") {
                    return Ok(url.trim().to_owned());
                }
            }
            bail!("the relay ended before it was ready")
        };
        let url = match time::timeout(START_TIMEOUT, ready).await {
            Ok(Ok(url)) => url,
            Ok(Err(error)) => {
                let log = std::fs::read_to_string(&options.log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                return Err(error.context(tail.join("\n")));
            }
            Err(_) => bail!("the relay is not ready after {START_TIMEOUT:?}"),
        };
        let port = url
            .rsplit(':')
            .next()
            .and_then(|port| port.trim_end_matches('/').parse().ok());
        let port = port.with_context(|| format!("no port in {url}"))?;
        Ok(Self {
            child,
            options,
            port,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.options.data.join("relay.db")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.options.log.clone()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`, and gone when this returns. [`Self::start`] with the answer starts it again on the same port.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(mut self) -> Result<Options> {
        self.child.kill().await?;
        Ok(Options {
            port: self.port,
            ..self.options.clone()
        })
    }

    /// SIGTERM, and gone when this returns, or an error after a time in which it should have ended.
    ///
    /// # Errors
    /// When it does not end by itself, or not with success.
    pub async fn terminate(self) -> Result<Options> {
        self.signal("TERM").await?;
        let (status, options) = self.ended().await?;
        anyhow::ensure!(status.success(), "the relay ended with {status}");
        Ok(options)
    }

    /// Sends a signal, by its name without SIG.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("the relay has ended already")?;
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .await?;
        anyhow::ensure!(status.success(), "kill failed");
        Ok(())
    }

    /// Waits until it has ended by itself, for a time in which it should have. [`Self::start`] with the answer starts it
    /// again on the same port.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(mut self) -> Result<(ExitStatus, Options)> {
        let status = time::timeout(Duration::from_secs(20), self.child.wait()).await??;
        let options = Options {
            port: self.port,
            ..self.options.clone()
        };
        Ok((status, options))
    }
}

/// Runs a command of the relay's keeper, such as `backup`, to its end.
///
/// # Errors
/// When the binary is missing or cannot be started.
pub async fn keeper(data: &Path, args: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(binary()?);
    command.arg("--data-dir").arg(data).args(args);
    Ok(command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?)
}

/// The relay's binary: `RELAY_BIN`, or where cargo puts it beside the tests.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RELAY_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let found = test
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("zerok-relay"))
        .find(|path| path.is_file());
    found.context("the relay is not built: run `cargo build --package zerok-sync-relay`")
}
