//! When devices come back after a restart: spread over time, so that they are not all there in the same moment.

use std::time::Duration;

use crate::limits;

/// How long one of so many devices is asked to wait: a random moment of the time that all of them need.
pub fn come_back_in(connections: i64) -> Duration {
    let connections = u32::try_from(connections.max(0)).unwrap_or(u32::MAX);
    let (shortest, longest) = limits::RESTART_SPREAD;
    let spread = Duration::from_secs(1)
        .saturating_mul(connections / limits::RESTART_RATE)
        .clamp(shortest, longest);
    // Without randomness they come at once, which is worse for a moment and nothing more.
    let random = getrandom::u32().unwrap_or_default();
    limits::RESTART_WAIT + spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_back_spread_over_a_time_that_grows_with_their_number() {
        for (connections, longest) in [(-1, 3), (0, 3), (200, 3), (6_000, 61), (i64::MAX, 121)] {
            let waits: Vec<_> = (0..400).map(|_| come_back_in(connections)).collect();
            let least = waits.iter().min().unwrap();
            let most = waits.iter().max().unwrap();
            assert!(*least >= limits::RESTART_WAIT, "{least:?}");
            assert!(*most <= Duration::from_secs(longest), "{most:?}");
            assert!(
                *most - *least > Duration::from_secs(longest - 1) / 2,
                "{least:?} to {most:?}"
            );
        }
    }
}
