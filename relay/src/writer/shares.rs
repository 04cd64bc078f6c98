//! How much of the writer one group may have while others push too.
//!
//! Turns alone give a group its place in the next transaction. What a group writes beyond its share still takes the disk's
//! and the processor's time, and the others would wait for those; so its pushes rest until it has a share again. Nothing is
//! refused: the group's devices see their answers later, and send more when they have them.

use std::hash::RandomState;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use zerok_sync_shared::ids::GroupId;

use crate::limits;

pub(super) struct Shares(
    RateLimiter<GroupId, HashMapStateStore<GroupId, RandomState>, DefaultClock>,
);

impl Shares {
    pub fn new() -> Self {
        let whole = |weight| NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(whole(limits::GROUP_SHARE));
        Self(RateLimiter::hashmap(
            quota.allow_burst(whole(limits::GROUP_BURST)),
        ))
    }

    /// Takes what something weighs out of the group's share, or says how long it rests.
    pub fn take(&self, group: GroupId, weight: usize) -> Result<(), Duration> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        // One that weighs more than a whole share passes when there is one.
        let weight = weight.min(limits::GROUP_BURST);
        let weight = NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN);
        match self.0.check_key_n(&group, weight) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(wait.max(Duration::from_millis(1)))
            }
        }
    }

    /// Forgets groups that have all of their share.
    pub fn forget_full(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_used_its_share_rests_and_others_do_not() {
        let shares = Shares::new();
        let (flood, other) = (GroupId([1; 32]), GroupId([2; 32]));
        let half = limits::GROUP_BURST as usize / 2;
        assert_eq!(shares.take(flood, half), Ok(()));
        assert_eq!(shares.take(flood, half), Ok(()));
        let wait = shares.take(flood, half).unwrap_err();
        let whole = Duration::from_secs_f64(half as f64 / f64::from(limits::GROUP_SHARE));
        assert!(wait <= whole, "{wait:?}");
        assert_eq!(shares.take(other, half), Ok(()));
    }

    #[test]
    fn what_weighs_more_than_a_whole_share_passes() {
        let shares = Shares::new();
        assert_eq!(shares.take(GroupId([1; 32]), usize::MAX), Ok(()));
    }
}
