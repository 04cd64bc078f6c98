//! The way of one device to the relay: faults, counters and a recording for each direction of each transport.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::faults::{Accept, Faults};

/// Bytes of one direction of one transport that are kept for the leak check.
const MAX_CAPTURE: usize = 4 * 1024 * 1024;

/// One direction of one transport.
#[derive(Debug)]
pub struct Way {
    faults: watch::Sender<Faults>,
    bytes: AtomicU64,
    packets: AtomicU64,
    dropped: AtomicU64,
    /// Bytes that may still pass before the lane is cut.
    cut_after: AtomicU64,
    capture: Mutex<Vec<u8>>,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            faults: watch::Sender::new(Faults::default()),
            bytes: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            cut_after: AtomicU64::new(u64::MAX),
            capture: Mutex::default(),
        }
    }
}

/// What went through one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Bytes that came in.
    pub bytes: u64,
    /// Packets, or pieces of a stream.
    pub packets: u64,
    /// Packets that were lost here.
    pub dropped: u64,
}

impl Way {
    /// The faults, and word when they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    /// The faults now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.borrow().clone()
    }

    /// From now on these.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Notes what passes, before it may be lost. Says whether that was the last before a cut.
    pub fn pass(&self, bytes: &[u8]) -> bool {
        let length = bytes.len() as u64;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.packets.fetch_add(1, Ordering::Relaxed);
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_CAPTURE.saturating_sub(capture.len()).min(bytes.len());
        capture.extend_from_slice(&bytes[..room]);
        drop(capture);
        if self.cut_after.load(Ordering::Relaxed) == u64::MAX {
            return false;
        }
        let left = self
            .cut_after
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(if left <= length {
                    u64::MAX
                } else {
                    left - length
                })
            });
        left.is_ok_and(|left| left <= length)
    }

    /// Notes a loss.
    pub fn lose(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The lane is cut once so many more bytes have passed.
    pub fn cut_after(&self, bytes: u64) {
        self.cut_after.store(bytes, Ordering::Relaxed);
    }

    /// What went through.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            bytes: self.bytes.load(Ordering::Relaxed),
            packets: self.packets.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// The first bytes that went through.
    #[must_use]
    pub fn captured(&self) -> Vec<u8> {
        self.capture
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Both directions of one transport, as the device sees them.
#[derive(Debug, Default)]
pub struct Wire {
    /// From the device to the relay.
    pub up: Way,
    /// From the relay to the device.
    pub down: Way,
}

/// The way of one device to the relay.
#[derive(Debug)]
pub struct Lane {
    /// Whose.
    pub name: String,
    /// HTTP and WebSocket.
    pub tcp: Wire,
    /// QUIC.
    pub udp: Wire,
    accept: watch::Sender<Accept>,
    cuts: watch::Sender<u64>,
}

impl Lane {
    /// Without faults.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tcp: Wire::default(),
            udp: Wire::default(),
            accept: watch::Sender::default(),
            cuts: watch::Sender::default(),
        }
    }

    /// Every direction of every transport.
    pub fn ways(&self) -> [&Way; 4] {
        [&self.tcp.up, &self.tcp.down, &self.udp.up, &self.udp.down]
    }

    /// Faults for both transports: from and to the device.
    pub fn set(&self, up: &Faults, down: &Faults) {
        for wire in [&self.tcp, &self.udp] {
            wire.up.set(up.clone());
            wire.down.set(down.clone());
        }
    }

    /// What becomes of new TCP connections.
    pub fn set_accept(&self, accept: Accept) {
        self.accept.send_replace(accept);
    }

    /// What becomes of new TCP connections, and word when that changes.
    #[must_use]
    pub fn watch_accept(&self) -> watch::Receiver<Accept> {
        self.accept.subscribe()
    }

    /// Resets every TCP connection that there is now.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Word when TCP connections are reset.
    #[must_use]
    pub fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// What happens when the bytes before a cut are used up: TCP is reset, UDP is never heard of again.
    pub fn sever(&self) {
        for way in [&self.udp.up, &self.udp.down] {
            way.set(Faults::partition());
        }
        self.cut();
    }

    /// No faults any more.
    pub fn heal(&self) {
        for way in self.ways() {
            way.cut_after(u64::MAX);
            way.set(Faults::default());
        }
        self.set_accept(Accept::Forward);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_comes_once_after_so_many_bytes() {
        let way = Way::default();
        assert!(!way.pass(&[0; 100]));
        way.cut_after(150);
        assert!(!way.pass(&[0; 100]));
        assert!(way.pass(&[0; 100]));
        assert!(!way.pass(&[0; 100]));
        assert_eq!(way.counts().bytes, 400);
        assert_eq!(way.captured().len(), 400);
    }
}
