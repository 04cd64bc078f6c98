//! The connection to one relay: when to try, how long to wait.

use core::time::Duration;

use crate::Entropy;
use crate::failure::SyncError;
use crate::ids::RelayId;
use crate::limits;
use crate::time::Timestamp;

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Connecting,
    Connected {
        relay_id: RelayId,
        exporter: [u8; 32],
    },
    Waiting {
        until: Timestamp,
    },
}

/// The connection to one relay.
#[derive(Debug, Default)]
pub(super) struct Link {
    state: State,
    /// Attempts since a group was last welcomed.
    failures: u32,
    pub(super) last_error: Option<SyncError>,
    /// The relay has said that it is going: when to try again, and what it said.
    leaving: Option<(Timestamp, SyncError)>,
    /// The relay has asked to be left alone until then.
    not_before: Option<Timestamp>,
    /// Whether there are other nodes behind its URL.
    has_nodes: bool,
}

impl Link {
    /// Whether an attempt is due; it counts as started then.
    pub(super) fn start_if_due(&mut self, now: Timestamp) -> bool {
        let due = match self.state {
            State::Idle => true,
            State::Waiting { until } => until <= now,
            State::Connecting | State::Connected { .. } => false,
        };
        if due {
            self.state = State::Connecting;
        }
        due
    }

    pub(super) fn on_connected(&mut self, relay_id: RelayId, exporter: [u8; 32]) {
        if matches!(self.state, State::Connecting) {
            self.leaving = None;
            self.not_before = None;
            self.has_nodes = false;
            self.state = State::Connected { relay_id, exporter };
        }
    }

    /// There are other nodes behind its URL.
    pub(super) fn on_other_nodes(&mut self) {
        self.has_nodes = self.connection().is_some();
    }

    /// Whether the relay has said that it is going, while there are others behind its URL.
    pub(super) fn goes_on_elsewhere(&self) -> bool {
        self.has_nodes && self.leaving.is_some()
    }

    /// A session opened: the relay works, so the next trouble starts with a short wait again.
    pub(super) fn on_welcome(&mut self) {
        self.failures = 0;
        self.last_error = None;
    }

    /// The relay says that it is stopping, and when to come back.
    pub(super) fn on_leaving(&mut self, until: Timestamp, error: SyncError) {
        if self.connection().is_some() {
            self.leaving = Some((until, error));
        }
    }

    /// What the relay said when it announced that it is going: nobody has to be told of the end of the connection then.
    pub(super) fn leaving(&self) -> Option<&SyncError> {
        self.leaving.as_ref().map(|(_, error)| error)
    }

    pub(super) fn on_disconnected(
        &mut self,
        now: Timestamp,
        error: SyncError,
        entropy: &mut dyn Entropy,
    ) {
        // An attempt that was given up before (the network went away) reports late.
        if !self.is_open() {
            return;
        }
        let elsewhere = self.goes_on_elsewhere();
        if let Some((until, error)) = self.leaving.take() {
            self.last_error = Some(error);
            self.not_before = (!elsewhere).then_some(until);
            self.state = if elsewhere {
                State::Idle
            } else {
                State::Waiting {
                    until: until.max(now),
                }
            };
            return;
        }
        let wait = backoff(self.failures, entropy);
        // Who was told when to come back does not come before.
        let asked = Duration::from_millis(error.retry_after_ms.unwrap_or(0));
        let asked = asked.min(limits::MAX_RETRY_AFTER);
        self.not_before = (!asked.is_zero()).then(|| now.plus(asked));
        let wait = wait.max(asked);
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        self.state = State::Waiting {
            until: now.plus(wait),
        };
    }

    /// Forgets waiting times, but for those that the relay has asked for. Without a network it gives its connection up, says so, and tries again only after the
    /// longest wait: the report may be wrong.
    pub(super) fn on_network(&mut self, now: Timestamp, online: bool) -> bool {
        self.failures = 0;
        let give_up = !online && self.is_open();
        let asked = self.not_before.filter(|until| *until > now);
        if !online {
            let longest = now.plus(limits::BACKOFF.1);
            self.state = State::Waiting {
                until: asked.map_or(longest, |until| until.max(longest)),
            };
        } else if matches!(self.state, State::Waiting { .. }) {
            self.state = asked.map_or(State::Idle, |until| State::Waiting { until });
        }
        give_up
    }

    /// Until when the relay has asked to be left alone.
    pub(super) const fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Connecting | State::Connected { .. })
    }

    pub(super) const fn connection(&self) -> Option<(RelayId, [u8; 32])> {
        match self.state {
            State::Connected { relay_id, exporter } => Some((relay_id, exporter)),
            _ => None,
        }
    }

    pub(super) const fn next_wake(&self) -> Option<Timestamp> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }
}

/// Exponential from 1 to 30 s, plus up to 5 s so that devices do not come back all at once.
pub(super) fn backoff(failures: u32, entropy: &mut dyn Entropy) -> Duration {
    growing(limits::BACKOFF, limits::BACKOFF_JITTER, failures, entropy)
}

/// Doubles from the first to the longest wait, and adds up to `jitter`.
pub(super) fn growing(
    (first, longest): (Duration, Duration),
    jitter: Duration,
    failures: u32,
    entropy: &mut dyn Entropy,
) -> Duration {
    let wait = first.saturating_mul(1 << failures.min(16)).min(longest);
    let random = u32::from_le_bytes(crate::random(entropy));
    wait + jitter.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A wait that a relay asks for, within bounds.
pub(super) fn asked_for(millis: u64) -> Duration {
    Duration::from_millis(millis).clamp(limits::BACKOFF.0, limits::MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_thirty_seconds_with_up_to_five_of_jitter() {
        let mut none = |bytes: &mut [u8]| bytes.fill(0);
        let mut most = |bytes: &mut [u8]| bytes.fill(255);
        let seconds: Vec<_> = (0..8).map(|n| backoff(n, &mut none).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff(0, &mut most).as_secs(), 6);
        assert_eq!(backoff(u32::MAX, &mut most).as_secs(), 35);
    }
}
