//! Where a device keeps its key, its groups and their logs.

use async_trait::async_trait;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, LogRecord, StoredGroup};

pub use memory::MemoryStore;

mod memory;
pub mod suite;

/// Bounds that hold natively and are dropped in a browser, where everything stays on one thread.
#[cfg(not(target_family = "wasm"))]
mod portable {
    /// `Send` where there are threads.
    pub trait MaybeSend: Send {}
    impl<T: Send + ?Sized> MaybeSend for T {}
    /// `Sync` where there are threads.
    pub trait MaybeSync: Sync {}
    impl<T: Sync + ?Sized> MaybeSync for T {}
}
#[cfg(target_family = "wasm")]
mod portable {
    /// `Send` where there are threads.
    pub trait MaybeSend {}
    impl<T: ?Sized> MaybeSend for T {}
    /// `Sync` where there are threads.
    pub trait MaybeSync {}
    impl<T: ?Sized> MaybeSync for T {}
}
pub use portable::{MaybeSend, MaybeSync};

/// Why a store refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room left.
    #[error("the device has no room left for this app's data; free some space")]
    Full,
    /// Another owner has taken the store over.
    #[error("another tab or program has taken over this database")]
    Taken,
    /// Anything else.
    #[error("the device's storage failed: {0}")]
    Failed(String),
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Full => code::STORAGE_FULL,
            StoreError::Taken => code::CLOSED,
            StoreError::Failed(_) => code::STORAGE_FAILED,
        };
        Self {
            retryable: error != StoreError::Taken,
            ..Self::new(code, error.to_string())
        }
    }
}

/// What a store holds when a device starts.
#[derive(Debug)]
pub struct Loaded {
    /// The device's secret key, unless this is its first start.
    pub device_key: Option<Secret>,
    /// Its groups, without their logs.
    pub groups: Vec<StoredGroup>,
}

/// A place for a device's data. Every implementation passes [`suite`].
#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
pub trait Store: MaybeSend + MaybeSync {
    /// Reads everything but the logs.
    async fn load(&self) -> Result<Loaded, StoreError>;

    /// Keeps the device's secret key, unless there is one already; gives the one that is kept.
    async fn keep_device_key(&self, key: &Secret) -> Result<Secret, StoreError>;

    /// Carries out all writes or none. When it returns, they survive a power cut.
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Records of a group's log after a position, in order: at most `max_records`, and at most `max_bytes` of payload
    /// but at least one record if there is one. An unknown group has an empty log.
    async fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, StoreError>;

    /// Lets go of whatever is open. Further calls may fail.
    async fn close(&self);
}
