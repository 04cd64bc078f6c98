//! What differs between a native program and a browser: clock, randomness, HTTP.

use std::time::Duration;

use n0_future::time::{Instant, SystemTime};
use zerok_sync_shared::time::Timestamp;

#[cfg(not(target_family = "wasm"))]
#[path = "platform/native.rs"]
mod imp;
#[cfg(target_family = "wasm")]
#[path = "platform/wasm.rs"]
mod imp;

pub(crate) use imp::fetch;

/// An HTTP answer takes this long at most.
pub(crate) const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest HTTP answer that is read.
pub(crate) const MAX_HTTP_BODY: usize = 64 * 1024;

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Fills `bytes` from the operating system, or the browser.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    // A device without randomness cannot make a nonce that is safe; going on would be worse than stopping.
    #[expect(
        clippy::expect_used,
        reason = "there is nothing that could be done instead"
    )]
    getrandom::fill(bytes).expect("the system gives random bytes");
}

/// Time that never goes back: the wall clock where it runs ahead (after sleep), otherwise a steady one.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            base: wall_clock(),
            since: Instant::now(),
        }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        let steady = self.base.plus(self.since.elapsed());
        let wall = wall_clock();
        if wall > steady {
            *self = Self {
                base: wall,
                since: Instant::now(),
            };
            return wall;
        }
        steady
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().plus(since)
}
