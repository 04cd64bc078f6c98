//! A relay whose disk is full.
#![cfg(target_os = "linux")]

use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::process::{Child, Command as Spawn};
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::{InviteOptions, Path};
use zerok_sync_tests::raw::{http, spawn_relay};
use zerok_sync_tests::relay::{Options, RelayProcess};

use crate::common::{Device, patient, wait_until};

/// A small file system of its own; only root can make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs"],
            folder.path(),
        )
        .then(|| Self(folder))
    }

    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(run("mount", &["-o", &size], self.0.path()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.0.path());
    }
}

fn run(program: &str, args: &[&str], last: &FilePath) -> bool {
    let output = Command::new(program).args(args).arg(last).output();
    output.is_ok_and(|output| output.status.success())
}

const TEXT_LEN: usize = 8000;
/// Pushes after the disk is full.
const WAITING: usize = 40;

fn text(n: usize) -> String {
    format!("{n:06}{}", "x".repeat(TEXT_LEN))
}

/// Pushes until the relay refuses, then some more.
async fn fill(device: &Device, group: GroupId) -> usize {
    for n in 0..2_000 {
        if device.errors().contains(&"STORAGE_FAILED") {
            for more in n..n + WAITING {
                device.push(group, &text(more)).await;
            }
            return n + WAITING;
        }
        device.push(group, &text(n)).await;
        if n % 20 == 19 {
            let few = || device.client.group_view(group).unwrap().pending < 20;
            wait_until("pushes arrive or are refused", || {
                few() || device.errors().contains(&"STORAGE_FAILED")
            })
            .await;
        }
    }
    panic!("the disk does not get full");
}

async fn health(url: &str) -> u16 {
    http()
        .unwrap()
        .get(format!("{url}/health"))
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// What holds while the disk is full. A relay that was refused room can have some again, when its log has been moved to the
/// database: so until it has none for anything, more is pushed. Gives how much that was.
async fn assert_full(device: &Device, group: GroupId, mut count: usize, url: &str) -> usize {
    let is_shown = || {
        let error = device.client.group_view(group).unwrap().error;
        error.is_some_and(|error| error.code == "STORAGE_FAILED")
    };
    patient(async {
        // Who watches the relay sees it too. Its probe is larger than one push, so it may take the last room first.
        while health(url).await != 503 || !is_shown() {
            if device.client.group_view(group).unwrap().pending < WAITING {
                device.push(group, &text(count)).await;
                count += 1;
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await;
    let view = device.client.group_view(group).unwrap();
    assert!(view.pending > 0, "{}", view.pending);
    let error = view.error.unwrap();
    assert_eq!((error.code, error.retryable), ("STORAGE_FAILED", true));
    assert_eq!(
        device.texts(group).await.len(),
        count,
        "nothing is lost on the device"
    );
    count
}

/// What holds when there is room again.
async fn assert_all_arrives(device: &Device, other: &Device, group: GroupId, count: usize) {
    device.client.network_changed(true);
    other.client.network_changed(true);
    device.flush(group).await;
    let expected: Vec<String> = (0..count).map(text).collect();
    assert!(
        other.wait_texts(group, count).await == expected,
        "everything, once, in order"
    );
    assert_eq!(device.client.group_view(group).unwrap().error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_pushes_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(6) else {
        eprintln!(
            "skipped: only root can mount a small disk; the limit on file sizes is tested instead"
        );
        return;
    };
    let logs = tempfile::tempdir().unwrap();
    let mut options = Options::in_folder(disk.0.path());
    options.log = logs.path().join("relay.log");
    options.args = vec!["--min-free-disk".into(), "0".into()];
    let relay = RelayProcess::start(options).await.unwrap();
    let a = Device::open(relay.url(), Path::Any).await;
    let b = Device::open(relay.url(), Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let count = fill(&a, group).await;
    let count = assert_full(&a, group, count, relay.url()).await;

    // What was acknowledged is there after a crash on the full disk.
    let acknowledged = count - a.client.group_view(group).unwrap().pending;
    let options = relay.kill().await.unwrap();
    disk.grow(64);
    let relay = RelayProcess::start(options).await.unwrap();
    let c = Device::open(relay.url(), Path::Any).await;
    let invite = {
        a.client.network_changed(true);
        patient(a.client.create_invite(group, InviteOptions::default()))
            .await
            .unwrap()
    };
    patient(c.client.join(&invite.link)).await.unwrap();
    assert!(c.wait_texts(group, acknowledged).await.len() >= acknowledged);
    assert_all_arrives(&a, &b, group, count).await;
    assert_all_arrives(&a, &c, group, count).await;
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_runs_out_of_room_goes_on_by_itself_when_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = limited_relay(&folder.path().join("data")).await;
    let a = Device::open(&url, Path::Any).await;
    let b = Device::open(&url, Path::Any).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    let count = fill(&a, group).await;
    let count = assert_full(&a, group, count, &url).await;

    let pid = child.id().unwrap().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(lifted.success());
    assert_all_arrives(&a, &b, group, count).await;
    assert_eq!(health(&url).await, 200);
}

/// A relay whose files cannot grow past 6 MiB, until the limit is lifted.
async fn limited_relay(data: &FilePath) -> (Child, String) {
    // The signal is ignored, so that writing fails instead of ending the process.
    let script = "trap '' XFSZ; prlimit --pid $$ --fsize=6291456:unlimited && exec \"$0\" \"$@\"";
    let mut command = Spawn::new("sh");
    command
        .args(["-c", script])
        .arg(relay_binary())
        .arg("--data-dir")
        .arg(data);
    command
        .args(["--bind", "127.0.0.1", "--port", "0"])
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::null());
    spawn_relay(&mut command).await.unwrap()
}

fn relay_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RELAY_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let found = test
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("zerok-relay"))
        .find(|path| path.is_file());
    found.expect("the relay is built")
}
