//! A backup made under load is a relay again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::{Device, patient, wait_until, world};
use serde_json::Value;
use zerok_sync_client::Path;
use zerok_sync_tests::relay::{RelayProcess, keeper};

/// Blobs before the backup starts, and at least so many while it and the other commands run.
const BEFORE: usize = 100;

fn text(n: usize) -> String {
    format!("{n:06}{}", "x".repeat(3000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_is_restored_and_nothing_acknowledged_is_lost() {
    let world = world().await;
    let data = world.folder.path().join("data");
    let a = Arc::new(Device::open(world.relay.url(), Path::Any).await);
    let b = Device::open(world.relay.url(), Path::WebSocket).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;

    let pushed = Arc::new(AtomicUsize::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (a, pushed, enough) = (a.clone(), pushed.clone(), enough.clone());
        async move {
            while !enough.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let n = pushed.load(Ordering::Relaxed);
                    a.push(group, &text(n)).await;
                    pushed.store(n + 1, Ordering::Relaxed);
                }
                a.flush(group).await;
            }
        }
    });
    let pushed_more_than = |count| {
        let pushed = pushed.clone();
        move || pushed.load(Ordering::Relaxed) > count
    };
    wait_until("there is something to back up", pushed_more_than(BEFORE)).await;
    let target = world.folder.path().join("backup");
    let target = target.to_str().unwrap();
    let started = pushed.load(Ordering::Relaxed);
    let output = keeper(&data, &["backup", target]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    // What else a keeper does beside a relay under load.
    for args in [&["gc"][..], &["stats"]] {
        let output = keeper(&data, args).await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let done = pushed.load(Ordering::Relaxed);
    assert!(done > started, "pushes went on meanwhile");
    wait_until(
        "there is more than the backup has",
        pushed_more_than(done + BEFORE),
    )
    .await;
    enough.store(true, Ordering::Relaxed);
    patient(load).await.unwrap();
    let count = pushed.load(Ordering::Relaxed);
    let expected: Vec<String> = (0..count).map(text).collect();
    assert!(b.wait_texts(group, count).await == expected);
    assert_eq!(
        a.client.group_view(group).unwrap().pending,
        0,
        "all is acknowledged"
    );
    let manifest = std::fs::read(format!("{target}/backup.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let backed_up = manifest["blobs"].as_u64().unwrap();
    assert!(
        (BEFORE as u64..count as u64).contains(&backed_up),
        "{backed_up} of {count}"
    );

    // The machine is lost. Another takes its place, with the backup.
    let mut options = world.relay.kill().await.unwrap();
    for device in [&*a, &b] {
        // They would notice by themselves, but later.
        device.client.network_changed(false);
    }
    options.data = world.folder.path().join("restored");
    let output = keeper(&options.data, &["restore", target]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let relay = RelayProcess::start(options).await.unwrap();
    for device in [&*a, &b] {
        device.client.network_changed(true);
    }
    // Somebody new learns it all from the relay alone.
    let c = Device::open(relay.url(), Path::Any).await;
    patient(c.join(&a, group)).await;
    assert!(
        c.wait_texts(group, count).await == expected,
        "everything, once, in order"
    );
    b.push(group, "from b").await;
    b.flush(group).await;
    for device in [&*a, &b, &c] {
        let texts = device.wait_texts(group, count + 1).await;
        assert_eq!(texts.len(), count + 1);
        assert_eq!(texts.last().map(String::as_str), Some("from b"));
    }
}
