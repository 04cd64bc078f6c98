//! T-LAT: everything arrives, but late.

use std::time::Duration;

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("T-LAT-01", "200 ms each way", both_ways).with_page(),
    Scenario::new(
        "T-LAT-02",
        "200 ± 150 ms, packets overtake each other",
        jitter,
    ),
    Scenario::new(
        "T-LAT-03",
        "500 ms up, 20 ms down, and the reverse",
        asymmetric,
    ),
    Scenario::new("T-LAT-04", "600 ms each way, as by satellite", satellite).with_page(),
];

/// Blobs that each device pushes under the fault.
const BLOBS: usize = 40;

fn both_ways(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.fault_all("200 ms", &Faults::delay(200));
        fleet.push_all(BLOBS).await?;
        fleet.until_log(0, 3 * BLOBS as u64).await
    })
}

fn jitter(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.fault_all("200 ± 150 ms", &Faults::jitter(200, 150));
        for _ in 0..5 {
            fleet.push_all(BLOBS / 2).await?;
            fleet.last(Duration::from_secs(1)).await;
        }
        fleet.until_log(1, 5 * BLOBS as u64).await
    })
}

fn asymmetric(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.fault(
            "500 ms up, 20 down",
            &[0],
            &Faults::delay(500),
            &Faults::delay(20),
        );
        fleet.fault(
            "20 ms up, 500 down",
            &[1],
            &Faults::delay(20),
            &Faults::delay(500),
        );
        fleet.push_all(BLOBS).await?;
        fleet.until_log(0, 2 * BLOBS as u64).await?;
        fleet.until_log(1, 2 * BLOBS as u64).await
    })
}

/// Also joining has to work over such a line.
fn satellite(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, Page]).await?;
        let late = fleet.stranger(WebSocket).await?;
        fleet.fault_all("600 ms", &Faults::delay(600));
        fleet.push(0, BLOBS).await?;
        fleet.join(late).await?;
        fleet.push_all(BLOBS).await?;
        fleet.until_log(late, 4 * BLOBS as u64).await
    })
}
