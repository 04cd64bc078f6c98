//! T-BW: little gets through at a time.

use std::time::Duration;

use crate::device::Kind::{Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("T-BW-01", "56 kbit/s", modem),
    Scenario::new(
        "T-BW-02",
        "the line drops in the middle of large blobs",
        dropped,
    ),
    Scenario::new("T-BW-03", "2 Mbit/s down, 64 kbit/s up", asymmetric),
];

const KIB: usize = 1024;

fn modem(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.fault_all("56 kbit/s", &Faults::bits_per_second(56_000));
        fleet.push_sized(0, 20, KIB).await?;
        fleet.push_sized(1, 20, KIB).await?;
        fleet.until_log(0, 40).await?;
        fleet.until_log(1, 40).await
    })
}

/// Three times, after another part of a blob of a megabyte.
fn dropped(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        for part in [100, 400, 700] {
            for index in 0..2 {
                let lane = fleet.devices[index].lane.clone();
                lane.tcp.up.cut_after(part * 1024);
                lane.udp.up.cut_after(part * 1024);
                fleet.begin("the line drops");
                fleet.push_sized(index, 2, 900 * KIB).await?;
                fleet.last(Duration::from_secs(3)).await;
                fleet.heal();
            }
        }
        Ok(())
    })
}

fn asymmetric(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let (up, down) = (
            Faults::bits_per_second(64_000),
            Faults::bits_per_second(2_000_000),
        );
        fleet.fault("64 kbit/s up", &[0, 1], &up, &down);
        fleet.push_sized(0, 24, KIB).await?;
        fleet.push_sized(1, 24, KIB).await?;
        fleet.until_log(0, 48).await?;
        fleet.until_log(1, 48).await
    })
}
