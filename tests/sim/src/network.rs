//! Connections and streams, and what is under way on them.
//!
//! The transport below is QUIC: inside a stream nothing is lost or out of order, streams overtake each other, and both
//! ends learn of a connection's end at their own time. Loss shows as delay; a cut shows as frames that never arrive whole.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use zerok_sync_shared::engine::StreamId;
use zerok_sync_shared::time::Timestamp;

pub type ConnectionId = u64;

/// An end of a connection; also the direction towards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Device,
    Relay,
}

impl End {
    pub const BOTH: [Self; 2] = [Self::Device, Self::Relay];

    pub const fn other(self) -> Self {
        match self {
            Self::Device => Self::Relay,
            Self::Relay => Self::Device,
        }
    }
}

/// Something on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The stream itself.
    Open,
    /// A frame without its length.
    Bytes(Bytes),
    /// The end.
    End,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Queue {
    /// With the moment at which each arrives.
    pub frames: VecDeque<(Timestamp, Frame)>,
    /// Whether a delivery is in the world's queue.
    pub scheduled: bool,
}

#[derive(Debug, Default)]
pub struct Stream {
    pub to_device: Queue,
    pub to_relay: Queue,
}

impl Stream {
    pub const fn towards(&mut self, end: End) -> &mut Queue {
        match end {
            End::Device => &mut self.to_device,
            End::Relay => &mut self.to_relay,
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    pub device: usize,
    pub relay: usize,
    pub device_open: bool,
    pub relay_open: bool,
    pub streams: BTreeMap<StreamId, Stream>,
}

impl Connection {
    pub const fn new(device: usize, relay: usize) -> Self {
        Self {
            device,
            relay,
            device_open: true,
            relay_open: true,
            streams: BTreeMap::new(),
        }
    }

    pub const fn is_open(&self, end: End) -> bool {
        match end {
            End::Device => self.device_open,
            End::Relay => self.relay_open,
        }
    }

    pub fn close(&mut self, end: End) {
        match end {
            End::Device => self.device_open = false,
            End::Relay => self.relay_open = false,
        }
    }

    /// Whether something that somebody still waits for is under way, or a device has yet to notice that its relay is gone.
    pub fn is_busy(&self) -> bool {
        let is_dead = self.device_open && !self.relay_open;
        is_dead
            || self.streams.values().any(|stream| {
                (self.device_open && !stream.to_device.frames.is_empty())
                    || (self.relay_open && !stream.to_relay.frames.is_empty())
            })
    }
}

/// A time in which nothing passes.
#[derive(Debug, Clone, Copy)]
pub struct Blocked {
    pub since: Timestamp,
    pub until: Timestamp,
}

/// The network between a device and everything else.
#[derive(Debug, Default)]
pub struct Air {
    /// One way, in milliseconds.
    pub delay: usize,
    /// Towards the device, and towards the relay.
    pub blocked: [Option<Blocked>; 2],
}

impl Air {
    /// Until when nothing passes in a direction.
    pub fn blocked(&self, towards: End, now: Timestamp) -> Option<Blocked> {
        self.blocked[towards as usize].filter(|blocked| blocked.until > now)
    }
}
