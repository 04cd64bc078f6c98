//! Lines on stderr while something takes long.

use std::path::Path;
use std::time::{Duration, Instant};

use super::words;

const EVERY: Duration = Duration::from_secs(2);

/// What is being done, and when it was last told.
pub struct Progress {
    what: &'static str,
    told: Instant,
}

impl Progress {
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            told: Instant::now(),
        }
    }

    /// Tells of it, unless it was told a moment ago.
    pub fn tell(&mut self, so_far: impl FnOnce() -> String) {
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            eprintln!("{}: {}", self.what, so_far());
        }
    }

    /// Bytes of a whole.
    pub fn bytes(&mut self, done: u64, of: u64) {
        self.tell(|| format!("{} of {}", words::bytes(done.min(of)), words::bytes(of)));
    }

    /// Waits for `work`, which makes a file grow.
    pub async fn of_file<T>(mut self, file: &Path, of: u64, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(EVERY, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.bytes(std::fs::metadata(file).map_or(0, |data| data.len()), of),
            }
        }
    }
}
