//! How long the relay waits for a device that does not take what is sent to it.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// The wait for one device while something is queued for it.
///
/// It ends when nothing is taken for a time, and also when too little is taken in twice that time: a device that takes a
/// byte now and then would otherwise hold its memory for ever.
#[derive(Debug)]
pub(super) struct Patience {
    stall: Duration,
    moved: Instant,
    window: Instant,
    taken: u64,
}

impl Patience {
    /// For a device that may stall for so long.
    pub const fn new(stall: Duration, now: Instant) -> Self {
        Self {
            stall,
            moved: now,
            window: now,
            taken: 0,
        }
    }

    /// Something is queued after nothing was.
    pub const fn begin(&mut self, now: Instant) {
        *self = Self::new(self.stall, now);
    }

    /// The device took so many bytes.
    pub const fn took(&mut self, bytes: usize, now: Instant) {
        self.moved = now;
        self.taken += bytes as u64;
    }

    /// When to ask whether it is over.
    pub fn until(&self) -> Instant {
        (self.moved + self.stall).min(self.window + 2 * self.stall)
    }

    /// Whether it is over; otherwise the next stretch may begin.
    pub fn is_over(&mut self, now: Instant) -> bool {
        if now >= self.moved + self.stall {
            return true;
        }
        let window = 2 * self.stall;
        if now < self.window + window {
            return false;
        }
        let enough = limits::MIN_READ_RATE * window.as_secs();
        let too_slow = self.taken < enough;
        self.window = now;
        self.taken = 0;
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    /// Whether a device that takes so many bytes every so often is still waited for after an hour.
    fn endures(bytes: usize, every: Duration) -> bool {
        let start = Instant::now();
        let mut patience = Patience::new(STALL, start);
        let mut next = start + every;
        let mut now = start;
        while now < start + Duration::from_secs(3600) {
            now = next.min(patience.until());
            if now == next {
                patience.took(bytes, now);
                next += every;
            }
            if now >= patience.until() && patience.is_over(now) {
                return false;
            }
        }
        true
    }

    #[test]
    fn who_takes_nothing_or_almost_nothing_is_given_up() {
        let second = Duration::from_secs(1);
        assert!(endures(1024, second));
        assert!(endures(64 * 1024, Duration::from_secs(29)));
        assert!(!endures(1, second), "a trickle");
        assert!(!endures(900, second), "less than is asked for");
        assert!(!endures(1 << 20, Duration::from_secs(31)), "a stall");
    }
}
