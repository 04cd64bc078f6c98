//! S-CONC: much happens at once.

use std::time::Duration;

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("S-CONC-01", "two push at once over bad lines", two_pushers),
    Scenario::new("S-CONC-02", "push in the middle of a pull", push_in_pull),
    Scenario::new("S-CONC-03", "five devices push at once", five).with_page(),
    Scenario::new("S-CONC-04", "1,000 versions behind", behind).with_page(),
];

fn two_pushers(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let faults = Faults {
            loss: 0.02,
            ..Faults::jitter(30, 25)
        };
        fleet.fault_all("30 ± 25 ms, 2 % loss", &faults);
        fleet.push_all(800).await?;
        fleet.until_log(0, 1_600).await?;
        fleet.until_log(1, 1_600).await
    })
}

fn push_in_pull(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        fleet.devices[1].close().await?;
        fleet.push_sized(0, 1_500, 512).await?;
        fleet.devices[0].flush().await?;
        fleet.devices[1].open().await?;
        fleet.fault(
            "2 Mbit/s",
            &[1],
            &Faults::default(),
            &Faults::bits_per_second(2_000_000),
        );
        fleet.until_log(1, 100).await?;
        fleet.push(1, 300).await?;
        fleet.push(0, 300).await?;
        fleet.until_log(0, 2_100).await?;
        fleet.until_log(1, 2_100).await
    })
}

fn five(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page, Udp, WebSocket]).await?;
        fleet.fault("5 % loss", &[0, 1], &Faults::loss(5.0), &Faults::loss(5.0));
        fleet.fault(
            "80 ± 60 ms",
            &[2, 3],
            &Faults::jitter(80, 60),
            &Faults::jitter(80, 60),
        );
        fleet.push_all(120).await?;
        fleet.until_log(0, 600).await
    })
}

fn behind(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        fleet.push_all(5).await?;
        fleet.begin("b and c are off");
        fleet.devices[1].close().await?;
        fleet.devices[2].close().await?;
        fleet.push(0, 1_000).await?;
        fleet.devices[0].flush().await?;
        fleet.end();
        fleet.fault("100 ms", &[1, 2], &Faults::delay(100), &Faults::delay(100));
        fleet.devices[1].open().await?;
        fleet.devices[2].open().await?;
        fleet.last(Duration::from_millis(200)).await;
        fleet.until_log(1, 1_015).await?;
        fleet.until_log(2, 1_015).await
    })
}
