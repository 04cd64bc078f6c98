//! How long the relay waits for a device that does not take what is sent to it, or does not finish what it sends.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// The wait for one device while something is queued for it, or a frame of it is on its way.
///
/// It ends when nothing moves for a time, and also when too little moves in twice that time: a device that takes a byte now
/// and then would otherwise hold its memory for ever. While others wait for that memory more is asked of it, and sooner.
#[derive(Debug)]
pub(super) struct Patience {
    stall: Duration,
    moved: Instant,
    window: Instant,
    taken: u64,
    step: Instant,
    in_step: u64,
}

impl Patience {
    /// For a device that may stall for so long.
    pub const fn new(stall: Duration, now: Instant) -> Self {
        Self {
            stall,
            moved: now,
            window: now,
            taken: 0,
            step: now,
            in_step: 0,
        }
    }

    /// Something is queued or on its way after nothing was.
    pub const fn begin(&mut self, now: Instant) {
        *self = Self::new(self.stall, now);
    }

    /// The device took or sent so many bytes.
    pub const fn took(&mut self, bytes: usize, now: Instant) {
        self.moved = now;
        self.taken += bytes as u64;
        self.in_step += bytes as u64;
    }

    /// When to ask whether it is over.
    pub fn until(&self) -> Instant {
        (self.moved + self.stall)
            .min(self.window + 2 * self.stall)
            .min(self.step + limits::WANTED_STEP)
    }

    /// Whether it is over; otherwise the next stretch may begin. `wanted`: others wait for what this device holds.
    pub fn is_over(&mut self, now: Instant, wanted: bool) -> bool {
        if now >= self.moved + self.stall {
            return true;
        }
        if now >= self.step + limits::WANTED_STEP {
            let enough = limits::WANTED_RATE * limits::WANTED_STEP.as_secs();
            if wanted && self.in_step < enough {
                return true;
            }
            self.step = now;
            self.in_step = 0;
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
        endures_where(bytes, every, false)
    }

    fn endures_where(bytes: usize, every: Duration, wanted: bool) -> bool {
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
            if now >= patience.until() && patience.is_over(now, wanted) {
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

    #[test]
    fn who_holds_what_others_wait_for_has_to_hurry() {
        let second = Duration::from_secs(1);
        assert!(endures_where(32 * 1024, second, true));
        assert!(!endures_where(8 * 1024, second, true));
        assert!(endures_where(8 * 1024, second, false));
    }
}
