//! A device process as the harness sees it: a native one or a page in a browser.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::PATIENCE;
use crate::net::lane::Lane;
use crate::net::owner::{Owners, tree};
use crate::protocol::{Answer, Body, Entry, Line, Op, Refusal, Request, Status, Told};

/// What kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Native, by UDP.
    Udp,
    /// Native, through the WebSocket only.
    WebSocket,
    /// A page in Chromium.
    Page,
}

/// How a device's process is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name, which no relay may learn.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its data: a store, or a browser's profile.
    pub folder: PathBuf,
    /// The relay's URL.
    pub url: String,
}

/// What a device told, over all its processes.
#[derive(Debug, Default)]
pub struct Record {
    /// Blobs whose push resolved, by id: they must never be lost.
    pub promised: Vec<(String, Body)>,
    /// When each of them resolved, in seconds since the start of the scenario.
    pub promised_at: Vec<f64>,
    /// Error events.
    pub errors: Vec<(String, String)>,
    /// When the log was how long, in seconds since the start of the scenario.
    pub positions: Vec<(f64, u64)>,
}

/// A device.
pub struct Device {
    /// How it is started.
    pub setup: Setup,
    /// Its way to the relay.
    pub lane: Arc<Lane>,
    owners: Arc<Owners>,
    start: Instant,
    record: Arc<Mutex<Record>>,
    process: tokio::sync::Mutex<Option<Arc<Process>>>,
}

struct Process {
    child: Mutex<Child>,
    pid: u32,
    stdin: tokio::sync::Mutex<ChildStdin>,
    shared: Arc<Shared>,
    requests: AtomicU64,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// Bodies of the pushes under way.
    pushing: Mutex<HashMap<u64, Vec<Body>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// Starts its process and opens the client.
    ///
    /// # Errors
    /// When it does not get so far.
    pub async fn start(setup: Setup, owners: Arc<Owners>, start: Instant) -> Result<Self> {
        let device = Self {
            lane: Arc::new(Lane::new(&setup.name)),
            setup,
            owners,
            start,
            record: Arc::default(),
            process: tokio::sync::Mutex::default(),
        };
        device.open().await?;
        Ok(device)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// What it told.
    pub fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Whether it has told an error with this code.
    #[must_use]
    pub fn told_error(&self, code: &str) -> bool {
        self.record().errors.iter().any(|(told, _)| told == code)
    }

    /// Its process, if it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.process
            .lock()
            .await
            .as_ref()
            .map(|process| process.pid)
    }

    /// Starts its process, if none runs, and opens the client on the data that is there.
    ///
    /// # Errors
    /// When the client does not open.
    pub async fn open(&self) -> Result<()> {
        {
            let mut process = self.process.lock().await;
            if process.is_some() {
                return Ok(());
            }
            *process = Some(Arc::new(self.spawn()?));
        }
        let open = Op::Open {
            url: self.setup.url.clone(),
            store: self.setup.folder.display().to_string(),
            name: self.setup.name.clone(),
            websocket: self.setup.kind != Kind::Udp,
        };
        self.call::<Value>(open).await.map(drop)
    }

    fn spawn(&self) -> Result<Process> {
        let (program, arguments) = self.setup.command.split_first().context("no program")?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {program}"))?;
        let pid = child.id().context("it ended at once")?;
        let stdin = child.stdin.take().context("no input")?;
        let stdout = child.stdout.take().context("no output")?;
        let shared = Arc::new(Shared::default());
        let (told, record, start) = (shared.clone(), self.record.clone(), self.start);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str::<Line>(&line) {
                    Ok(line) => take(line, &told, &record, start),
                    Err(error) => lock(&record)
                        .errors
                        .push(("HARNESS".to_owned(), format!("{error}: {line}"))),
                }
            }
            // Nobody will answer any more.
            lock(&told.waiting).clear();
        });
        self.owners.add(pid, self.lane.clone());
        Ok(Process {
            child: Mutex::new(child),
            pid,
            stdin: tokio::sync::Mutex::new(stdin),
            shared,
            requests: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
        })
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// [`Refusal`] when the device refuses; otherwise when it ends or does not answer.
    pub async fn call<T: DeserializeOwned>(&self, op: Op) -> Result<T> {
        let process = self.process.lock().await.clone();
        let process = process.with_context(|| format!("{} is switched off", self.name()))?;
        let what = format!("{op:?}").chars().take(40).collect::<String>();
        let id = process.requests.fetch_add(1, Ordering::Relaxed);
        let (answer, waiting) = oneshot::channel();
        lock(&process.shared.waiting).insert(id, answer);
        if let Op::Push { bodies, .. } = &op {
            lock(&process.shared.pushing).insert(id, bodies.clone());
        }
        let mut line = serde_json::to_string(&Request { id, op })?;
        line.push('\n');
        process
            .stdin
            .lock()
            .await
            .write_all(line.as_bytes())
            .await?;
        let answer = match timeout(PATIENCE, waiting).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => bail!("{} ended during {what}", self.name()),
            Err(_) => bail!("{} does not answer {what} in {PATIENCE:?}", self.name()),
        };
        match answer {
            Answer::Ok(value) => Ok(serde_json::from_value(value)?),
            Answer::Refused(refusal) => {
                Err(anyhow!(refusal).context(format!("{} refused {what}", self.name())))
            }
        }
    }

    /// Pushes; gives what was refused.
    ///
    /// # Errors
    /// When the device ends before it is done.
    pub async fn push(&self, bodies: Vec<Body>, at_once: bool) -> Result<Vec<(usize, Refusal)>> {
        self.call(Op::Push { bodies, at_once }).await
    }

    /// How its group stands.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn status(&self) -> Result<Status> {
        self.call(Op::Status).await
    }

    /// Its whole log.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn log(&self) -> Result<Vec<Entry>> {
        self.call(Op::Log { after: 0 }).await
    }

    /// Waits until it has sent everything.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn flush(&self) -> Result<()> {
        self.call::<Value>(Op::Flush).await.map(drop)
    }

    /// `kill -9`, to everything that belongs to it; gone when this returns.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        let Some(process) = self.process.lock().await.take() else {
            return Ok(());
        };
        let all = tree(process.pid);
        signal(&all, Signal::KILL);
        self.owners.remove(process.pid);
        // A zombie is waited for by tokio, or by whoever its parent is now.
        let mut child = lock(&process.child);
        while child.try_wait()?.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGSTOP: it is there and does nothing.
    pub async fn freeze(&self) {
        if let Some(process) = self.process.lock().await.as_ref() {
            process.stopped.store(true, Ordering::Relaxed);
            signal(&tree(process.pid), Signal::STOP);
        }
    }

    /// SIGCONT, if it was stopped.
    pub async fn thaw(&self) {
        if let Some(process) = self.process.lock().await.as_ref()
            && process.stopped.swap(false, Ordering::Relaxed)
        {
            signal(&tree(process.pid), Signal::CONT);
        }
    }

    /// Closes the client in good order and ends its process.
    ///
    /// # Errors
    /// When it does not close.
    pub async fn close(&self) -> Result<()> {
        if self.pid().await.is_some() {
            self.call::<Value>(Op::Close).await?;
        }
        self.kill().await
    }
}

fn signal(processes: &[u32], signal: Signal) {
    for pid in processes {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            // One that has gone in the meantime needs none.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(lock(&self.child).try_wait(), Ok(None)) {
            // A browser's processes would otherwise outlive the one that started them.
            signal(&tree(self.pid), Signal::KILL);
        }
    }
}

fn take(line: Line, shared: &Shared, record: &Mutex<Record>, start: Instant) {
    match line {
        Line::Answer { id, result } => {
            lock(&shared.pushing).remove(&id);
            if let Some(waiting) = lock(&shared.waiting).remove(&id) {
                let _ = waiting.send(result);
            }
        }
        Line::Told(Told::Promised {
            request,
            index,
            blob,
        }) => {
            let pushing = lock(&shared.pushing);
            if let Some(body) = pushing.get(&request).and_then(|bodies| bodies.get(index)) {
                let mut record = lock(record);
                record.promised.push((blob, body.clone()));
                record.promised_at.push(start.elapsed().as_secs_f64());
            }
        }
        Line::Told(Told::Position { position }) => {
            let mut record = lock(record);
            if record
                .positions
                .last()
                .is_none_or(|(_, last)| *last != position)
            {
                record
                    .positions
                    .push((start.elapsed().as_secs_f64(), position));
            }
        }
        Line::Told(Told::Error { code, message }) => lock(record).errors.push((code, message)),
    }
}
