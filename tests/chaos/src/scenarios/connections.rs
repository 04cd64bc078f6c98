//! T-CONN: connections and processes end, hang or lie.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::{Accept, Faults};
use crate::protocol::Op;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new(
        "T-CONN-01",
        "the relay is killed in the middle of a sync",
        relay_killed,
    )
    .with_page(),
    Scenario::new(
        "T-CONN-02",
        "a device is killed in the middle of its pushes",
        device_killed,
    ),
    Scenario::new("T-CONN-03", "all are cut off at once", cut_off),
    Scenario::new("T-CONN-04", "ten reconnects in five seconds", reconnects),
    Scenario::new(
        "T-CONN-05",
        "half-open connections: accepted, never answered",
        half_open,
    )
    .with_page(),
    Scenario::new("T-CONN-06", "the relay hangs for 25 s", relay_hangs),
    Scenario::new("T-CONN-07", "devices hang for 25 s", devices_hang).with_page(),
    Scenario::new(
        "T-CONN-08",
        "the browser is killed in the middle of its pushes",
        browser_killed,
    )
    .with_page(),
    Scenario::new(
        "T-CONN-09",
        "packets reach the relay, and none comes back",
        one_way,
    ),
];

fn relay_killed(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push(0, 400).await?;
        fleet.until_log(1, 50).await?;
        fleet.begin("relay killed");
        fleet.kill_relay().await?;
        fleet.push_all(50).await?;
        fleet.start_relay().await
    })
}

/// Kills a device once so many of its pushes have resolved, and opens it again.
async fn kill_while_pushing(fleet: &mut Fleet, victim: usize, promised: usize) -> Result<()> {
    let bodies = fleet.bodies(4_000, 200);
    let device = &fleet.devices[victim];
    let before = device.record().promised.len();
    let pushing = async { device.push(bodies, false).await.is_err() };
    let killing = async {
        let enough = format!("{promised} pushes have resolved");
        fleet
            .until(&enough, |_| {
                device.record().promised.len() >= before + promised
            })
            .await?;
        device.kill().await
    };
    let (interrupted, killed) = tokio::join!(pushing, killing);
    killed?;
    anyhow::ensure!(interrupted, "the device was done before it was killed");
    fleet.begin("device off");
    fleet.push(usize::from(victim == 0), 20).await?;
    fleet.devices[victim].open().await?;
    fleet.end();
    Ok(())
}

fn device_killed(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        for promised in [5, 150, 400] {
            kill_while_pushing(fleet, 0, promised).await?;
            kill_while_pushing(fleet, 1, promised).await?;
        }
        Ok(())
    })
}

fn browser_killed(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, Page]).await?;
        for promised in [10, 60] {
            kill_while_pushing(fleet, 1, promised).await?;
        }
        Ok(())
    })
}

fn cut_off(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(30).await?;
        fleet.fault_all("cut off", &Faults::partition());
        for index in 0..2 {
            fleet.accept("connections refused", index, Accept::Refuse);
            fleet.devices[index].lane.cut();
        }
        fleet.push_all(30).await?;
        fleet.last(Duration::from_secs(5)).await;
        fleet.push_all(30).await
    })
}

fn reconnects(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.begin("ten reconnects");
        for _ in 0..10 {
            fleet.push_all(5).await?;
            for device in &fleet.devices {
                device.lane.cut();
            }
            for online in [false, true] {
                let told = fleet
                    .devices
                    .iter()
                    .map(|device| device.call::<Value>(Op::Network { online }));
                join_all(told).await;
            }
            fleet.last(Duration::from_millis(500)).await;
        }
        Ok(())
    })
}

fn half_open(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(20).await?;
        // What stands goes dead without a word, and what is opened now is never answered.
        fleet.fault_all("half-open", &Faults::partition());
        for index in 0..3 {
            fleet.devices[index].lane.set_accept(Accept::Swallow);
        }
        fleet.push_all(20).await?;
        fleet.last(Duration::from_secs(25)).await;
        fleet.push_all(5).await
    })
}

fn relay_hangs(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(20).await?;
        fleet.begin("relay hangs");
        fleet.relay.freeze()?;
        fleet.push_all(20).await?;
        fleet.last(Duration::from_secs(25)).await;
        fleet.relay.thaw()
    })
}

fn devices_hang(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page, Udp]).await?;
        fleet.push_all(20).await?;
        // What they have promised is with the relay before they hang.
        fleet.until_log(0, 80).await?;
        fleet.begin("b and c hang");
        for index in [1, 2] {
            fleet.devices[index].freeze().await;
        }
        fleet.push(0, 50).await?;
        fleet.push(3, 50).await?;
        fleet.until_log(0, 180).await?;
        fleet.last(Duration::from_secs(25)).await;
        for index in [1, 2] {
            fleet.devices[index].thaw().await;
        }
        fleet.push_all(10).await
    })
}

fn one_way(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.push_all(20).await?;
        fleet.fault(
            "nothing comes back",
            &[0, 1],
            &Faults::default(),
            &Faults::partition(),
        );
        fleet.push_all(40).await?;
        fleet.last(Duration::from_secs(20)).await;
        Ok(())
    })
}
