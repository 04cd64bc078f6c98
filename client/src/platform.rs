//! What differs between a native program and a browser: clock, randomness, HTTP, JSON.

use std::time::Duration;

use n0_future::time::{Instant, SystemTime};
use zerok_sync_shared::time::Timestamp;

#[cfg(not(target_family = "wasm"))]
#[path = "platform/native.rs"]
mod imp;
#[cfg(target_family = "wasm")]
#[path = "platform/wasm.rs"]
mod imp;

pub(crate) use imp::{Json, compute, fetch};

/// An HTTP answer takes this long at most.
pub(crate) const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest HTTP answer that is read.
pub(crate) const MAX_HTTP_BODY: usize = 64 * 1024;

/// A value of a JSON object that is sent.
pub(crate) enum Field<'a> {
    Text(&'a str),
    Number(u32),
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_both_ways() {
        let sent = Json::object(&[("a", Field::Text("x\"y")), ("b", Field::Number(7))]);
        let json = Json::parse(&sent).unwrap();
        assert_eq!(json.field("a").text().unwrap(), "x\"y");
        assert_eq!(json.field("b").whole(), Some(7));
        assert!(json.field("c").text().is_none() && json.field("a").whole().is_none());

        let list = Json::parse(b" [1, \"two\", -3, 0.5] ").unwrap();
        let whole: Vec<_> = list.items().iter().map(Json::whole).collect();
        assert_eq!(whole, [Some(1), None, None, None]);
        assert!(list.field("a").items().is_empty());
        for broken in [&b""[..], b"{", b"[1] 2", b"\xFF", b"\"\xFF\""] {
            assert!(Json::parse(broken).is_none());
        }
    }
}
