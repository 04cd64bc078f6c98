//! The relay's clock: milliseconds since 1970, from a system clock that is not believed blindly.
//!
//! A machine whose battery is empty starts in 1970 or 2038, and a bad time server moves a running one by years. Deleting
//! what "has expired" by such a clock would wipe the relay, and there is no way back. So the relay keeps a count of its own
//! beside the system's clock: it goes on with the machine's monotonic clock, and the data folder remembers it across
//! restarts. While the two agree, the system's clock is followed. When they part, the relay is in [`Doubt`]: nothing expires
//! by the one that is ahead, until the system's clock has stood for [`limits::CLOCK_GRACE`] and is believed.
//!
//! Time-outs and rates use the monotonic clock alone.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zerok_sync_shared::time::Timestamp;

use crate::limits;

/// Name of the file in the data folder that remembers the count.
const FILE_NAME: &str = "clock";

/// Tells the time.
#[derive(Debug)]
pub struct Clock {
    count: Mutex<Count>,
    /// None if nothing is remembered.
    file: Option<PathBuf>,
    /// What the clock of a shared database said, and when. It stands for the system's clock then.
    shared: Mutex<Option<(Timestamp, Duration)>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            count: Mutex::new(Count::new(wall(), machine())),
            file: None,
            shared: Mutex::default(),
        }
    }
}

impl Clock {
    /// A clock that goes on where the last one of this data folder was. With a database that other relays use too, what its
    /// clock says counts instead of the system's, so that they all mean the same by "now".
    #[must_use]
    pub fn open(folder: &Path, shared: Option<Timestamp>) -> Self {
        let file = folder.join(FILE_NAME);
        let (wall, machine) = (shared.unwrap_or_else(wall), machine());
        let saved = std::fs::read_to_string(&file).ok();
        let saved = saved.and_then(|text| text.trim().parse().ok());
        let clock = Self {
            count: Mutex::new(Count::new(saved.map_or(wall, Timestamp), machine)),
            file: Some(file),
            shared: Mutex::new(shared.map(|now| (now, machine))),
        };
        clock.now();
        clock
    }

    /// The shared database's clock says that it is `now`.
    pub fn follow(&self, now: Timestamp) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = Some((now, machine()));
    }

    /// The system's clock, or what stands for it.
    fn wall(&self, machine: Duration) -> Timestamp {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.map_or_else(wall, |(then, at)| then.plus(machine.saturating_sub(at)))
    }

    /// Now, for stamps: not before any time that was told, unless that was wrong by more than
    /// [`limits::CLOCK_BEHIND`].
    pub fn now(&self) -> Timestamp {
        self.tell().now
    }

    /// What has expired by this time may be deleted: never ahead of the system's clock nor of the relay's own count.
    pub fn expiry(&self) -> Timestamp {
        self.tell().expiry
    }

    /// Remembers the count for the next start.
    ///
    /// # Errors
    /// When the data folder cannot be written.
    pub fn save(&self) -> std::io::Result<()> {
        let count = {
            let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            count.own(machine())
        };
        let Some(file) = &self.file else {
            return Ok(());
        };
        // A crash in between leaves the old file.
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{}\n", count.0))?;
        std::fs::rename(&new, file)
    }

    fn tell(&self) -> Told {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machine();
        let told = count.tell(self.wall(machine), machine);
        drop(count);
        if let Some(notice) = told.notice {
            notice.log();
        }
        told
    }
}

/// The system's clock.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::default().plus(since.unwrap_or_default())
}

/// How long the machine has been on. On Linux that includes the time in which it slept, which `Instant` leaves out.
fn machine() -> Duration {
    static START: LazyLock<(bool, Instant)> =
        LazyLock::new(|| (uptime().is_some(), Instant::now()));
    let (has_uptime, start) = &*START;
    if *has_uptime && let Some(uptime) = uptime() {
        return uptime;
    }
    start.elapsed()
}

#[cfg(target_os = "linux")]
fn uptime() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::Boottime).try_into().ok()
}

#[cfg(not(target_os = "linux"))]
fn uptime() -> Option<Duration> {
    None
}

/// The relay's own count and what it makes of the system's clock. Nothing here reads a clock.
#[derive(Debug)]
struct Count {
    /// The time when the machine had been on for `at`.
    time: Timestamp,
    at: Duration,
    /// Newest time that was told.
    told: Timestamp,
    doubt: Option<Doubt>,
    /// Whether no time has been told yet: how long the relay was off is not known.
    first: bool,
}

/// The system's clock and the count have parted.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Duration,
    /// By how much the system's clock is ahead (behind if negative), in milliseconds.
    by: i128,
    /// The clock was ahead at the start: most likely the relay was off for long, so stamps follow it.
    after_stop: bool,
}

#[derive(Debug)]
struct Told {
    now: Timestamp,
    expiry: Timestamp,
    notice: Option<Notice>,
}

/// What a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// The clock is far ahead of what the last run knew.
    AheadAtStart(Duration),
    Ahead(Duration),
    Behind(Duration),
    /// The clock is back where it should be.
    Agreed,
    /// It has stood for so long that it is taken for right.
    Believed,
}

impl Count {
    const fn new(time: Timestamp, machine: Duration) -> Self {
        Self {
            time,
            at: machine,
            told: Timestamp(0),
            doubt: None,
            first: true,
        }
    }

    fn own(&self, machine: Duration) -> Timestamp {
        self.time.plus(machine.saturating_sub(self.at))
    }

    fn tell(&mut self, wall: Timestamp, machine: Duration) -> Told {
        let first = std::mem::replace(&mut self.first, false);
        let own = self.own(machine);
        let agree = wall <= own.plus(limits::CLOCK_AHEAD) && own <= wall.plus(limits::CLOCK_BEHIND);
        let mut notice = None;
        if agree {
            notice = self.doubt.take().map(|_| Notice::Agreed);
            (self.time, self.at) = (wall, machine);
            return self.told(wall, wall, notice);
        }
        let by = i128::from(wall.0) - i128::from(own.0);
        let doubt = match self.doubt {
            Some(doubt) if (doubt.by - by).unsigned_abs() <= limits::CLOCK_BEHIND.as_millis() => {
                doubt
            }
            former => {
                let after_stop =
                    wall > own && (first || former.is_some_and(|doubt| doubt.after_stop));
                notice = Some(match (wall > own, after_stop) {
                    (true, true) => Notice::AheadAtStart(wall.since(own)),
                    (true, false) => Notice::Ahead(wall.since(own)),
                    (false, _) => Notice::Behind(own.since(wall)),
                });
                Doubt {
                    since: machine,
                    by,
                    after_stop,
                }
            }
        };
        if machine.saturating_sub(doubt.since) >= limits::CLOCK_GRACE {
            self.doubt = None;
            (self.time, self.at) = (wall, machine);
            return self.told(wall, wall, Some(Notice::Believed));
        }
        self.doubt = Some(doubt);
        let now = if doubt.after_stop { wall } else { own };
        self.told(now, own.min(wall), notice)
    }

    /// Small steps back are not shown: the clock stands still instead.
    fn told(&mut self, now: Timestamp, expiry: Timestamp, notice: Option<Notice>) -> Told {
        let wrong = self.told.since(now) > limits::CLOCK_BEHIND;
        self.told = if wrong { now } else { now.max(self.told) };
        Told {
            now: self.told,
            expiry,
            notice,
        }
    }
}

impl Notice {
    fn log(self) {
        let hours = limits::CLOCK_GRACE.as_secs() / 3600;
        let days = |by: Duration| by.as_secs_f64() / 86_400.0;
        match self {
            Self::AheadAtStart(by) => tracing::warn!(
                "the system's clock is {:.1} days ahead of the last run: the relay was off for long, or the clock is wrong. \
                 Nothing of that time expires for the next {hours} hours",
                days(by)
            ),
            Self::Ahead(by) => tracing::error!(
                "the system's clock has jumped ahead by {:.1} days; set it right. The relay goes on by its own count, deletes \
                 nothing early, and believes the clock if it stays like this for {hours} hours",
                days(by)
            ),
            Self::Behind(by) => tracing::error!(
                "the system's clock is {:.1} days behind what this relay knows; set it right. The relay goes on by its own \
                 count, and believes the clock if it stays like this for {hours} hours",
                days(by)
            ),
            Self::Agreed => tracing::info!("the system's clock is right again"),
            Self::Believed => {
                tracing::warn!(
                    "the system's clock has stood for {hours} hours and is believed now"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
