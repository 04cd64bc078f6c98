//! What the relay holds, for everybody who asks: counted once in a while, however often that is.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::limits;
use crate::storage::{Stats, Storage, StorageError};

/// The numbers, and when they were counted.
pub struct Holdings {
    storage: Arc<dyn Storage>,
    counted: Mutex<Option<(Instant, Stats)>>,
}

impl Holdings {
    /// Nothing is counted yet.
    #[must_use]
    pub fn of(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            counted: Mutex::default(),
        }
    }

    /// The numbers of now or of [`limits::HOLDINGS_AGE`] ago at most. Who asks while they are being counted waits for them.
    ///
    /// # Errors
    /// When the database cannot be read; the next one who asks tries again.
    pub async fn get(&self) -> Result<Stats, StorageError> {
        let mut counted = self.counted.lock().await;
        if let Some((at, stats)) = *counted
            && at.elapsed() < limits::HOLDINGS_AGE
        {
            return Ok(stats);
        }
        *counted = None;
        let stats = self.storage.stats().await?;
        *counted = Some((Instant::now(), stats));
        Ok(stats)
    }
}
