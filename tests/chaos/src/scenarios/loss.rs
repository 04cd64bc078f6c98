//! T-LOSS: a part of what is sent never arrives.

use std::time::Duration;

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("T-LOSS-01", "5 % loss", |fleet| {
        pushing(fleet, "5 % loss", Faults::loss(5.0))
    }),
    Scenario::new("T-LOSS-02", "20 % loss", |fleet| {
        pushing(fleet, "20 % loss", Faults::loss(20.0))
    })
    .with_page(),
    Scenario::new("T-LOSS-03", "bursts of loss", |fleet| {
        pushing(fleet, "bursts", Faults::bursts(0.02, 0.15))
    }),
    Scenario::new("T-LOSS-04", "100 % loss for 30 s", blackout).with_page(),
    Scenario::new(
        "T-LOSS-05",
        "packets arrive twice and out of order",
        duplicated,
    ),
    Scenario::new(
        "T-LOSS-06",
        "2 % of the packets have a bit turned",
        |fleet| pushing(fleet, "turned bits", Faults::corrupt(2.0)),
    ),
];

/// Everybody pushes while the fault lasts, and everything arrives under it.
fn pushing<'a>(fleet: &'a mut Fleet, label: &'static str, faults: Faults) -> Running<'a> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        if label.starts_with("20") {
            fleet.group(&[Page]).await?;
        }
        fleet.fault_all(label, &faults);
        for _ in 0..6 {
            fleet.push_all(15).await?;
            fleet.last(Duration::from_millis(500)).await;
        }
        let all = 90 * fleet.devices.len() as u64;
        fleet.until_log(0, all).await?;
        fleet.until_log(1, all).await
    })
}

fn blackout(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(10).await?;
        fleet.fault_all("100 % loss", &Faults::loss(100.0));
        fleet.push_all(20).await?;
        fleet.last(Duration::from_secs(30)).await;
        fleet.push_all(5).await
    })
}

fn duplicated(fleet: &mut Fleet) -> Running<'_> {
    let faults = Faults {
        duplicate: 0.3,
        ..Faults::jitter(40, 40)
    };
    pushing(fleet, "30 % twice, 40 ± 40 ms", faults)
}
