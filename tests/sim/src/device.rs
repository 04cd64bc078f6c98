//! A simulated device: an engine, its disk, and what the rest of the world holds for it.

use std::collections::{BTreeMap, VecDeque};

use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::engine::{Engine, Output, Profile, StreamId};
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::time::Timestamp;

use crate::Rng;
use crate::disk::{Disk, Entry};
use crate::ledger::Order;
use crate::network::{Air, ConnectionId};

/// A write under way.
pub struct Writing {
    pub entry: Entry,
    /// What the ledger gets when it is on the disk.
    pub order: Order,
    /// Groups that it removes.
    pub removes: Vec<GroupId>,
}

/// A device; between its start and its crash it has an engine.
pub struct Device {
    pub id: DeviceId,
    /// What its keys are derived from.
    pub secret: Secret,
    pub disk: Disk,
    pub engine: Option<Engine>,
    /// Which life of the process this is: what an earlier one asked for comes to nothing.
    pub life: u64,
    /// The write under way.
    pub writing: Option<Writing>,
    /// Reads that wait for their answer.
    pub loads: VecDeque<Output>,
    /// Newest attempt per relay, and the connection if it came to one.
    pub links: BTreeMap<String, (u64, Option<ConnectionId>)>,
    pub attempts: u64,
    pub streams: BTreeMap<StreamId, ConnectionId>,
    /// The wake-up that is in the world's queue.
    pub wake_at: Option<Timestamp>,
    pub air: Air,
    pub disk_full_until: Timestamp,
    pub unreadable_until: Timestamp,
    /// How far its clock is from the world's, in milliseconds.
    pub clock: i64,
    pub next_token: u64,
    /// Groups it belongs to or is about to join.
    pub groups: Vec<GroupId>,
}

impl Device {
    pub fn new(number: u8, delay: usize) -> Self {
        let secret = Secret::new([number; 32]);
        Self {
            id: DeviceKeys::derive(&secret).id(),
            secret,
            disk: Disk::default(),
            engine: None,
            life: 0,
            writing: None,
            loads: VecDeque::new(),
            links: BTreeMap::new(),
            attempts: 0,
            streams: BTreeMap::new(),
            wake_at: None,
            air: Air {
                delay,
                ..Air::default()
            },
            disk_full_until: Timestamp::default(),
            unreadable_until: Timestamp::default(),
            clock: 0,
            next_token: 0,
            groups: Vec::new(),
        }
    }

    /// Starts with what the disk has.
    pub fn boot(&mut self, rng: &mut Rng) {
        let mut entropy = Rng::new(rng.number());
        self.engine = Some(Engine::new(
            DeviceKeys::derive(&self.secret),
            Profile::default(),
            self.disk.load(),
            Box::new(move |bytes: &mut [u8]| entropy.fill(bytes)),
        ));
    }

    /// Everything but the disk is lost; gives the write that was under way.
    pub fn stop(&mut self) -> Option<Writing> {
        self.life += 1;
        self.engine = None;
        self.loads.clear();
        self.links.clear();
        self.streams.clear();
        self.wake_at = None;
        self.writing.take()
    }

    /// The world's time on its clock.
    pub const fn local(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.clock))
    }

    /// A moment of its clock in the world's time.
    pub const fn global(&self, local: Timestamp) -> Timestamp {
        Timestamp(local.0.saturating_add_signed(-self.clock))
    }
}
