//! The world: a queue of happenings, and what each of them does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::engine::{State, StreamId};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::session;
use zerok_sync_shared::time::Timestamp;

use crate::coverage::Coverage;
use crate::device::Device;
use crate::faults::{Fault, Faults};
use crate::ledger::Ledger;
use crate::network::{Connection, ConnectionId, End};
use crate::relay::{Key, Relay};
use crate::rng::Rng;
use crate::run::Plan;
use crate::trace::{Detail, Trace};

mod app;
mod chaos;
mod devices;
mod serving;
mod wire;

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
    /// A device that was left without keys is invited again.
    InviteAgain(usize, GroupId),
    /// An app has its state together that it was asked for.
    GiveSnapshot(usize, u64, GroupId, u64),
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
        let mut device = Device::new(at as u8 + 1, delay);
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
            engine.is_idle()
                && !engine.looks_after_snapshots()
                && device.writing.is_none()
                && device.groups.iter().all(synced)
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
                        | Happening::InviteAgain(..)
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
            Happening::InviteAgain(device, group) => self.invite_again(device, group),
            Happening::GiveSnapshot(device, life, group, request) => {
                if self.devices[device].life == life {
                    self.give_snapshot(device, group, request);
                }
            }
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
}
