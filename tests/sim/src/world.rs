//! The world: draws events, lets faults happen, and checks the promises.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::crypto::blob;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::engine::{Event, Input, State};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::GroupState;
use zerok_sync_shared::time::Timestamp;

use super::Rng;
use super::device::Device;
use super::relay::{Database, Relay};

/// TLS exporter of every simulated connection.
pub(super) const EXPORTER: [u8; 32] = [7; 32];
const RELAY_URL: &str = "http://relay.test";
/// Steps in which a healthy world must have settled.
const MAX_SETTLING: usize = 2_000_000;

/// Which faults happen in a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Connections break, between and inside streams.
    pub cut: bool,
    /// Devices crash between any two writes.
    pub device_crash: bool,
    /// The relay crashes.
    pub relay_crash: bool,
    /// The relay loses its database.
    pub wipe: bool,
    /// Writes of devices fail.
    pub device_full: bool,
    /// The relay refuses blobs for a while.
    pub relay_full: bool,
    /// Stored payloads change.
    pub tamper: bool,
}

impl Faults {
    /// Each fault is on in half of the runs: faults that are always on hide what others would show.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            cut: rng.once_in(2),
            device_crash: rng.once_in(2),
            relay_crash: rng.once_in(2),
            wipe: rng.once_in(2),
            device_full: rng.once_in(2),
            relay_full: rng.once_in(2),
            tamper: false,
        }
    }
}

/// A fleet and its relay.
pub struct World {
    rng: Rng,
    now: Timestamp,
    group: GroupId,
    keys: EpochKeys,
    devices: Vec<Device>,
    relay: Relay,
    faults: Faults,
    pushes: u64,
}

impl World {
    /// Some devices of one group and one relay.
    #[must_use]
    pub fn new(seed: u64, device_count: usize, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let secret = Secret::new([3; 32]);
        let keys = EpochKeys::derive(0, secret.clone());
        let group = keys.founded_group();
        let device = |n: usize, rng: &mut Rng| {
            let state = GroupState {
                epochs: vec![(0, secret.clone())],
                relays: vec![RELAY_URL.into()],
                founded: n == 0,
                position: 0,
                seen: SortedMap::new(),
                pins: SortedMap::new(),
                bookmarks: SortedMap::new(),
                last_synced: None,
            };
            Device::new(DeviceId([n as u8 + 1; 32]), group, state, rng)
        };
        let devices = (0..device_count).map(|n| device(n, &mut rng)).collect();
        let relay = Relay::new(DeviceId([0xFF; 32]), &mut rng);
        let now = Timestamp(1_000_000);
        Self {
            rng,
            now,
            group,
            keys,
            devices,
            relay,
            faults,
            pushes: 0,
        }
    }

    /// Lets events and faults happen.
    pub fn run(&mut self, steps: usize) {
        for device in &mut self.devices {
            device.feed(self.now, Input::Tick);
        }
        for _ in 0..steps {
            self.step();
            if self.rng.once_in(60) {
                self.push();
            }
            if self.rng.once_in(150) {
                self.fault();
            }
        }
    }

    /// Stops the faults and lets everything settle.
    ///
    /// # Panics
    /// When it does not.
    pub fn settle(&mut self) {
        self.relay.full = false;
        self.relay.tamper_next = false;
        self.faults.device_full = false;
        for _ in 0..MAX_SETTLING {
            let busy = self.step();
            if !busy && self.is_settled() {
                return;
            }
        }
        let views: Vec<_> = self
            .devices
            .iter()
            .map(|device| device.engine.view(self.group))
            .collect();
        panic!("the world does not settle: {views:#?}");
    }

    fn is_settled(&self) -> bool {
        self.devices.iter().all(|device| {
            let view = device.engine.view(self.group);
            device.engine.is_idle() && view.is_some_and(|view| view.state == State::Synced)
        })
    }

    /// One event; false if nothing but time could pass.
    fn step(&mut self) -> bool {
        let mut kinds = [0, 1, 2, 3, 4, 5, 6];
        // Try them in an order that is drawn: the first that can happen does.
        for at in (1..kinds.len()).rev() {
            kinds.swap(at, self.rng.below(at + 1));
        }
        for kind in kinds {
            let happened = match kind {
                0 => self.deliver_to_relay(),
                1 => self.deliver_to_device(),
                2 => self.relay.commit_some(&mut self.rng, self.now),
                3 => self.finish_write(),
                4 => self.finish_load(),
                5 => self.relay.read_some(&mut self.rng, self.now),
                _ => self.connect(),
            };
            if happened {
                self.now = self
                    .now
                    .plus(Duration::from_millis(self.rng.below(3) as u64));
                return true;
            }
        }
        let wake = self
            .devices
            .iter()
            .filter_map(|device| device.engine.next_wake())
            .min();
        self.now = wake.map_or(self.now.plus(Duration::from_secs(1)), |wake| {
            wake.max(self.now)
        });
        for device in &mut self.devices {
            device.feed(self.now, Input::Tick);
            let next = device.engine.next_wake();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a device that wakes for nothing never sleeps"
            );
        }
        false
    }

    fn pick(&mut self, fits: impl Fn(&Device) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.devices.len())
            .filter(|at| fits(&self.devices[*at]))
            .collect();
        if fitting.is_empty() {
            None
        } else {
            Some(fitting[self.rng.below(fitting.len())])
        }
    }

    fn deliver_to_relay(&mut self) -> bool {
        let Some(at) = self.pick(|device| device.streams.values().any(|queue| !queue.is_empty()))
        else {
            return false;
        };
        let device = &mut self.devices[at];
        let ready: Vec<_> = device
            .streams
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(id, _)| *id)
            .collect();
        let stream = ready[self.rng.below(ready.len())];
        let Some(message) = device
            .streams
            .get_mut(&stream)
            .and_then(std::collections::VecDeque::pop_front)
        else {
            return false;
        };
        if message.is_none() {
            device.streams.remove(&stream);
        }
        let id = device.id;
        self.relay.receive(at, id, stream, message, self.now);
        true
    }

    fn deliver_to_device(&mut self) -> bool {
        let Some((at, stream, message)) = self.relay.send_some(&mut self.rng) else {
            return false;
        };
        let device = &mut self.devices[at];
        match message {
            Some(message) => device.feed(
                self.now,
                Input::Frame {
                    stream,
                    message: Ok(message),
                },
            ),
            None => {
                device.streams.remove(&stream);
                device.feed(self.now, Input::StreamEnded { stream });
            }
        }
        true
    }

    fn finish_write(&mut self) -> bool {
        let Some(at) = self.pick(|device| device.writing.is_some()) else {
            return false;
        };
        let fails = self.faults.device_full && self.rng.once_in(10);
        self.devices[at].finish_write(self.now, fails);
        true
    }

    fn finish_load(&mut self) -> bool {
        let Some(at) = self.pick(|device| !device.loads.is_empty()) else {
            return false;
        };
        self.devices[at].finish_load(self.now);
        true
    }

    fn connect(&mut self) -> bool {
        let Some(at) = self.pick(|device| device.connecting) else {
            return false;
        };
        let device = &mut self.devices[at];
        (device.connecting, device.connected) = (false, true);
        let relay_id = self.relay.id;
        device.feed(
            self.now,
            Input::Connected {
                relay: RELAY_URL.into(),
                relay_id,
                exporter: EXPORTER,
            },
        );
        true
    }

    fn push(&mut self) {
        self.pushes += 1;
        let mut body = format!("push {} ", self.pushes).into_bytes();
        body.resize(body.len() + self.rng.below(300), b'.');
        let body = Bytes::from(body);
        let at = self.rng.below(self.devices.len());
        let device = &mut self.devices[at];
        let token = device.next_token;
        device.next_token += 1;
        device.asked.insert(token, body.clone());
        device.feed(
            self.now,
            Input::Push {
                group: self.group,
                body,
                ttl: 0,
                token,
            },
        );
    }

    fn fault(&mut self) {
        let at = self.rng.below(self.devices.len());
        match self.rng.below(6) {
            0 if self.faults.cut => self.cut(at),
            1 if self.faults.device_crash => {
                self.relay.drop_device(at);
                self.devices[at].crash(self.group, &mut self.rng);
                self.devices[at].feed(self.now, Input::Tick);
            }
            2 if self.faults.relay_crash => self.crash_relay(),
            3 if self.faults.wipe && self.rng.once_in(3) => {
                self.crash_relay();
                self.relay.database = Database::new(&mut self.rng);
            }
            4 if self.faults.relay_full => self.relay.full = !self.relay.full,
            5 if self.faults.tamper => self.relay.tamper_next = true,
            _ => {}
        }
    }

    fn cut(&mut self, at: usize) {
        self.relay.drop_device(at);
        let device = &mut self.devices[at];
        if device.connected || device.connecting {
            device.lose_connection();
            let error =
                SyncError::passing(code::RELAY_UNREACHABLE, "the simulated connection was cut");
            device.feed(
                self.now,
                Input::Disconnected {
                    relay: RELAY_URL.into(),
                    error,
                },
            );
        }
    }

    fn crash_relay(&mut self) {
        self.relay.crash();
        for at in 0..self.devices.len() {
            self.cut(at);
        }
    }

    /// Compares what every device has with what was promised.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn check(&self) {
        let promised: BTreeMap<BlobId, &Bytes> = self
            .devices
            .iter()
            .flat_map(|device| device.promised.iter().map(|(id, body)| (*id, body)))
            .collect();
        for device in &self.devices {
            let mut last_seq: BTreeMap<DeviceId, u64> = BTreeMap::new();
            let mut here = BTreeMap::new();
            for record in &device.disk.log {
                let plain = blob::open(&self.keys, &record.address(self.group), &record.payload);
                let plain = plain.expect("nothing altered enters a log");
                let last = last_seq.insert(record.sender, record.seq).unwrap_or(0);
                assert!(
                    record.seq > last,
                    "each once and in the order of its sender"
                );
                here.insert(record.blob_id, plain.body);
            }
            for (id, body) in &promised {
                match here.get(id) {
                    Some(here) => assert_eq!(here, *body),
                    None => assert!(
                        self.relay.tampered.contains(id),
                        "a promised blob is missing"
                    ),
                }
            }
            assert!(device.disk.unsent.is_empty(), "everything was sent");
        }
        if self.relay.tampered.is_empty() {
            let vector = |device: &Device| {
                device
                    .engine
                    .view(self.group)
                    .map(|view| view.version_vector)
            };
            let first = vector(&self.devices[0]);
            assert!(
                self.devices.iter().all(|device| vector(device) == first),
                "version vectors are equal"
            );
        }
    }

    /// Every tampered blob that a device met was reported.
    #[must_use]
    pub fn rejections(&self) -> usize {
        let rejected = |event: &&Event| matches!(event, Event::Error { error, .. } if error.code == code::BLOB_REJECTED);
        self.devices
            .iter()
            .map(|device| device.events.iter().filter(rejected).count())
            .sum()
    }

    /// Blobs that apps were promised.
    #[must_use]
    pub fn promised(&self) -> usize {
        self.devices
            .iter()
            .map(|device| device.promised.len())
            .sum()
    }
}
