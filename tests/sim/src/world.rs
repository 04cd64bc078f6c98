//! The world: a queue of happenings, and what each of them does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::engine::{self, Event, LoadPurpose, State, StreamId};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::message::Message;
use zerok_sync_shared::session;
use zerok_sync_shared::store::{Batch, Write};
use zerok_sync_shared::time::Timestamp;

use crate::coverage::{self, Coverage};
use crate::device::{Device, Writing};
use crate::disk::Entry;
use crate::faults::{Fault, Faults};
use crate::ledger::Ledger;
use crate::network::{Connection, ConnectionId, End, Frame};
use crate::relay::{EXPORTER, Key, Relay};
use crate::rng::Rng;
use crate::run::Plan;
use crate::trace::{Detail, Trace};

mod app;
mod chaos;
mod serving;

/// An end that hears nothing for so long gives its connection up.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time and happenings in which a healthy world must have settled. The longest wait of a device is an hour.
const MAX_SETTLING: (Duration, usize) = (Duration::from_secs(6 * 3600), 300_000);

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// The next frame of a stream arrives.
    Deliver(ConnectionId, StreamId, End),
    /// An attempt to connect succeeds, if everything is as it should be.
    Connect {
        device: usize,
        life: u64,
        relay: String,
        attempt: u64,
    },
    /// An end learns that its connection is gone.
    Lose(ConnectionId, End),
    /// An end has heard nothing since then.
    Idle(ConnectionId, End, Timestamp),
    /// The engine wanted to be woken.
    Wake {
        device: usize,
        life: u64,
    },
    Written {
        device: usize,
        life: u64,
    },
    Loaded {
        device: usize,
        life: u64,
    },
    /// A device is switched on.
    Boot(usize),
    /// A device learns of a new epoch.
    KeyArrives(usize, GroupId, u32),
    /// An app asks to join until it has.
    Join(usize, GroupId),
    /// Apps do something.
    App,
    /// Something goes wrong.
    Fault,
    RelayBoot(usize),
    /// The relay's transaction is on its disk.
    RelayCommitted(usize, u64),
    /// The answers of that transaction go out.
    RelayAnswers(usize, u64),
    /// A look-up of a session is carried out.
    RelayWork(usize, u64, Key, serving::Work),
    /// Its result arrives.
    RelayFeed(usize, u64, Key, session::Input),
    RelayExpires(usize),
}

struct Scheduled {
    at: Timestamp,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A fleet, its relays and everything between.
pub(crate) struct World {
    pub rng: Rng,
    pub now: Timestamp,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub plan: Plan,
    /// The plan's until everything is to settle.
    pub faults: Faults,
    pub devices: Vec<Device>,
    pub relays: Vec<Relay>,
    pub connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    pub ledger: Ledger,
    pub coverage: Coverage,
    pub trace: Trace,
    pub pushes: usize,
    pub happenings: u64,
    settling: bool,
}

impl World {
    pub fn new(seed: u64, plan: Plan, detail: Detail) -> Self {
        let mut rng = Rng::new(seed);
        let relays = vec![Relay::new(0, &mut rng)];
        let mut world = Self {
            now: Timestamp(1_000_000_000_000),
            queue: BinaryHeap::new(),
            scheduled: 0,
            faults: plan.faults,
            devices: Vec::new(),
            relays,
            connections: BTreeMap::new(),
            next_connection: 0,
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            trace: Trace::new(detail),
            pushes: 0,
            happenings: 0,
            settling: false,
            rng,
            plan,
        };
        for n in 0..world.plan.groups {
            let mut secret = [n as u8; 32];
            secret[31] = 1;
            let keys = EpochKeys::derive(0, Secret::new(secret));
            let group = keys.founded_group();
            world.ledger.groups.insert(group, vec![keys]);
        }
        let unsafe_relay = [Fault::RelayWipe, Fault::RelayRollback];
        world.ledger.relay_is_safe = !unsafe_relay.iter().any(|f| world.faults.has(*f));
        for _ in 0..world.plan.devices {
            world.add_device();
        }
        world.after(Duration::ZERO, Happening::App);
        let first = world.fault_interval();
        world.after(first, Happening::Fault);
        if world.faults.has(Fault::Expiry) {
            world.after(Duration::from_secs(60), Happening::RelayExpires(0));
        }
        world
    }

    /// A new device that joins some of the groups.
    pub fn add_device(&mut self) {
        let at = self.devices.len();
        let delay = [1, 5, 20, 80][self.rng.below(4)];
        let mut device = Device::new(DeviceId([at as u8 + 1; 32]), delay);
        device.boot(&mut self.rng);
        self.devices.push(device);
        let groups: Vec<_> = self.ledger.groups.keys().copied().collect();
        for (n, group) in groups.into_iter().enumerate() {
            // Everybody is in the first group.
            if n == 0 || self.rng.once_in(2) {
                self.devices[at].groups.push(group);
                self.after(Duration::ZERO, Happening::Join(at, group));
            }
        }
    }

    pub fn after(&mut self, wait: Duration, what: Happening) {
        self.at(self.now.plus(wait), what);
    }

    pub fn at(&mut self, at: Timestamp, what: Happening) {
        self.scheduled += 1;
        let order = self.scheduled;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            order,
            what,
        }));
    }

    pub fn millis(&mut self, below: usize) -> Duration {
        Duration::from_millis(self.rng.below(below.max(1)) as u64)
    }

    /// Lets apps work and faults happen until the plan's pushes were made.
    pub fn run(&mut self) {
        while self.pushes < self.plan.pushes && self.happenings < self.plan.max_happenings {
            self.step();
        }
    }

    /// Stops the faults and lets everything settle.
    pub fn settle(&mut self) {
        self.settling = true;
        self.heal();
        let late = self.now.plus(MAX_SETTLING.0);
        for n in 0..MAX_SETTLING.1 {
            if n % 64 == 0 && self.is_settled() {
                return;
            }
            if self.now > late || !self.step() {
                break;
            }
        }
        if self.is_settled() {
            return;
        }
        for device in &self.devices {
            let engine = device.engine.as_ref();
            for group in &device.groups {
                let view = engine.and_then(|engine| engine.view(*group));
                let phase = engine.and_then(|engine| engine.phase(*group));
                println!("device {}: {phase:?} {view:?}", device.id.0[0]);
            }
        }
        panic!("the world does not settle");
    }

    fn is_settled(&self) -> bool {
        let device_settled = |device: &Device| {
            let Some(engine) = &device.engine else {
                return false;
            };
            let synced = |group: &GroupId| {
                let view = engine.view(*group);
                view.is_some_and(|view| view.state == State::Synced)
            };
            engine.is_idle() && device.writing.is_none() && device.groups.iter().all(synced)
        };
        let relay_settled = |relay: &Relay| {
            relay.running
                && relay.waiting.is_empty()
                && relay.committing.is_empty()
                && relay.answers.is_empty()
        };
        // Cheap reasons first.
        !self.connections.values().any(Connection::is_busy)
            && self.relays.iter().all(relay_settled)
            && self.devices.iter().all(device_settled)
            && !self.queue.iter().any(|next| {
                matches!(
                    next.0.what,
                    Happening::RelayWork(..)
                        | Happening::RelayFeed(..)
                        | Happening::KeyArrives(..)
                        | Happening::Join(..)
                        | Happening::Loaded { .. }
                )
            })
    }

    /// The next happening; false if there is none.
    fn step(&mut self) -> bool {
        let Some(Reverse(next)) = self.queue.pop() else {
            return false;
        };
        self.now = next.at;
        self.happenings += 1;
        self.trace
            .note(self.now, next.order, || format!("{:?}", next.what));
        self.happen(next.what);
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deliver(connection, stream, end) => self.deliver(connection, stream, end),
            Happening::Connect {
                device,
                life,
                relay,
                attempt,
            } => self.connect(device, life, &relay, attempt),
            Happening::Lose(connection, end) => self.lose(connection, end),
            Happening::Idle(connection, end, since) => self.idle(connection, end, since),
            Happening::Wake { device, life } => {
                let due = self.devices[device].wake_at == Some(self.now);
                if due && self.devices[device].life == life {
                    self.devices[device].wake_at = None;
                    self.wake(device);
                }
            }
            Happening::Written { device, life } => self.written(device, life),
            Happening::Loaded { device, life } => self.loaded(device, life),
            Happening::Boot(device) => self.boot(device),
            Happening::KeyArrives(device, group, epoch) => self.key_arrives(device, group, epoch),
            Happening::Join(device, group) => self.join(device, group),
            // What was still planned when everything was to settle does not happen.
            Happening::App if !self.settling => self.app(),
            Happening::Fault if !self.settling => self.fault(),
            Happening::App | Happening::Fault => {}
            Happening::RelayBoot(relay) => self.relays[relay].running = true,
            Happening::RelayCommitted(relay, life) => self.committed(relay, life),
            Happening::RelayAnswers(relay, life) => self.answers(relay, life),
            Happening::RelayWork(relay, life, key, work) => self.work(relay, life, key, work),
            Happening::RelayFeed(relay, life, key, input) => {
                if self.relays[relay].life == life {
                    self.feed_session(relay, key, input);
                }
            }
            Happening::RelayExpires(relay) => self.expire(relay),
        }
    }

    /// Feeds an engine and carries out what it answers.
    pub fn feed(&mut self, at: usize, input: engine::Input) {
        let device = &mut self.devices[at];
        let now = device.local(self.now);
        let Some(engine) = &mut device.engine else {
            return;
        };
        let event = coverage::device_event(&input);
        for group in &device.groups {
            if let Some(phase) = engine.phase(*group) {
                self.coverage.device(phase, event);
            }
        }
        let mut outputs = Vec::new();
        engine.handle(now, input, &mut outputs);
        engine.take_changed();
        for output in outputs {
            self.carry_out(at, output);
        }
        self.schedule_wake(at);
    }

    fn carry_out(&mut self, at: usize, output: engine::Output) {
        use engine::Output;
        let life = self.devices[at].life;
        match output {
            Output::Connect { relay } => {
                let device = &mut self.devices[at];
                device.attempts += 1;
                let attempt = device.attempts;
                device.links.insert(relay.clone(), (attempt, None));
                let wait = self.delay(at) * 3;
                self.after(
                    wait,
                    Happening::Connect {
                        device: at,
                        life,
                        relay,
                        attempt,
                    },
                );
            }
            Output::Disconnect { relay } => {
                let link = self.devices[at].links.remove(&relay);
                if let Some((_, Some(connection))) = link {
                    self.close_end(connection, End::Device, true);
                }
            }
            Output::OpenStream { stream, relay } => {
                let link = self.devices[at].links.get(&relay);
                let connection = link.and_then(|(_, connection)| *connection);
                let connection = connection.expect("a stream needs a connection");
                self.devices[at].streams.insert(stream, connection);
                self.send(connection, stream, End::Relay, Frame::Open);
            }
            Output::Send { stream, message } => {
                if let Some(connection) = self.devices[at].streams.get(&stream) {
                    let frame = encode(&message);
                    self.send(*connection, stream, End::Relay, frame);
                }
            }
            Output::CloseStream { stream } => {
                if let Some(connection) = self.devices[at].streams.remove(&stream) {
                    self.send(connection, stream, End::Relay, Frame::End);
                }
            }
            Output::Write(batch) => self.start_write(at, &batch),
            Output::Load { .. } => {
                self.devices[at].loads.push_back(output);
                let wait = self.millis(20);
                self.after(wait, Happening::Loaded { device: at, life });
            }
            Output::Pushed { token, blob_id, .. } => {
                self.ledger.promise(&self.devices[at], token, blob_id);
            }
            Output::Refused { token, error } => {
                self.ledger.refuse(self.devices[at].id, token);
                self.refused(at, token, &error);
            }
            Output::Done { .. } => {}
            Output::Event(event) => self.event(at, &event),
        }
    }

    fn event(&mut self, at: usize, event: &Event) {
        self.trace
            .note(self.now, 1, || format!("    device {}: {event:?}", at + 1));
        self.ledger.event(self.devices[at].id, event);
    }

    fn schedule_wake(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let life = device.life;
        let next = device.engine.as_ref().and_then(engine::Engine::next_wake);
        let Some(next) = next.map(|next| device.global(next).max(self.now)) else {
            return;
        };
        if device.wake_at.is_none_or(|at| next < at) {
            device.wake_at = Some(next);
            self.at(next, Happening::Wake { device: at, life });
        }
    }

    fn wake(&mut self, at: usize) {
        self.feed(at, engine::Input::Tick);
        let device = &self.devices[at];
        let now = device.local(self.now);
        let next = device.engine.as_ref().and_then(engine::Engine::next_wake);
        assert!(
            next.is_none_or(|next| next > now),
            "a device that wakes for nothing never sleeps"
        );
    }

    fn start_write(&mut self, at: usize, batch: &Batch) {
        let device = &mut self.devices[at];
        assert!(device.writing.is_none(), "one write at a time");
        let order = self.ledger.check_batch(device.id, batch);
        let removes = batch.writes.iter().filter_map(|write| match write {
            Write::Remove { group } => Some(*group),
            _ => None,
        });
        device.writing = Some(Writing {
            entry: Entry::new(batch),
            order,
            removes: removes.collect(),
        });
        let life = device.life;
        let slow = [5, 5, 5, 3_000][self.rng.below(4)];
        let wait = self.millis(slow);
        self.after(wait, Happening::Written { device: at, life });
    }

    fn written(&mut self, at: usize, life: u64) {
        if self.devices[at].life != life {
            return;
        }
        let Some(writing) = self.devices[at].writing.take() else {
            return;
        };
        let result = if self.devices[at].disk_full_until > self.now {
            Err(SyncError::passing(
                code::STORAGE_FULL,
                "the simulated disk is full",
            ))
        } else {
            self.apply(at, writing, |disk, entry| {
                disk.sync(entry);
                true
            });
            Ok(())
        };
        self.feed(at, engine::Input::Written(result));
    }

    /// A write reaches the disk, if `reach` says so.
    fn apply(
        &mut self,
        at: usize,
        writing: Writing,
        reach: impl FnOnce(&mut crate::disk::Disk, &Entry) -> bool,
    ) {
        let device = &mut self.devices[at];
        let removed: Vec<_> = writing
            .removes
            .iter()
            .filter_map(|group| Some((*group, device.disk.groups.get(group)?.clone())))
            .collect();
        if !reach(&mut device.disk, &writing.entry) {
            return;
        }
        self.ledger.written(writing.order);
        for (group, disk) in removed {
            self.devices[at].groups.retain(|of| *of != group);
            let logs = self
                .devices
                .iter()
                .filter_map(|d| d.disk.groups.get(&group));
            let elsewhere = logs.flat_map(|disk| disk.log.iter().map(|record| record.blob_id));
            let elsewhere = elsewhere.collect();
            let id = self.devices[at].id;
            self.ledger.leave(id, group, &disk, &elsewhere);
        }
    }

    fn loaded(&mut self, at: usize, life: u64) {
        let device = &mut self.devices[at];
        if device.life != life {
            return;
        }
        let Some(engine::Output::Load {
            group,
            purpose,
            after,
            max_records,
            max_bytes,
        }) = device.loads.pop_front()
        else {
            return;
        };
        let records = if device.unreadable_until > self.now {
            let text = "the simulated disk does not read";
            Err(SyncError::passing(code::STORAGE_FAILED, text))
        } else {
            Ok(device.disk.read(group, after, max_records, max_bytes))
        };
        debug_assert!(matches!(purpose, LoadPurpose::Outbox | LoadPurpose::Repair));
        self.feed(
            at,
            engine::Input::Loaded {
                group,
                purpose,
                records,
            },
        );
    }

    // ---- Network

    /// How long something takes to get from one end to the other.
    pub fn delay(&mut self, device: usize) -> Duration {
        let base = self.devices[device].air.delay;
        let mut delay = base + self.rng.below(base / 2 + 1);
        if self.faults.has(Fault::Loss) && self.rng.once_in(10) {
            delay += base * 2 * (1 + self.rng.below(8));
        }
        if self.faults.has(Fault::Delay) {
            delay += self.rng.below(3_000);
        }
        Duration::from_millis(delay as u64)
    }

    fn connect(&mut self, at: usize, life: u64, url: &str, attempt: u64) {
        let device = &self.devices[at];
        let wanted = device.links.get(url) == Some(&(attempt, None));
        if device.life != life || !wanted {
            return;
        }
        let relay = self.relays.iter().position(|relay| relay.url == url);
        let relay = relay.expect("relays of a device exist");
        let blocked = End::BOTH
            .iter()
            .any(|end| device.air.blocked(*end, self.now).is_some());
        if blocked || !self.relays[relay].running {
            self.devices[at].links.remove(url);
            let error = SyncError::passing(code::RELAY_UNREACHABLE, "it does not answer");
            let relay = url.to_owned();
            return self.feed(at, engine::Input::Disconnected { relay, error });
        }
        self.next_connection += 1;
        let id = self.next_connection;
        self.connections.insert(id, Connection::new(at, relay));
        let link = (attempt, Some(id));
        self.devices[at].links.insert(url.to_owned(), link);
        let relay_id = self.relays[relay].id;
        self.feed(
            at,
            engine::Input::Connected {
                relay: url.to_owned(),
                relay_id,
                exporter: EXPORTER,
            },
        );
    }

    /// Puts a frame on its way.
    pub fn send(&mut self, id: ConnectionId, stream: StreamId, towards: End, frame: Frame) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if !connection.is_open(towards.other()) {
            return;
        }
        let wait = self.delay(connection.device);
        let connection = self.connections.get_mut(&id).expect("it is there");
        let queue = connection
            .streams
            .entry(stream)
            .or_default()
            .towards(towards);
        let last = queue.frames.back().map_or(self.now, |(at, _)| *at);
        let arrives = self.now.plus(wait).max(last);
        queue.frames.push_back((arrives, frame));
        if !queue.scheduled {
            queue.scheduled = true;
            self.at(arrives, Happening::Deliver(id, stream, towards));
        }
    }

    fn deliver(&mut self, id: ConnectionId, stream: StreamId, end: End) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if !connection.is_open(end) {
            return;
        }
        let (device, relay) = (connection.device, connection.relay);
        if let Some(blocked) = self.devices[device].air.blocked(end, self.now) {
            return self.at(blocked.until, Happening::Deliver(id, stream, end));
        }
        let wants = match end {
            End::Device => {
                let engine = self.devices[device].engine.as_ref();
                engine.is_some_and(|engine| engine.wants_frames(stream))
            }
            End::Relay => {
                let serving = self.relays[relay].sessions.get(&(id, stream));
                serving.is_none_or(|serving| serving.session.wants_frames())
            }
        };
        if !wants {
            return self.after(
                Duration::from_millis(5),
                Happening::Deliver(id, stream, end),
            );
        }
        let connection = self.connections.get_mut(&id).expect("it is there");
        let Some(stream_state) = connection.streams.get_mut(&stream) else {
            return;
        };
        let queue = stream_state.towards(end);
        let frame = queue.frames.pop_front();
        let next = queue.frames.front().map(|(at, _)| *at);
        queue.scheduled = next.is_some();
        if let Some(next) = next {
            self.at(next, Happening::Deliver(id, stream, end));
        }
        let Some((_, frame)) = frame else { return };
        match end {
            End::Device => self.to_device(device, id, stream, frame),
            End::Relay => self.to_relay(relay, (id, stream), frame),
        }
        if end == End::Device && next.is_none() {
            self.taken(relay, (id, stream));
        }
    }

    fn to_device(&mut self, at: usize, id: ConnectionId, stream: StreamId, frame: Frame) {
        if self.devices[at].streams.get(&stream) != Some(&id) {
            return;
        }
        match frame {
            Frame::Open => {}
            Frame::End => {
                self.devices[at].streams.remove(&stream);
                self.feed(at, engine::Input::StreamEnded { stream });
            }
            Frame::Bytes(bytes) => {
                let message = codec::decode(&bytes);
                self.trace.note(self.now, bytes.len() as u64, || {
                    format!("    to device {}: {}", at + 1, short(&message))
                });
                self.feed(at, engine::Input::Frame { stream, message });
            }
        }
    }

    /// An end closes its connection; the other one learns it when it can.
    pub fn close_end(&mut self, id: ConnectionId, end: End, says_so: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.close(end);
        let device = connection.device;
        let towards = end.other();
        let wait = if says_so
            && self.devices[device]
                .air
                .blocked(towards, self.now)
                .is_none()
        {
            self.delay(device)
        } else {
            IDLE_TIMEOUT
        };
        self.after(wait, Happening::Lose(id, towards));
    }

    fn lose(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let was_open = connection.is_open(end);
        connection.close(end);
        let (at, relay) = (connection.device, connection.relay);
        if !connection.device_open && !connection.relay_open {
            self.connections.remove(&id);
        }
        if !was_open {
            return;
        }
        match end {
            End::Relay => self.relays[relay].sessions.retain(|(of, _), _| *of != id),
            End::Device => {
                let device = &mut self.devices[at];
                device.streams.retain(|_, of| *of != id);
                let url = self.relays[relay].url.clone();
                if device
                    .links
                    .get(&url)
                    .is_some_and(|(_, of)| *of == Some(id))
                {
                    device.links.remove(&url);
                    let error =
                        SyncError::passing(code::RELAY_UNREACHABLE, "the connection was lost");
                    self.feed(at, engine::Input::Disconnected { relay: url, error });
                }
            }
        }
    }

    /// Gives up a connection whose end has heard nothing since `since`.
    fn idle(&mut self, id: ConnectionId, end: End, since: Timestamp) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let air = &self.devices[connection.device].air;
        if air.blocked(end, self.now).is_some_and(|b| b.since <= since) && connection.is_open(end) {
            self.lose(id, end);
            self.after(IDLE_TIMEOUT, Happening::Lose(id, end.other()));
        }
    }
}

pub(crate) fn encode(message: &Message) -> Frame {
    let bytes = Bytes::from(codec::encode(message)).slice(codec::PREFIX_LEN..);
    Frame::Bytes(bytes)
}

/// A message without its payloads.
fn short<E: std::fmt::Debug>(message: &Result<Message, E>) -> String {
    match message {
        Ok(Message::Blob(blob)) => format!(
            "Blob {} {:02x?} of {} ({} bytes)",
            blob.cursor,
            &blob.blob_id.0[..4],
            blob.sender.0[0],
            blob.payload.len()
        ),
        Ok(Message::Push(push)) => {
            let origin = push.origin.map(|origin| origin.0[0]);
            format!("Push {:02x?} origin {origin:?}", &push.blob_id.0[..4])
        }
        Ok(Message::Hello(hello)) => {
            format!("Hello epoch {} after {}", hello.epoch, hello.after_cursor)
        }
        Ok(Message::Welcome(welcome)) => format!(
            "Welcome max {} epoch {} incarnation {:02x?}",
            welcome.max_cursor,
            welcome.epoch,
            &welcome.incarnation.0[..2]
        ),
        other => {
            let text = format!("{other:?}");
            text.chars().take(160).collect()
        }
    }
}
