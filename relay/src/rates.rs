//! How much devices may send: messages and bytes a second, of each device and of all together; and how many groups may be
//! founded from one address in a day.
//!
//! Whoever is faster is slowed first: its next frame waits, nothing after it is read, and QUIC tells the device to stop.
//! Only when that would take long it is refused, and told when to come back.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::DeviceId;
use zerok_sync_shared::limits::MAX_FRAME;
use zerok_sync_shared::message::WireError;

use crate::limits;
use crate::network::Network;
use crate::writer::millis;

/// Bytes are counted in steps of so many: the time between single bytes would be less than a nanosecond.
const STEP: usize = 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What can be set; 0 means no limit.
#[derive(Debug, Clone, Copy)]
pub struct RateSettings {
    /// Messages a second of one device.
    pub device_messages: u32,
    /// Bytes a second of one device.
    pub device_bytes: u64,
    /// Messages a second of all devices.
    pub total_messages: u32,
    /// Bytes a second of all devices.
    pub total_bytes: u64,
    /// Groups founded from one address in a day.
    pub groups_per_day: u32,
}

/// Limits of one kind, one for each key. Without a key it is the limit of those for whom there was no room.
#[derive(Debug)]
struct Limits<K: Hash + Eq + Clone>(
    Option<RateLimiter<Option<K>, HashMapStateStore<Option<K>>, DefaultClock>>,
);

impl<K: Hash + Eq + Clone> Limits<K> {
    const fn none() -> Self {
        Self(None)
    }

    /// So many a second, after a burst of [`limits::RATE_BURST`] seconds' worth, or of `least`.
    fn a_second(count: u32, least: u32) -> Self {
        let burst = count.saturating_mul(limits::RATE_BURST).max(least);
        match (NonZeroU32::new(count), NonZeroU32::new(burst)) {
            (Some(count), Some(burst)) => Self(Some(RateLimiter::hashmap(
                Quota::per_second(count).allow_burst(burst),
            ))),
            _ => Self::none(),
        }
    }

    /// So many a day, all at once if need be.
    fn a_day(count: u32) -> Self {
        let quota = NonZeroU32::new(count).and_then(|count| {
            let quota = Quota::with_period(DAY / count.get())?;
            Some(quota.allow_burst(count))
        });
        Self(quota.map(RateLimiter::hashmap))
    }

    /// The key to use, when there is room for it.
    fn admit(&self, key: Option<K>) -> Option<K> {
        let limiter = self.0.as_ref()?;
        if limiter.len() >= limits::MAX_RATED_DEVICES {
            limiter.retain_recent();
        }
        key.filter(|_| limiter.len() < limits::MAX_RATED_DEVICES)
    }

    /// Takes `count`, or says how long to wait.
    fn take(&self, key: &Option<K>, count: NonZeroU32) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else {
            return Ok(());
        };
        match limiter.check_key_n(key, count) {
            // More than would ever pass at once does not occur: the burst has room for the longest frame.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(wait.max(Duration::from_millis(1)))
            }
        }
    }
}

/// All rates of a relay.
#[derive(Debug)]
pub struct Rates {
    device_messages: Limits<DeviceId>,
    device_bytes: Limits<DeviceId>,
    total_messages: Limits<()>,
    total_bytes: Limits<()>,
    founding: Limits<Network>,
}

impl Rates {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let steps = |bytes: u64| u32::try_from(bytes.div_ceil(STEP as u64)).unwrap_or(u32::MAX);
        let frame = steps_of(MAX_FRAME + STEP).get();
        Self {
            device_messages: Limits::a_second(settings.device_messages, 1),
            device_bytes: Limits::a_second(steps(settings.device_bytes), frame),
            total_messages: Limits::a_second(settings.total_messages, 1),
            total_bytes: Limits::a_second(steps(settings.total_bytes), frame),
            founding: Limits::a_day(settings.groups_per_day),
        }
    }

    /// One session's view of them.
    #[must_use]
    pub fn of(self: &Arc<Self>, device: DeviceId) -> DeviceRates {
        DeviceRates {
            by_messages: self.device_messages.admit(Some(device)),
            by_bytes: self.device_bytes.admit(Some(device)),
            rates: Arc::clone(self),
        }
    }

    /// Counts a group that is founded.
    ///
    /// # Errors
    /// What to tell the device when there were too many from its address.
    pub fn found_group(&self, from: Option<Network>) -> Result<(), WireError> {
        let from = self.founding.admit(from);
        self.founding
            .take(&from, NonZeroU32::MIN)
            .map_err(|wait| WireError {
                code: ErrorCode::RateLimited,
                message: "too many groups were founded from this address today; it is tried again"
                    .into(),
                retry_after_ms: Some(millis(wait)),
            })
    }
}

/// What one session may send.
#[derive(Debug)]
pub struct DeviceRates {
    by_messages: Option<DeviceId>,
    by_bytes: Option<DeviceId>,
    rates: Arc<Rates>,
}

/// How much of a message has been accounted for.
#[derive(Debug, Clone, Copy)]
pub struct Toll {
    bytes: usize,
    paid: u8,
}

impl Toll {
    /// That of a message of so many bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self { bytes, paid: 0 }
    }
}

impl DeviceRates {
    /// Accounts for a message, or for the rest of one.
    ///
    /// # Errors
    /// How long to wait before it is asked again.
    pub fn pay(&self, toll: &mut Toll) -> Result<(), Duration> {
        let rates = &self.rates;
        let (one, steps) = (NonZeroU32::MIN, steps_of(toll.bytes));
        // What was taken of one limit is not taken again while another one lets the message wait.
        while toll.paid < 4 {
            match toll.paid {
                0 => rates.device_messages.take(&self.by_messages, one)?,
                1 => rates.device_bytes.take(&self.by_bytes, steps)?,
                2 => rates.total_messages.take(&None, one)?,
                _ => rates.total_bytes.take(&None, steps)?,
            }
            toll.paid += 1;
        }
        Ok(())
    }
}

fn steps_of(bytes: usize) -> NonZeroU32 {
    let steps = u32::try_from(bytes.div_ceil(STEP)).unwrap_or(u32::MAX);
    NonZeroU32::new(steps).unwrap_or(NonZeroU32::MIN)
}

/// What a device is told that sends more than its share.
#[must_use]
pub fn too_fast(wait: Duration) -> WireError {
    WireError {
        code: ErrorCode::RateLimited,
        message: "more is sent than this relay takes; nothing is lost, it goes on by itself".into(),
        retry_after_ms: Some(millis(wait.max(Duration::from_secs(1)))),
    }
}

/// What a device is told of whose messages to those who are there one was dropped.
#[must_use]
pub fn dropped(wait: Duration) -> WireError {
    WireError {
        code: ErrorCode::EphemeralDropped,
        message: "more is sent than this relay takes; broadcasts are dropped".into(),
        retry_after_ms: Some(millis(wait.max(Duration::from_secs(1)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: RateSettings = RateSettings {
        device_messages: 0,
        device_bytes: 0,
        total_messages: 0,
        total_bytes: 0,
        groups_per_day: 0,
    };

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn pay(rates: &DeviceRates, bytes: usize) -> Result<(), Duration> {
        rates.pay(&mut Toll::new(bytes))
    }

    #[test]
    fn a_device_has_a_burst_and_then_its_rate_and_others_have_theirs() {
        let rates = Arc::new(Rates::new(RateSettings {
            device_messages: 1,
            ..FREE
        }));
        let (ours, same, other) = (
            rates.of(device(1)),
            rates.of(device(1)),
            rates.of(device(2)),
        );
        for _ in 0..limits::RATE_BURST / 2 {
            assert!(pay(&ours, 1).is_ok() && pay(&same, 1).is_ok());
        }
        let wait = pay(&ours, 1).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(pay(&same, 1).is_err());
        assert!(pay(&other, 1).is_ok());
    }

    #[test]
    fn the_longest_frame_passes_the_lowest_rate_once() {
        let rates = Arc::new(Rates::new(RateSettings {
            device_bytes: 1,
            ..FREE
        }));
        let ours = rates.of(device(1));
        assert!(pay(&ours, MAX_FRAME + 4).is_ok());
        let wait = pay(&ours, MAX_FRAME + 4).unwrap_err();
        assert!(wait > limits::MAX_HOLD, "{wait:?}");
    }

    #[test]
    fn a_message_that_waits_for_one_limit_is_not_charged_twice_by_another() {
        let rates = Arc::new(Rates::new(RateSettings {
            device_messages: 1,
            total_bytes: 1,
            ..FREE
        }));
        let ours = rates.of(device(1));
        assert!(pay(&ours, MAX_FRAME).is_ok());
        let mut toll = Toll::new(MAX_FRAME);
        for _ in 0..100 {
            assert!(ours.pay(&mut toll).is_err());
        }
        // Two of the ten were taken.
        for _ in 2..limits::RATE_BURST {
            let mut next = Toll::new(MAX_FRAME);
            assert!(ours.pay(&mut next).is_err());
            assert_eq!(next.paid, 3);
        }
    }

    #[test]
    fn groups_are_counted_by_address() {
        let rates = Rates::new(RateSettings {
            groups_per_day: 2,
            ..FREE
        });
        let at = |text: &str| Some(Network::of(text.parse().unwrap()));
        let ours = at("203.0.113.1");
        assert!(rates.found_group(ours).is_ok());
        assert!(rates.found_group(ours).is_ok());
        let error = rates.found_group(ours).unwrap_err();
        assert_eq!(error.code, ErrorCode::RateLimited);
        assert!(error.retry_after_ms.is_some_and(|ms| ms > 3_600_000));
        assert!(rates.found_group(at("203.0.113.2")).is_ok());
        assert!(rates.found_group(None).is_ok());
        let free = Rates::new(FREE);
        assert!((0..1_000).all(|_| free.found_group(ours).is_ok()));
    }
}
