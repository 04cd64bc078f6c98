//! The relay's process: killed, stopped, started again, with less room or an older database.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use zerok_sync_tests::relay::{Options, RelayProcess};

use super::Fleet;
use crate::net::filter;

/// Everything that can be logged: the leak check reads it.
const LOG: &str = "trace";
/// The argument with which a device's binary becomes another program that ends with the harness.
pub const DIE_WITH_PARENT: &str = "--die-with-parent";

/// What every process is started by. It ends with the harness, and a write beyond the limit of a file's size fails in it,
/// which without that would end it.
pub(super) fn wrapper(device: &Path) -> Vec<String> {
    let device = device.display().to_string();
    let words = [
        device.as_str(),
        DIE_WITH_PARENT,
        "sh",
        "-c",
        "trap '' XFSZ; exec \"$@\"",
        "sh",
    ];
    words.map(str::to_owned).to_vec()
}

/// A relay process, or none while it is off.
pub struct Relay {
    process: Option<RelayProcess>,
    options: Options,
}

impl Relay {
    pub(super) fn new(folder: &Path, device: &Path, public_udp: u16, arguments: &[&str]) -> Self {
        let mut options = Options::in_folder(folder);
        options.args = vec![
            "--public-udp".to_owned(),
            format!("127.0.0.1:{public_udp}"),
            // All devices come from one address.
            "--invite-rate".to_owned(),
            "100".to_owned(),
        ];
        options
            .args
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        options.log_filter = LOG.to_owned();
        options.wrapper = wrapper(device);
        Self {
            process: None,
            options,
        }
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(RelayProcess::pid)
    }

    /// Where it is reached without a proxy.
    #[must_use]
    pub fn direct_url(&self) -> Option<&str> {
        self.process.as_ref().map(RelayProcess::url)
    }

    /// Its folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.options.data
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.options.data.join("relay.db")
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> Vec<u8> {
        std::fs::read(&self.options.log).unwrap_or_default()
    }

    /// What it logs from its next start on, as RUST_LOG has it.
    pub fn log_only(&mut self, filter: &str) {
        filter.clone_into(&mut self.options.log_filter);
    }

    fn process_id(&self) -> Result<Pid> {
        let pid = self.pid().context("the relay is off")?;
        i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.process_id()?, signal)?)
    }

    /// SIGSTOP: it is there and does nothing.
    ///
    /// # Errors
    /// When it is off.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is off.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// No file of it grows beyond so many bytes, as on a full disk; `None` gives it room again.
    ///
    /// # Errors
    /// When the kernel does not allow that.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        limit_files(self.process_id()?, bytes)
    }
}

/// No file of a process grows beyond so many bytes; only the soft limit, which can be raised again.
pub(crate) fn limit_files(process: Pid, bytes: Option<u64>) -> Result<()> {
    let limit = Rlimit {
        current: bytes,
        // Once lowered, this one could not be raised again.
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(Some(process), Resource::Fsize, limit)?;
    Ok(())
}

impl Fleet {
    /// No file of a native device grows beyond so many bytes, as on a full disk; `None` gives it room again.
    ///
    /// # Errors
    /// When it is off.
    pub async fn limit_device(&self, device: usize, bytes: Option<u64>) -> Result<()> {
        let pid = self.devices[device]
            .pid()
            .await
            .context("the device is off")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        limit_files(pid.context("no process id")?, bytes)
    }

    /// Starts the relay if it is off, on the ports that it had.
    ///
    /// # Errors
    /// When it does not get ready, or can be reached around the proxy.
    pub async fn start_relay(&mut self) -> Result<()> {
        if self.relay.process.is_some() {
            return Ok(());
        }
        let process = RelayProcess::start(self.relay.options.clone()).await?;
        let pid = process.pid().context("the relay has ended")?;
        self.udp.set_target(filter::only_through_proxy(pid)?);
        self.tcp.set_target(process.port());
        self.relay.options.port = process.port();
        self.relay.process = Some(process);
        Ok(())
    }

    /// SIGTERM for the relay: it says goodbye; gone when this returns.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub async fn stop_relay(&mut self) -> Result<()> {
        if let Some(process) = self.relay.process.take() {
            process.terminate().await?;
        }
        Ok(())
    }

    /// Copies the database of a relay that is off.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn backup_relay(&self) -> Result<PathBuf> {
        let backup = self.folder().join("backup");
        copy(self.relay.data(), &backup)?;
        Ok(backup)
    }

    /// Puts an older database in the place of that of a relay that is off.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn restore_relay(&self, backup: &Path) -> Result<()> {
        std::fs::remove_dir_all(self.relay.data())?;
        copy(backup, self.relay.data())
    }

    /// `kill -9` for the relay; gone when this returns.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_relay(&mut self) -> Result<()> {
        if let Some(process) = self.relay.process.take() {
            process.kill().await?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
