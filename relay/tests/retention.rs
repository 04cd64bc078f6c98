//! A real relay that deletes what every device has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use crate::common::{Device, PATIENCE, Session, Way, config, keys};
use zerok_sync_relay::Relay;
use zerok_sync_shared::ids::BlobId;
use zerok_sync_shared::message::{Message, Pull};

#[tokio::test(flavor = "multi_thread")]
async fn what_both_devices_acknowledged_goes_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.delete_acked = true;
    config.cleanup_interval = Duration::from_millis(50);
    let relay = Relay::start(config).await.unwrap();
    let keys = keys(1);
    let first = Device::connect(relay.http_url(), Way::Udp).await;
    let mut one = first.session(&keys).await;
    for id in 1..=3 {
        assert_eq!(one.push(id, b"for both").await, u64::from(id));
    }
    one.send(Message::Ack { cursor: 3 }).await;

    // The first was alone, and the second gets everything.
    let second = Device::connect(relay.http_url(), Way::Udp).await;
    let mut two = second.session(&keys).await;
    assert_eq!(stored(&mut two).await, [1, 2, 3]);
    two.send(Message::Ack { cursor: 2 }).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while stored(&mut one).await != [3] {
        assert!(tokio::time::Instant::now() < deadline, "nothing is deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ids = [1, 2, 3].map(|id| BlobId([id; 16]));
    let has = Message::Has {
        blob_ids: ids.to_vec(),
    };
    one.send(has).await;
    let Message::HasResponse { marks } = one.receive().await else {
        panic!()
    };
    assert_eq!(marks.len(), 3, "nobody sends again what was deleted");
    assert_eq!(one.push(4, b"goes on").await, 4);
    assert_eq!(stored(&mut two).await, [3, 4]);
    relay.shutdown().await;
}

async fn stored(session: &mut Session) -> Vec<u64> {
    let pull = Pull {
        after_cursor: 0,
        limit: 100,
    };
    session.send(Message::Pull(pull)).await;
    loop {
        if let Message::PullResponse(page) = session.receive().await {
            return page.blobs.iter().map(|blob| blob.cursor).collect();
        }
    }
}
