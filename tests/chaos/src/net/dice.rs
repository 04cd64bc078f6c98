//! Randomness from a seed, so that a run's faults can be repeated as far as real processes allow.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one, for a part that rolls at its own pace.
    #[must_use]
    pub const fn fork(&self, number: u64) -> Self {
        Self(self.0 ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without it; 0 for an empty range.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// True so often.
    #[allow(clippy::cast_precision_loss, reason = "a chance needs no 64 bits")]
    pub const fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.next() >> 11) as f64) / ((1_u64 << 53) as f64) < probability
    }

    /// `middle` plus or minus up to `spread`, never below zero.
    pub fn around(&mut self, middle: Duration, spread: Duration) -> Duration {
        let width = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX / 4);
        let offset = Duration::from_micros(self.below(2 * width + 1));
        (middle + offset).saturating_sub(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_chances_are_about_right() {
        let mut dice = Dice::new(7);
        let hits = (0..10_000).filter(|_| dice.chance(0.2)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert_eq!(Dice::new(7).fork(1).next(), Dice::new(7).fork(1).next());
        assert!(!dice.chance(0.0));
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let (middle, spread) = (Duration::from_millis(200), Duration::from_millis(150));
        let mut dice = Dice::new(1);
        for _ in 0..1_000 {
            let rolled = dice.around(middle, spread);
            assert!(rolled >= middle - spread && rolled <= middle + spread);
        }
        assert_eq!(dice.around(Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
