//! The commands of the relay's keeper, as processes of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::common::{Device, Way, config, group, keys, push, short_lived, start};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use zerok_sync_relay::Relay;
use zerok_sync_shared::message::Message;

fn relay(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zerok-relay"));
    command.arg("--data-dir").arg(data).args(args);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The state of one check, and what it says.
fn finding(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {report}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("state"), text("says"))
}

/// A folder with a relay's data and no relay.
async fn used_folder(blobs: u8) -> TempDir {
    let (relay, folder) = start().await;
    let device = Device::connect(relay.http_url(), Way::Udp).await;
    let mut session = device.session(&keys(1)).await;
    for id in 0..blobs {
        session.push(id, &vec![id; 10_000]).await;
    }
    relay.shutdown().await;
    folder
}

/// Number of the first page of a table, from 0.
async fn first_page_of(database: &Path, table: &str) -> usize {
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = options.connect().await.unwrap();
    let find = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = ?").bind(table);
    let page: i64 = find.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    usize::try_from(page).unwrap() - 1
}

#[test]
fn config_shows_what_is_in_effect_and_an_example_that_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("relay.toml");
    fs::write(&file, stdout(&relay(&data, &["config", "--example"]))).unwrap();
    let file = file.to_str().unwrap();
    // Before and after the command.
    let shown = relay(&data, &["--config", file, "config", "--blob-ttl", "7d"]);
    let shown = stdout(&shown);
    let line = shown.lines().find(|line| line.starts_with("blob_ttl"));
    assert!(line.unwrap().ends_with("# --blob-ttl"), "{shown}");
    assert!(!data.exists(), "it only looks");

    let mut command = Command::new(env!("CARGO_BIN_EXE_zerok-relay"));
    let output = command.env("ZEROK_RELAY_PROT", "1").output().unwrap();
    assert!(stderr(&output).contains("did you mean ZEROK_RELAY_PORT?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_do_not_share_a_folder() {
    let (first, folder) = start().await;
    let data = folder.path().join("data");
    let second = relay(&data, &["--port", "0", "--bind", "127.0.0.1"]);
    assert!(stderr(&second).contains("another relay is running in this folder"));
    first.shutdown().await;
    let third = Relay::start(config(&folder)).await.unwrap();
    third.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_nothing_wrong_before_while_and_after_a_relay_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let free = ["--bind", "127.0.0.1", "--port", "0", "check"];
    let text = stdout(&relay(&data, &free));
    assert!(text.contains("✓ data folder"), "{text}");
    assert!(!data.exists(), "it only looks");

    let running = Relay::start(config(&folder)).await.unwrap();
    let port = running.http_url().rsplit(':').next().unwrap().to_owned();
    let url = format!("http://127.0.0.1:{port}");
    let at = ["--bind", "127.0.0.1", "--port", &port, "--public-url", &url];
    let report = json(&relay(&data, &[&at[..], &["check", "--json"]].concat()));
    assert_eq!(
        (&report["ok"], &report["running"]),
        (&true.into(), &true.into()),
        "{report}"
    );
    for name in [
        "configuration",
        "data folder",
        "key",
        "schema",
        "database",
        "health",
        "public URL",
    ] {
        assert_eq!(finding(&report, name).0, "ok", "{report}");
    }
    let (other, _folder) = start().await;
    let url = other.http_url();
    let at = ["--bind", "127.0.0.1", "--port", &port, "--public-url", url];
    let report = json(&relay(&data, &[&at[..], &["check", "--json"]].concat()));
    let (state, says) = finding(&report, "public URL");
    assert!(
        state == "failed" && says.contains("another key"),
        "{report}"
    );
    other.shutdown().await;
    running.shutdown().await;
    stdout(&relay(&data, &free));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_and_fails() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = used_folder(20).await;
    let data = folder.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let at = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--web",
        "/not/there",
    ];
    let check = [&at[..], &["check", "--json"]].concat();

    let key = data.join("relay.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let database = data.join("relay.db");
    let whole = fs::read(&database).unwrap();
    let mut damaged = whole.clone();
    // Of an index would not do: a copy has new ones.
    let page = first_page_of(&database, "blobs").await;
    damaged[page * 4096..(page + 1) * 4096].fill(0x55);
    fs::write(&database, damaged).unwrap();
    let output = relay(&data, &check);
    assert!(!output.status.success());
    let report = json(&output);
    assert_eq!(report["ok"], false);
    for (name, expected) in [
        ("key", "chmod 600"),
        ("database", ""),
        ("TCP port", "cannot listen"),
        ("web app", "no index.html"),
    ] {
        let (state, says) = finding(&report, name);
        assert!(
            state == "failed" && says.contains(expected),
            "{name}: {report}"
        );
    }
    // A damaged database is not backed up as if it were whole.
    let target = folder.path().join("backup");
    stderr(&relay(&data, &["backup", target.to_str().unwrap()]));
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["data"], "nothing half-made stays");

    fs::write(&database, whole).unwrap();
    fs::remove_file(&key).unwrap();
    let report = json(&relay(&data, &check));
    assert_eq!(finding(&report, "database").0, "ok", "{report}");
    let (state, says) = finding(&report, "key");
    assert!(state == "failed" && says.contains("missing"), "{report}");

    let report = relay(&data, &["--config", "/not/there.toml", "check"]);
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(
        !report.status.success() && text.starts_with("✗ configuration"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_for_the_names_that_a_certificate_is_wanted_for() {
    let folder = tempfile::tempdir().unwrap();
    for (names, state, expected) in [
        ("localhost", "ok", "443"),
        ("localhost,none.invalid", "warning", "none.invalid"),
        ("*.example.com", "failed", "*.example.com"),
    ] {
        let args = ["--port", "0", "--acme-domain", names, "check", "--json"];
        let report = json(&relay(folder.path(), &args));
        let (found, says) = finding(&report, "authority");
        assert!(found == state && says.contains(expected), "{report}");
    }
    let args = [
        "--acme-domain",
        "localhost",
        "--tls-cert",
        "x",
        "check",
        "--json",
    ];
    let report = json(&relay(folder.path(), &args));
    assert_eq!(finding(&report, "authority").0, "failed", "{report}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_private_whole_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = used_folder(10).await;
    let data = folder.path().join("data");
    fs::write(data.join("relay.toml"), "blob_ttl = '3d'").unwrap();
    let target = folder.path().join("backup");
    let name = target.to_str().unwrap();
    let text = stdout(&relay(&data, &["backup", name]));
    assert!(text.contains("1 group, 10 blobs"), "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&target), 0o700);
    for file in ["relay.db", "relay.key", "relay.toml", "backup.json"] {
        assert_eq!(mode(&target.join(file)), 0o600, "{file}");
    }
    let again = stderr(&relay(&data, &["backup", name]));
    assert!(again.contains("never overwritten"), "{again}");
    let into_used = stderr(&relay(&data, &["restore", name]));
    assert!(into_used.contains("has a relay already"), "{into_used}");

    let new = folder.path().join("new");
    let whole = fs::read(target.join("relay.db")).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(target.join("relay.db"), damaged).unwrap();
    let refused = stderr(&relay(&new, &["restore", name]));
    assert!(refused.contains("is damaged"), "{refused}");
    let left: Vec<_> = fs::read_dir(&new)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["relay.lock"], "nothing half-restored stays");

    fs::write(target.join("relay.db"), whole).unwrap();
    stdout(&relay(&new, &["restore", name]));
    assert_eq!(
        fs::read(new.join("relay.key")).unwrap(),
        fs::read(data.join("relay.key")).unwrap()
    );
    assert_eq!(mode(&new.join("relay.db")), 0o600);
    let shown = stdout(&relay(&new, &["config"]));
    assert!(shown.contains("blob_ttl = \"3d\""), "{shown}");
    let stats = json(&relay(&new, &["stats", "--json"]));
    assert_eq!(
        (&stats["blobs"], &stats["payload_bytes"]),
        (&10.into(), &100_000.into())
    );
    let mut running = config(&folder);
    running.data_dir = new;
    Relay::start(running).await.unwrap().shutdown().await;
    let not_one = stderr(&relay(
        &folder.path().join("x"),
        &["restore", folder.path().to_str().unwrap()],
    ));
    assert!(not_one.contains("is not a backup"), "{not_one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_gc_work_beside_a_relay_and_name_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut config = config(&folder);
    config.cleanup_interval = Duration::from_secs(3600);
    let running = Relay::start(config).await.unwrap();
    let device = Device::connect(running.http_url(), Way::Udp).await;
    let mut session = device.session(&keys(1)).await;
    // The relay looks for expired blobs when it starts, so nothing is due before that.
    session.push(255, &[0; 1000]).await;
    for id in 0..200 {
        session.send(short_lived(id, &vec![id; 20_000], 1)).await;
        let Message::PushAck(_) = session.receive().await else {
            panic!("not stored")
        };
    }
    let mut other = device.session(&keys(2)).await;
    other.send(push(1, b"small")).await;
    assert!(matches!(other.receive().await, Message::PushAck(_)));

    let output = relay(&data, &["stats", "--json"]);
    let stats = json(&output);
    assert_eq!(
        (&stats["groups"], &stats["blobs"], &stats["payload_bytes"]),
        (&2.into(), &202.into(), &(200 * 20_000 + 1000 + 5).into())
    );
    assert_eq!(stats["devices"]["within_1_day"], 1, "{stats}");
    assert_eq!(
        stats["largest_groups_bytes"][0],
        200 * 20_000 + 1000,
        "{stats}"
    );
    let text = stdout(&relay(&data, &["stats"]));
    for id in [
        group(&keys(1)).to_string(),
        device.endpoint.id().to_string(),
    ] {
        for text in [&text, &String::from_utf8(output.stdout.clone()).unwrap()] {
            assert!(!text.contains(&id) && !text.contains(&id[..8]), "{text}");
        }
    }

    let refused = stderr(&relay(&data, &["gc", "--vacuum"]));
    assert!(refused.contains("stop the relay first"), "{refused}");
    // The blobs are due within a second or two; whatever is due goes each time.
    let patience = tokio::time::Instant::now() + crate::common::PATIENCE;
    let after = loop {
        stdout(&relay(&data, &["gc"]));
        let stats = json(&relay(&data, &["stats", "--json"]));
        if stats["blobs"] == 2 {
            break stats;
        }
        assert!(tokio::time::Instant::now() < patience, "{stats}");
    };
    let size = |stats: &Value| stats["database_bytes"].as_u64().unwrap();
    assert!(size(&after) < size(&stats) / 4, "{after} {stats}");
    assert_eq!(after["database_free_bytes"], 0);
    assert!(session.push(254, b"still here").await > 200);

    running.shutdown().await;
    let text = stdout(&relay(&data, &["gc", "--vacuum"]));
    assert!(text.starts_with("deleted 0 blobs"), "{text}");
    let missing = stderr(&relay(&folder.path().join("none"), &["stats"]));
    assert!(missing.contains("there is no database"), "{missing}");
}
