//! What one session has yet to be told. It is short: a device that reads slowly misses some.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use zerok_sync_shared::ids::DeviceId;
use zerok_sync_shared::message::{Ephemeral, Presence};

use crate::limits;

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// A device came or went.
    Presence(Presence),
    /// A device says something.
    Said(Ephemeral),
    /// More has changed than was kept: the list has to be read again.
    Again,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The newest of each device.
    changes: BTreeMap<DeviceId, Presence>,
    again: bool,
    said: VecDeque<Ephemeral>,
}

impl Queue {
    pub(super) fn tell(&self, presence: Presence) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.changes.insert(presence.device, presence);
        if waiting.changes.len() > limits::MAX_CHANGES {
            waiting.changes.clear();
            waiting.again = true;
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Whether an older message had to go for it.
    pub(super) fn say(&self, said: Ephemeral) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.said.len() >= limits::MAX_SAID;
        if full {
            waiting.said.pop_front();
        }
        waiting.said.push_back(said);
        drop(waiting);
        self.wake.notify_one();
        full
    }

    pub(super) async fn next(&self) -> Live {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.wake.notified().await;
        }
    }

    pub(super) fn take(&self) -> Option<Live> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut waiting.again) {
            // The list has them.
            waiting.changes.clear();
            return Some(Live::Again);
        }
        let change = waiting
            .changes
            .pop_first()
            .map(|(_, presence)| Live::Presence(presence));
        change.or_else(|| waiting.said.pop_front().map(Live::Said))
    }
}
