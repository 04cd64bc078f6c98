//! What happens when a device's own storage is full or damaged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use crate::common::{Device, patient, wait_until, world};
use async_trait::async_trait;
use zerok_sync_client::shared::crypto::keys::Secret;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::shared::store::{Batch, LogRecord};
use zerok_sync_client::store::{Loaded, MemoryStore, Store, StoreError};
use zerok_sync_client::{ClientEvent, Path};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_device_refuses_pushes_and_still_closes() {
    let world = world().await;
    let store = MemoryStore::with_capacity(20_000);
    let a = Device::open_on(world.relay.url(), Path::Any, Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    let mut kept = Vec::new();
    let error = loop {
        let text = format!("{} {}", kept.len(), "x".repeat(3000));
        match a.client.push(group, text.clone().into(), 0).await {
            Ok(_) => kept.push(text),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.retryable), ("STORAGE_FULL", true));
    assert!(!kept.is_empty());
    assert_eq!(
        a.texts(group).await,
        kept,
        "a refused push leaves nothing behind"
    );

    store.set_capacity(None);
    a.push(group, "there is room again").await;
    a.flush(group).await;
    store.set_capacity(Some(0));
    assert!(a.client.push(group, "x".into(), 0).await.is_err());
    patient(a.client.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_room_gets_everything_when_it_has_room() {
    let world = world().await;
    let a = Device::open(world.relay.url(), Path::Any).await;
    let store = MemoryStore::new();
    let b = Device::open_on(world.relay.url(), Path::Any, Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    patient(b.join(&a, group)).await;
    patient(b.client.ready(group)).await.unwrap();
    store.set_capacity(Some(30_000));
    for n in 0..40 {
        a.push(group, &format!("{n} {}", "x".repeat(2000))).await;
    }
    a.flush(group).await;
    wait_until("the full device says so", || {
        b.errors().contains(&"STORAGE_FULL")
    })
    .await;
    store.set_capacity(None);
    let texts = b.wait_texts(group, 40).await;
    assert_eq!(texts, a.texts(group).await);
}

/// A store whose disk has changed one entry.
struct Rotten(MemoryStore, u64);

#[async_trait]
impl Store for Rotten {
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.0.load().await
    }

    async fn keep_device_key(&self, key: &Secret) -> Result<Secret, StoreError> {
        self.0.keep_device_key(key).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.0.commit(batch).await
    }

    async fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let mut records = self.0.read(group, after, max_records, max_bytes).await?;
        for record in records
            .iter_mut()
            .filter(|record| record.position == self.1)
        {
            let mut payload = record.payload.to_vec();
            payload[30] ^= 1;
            record.payload = payload.into();
        }
        Ok(records)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_told_and_hides_no_other() {
    let world = world().await;
    let store = MemoryStore::new();
    let a = Device::open_on(world.relay.url(), Path::Any, Arc::new(store.clone())).await;
    let group = a.client.create_group().await.unwrap();
    for text in ["one", "two", "three"] {
        a.push(group, text).await;
    }
    a.client.close().await;
    // The first entry of the log is what the device has said of itself.
    let a = Device::open_on(world.relay.url(), Path::Any, Arc::new(Rotten(store, 3))).await;
    assert_eq!(a.texts(group).await, ["one", "three"]);
    wait_until("the damage is told", || {
        let events = a.events.lock().unwrap();
        events.iter().any(|event| {
            matches!(event, ClientEvent::Error { error, .. }
                if error.code == "STORAGE_FAILED" && error.reason == Some("damaged"))
        })
    })
    .await;
}
