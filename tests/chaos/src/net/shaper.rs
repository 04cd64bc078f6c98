//! Decides when a packet arrives, and whether.

use std::time::Duration;

use tokio::time::Instant;

use super::dice::Dice;
use super::faults::Faults;

/// A UDP packet that would have to queue for longer at the bottleneck is dropped there.
const MAX_UDP_QUEUE: Duration = Duration::from_millis(800);
/// First time-out of a TCP sender; it doubles while the same segment is lost again.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Losses of one segment in a row that are counted; the time-outs do not grow for ever.
const MAX_RETRANSMITS: u32 = 6;
/// Bytes that are injected at once.
const MAX_INJECTED: u64 = 1_300;

/// One direction of one connection.
#[derive(Debug)]
pub struct Shaper {
    dice: Dice,
    in_burst: bool,
    /// When the bottleneck has sent everything that was given to it.
    free_at: Instant,
    /// When the newest TCP segment arrives.
    last_due: Instant,
}

/// What happens to a UDP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives.
    pub due: Instant,
    /// When a copy of it arrives.
    pub copy: Option<Instant>,
    /// The bit that is turned on the way.
    pub flipped_bit: Option<usize>,
}

impl Shaper {
    /// With randomness of its own.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        let now = Instant::now();
        Self {
            dice,
            in_burst: false,
            free_at: now,
            last_due: now,
        }
    }

    /// A datagram; `None` when it is lost.
    pub fn datagram(&mut self, now: Instant, length: usize, faults: &Faults) -> Option<Arrival> {
        if faults.partition || self.is_lost(faults) {
            return None;
        }
        let sent = self.sent_at(now, length, faults);
        if sent.duration_since(now) > MAX_UDP_QUEUE {
            return None;
        }
        let due = sent + self.dice.around(faults.delay, faults.jitter);
        let copy = self.dice.chance(faults.duplicate);
        Some(Arrival {
            due,
            copy: copy.then(|| sent + self.dice.around(faults.delay, faults.jitter)),
            flipped_bit: self.flipped_bit(length, faults),
        })
    }

    /// A piece of a stream: never lost, but late when a segment of it would have been, and never before what was sent earlier.
    pub fn segment(
        &mut self,
        now: Instant,
        length: usize,
        faults: &Faults,
    ) -> (Instant, Option<usize>) {
        let mut wait = Duration::ZERO;
        let mut losses = 0;
        while losses < MAX_RETRANSMITS && self.is_lost(faults) {
            wait += RETRANSMIT * 2_u32.pow(losses);
            losses += 1;
            // So much later, a burst is over.
            self.in_burst = false;
        }
        let sent = self.sent_at(now, length, faults);
        let due = sent + self.dice.around(faults.delay, faults.jitter) + wait;
        self.last_due = self.last_due.max(due);
        (self.last_due, self.flipped_bit(length, faults))
    }

    fn is_lost(&mut self, faults: &Faults) -> bool {
        if let Some(burst) = faults.burst {
            let leaves = if self.in_burst {
                burst.leave
            } else {
                burst.enter
            };
            if self.dice.chance(leaves) {
                self.in_burst = !self.in_burst;
            }
            if self.in_burst {
                return true;
            }
        }
        self.dice.chance(faults.loss)
    }

    fn sent_at(&mut self, now: Instant, length: usize, faults: &Faults) -> Instant {
        let Some(rate) = faults.rate else {
            self.free_at = now;
            return now;
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let start = self.free_at.max(now);
        let sent = start
            + Duration::from_secs(1) * length / u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        if sent.duration_since(now) <= MAX_UDP_QUEUE || start == now {
            self.free_at = sent;
        }
        sent
    }

    /// How much of a packet is left.
    pub fn kept(&mut self, length: usize, faults: &Faults) -> usize {
        if length > 0 && self.dice.chance(faults.truncate) {
            usize::try_from(self.dice.below(length as u64)).unwrap_or(0)
        } else {
            length
        }
    }

    /// Bytes that nobody sent, if there are any: up to a packet of them.
    pub fn injected(&mut self, faults: &Faults) -> Option<Vec<u8>> {
        self.dice.chance(faults.inject).then(|| {
            let length = 1 + self.dice.below(MAX_INJECTED);
            (0..length)
                .map(|_| self.dice.next().to_le_bytes()[0])
                .collect()
        })
    }

    fn flipped_bit(&mut self, length: usize, faults: &Faults) -> Option<usize> {
        (length > 0 && self.dice.chance(faults.corrupt))
            .then(|| usize::try_from(self.dice.below(length as u64 * 8)).unwrap_or(0))
    }
}

/// Turns one bit.
pub fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaper() -> Shaper {
        Shaper::new(Dice::new(3))
    }

    #[test]
    fn without_faults_everything_arrives_at_once() {
        let now = Instant::now();
        let arrival = shaper().datagram(now, 1200, &Faults::default());
        let expected = Arrival {
            due: now,
            copy: None,
            flipped_bit: None,
        };
        assert_eq!(arrival, Some(expected));
    }

    #[test]
    fn a_stream_keeps_its_order_and_loses_nothing() {
        let mut shaper = shaper();
        let now = Instant::now();
        let faults = Faults {
            loss: 0.3,
            ..Faults::jitter(200, 150)
        };
        let due: Vec<_> = (0..200)
            .map(|_| shaper.segment(now, 1000, &faults).0)
            .collect();
        assert!(due.is_sorted());
    }

    #[test]
    fn datagrams_overtake_each_other_and_get_lost() {
        let mut shaper = shaper();
        let now = Instant::now();
        let faults = Faults {
            loss: 0.2,
            ..Faults::jitter(200, 150)
        };
        let arrived: Vec<_> = (0..1000)
            .filter_map(|_| shaper.datagram(now, 1000, &faults))
            .collect();
        assert!((700..900).contains(&arrived.len()), "{}", arrived.len());
        assert!(!arrived.is_sorted_by_key(|arrival| arrival.due));
        assert_eq!(shaper.datagram(now, 1000, &Faults::partition()), None);
    }

    #[test]
    fn packets_lose_their_end_and_strange_ones_come_as_often_as_told() {
        let mut shaper = shaper();
        let faults = Faults {
            truncate: 0.5,
            ..Faults::inject(50.0)
        };
        let cut = (0..1000)
            .filter(|_| shaper.kept(100, &faults) < 100)
            .count();
        let strange: Vec<_> = (0..1000).filter_map(|_| shaper.injected(&faults)).collect();
        assert!((400..600).contains(&cut), "{cut}");
        assert!((400..600).contains(&strange.len()), "{}", strange.len());
        assert!(strange.iter().all(|bytes| !bytes.is_empty()));
        assert_eq!(shaper.kept(100, &Faults::default()), 100);
        assert_eq!(shaper.injected(&Faults::default()), None);
    }

    #[test]
    fn bursts_lose_several_in_a_row() {
        let mut shaper = shaper();
        let now = Instant::now();
        let faults = Faults::bursts(0.02, 0.2);
        let lost: Vec<bool> = (0..5000)
            .map(|_| shaper.datagram(now, 100, &faults).is_none())
            .collect();
        let total = lost.iter().filter(|lost| **lost).count();
        let pairs = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!(pairs * 2 > total, "{pairs} of {total}");
    }

    #[test]
    fn the_bottleneck_sends_so_many_bytes_a_second() {
        let mut shaper = shaper();
        let now = Instant::now();
        let faults = Faults::bits_per_second(80_000);
        let (first, _) = shaper.segment(now, 5_000, &faults);
        assert_eq!(first - now, Duration::from_millis(500));
        assert!(
            shaper.datagram(now, 5_000, &faults).is_none(),
            "the queue is full"
        );
    }
}
