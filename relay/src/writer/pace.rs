//! How much goes into one transaction: as much as those before it show to take about the time that it may.

use std::time::Duration;

use crate::limits;

/// How much a transaction may hold that is to take a certain time. It follows the transactions that it bounded.
#[derive(Debug)]
pub(super) struct Pace {
    target: Duration,
    allowance: f64,
}

/// What blobs of this many payload bytes together weigh in a transaction, where bytes are the unit.
pub(super) const fn weight(blobs: usize, bytes: usize) -> usize {
    blobs
        .saturating_mul(limits::BLOB_WEIGHT)
        .saturating_add(bytes)
}

impl Pace {
    pub const fn new(target: Duration) -> Self {
        Self {
            target,
            allowance: limits::FIRST_WEIGHT as f64,
        }
    }

    /// The weight of what may be in the next one.
    pub const fn allowance(&self) -> usize {
        self.allowance as usize
    }

    /// Takes in what a transaction took for which there was this allowance.
    pub fn note(&mut self, weight: usize, took: Duration) {
        // One that was small for want of pushes says nothing about a full one.
        if (weight as f64) < self.allowance / 2.0 {
            return;
        }
        let fits = self.target.as_secs_f64() / took.as_secs_f64().max(1e-6);
        // In small steps, as a disk takes longer now and then.
        let step = fits.clamp(limits::PACE_STEPS.0, limits::PACE_STEPS.1);
        let (least, most) = limits::PACE_BOUNDS;
        self.allowance = (self.allowance * step).clamp(least as f64, most as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(4);

    fn after(rounds: usize, took: impl Fn(usize) -> Duration) -> usize {
        let mut pace = Pace::new(TARGET);
        for _ in 0..rounds {
            let full = pace.allowance();
            pace.note(full, took(full));
        }
        pace.allowance()
    }

    #[test]
    fn full_transactions_come_to_take_the_time_that_they_may() {
        for each in [5e-9, 1e-8, 2e-9] {
            let took = |weight: usize| Duration::from_secs_f64(1e-3 + each * weight as f64);
            let time = took(after(200, took)).as_secs_f64();
            assert!((3.5e-3..4.5e-3).contains(&time), "{time}");
        }
    }

    #[test]
    fn however_slow_the_disk_is_something_goes_into_each() {
        let (least, most) = limits::PACE_BOUNDS;
        assert_eq!(after(200, |_| Duration::from_secs(1)), least);
        assert_eq!(after(200, |_| Duration::ZERO), most);
    }

    #[test]
    fn small_ones_and_a_single_slow_one_change_little() {
        let mut pace = Pace::new(TARGET);
        for _ in 0..100 {
            pace.note(weight(1, 100), Duration::from_millis(1));
            pace.note(weight(1, 100), Duration::from_secs(1));
        }
        assert_eq!(pace.allowance(), limits::FIRST_WEIGHT);
        pace.note(limits::FIRST_WEIGHT, Duration::from_secs(10));
        assert!(pace.allowance() > limits::FIRST_WEIGHT / 2);
    }
}
