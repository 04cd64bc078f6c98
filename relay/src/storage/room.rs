//! How much all groups together may take up.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits;

/// What the operator has set; 0 means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that the database may hold.
    pub max_storage: u64,
    /// Bytes that stay free on the disk of the database.
    pub min_free_disk: u64,
}

/// The bounds, and when somebody was told last that they are reached.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub bounds: Bounds,
    told: Mutex<Option<Instant>>,
}

impl Room {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            told: Mutex::new(None),
        }
    }

    /// What can still be stored where so much is, on a disk with so much free space if that is known.
    pub fn left(&self, used: u64, free: Option<u64>) -> u64 {
        let Bounds {
            max_storage,
            min_free_disk,
        } = self.bounds;
        let within = match max_storage {
            0 => u64::MAX,
            max => max.saturating_sub(used),
        };
        match free {
            Some(free) if min_free_disk > 0 => within.min(free.saturating_sub(min_free_disk)),
            _ => within,
        }
    }

    /// Something was refused: says so once in a while, not for every device that tries again.
    pub fn tell_full(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > limits::TELL_AGAIN) {
            *told = Some(Instant::now());
            tracing::error!(
                "max_storage or min_free_disk is reached: what is new is refused until there is room; `zerok-relay stats` \
                 shows the largest groups"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_bound_counts_and_none_is_no_limit() {
        let room = |max_storage, min_free_disk| {
            Room::new(Bounds {
                max_storage,
                min_free_disk,
            })
        };
        assert_eq!(room(0, 0).left(7, Some(0)), u64::MAX);
        assert_eq!(room(100, 0).left(70, Some(1)), 30);
        assert_eq!(room(100, 50).left(70, Some(60)), 10);
        assert_eq!(room(100, 50).left(70, Some(40)), 0);
        assert_eq!(room(100, 50).left(101, None), 0);
        assert_eq!(room(0, 50).left(0, None), u64::MAX);
    }
}
