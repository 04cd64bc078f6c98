//! The real program against a real relay.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zerok_sync_tests::relay::{Options, RelayProcess};

/// Everything that waits gives up after this: a deadline against hanging, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A relay, and devices that are made by name.
pub struct World {
    pub folder: tempfile::TempDir,
    pub relay: RelayProcess,
}

pub async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::in_folder(folder.path());
    let relay = RelayProcess::start(options).await.unwrap();
    World { folder, relay }
}

impl World {
    /// A device that can found groups here.
    pub async fn device(&self, name: &str) -> Zerok {
        let zerok = Zerok::new(&self.folder.path().join(name));
        zerok
            .ok(&["init", "--name", name, "--relay", self.relay.url()])
            .await;
        zerok
    }

    /// Two devices in one group.
    pub async fn pair(&self) -> (Zerok, Zerok) {
        let (a, b) = (self.device("a").await, self.device("b").await);
        b.ok(&["pair", "--join", &a.invite().await]).await;
        (a, b)
    }
}

/// The program with its data folder.
pub struct Zerok {
    pub folder: PathBuf,
}

/// What a run ended with.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    pub fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Every line, as JSON.
    pub fn objects(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Code of the error that was told as JSON.
    pub fn error_code(&self) -> String {
        let error = self.err.lines().find(|line| line.starts_with("{\"error\""));
        let error: Value = serde_json::from_str(error.unwrap_or_else(|| {
            unreachable!("no error in {self:?}");
        }))
        .unwrap();
        assert!(error["error"]["message"].is_string());
        assert!(error["error"]["retryable"].is_boolean());
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Zerok {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zerok"));
        command
            .args(args)
            .env("ZEROK_DATA_DIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, None).await
    }

    pub async fn run_with(&self, args: &[&str], input: Option<&[u8]>) -> Ran {
        let mut command = self.command(args);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        if let Some(input) = input {
            let mut stdin = child.stdin.take().unwrap();
            // The program may refuse before it has read everything.
            let _ = stdin.write_all(input).await;
        }
        let ended = patient(child.wait_with_output()).await.unwrap();
        Ran {
            code: ended.status.code(),
            out: ended.stdout,
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    /// Runs and must succeed.
    pub async fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args).await;
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// A fresh invite link.
    pub async fn invite(&self) -> String {
        let created = self.ok(&["pair", "--create", "--json"]).await;
        created.objects()[0]["link"].as_str().unwrap().to_owned()
    }

    /// The texts of the log.
    pub async fn texts(&self) -> Vec<String> {
        let pulled = self.ok(&["pull", "--json"]).await;
        let objects = pulled.objects();
        let text = |blob: &Value| blob["text"].as_str().unwrap().to_owned();
        objects.iter().map(text).collect()
    }

    /// A run that goes on.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running {
            child,
            input,
            lines,
        }
    }
}

/// A run that goes on.
pub struct Running {
    pub child: Child,
    pub input: Option<ChildStdin>,
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// The next line; `None` at the end.
    pub async fn line(&mut self) -> Option<String> {
        patient(self.lines.next_line()).await.unwrap()
    }

    /// The text of the next blob.
    pub async fn text(&mut self) -> String {
        let line = self.line().await.expect("it has ended");
        let blob: Value = serde_json::from_str(&line).unwrap();
        blob["text"].as_str().unwrap().to_owned()
    }

    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Its exit code.
    pub async fn end(mut self) -> Option<i32> {
        patient(self.child.wait()).await.unwrap().code()
    }
}

pub async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}
