//! The relay's clock: milliseconds since 1970 that never go back while the process lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use zerok_sync_shared::time::Timestamp;

/// Reads the system's clock, and repeats itself while that is set back.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Now, not before any time this clock has told.
    pub fn now(&self) -> Timestamp {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.0.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_when_the_system_clock_does() {
        let ahead = Timestamp(Clock::default().now().0 + 1_000_000);
        let clock = Clock(AtomicU64::new(ahead.0));
        assert_eq!(clock.now(), ahead);
    }
}
