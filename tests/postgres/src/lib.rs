//! A PostgreSQL server of its own for a test: a temporary folder, a free port, gone when it is dropped.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// A server that does not answer by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const USER: &str = "sync";
const PASSWORD: &str = "a/password:with@signs";
/// The same in a URL.
const ESCAPED: &str = "a%2Fpassword%3Awith%40signs";

/// A running server, or one that was stopped and can be started again.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    /// Dropped last: the data lies in it.
    folder: TempDir,
    account: Option<Account>,
    port: u16,
    server: Option<Child>,
    databases: u32,
}

/// Whom the server runs as when the tests run as root, which it refuses to be.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes a server and waits until it answers. What it acknowledges is on the disk, as in earnest.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self> {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with its data in a folder of this one, such as one on another disk.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub fn start_in(parent: &Path) -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new()
            .prefix("postgres")
            .tempdir_in(parent)?;
        let account = account()?;
        let mut made = Self {
            programs,
            folder,
            account,
            port: 0,
            server: None,
            databases: 0,
        };
        made.init()?;
        made.port = free_port()?;
        made.resume()?;
        Ok(made)
    }

    fn init(&self) -> Result<()> {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        if let Some(account) = self.account {
            for path in [self.folder.path(), &password] {
                std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))?;
            }
        }
        let mut command = self.command("initdb");
        command
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--auth=scram-sha-256", "--username", USER])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(self.data());
        run(&mut command)
    }

    /// Starts the server again after [`Self::kill`] or [`Self::stop`], on the same port and data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // Processes of a server that was killed hold its memory for a moment longer; it does not start until they end.
            self.server = Some(self.spawn()?);
            if self.answers(deadline)? {
                return Ok(());
            }
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            ensure!(
                Instant::now() < deadline,
                "PostgreSQL does not start:\n{log}"
            );
        }
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""])
            .args(["-c", "fsync=on", "-c", "max_connections=200"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().context("start PostgreSQL")
    }

    /// Waits until the server answers; `false` if it has ended instead.
    fn answers(&mut self, deadline: Instant) -> Result<bool> {
        while Instant::now() < deadline {
            if let Some(server) = &mut self.server
                && server.try_wait()?.is_some()
            {
                std::thread::sleep(Duration::from_millis(50));
                return Ok(false);
            }
            let mut ask = self.command("pg_isready");
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ask.status()?.success() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Errors
    /// When the server is not there.
    pub fn database(&mut self) -> Result<String> {
        self.databases += 1;
        let name = format!("sync{}", self.databases);
        let mut command = self.command("createdb");
        command
            .env("PGPASSWORD", PASSWORD)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, &name]);
        run(&mut command)?;
        Ok(format!(
            "postgres://{USER}:{ESCAPED}@127.0.0.1:{}/{name}",
            self.port
        ))
    }

    /// The port, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`: as a power cut that spares the disk.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// An orderly stop, as before an update: connections are cut, nothing is lost.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            let mut command = self.command("pg_ctl");
            command
                .args(["stop", "-s", "-w", "-m", "fast", "-D"])
                .arg(self.data());
            run(&mut command)?;
            server.wait()?;
        }
        Ok(())
    }

    /// Sets the present state aside for [`Self::fail_over`]. The server is stopped for that, and started again.
    ///
    /// # Errors
    /// When it does not stop or start, or its files cannot be copied.
    pub fn save(&mut self) -> Result<()> {
        self.stop()?;
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.data()).arg(self.saved());
        run(&mut copy)?;
        self.resume()
    }

    /// The server dies, and a standby takes over that had got no further than [`Self::save`]: what was committed since is
    /// lost. It has the same address.
    ///
    /// # Errors
    /// When nothing was saved, or it does not take over.
    pub fn fail_over(&mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.data())?;
        fs::rename(self.saved(), self.data())?;
        fs::write(self.data().join("standby.signal"), "")?;
        self.resume()?;
        let mut promote = self.command("pg_ctl");
        promote.args(["promote", "-s", "-w", "-D"]).arg(self.data());
        run(&mut promote)
    }

    /// What the server said.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn saved(&self) -> PathBuf {
        self.folder.path().join("saved")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // It looks into its folder, which may be one that this account cannot enter.
        command.current_dir("/");
        if let Some(account) = self.account {
            std::os::unix::process::CommandExt::uid(&mut command, account.uid);
            std::os::unix::process::CommandExt::gid(&mut command, account.gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {:?}", command.get_program()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {text}", command.get_program());
    }
    Ok(())
}

/// Where PostgreSQL's programs are: in PATH, or where Debian puts them, the newest version.
fn programs() -> Result<PathBuf> {
    let in_path = std::env::var_os("PATH");
    let in_path = in_path.iter().flat_map(std::env::split_paths);
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable();
    let debians = versions.into_iter().rev().map(|(_, folder)| folder);
    let initdb = in_path
        .chain(debians)
        .map(|folder| folder.join("initdb"))
        .find(|initdb| initdb.is_file())
        .context(
            "these tests start a PostgreSQL server, and there is none: run `cargo xtask setup`",
        )?;
    // A link in PATH leads to where the others are too.
    let folder = fs::canonicalize(initdb)?.parent().map(PathBuf::from);
    folder.context("initdb lies in no folder")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// An account to run as instead of root; `None` for everybody else.
fn account() -> Result<Option<Account>> {
    use std::os::unix::fs::MetadataExt as _;
    // Who owns our own process entry is who we are; where there is none, we are asked for nothing.
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { uid, gid })
        })
    };
    let found = find("postgres").or_else(|| find("nobody"));
    Ok(Some(found.context(
        "PostgreSQL does not run as root, and there is no account `postgres` or `nobody`",
    )?))
}
