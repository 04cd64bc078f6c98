//! C-STOR: disks are full, forget nothing, or change what they hold.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::disk;
use crate::fleet::Fleet;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new(
        "C-STOR-01",
        "the relay's disk is full, then has room again",
        relay_full,
    ),
    Scenario::new(
        "C-STOR-02",
        "a device's disk is full, then has room again",
        device_full,
    ),
    Scenario::new(
        "C-STOR-03",
        "a bit turns in the relay's database",
        relay_rots,
    ),
    Scenario::new(
        "C-STOR-04",
        "a bit turns in a device's database",
        device_rots,
    ),
    Scenario::new("C-STOR-05", "everything is killed and started again", cold).with_page(),
    Scenario::new("C-STOR-06", "the relay's database is lost", lost).with_page(),
];

const KIB: usize = 1024;

fn relay_full(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.kill_relay().await?;
        // Its log is a file too, which must not be the first to be full.
        fleet.relay.log_only("warn,zerok_sync_relay=debug");
        fleet.start_relay().await?;
        fleet.push_all(10).await?;
        fleet.expect_error("cannot write to the database; check the disk");
        fleet.begin("relay's disk full");
        let largest = disk::largest_file(fleet.relay.data())?.max(fleet.relay.log().len() as u64);
        fleet.relay.limit_files(Some(largest + 6 * 1024 * 1024))?;
        for _ in 0..8 {
            fleet.push_sized(0, 1, 900 * KIB).await?;
            fleet.push_sized(1, 1, 900 * KIB).await?;
        }
        fleet
            .until("a device is told", |fleet| {
                fleet.devices.iter().any(told_full)
            })
            .await?;
        fleet.push_all(10).await?;
        fleet.last(Duration::from_secs(2)).await;
        fleet.relay.limit_files(None)
    })
}

fn told_full(device: &crate::device::Device) -> bool {
    device.told_error("STORAGE_FAILED") || device.told_error("STORAGE_FULL")
}

fn device_full(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(10).await?;
        fleet.begin("a's disk full");
        let largest = disk::largest_file(&fleet.devices[0].setup.folder)?;
        fleet.limit_device(0, Some(largest + 200 * 1024)).await?;
        let bodies = fleet.bodies(60, 8 * KIB);
        let refused = fleet.devices[0].push(bodies, false).await?;
        ensure!(
            !refused.is_empty() && refused.len() < 60,
            "{} of 60 pushes were refused",
            refused.len()
        );
        let codes = ["STORAGE_FULL", "STORAGE_FAILED"];
        let wrong = refused
            .iter()
            .find(|(_, refusal)| !codes.contains(&refusal.code.as_str()));
        ensure!(
            wrong.is_none(),
            "a push was refused for another reason: {wrong:?}"
        );
        // What others push has no room there either, and must come later.
        fleet.push_sized(1, 60, 8 * KIB).await?;
        fleet.devices[1].flush().await?;
        fleet
            .until("the full device says so", |fleet| {
                told_full(&fleet.devices[0])
            })
            .await?;
        fleet.limit_device(0, None).await
    })
}

/// Who has the blob keeps it; who gets it damaged says so, delivers nothing for it, and gets everything else.
fn relay_rots(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_sized(0, 30, 2 * KIB).await?;
        fleet.push_sized(1, 30, 2 * KIB).await?;
        fleet.until_log(0, 60).await?;
        fleet.until_log(1, 60).await?;
        fleet.kill_relay().await?;
        disk::turn_bit(
            &fleet.relay.database(),
            "SELECT payload FROM blobs WHERE size > 2000 LIMIT 1 OFFSET 20",
        )?;
        fleet.begin("relay has a damaged blob");
        fleet.start_relay().await?;
        let late = fleet.stranger(Udp).await?;
        fleet.join(late).await?;
        fleet.expect_damage(late, 1, "BLOB_REJECTED");
        fleet.until_log(late, 59).await
    })
}

fn device_rots(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_sized(0, 30, 2 * KIB).await?;
        fleet.push_sized(1, 30, 2 * KIB).await?;
        settled(fleet, 60).await?;
        fleet.devices[0].kill().await?;
        let database = fleet.devices[0].setup.folder.join("device.db");
        disk::turn_bit(
            &database,
            "SELECT record FROM log WHERE length(record) > 2000 LIMIT 1 OFFSET 20",
        )?;
        fleet.begin("a has a damaged blob");
        fleet.devices[0].open().await?;
        fleet.expect_damage(0, 1, "STORAGE_FAILED");
        fleet.push_all(10).await
    })
}

async fn settled(fleet: &Fleet, blobs: u64) -> Result<()> {
    for (index, device) in fleet.devices.iter().enumerate() {
        fleet.until_log(index, blobs).await?;
        device.flush().await.context("flush")?;
    }
    Ok(())
}

fn cold(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        for _ in 0..2 {
            fleet.push_all(60).await?;
            fleet.begin("everything is off");
            fleet.kill_relay().await?;
            for device in &fleet.devices {
                device.kill().await?;
            }
            for device in &fleet.devices {
                device.open().await?;
            }
            fleet.push_all(20).await?;
            fleet.start_relay().await?;
            fleet.end();
        }
        Ok(())
    })
}

/// Devices give back what they have; who joins later gets it.
fn lost(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(100).await?;
        settled(fleet, 300).await?;
        fleet.begin("database lost");
        fleet.kill_relay().await?;
        disk::remove_database(&fleet.relay.database())?;
        fleet.start_relay().await?;
        fleet.push_all(10).await?;
        settled(fleet, 330).await?;
        let late = fleet.stranger(WebSocket).await?;
        fleet.join(late).await?;
        fleet.until_log(late, 330).await
    })
}
