//! What happened, for whoever has to find out why a run failed.

use std::collections::VecDeque;

use zerok_sync_shared::time::Timestamp;

/// Lines that are kept.
const KEPT: usize = 120;

/// How much of a run is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Only a hash of everything.
    #[default]
    Hash,
    /// The last lines.
    Last,
    /// Every line, printed as it happens.
    Everything,
}

#[derive(Debug)]
pub struct Trace {
    detail: Detail,
    lines: VecDeque<String>,
    hash: u64,
}

impl Trace {
    pub const fn new(detail: Detail) -> Self {
        Self {
            detail,
            lines: VecDeque::new(),
            hash: 0,
        }
    }

    /// Something happened: `what` is a number for the hash, `line` its description.
    pub fn note(&mut self, now: Timestamp, what: u64, line: impl FnOnce() -> String) {
        for number in [now.0, what] {
            self.hash = (self.hash ^ number)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29);
        }
        if self.detail == Detail::Hash {
            return;
        }
        let line = format!("{:>12.3} s  {}", now.0 as f64 / 1000.0, line());
        if self.detail == Detail::Everything {
            println!("{line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The same for two runs that did the same.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}
