//! The history that a process shows, and what it takes for granted of it.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;
use zerok_sync_shared::ids::{GroupId, Incarnation};

/// One history of blobs. It lasts as long as the process, unless the database is set back under it: then another one
/// begins, and whoever was told of the former has to come back.
#[derive(Debug, Clone)]
pub struct Run {
    /// What devices are told of it.
    pub id: Incarnation,
    over: CancellationToken,
}

impl Run {
    pub(super) fn new(id: Incarnation) -> Self {
        Self {
            id,
            over: CancellationToken::new(),
        }
    }

    /// Ends it, and begins the next one. Its id only has to be another one: the first of a process is random.
    pub(super) fn end(&mut self) {
        let next = u128::from_le_bytes(self.id.0).wrapping_add(1);
        let next = Self::new(Incarnation(next.to_le_bytes()));
        std::mem::replace(self, next).over.cancel();
    }

    /// Whether another one has begun.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until another one begins. Cancel-safe.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }
}

/// What is known of groups before the database is asked: as long as it is in the same run, it has at least that.
#[derive(Debug)]
pub struct Known {
    /// The run in which that holds.
    pub run: Incarnation,
    pub(super) cursors: HashMap<GroupId, u64>,
}

impl Known {
    /// The groups.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.cursors.keys().copied().collect()
    }

    /// Whether the database cannot have so little.
    pub(super) fn contradicts(&self, group: GroupId, newest: u64) -> bool {
        self.cursors
            .get(&group)
            .is_some_and(|known| newest < *known)
    }
}
