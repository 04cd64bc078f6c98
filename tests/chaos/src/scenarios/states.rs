//! S-SM: the connection goes in every state of a session.

use std::time::Duration;

use anyhow::Result;

use crate::device::Kind::{Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::{Accept, Faults};
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("S-SM-01", "disconnected in push, again and again", in_push),
    Scenario::new("S-SM-02", "disconnected in pull, again and again", in_pull),
    Scenario::new(
        "S-SM-03",
        "disconnected while an older relay is repaired",
        in_repair,
    ),
    Scenario::new("S-SM-04", "on and off every 300 ms", alternation),
];

fn in_push(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        for after in [3_000, 20_000, 60_000] {
            fleet.begin("cut in push");
            for index in 0..2 {
                let lane = fleet.devices[index].lane.clone();
                lane.tcp.up.cut_after(after);
                lane.udp.up.cut_after(after);
                fleet.push_sized(index, 100, 1024).await?;
            }
            fleet.last(Duration::from_secs(2)).await;
            fleet.heal();
        }
        Ok(())
    })
}

fn in_pull(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Udp]).await?;
        for index in [1, 2] {
            fleet.devices[index].close().await?;
        }
        fleet.push_sized(0, 1_200, 1024).await?;
        fleet.devices[0].flush().await?;
        for after in [30_000, 250_000, 600_000] {
            fleet.begin("cut in pull");
            for index in [1, 2] {
                let lane = fleet.devices[index].lane.clone();
                lane.tcp.down.cut_after(after);
                lane.udp.down.cut_after(after);
                fleet.devices[index].open().await?;
            }
            fleet.last(Duration::from_secs(3)).await;
            fleet.heal();
        }
        Ok(())
    })
}

/// The relay comes back with an older database: devices give it back what it lost, and are cut while they do.
fn in_repair(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(100).await?;
        settled(fleet, 200).await?;
        fleet.kill_relay().await?;
        let backup = fleet.backup_relay()?;
        fleet.start_relay().await?;
        for index in 0..2 {
            fleet.push_sized(index, 500, 1024).await?;
        }
        settled(fleet, 1_200).await?;
        fleet.kill_relay().await?;
        fleet.restore_relay(&backup)?;
        fleet.begin("older relay, cut in repair");
        for index in 0..2 {
            let lane = fleet.devices[index].lane.clone();
            lane.tcp.up.cut_after(80_000);
            lane.udp.up.cut_after(80_000);
        }
        fleet.start_relay().await?;
        fleet.last(Duration::from_secs(8)).await;
        fleet.heal();
        // Somebody who comes now gets everything from the relay, and so shows that it has been repaired.
        let late = fleet.stranger(Udp).await?;
        fleet.join(late).await?;
        fleet.until_log(late, 1_200).await
    })
}

async fn settled(fleet: &Fleet, blobs: u64) -> Result<()> {
    for (index, device) in fleet.devices.iter().enumerate() {
        device.flush().await?;
        fleet.until_log(index, blobs).await?;
    }
    Ok(())
}

fn alternation(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        for round in 0..30 {
            if round % 2 == 0 {
                fleet.fault_all("off", &Faults::partition());
                for device in &fleet.devices {
                    device.lane.set_accept(Accept::Refuse);
                    device.lane.cut();
                }
            } else {
                fleet.heal();
            }
            fleet.push_all(3).await?;
            fleet.last(Duration::from_millis(300)).await;
        }
        Ok(())
    })
}
