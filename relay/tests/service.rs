//! The relay as a service: what systemd, a container and a monitoring system have to do with it, with the real program.
//!
//! A tool that is not installed is not pretended: the test says NOT CHECKED and which part was left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const RELAY: &str = env!("CARGO_BIN_EXE_zerok-relay");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(name)
}

/// The output of a tool, unless there is none.
fn tool(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("NOT CHECKED: {program} {}: {error}", arguments.join(" "));
            None
        }
    }
}

#[track_caller]
fn assert_success(output: &Output) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}", text.join("\n"));
}

struct Running {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(RELAY);
        command
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--port", "0", "--bind", "127.0.0.1"])
            .stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.rsplit(' ').next().unwrap().trim().to_owned();
        Self {
            child,
            url,
            _folder: folder,
        }
    }

    fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    fn stop(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn health_says_by_its_exit_code_whether_the_relay_is_well() {
    let mut relay = Running::start(|_| ());
    let port = relay.port().to_owned();
    let health = || {
        let arguments = ["health", "--bind", "127.0.0.1", "--port", &port];
        Command::new(RELAY).args(arguments).output().unwrap()
    };
    let well = health();
    assert_success(&well);
    assert!(String::from_utf8_lossy(&well.stdout).contains("\"status\":\"ok\""));
    relay.stop();
    let gone = health();
    assert_eq!(gone.status.code(), Some(1));
    let error = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(error.contains("no relay answers at 127.0.0.1"), "{error}");
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let mut relay = Running::start(|command| {
        command.stderr(Stdio::piped());
    });
    let mut stderr = relay.child.stderr.take().unwrap();
    relay.stop();
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("INFO") && log.contains("stopping"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_hears_when_the_relay_can_be_reached_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut relay = Running::start(|command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(hear().trim(), "READY=1");
    relay.stop();
    assert_eq!(hear().trim(), "STOPPING=1");
}

#[test]
fn the_systemd_unit_is_sound_and_shuts_the_relay_in() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("zerok-relay.service");
    let text = std::fs::read_to_string(ops("zerok-relay.service")).unwrap();
    let command = "ExecStart=/usr/local/bin/zerok-relay";
    assert!(text.contains(command));
    std::fs::write(&unit, text.replace(command, &format!("ExecStart={RELAY}"))).unwrap();
    let unit = unit.to_str().unwrap();
    if let Some(verified) = tool("systemd-analyze", &["verify", unit]) {
        assert_success(&verified);
        let told = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(!told.contains("zerok-relay.service"), "{told}");
    }
    // In tenths, of 100; an unhardened service has 96.
    let threshold = ["security", "--offline=true", "--threshold=20", unit];
    if let Some(rated) = tool("systemd-analyze", &threshold) {
        assert_success(&rated);
    }
}

/// Every metric that a text names, without what a histogram adds to its name.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c: char| !is_name(c))
        .filter(|word| word.starts_with("zerok_relay_") || word.starts_with("process_"))
        .map(|word| {
            let histogram = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|end| word.strip_suffix(end));
            histogram.unwrap_or(word).to_owned()
        })
        .collect()
}

/// Those of the table in the document, which another test compares with a real relay's.
fn documented() -> BTreeSet<String> {
    let rows = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let documented = documented();
    let dashboard = std::fs::read_to_string(ops("grafana-dashboard.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let mut queries = String::new();
    for panel in parsed["panels"].as_array().unwrap() {
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            queries += target["expr"].as_str().unwrap();
            queries.push('\n');
        }
    }
    let alerts = std::fs::read_to_string(ops("alerts.yml")).unwrap();
    let shown = metrics_in(&queries);
    let watched = metrics_in(&alerts);
    assert!(watched.len() >= 6, "{watched:?}");
    for metric in shown.iter().chain(&watched) {
        assert!(documented.contains(metric), "{metric} is no metric");
    }
    assert!(shown.len() >= 30, "the dashboard shows only {shown:?}");
    if let Some(checked) = tool(
        "promtool",
        &["check", "rules", ops("alerts.yml").to_str().unwrap()],
    ) {
        assert_success(&checked);
    }
}
