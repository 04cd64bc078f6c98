//! Time as a value: nothing in this crate reads a clock.

use core::time::Duration;

use crate::codec::wire::wire_as;

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

wire_as!(Timestamp as u64, |time| time.0, Timestamp);

impl Timestamp {
    /// This moment and `duration` later, or the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
