//! The last hour, minute by minute, for the plots of the status page. In memory alone: nothing of it outlives the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::metrics::Metrics;

/// What happened in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// Blobs stored.
    pub pushes: u64,
    /// Payload bytes stored.
    pub bytes_in: u64,
    /// Payload bytes sent to devices.
    pub bytes_out: u64,
    /// Connections at its end.
    pub connections: u64,
}

/// Everything since the start, as the counters have it.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    pushes: u64,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug, Default)]
struct Ring {
    minutes: VecDeque<Minute>,
    up_to: Totals,
}

/// The ring of minutes.
#[derive(Debug)]
pub struct History {
    metrics: Arc<Metrics>,
    ring: Mutex<Ring>,
}

impl History {
    /// A history that begins now.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            ring: Mutex::default(),
        }
    }

    /// Ends a minute every minute until the relay stops.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tick = interval(limits::HISTORY_STEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        tick.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => self.end_minute(),
            }
        }
    }

    fn end_minute(&self) {
        let now = self.totals();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = self.since(ring.up_to, now);
        ring.up_to = now;
        ring.minutes.push_back(minute);
        // One less than is shown: the minute that has begun is the last one.
        while ring.minutes.len() >= limits::HISTORY_MINUTES {
            ring.minutes.pop_front();
        }
    }

    /// The last hour, oldest first, as many minutes as there have been; the last is the one that has begun.
    #[must_use]
    pub fn minutes(&self) -> Vec<Minute> {
        let now = self.totals();
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut minutes: Vec<Minute> = ring.minutes.iter().copied().collect();
        minutes.push(self.since(ring.up_to, now));
        minutes
    }

    fn totals(&self) -> Totals {
        Totals {
            pushes: self.metrics.pushes.get(),
            bytes_in: self.metrics.push_bytes.get(),
            bytes_out: self.metrics.delivered_bytes.get(),
        }
    }

    fn since(&self, before: Totals, now: Totals) -> Minute {
        Minute {
            pushes: now.pushes.saturating_sub(before.pushes),
            bytes_in: now.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: now.bytes_out.saturating_sub(before.bytes_out),
            connections: u64::try_from(self.metrics.open_connections()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_what_came_since_the_one_before_and_an_hour_is_kept() {
        let metrics = Arc::new(Metrics::default());
        let history = History::new(Arc::clone(&metrics));
        assert_eq!(history.minutes(), [Minute::default()]);
        metrics.pushes.inc_by(3);
        history.end_minute();
        metrics.pushes.inc_by(2);
        metrics.push_bytes.inc_by(70);
        let pushes = |history: &History| {
            let minutes = history.minutes();
            minutes
                .iter()
                .map(|minute| minute.pushes)
                .collect::<Vec<_>>()
        };
        assert_eq!(pushes(&history), [3, 2]);
        assert_eq!(history.minutes()[1].bytes_in, 70);
        for _ in 0..200 {
            history.end_minute();
        }
        metrics.pushes.inc();
        let minutes = pushes(&history);
        assert_eq!(
            (minutes.len(), minutes.last()),
            (limits::HISTORY_MINUTES, Some(&1))
        );
    }
}
