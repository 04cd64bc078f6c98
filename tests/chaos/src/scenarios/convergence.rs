//! S-CONV: what was apart comes together.

use std::time::Duration;

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::{Accept, Faults};
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new(
        "S-CONV-01",
        "after a partition in which all pushed",
        partition,
    )
    .with_page(),
    Scenario::new("S-CONV-02", "after a restart of the relay", restart),
    Scenario::new("S-CONV-03", "after asymmetric chaos", asymmetric).with_page(),
];

fn partition(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(20).await?;
        fleet.fault(
            "a and c cut off",
            &[0, 2],
            &Faults::partition(),
            &Faults::partition(),
        );
        for _ in 0..6 {
            fleet.push_all(20).await?;
            fleet.last(Duration::from_secs(2)).await;
        }
        Ok(())
    })
}

fn restart(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        for _ in 0..3 {
            fleet.push_all(60).await?;
            fleet.begin("relay off");
            fleet.stop_relay().await?;
            fleet.push_all(20).await?;
            fleet.start_relay().await?;
            fleet.end();
        }
        Ok(())
    })
}

/// One device has a bad UDP, one a bad WebSocket, the third neither.
fn asymmetric(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        let bad = Faults {
            loss: 0.2,
            duplicate: 0.1,
            corrupt: 0.02,
            ..Faults::jitter(120, 110)
        };
        let lane = fleet.devices[0].lane.clone();
        fleet.begin("bad UDP for a, cuts for b");
        lane.udp.up.set(bad.clone());
        lane.udp.down.set(bad);
        for round in 0..8 {
            fleet.push_all(25).await?;
            let lane = fleet.devices[1].lane.clone();
            lane.cut();
            lane.set_accept(if round % 3 == 2 {
                Accept::Refuse
            } else {
                Accept::Forward
            });
            fleet.last(Duration::from_secs(1)).await;
        }
        Ok(())
    })
}
