//! S-BLOB: many blobs, equal blobs, empty blobs.

use crate::device::Kind::{Page, Udp, WebSocket};
use crate::fleet::Fleet;
use crate::net::faults::Faults;
use crate::protocol::Body;
use crate::scenario::{Running, Scenario};

pub const ALL: &[Scenario] = &[
    Scenario::new("S-BLOB-01", "10,000 blobs of 1 KiB", many),
    Scenario::new("S-BLOB-02", "the same content from two devices", same),
    Scenario::new("S-BLOB-03", "empty blobs, and the largest", empty).with_page(),
];

fn many(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let (one, other) = (fleet.bodies(5_000, 970), fleet.bodies(5_000, 970));
        fleet.fault_all("20 ms", &Faults::delay(20));
        let (a, b) = tokio::join!(
            fleet.devices[0].push(one, true),
            fleet.devices[1].push(other, true)
        );
        anyhow::ensure!(a?.is_empty() && b?.is_empty(), "a push was refused");
        fleet.until_log(0, 10_000).await?;
        fleet.until_log(1, 10_000).await
    })
}

/// Each push is a blob of its own, whatever it says.
fn same(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket]).await?;
        let bodies = fleet.bodies(100, 300);
        fleet.fault_all("10 % loss", &Faults::loss(10.0));
        for device in &fleet.devices {
            anyhow::ensure!(
                device.push(bodies.clone(), false).await?.is_empty(),
                "a push was refused"
            );
        }
        fleet.until_log(0, 200).await?;
        fleet.until_log(1, 200).await
    })
}

fn empty(fleet: &mut Fleet) -> Running<'_> {
    Box::pin(async move {
        fleet.group(&[Udp, WebSocket, Page]).await?;
        let nothing = Body {
            head: String::new(),
            pad: 0,
        };
        let largest = Body {
            head: String::new(),
            pad: 1024 * 1024,
        };
        fleet.fault_all("40 ms", &Faults::delay(40));
        for device in &fleet.devices {
            let bodies = vec![nothing.clone(), largest.clone(), nothing.clone()];
            anyhow::ensure!(
                device.push(bodies, false).await?.is_empty(),
                "a push was refused"
            );
        }
        fleet.until_log(0, 9).await?;
        fleet.until_log(2, 9).await
    })
}
