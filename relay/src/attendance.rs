//! Who of a group is there now, on this node and on the others, and what they say to each other. Nothing of it is stored, and
//! all of it is the first thing to go when there is too much: each session has a bounded [`queue`] of it.
//!
//! A device is there as long as it has a session for the group on any node. One that comes back within a few seconds was
//! never gone: the others are told after [`limits::PRESENCE_GRACE`].
//!
//! With a database that several nodes share, each tells the others who is there with it ([`nodes`]). What is told is always
//! the whole list of one group on one node, so that a notice that got lost is made up for by the next one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::ids::{DeviceId, GroupId, RelayId};
use zerok_sync_shared::limits::MAX_LISTED_DEVICES;
use zerok_sync_shared::message::{Ephemeral, ListedDevice, Presence};
use zerok_sync_shared::time::Timestamp;

use crate::clock::Clock;
use crate::limits;
use crate::metrics::Metrics;

pub(crate) mod nodes;
mod queue;

use nodes::{Outbox, Said};
pub use queue::Live;
use queue::Queue;

/// Everybody who is there.
#[derive(Debug)]
pub struct Attendance {
    inner: Mutex<Inner>,
    /// Somebody has gone: there is something to wait for.
    gone: Notify,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    /// What the other nodes are to be told.
    pub(crate) outbox: Outbox,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<GroupId, Here>,
    next_session: u64,
    /// Who may be gone, and when that is told. A device is in it once.
    leaving: VecDeque<(Instant, GroupId, DeviceId)>,
}

/// A group with a session on this node.
#[derive(Debug, Default)]
struct Here {
    devices: HashMap<DeviceId, Device>,
    sessions: usize,
    listeners: HashMap<u64, (DeviceId, Arc<Queue>)>,
}

#[derive(Debug, Default)]
struct Device {
    /// Its sessions on this node.
    sessions: usize,
    /// Other nodes where it has some.
    nodes: Vec<RelayId>,
    /// Since when it has none anywhere.
    gone: Option<(Instant, Timestamp)>,
    /// Whether it is among those who may be gone.
    leaving: bool,
}

impl Device {
    const fn is_here(&self) -> bool {
        self.sessions > 0 || !self.nodes.is_empty()
    }
}

impl Attendance {
    /// Nobody is there.
    #[must_use]
    pub fn new(clock: Arc<Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Mutex::default(),
            gone: Notify::new(),
            clock,
            metrics,
            outbox: Outbox::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device has opened a session.
    #[must_use]
    pub fn enter(self: &Arc<Self>, group: GroupId, device: DeviceId) -> Attending {
        let mut inner = self.lock();
        let session = inner.next_session;
        inner.next_session += 1;
        let here = inner.groups.entry(group).or_default();
        here.sessions += 1;
        if here.sessions == 1 {
            self.outbox.ask(group);
        }
        let now = self.clock.now();
        here.came(device, now, |device| device.sessions += 1);
        if here
            .devices
            .get(&device)
            .is_some_and(|device| device.sessions == 1)
        {
            self.outbox.changed(group);
        }
        drop(inner);
        Attending {
            attendance: Arc::clone(self),
            group,
            device,
            session,
            queue: None,
        }
    }

    /// Tells those who listen who has gone, until the relay stops.
    pub async fn run(&self, over: CancellationToken) {
        loop {
            let next = self.lock().leaving.front().map(|(at, ..)| *at);
            tokio::select! {
                () = over.cancelled() => return,
                () = self.gone.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.tell_gone(Instant::now());
                }
            }
        }
    }

    fn tell_gone(&self, now: Instant) {
        let mut inner = self.lock();
        while let Some((at, group, device)) = inner.leaving.front().copied() {
            if at > now {
                return;
            }
            inner.leaving.pop_front();
            let Some(here) = inner.groups.get_mut(&group) else {
                continue;
            };
            let Some(known) = here.devices.get_mut(&device) else {
                continue;
            };
            match known.gone {
                None => known.leaving = false,
                // It was back for a moment, and went again.
                Some((since, _)) if since + limits::PRESENCE_GRACE > now => {
                    let again = since + limits::PRESENCE_GRACE;
                    inner.leaving.push_back((again, group, device));
                }
                Some((_, last_seen)) => {
                    here.devices.remove(&device);
                    here.tell(Presence {
                        device,
                        online: false,
                        last_seen,
                    });
                }
            }
            inner.forget_if_over(group);
        }
    }

    /// Takes in who is there with another node in a group: all of them, or more after the first of them.
    pub(crate) fn listed(&self, node: RelayId, group: GroupId, devices: &[DeviceId], more: bool) {
        let mut inner = self.lock();
        let now = self.clock.now();
        let Some(here) = inner.groups.get_mut(&group) else {
            return;
        };
        for device in devices {
            if here.devices.len() >= limits::MAX_ATTENDING && !here.devices.contains_key(device) {
                break;
            }
            here.came(*device, now, |device| {
                if !device.nodes.contains(&node) {
                    device.nodes.push(node);
                }
            });
        }
        if !more {
            let listed: HashSet<&DeviceId> = devices.iter().collect();
            let not_listed: Vec<DeviceId> = here
                .devices
                .iter()
                .filter(|(id, device)| device.nodes.contains(&node) && !listed.contains(id))
                .map(|(id, _)| *id)
                .collect();
            for device in not_listed {
                self.left(&mut inner, group, device, |device| {
                    device.nodes.retain(|of| *of != node);
                });
            }
        }
    }

    /// These nodes live; of the others nobody is there any more.
    pub(crate) fn living(&self, nodes: &[RelayId]) {
        let mut inner = self.lock();
        let dead: Vec<(GroupId, DeviceId)> = inner
            .groups
            .iter()
            .flat_map(|(group, here)| {
                let mut devices: Vec<_> = here.devices.iter().collect();
                devices.retain(|(_, device)| device.nodes.iter().any(|of| !nodes.contains(of)));
                devices.into_iter().map(|(id, _)| (*group, *id))
            })
            .collect();
        for (group, device) in dead {
            self.left(&mut inner, group, device, |device| {
                device.nodes.retain(|of| nodes.contains(of));
            });
        }
    }

    /// Takes a session or a node from a device; if that was the last one, the others are told in a while.
    fn left(
        &self,
        inner: &mut Inner,
        group: GroupId,
        device: DeviceId,
        change: impl FnOnce(&mut Device),
    ) {
        let here = inner.groups.get_mut(&group);
        let Some(known) = here.and_then(|here| here.devices.get_mut(&device)) else {
            return;
        };
        change(known);
        if known.is_here() || known.gone.is_some() {
            return;
        }
        let now = Instant::now();
        known.gone = Some((now, self.clock.now()));
        if !std::mem::replace(&mut known.leaving, true) {
            inner
                .leaving
                .push_back((now + limits::PRESENCE_GRACE, group, device));
            self.gone.notify_one();
        }
    }

    /// Another node tells what a device of its says.
    pub(crate) fn heard(&self, group: GroupId, said: &Ephemeral) {
        if let Some(here) = self.lock().groups.get(&group) {
            here.say(said, &self.metrics);
        }
    }

    /// Who is there with this node.
    pub(crate) fn own(&self, group: GroupId) -> Vec<DeviceId> {
        let inner = self.lock();
        let devices = inner
            .groups
            .get(&group)
            .into_iter()
            .flat_map(|here| &here.devices);
        let own = devices.filter(|(_, device)| device.sessions > 0);
        own.map(|(id, _)| *id).collect()
    }

    /// Devices with a session on this node, and for which group.
    #[must_use]
    pub fn here(&self) -> Vec<(GroupId, DeviceId)> {
        let inner = self.lock();
        let devices = inner.groups.iter().flat_map(|(group, here)| {
            let own = here.devices.iter();
            let own = own.filter(|(_, device)| device.sessions > 0);
            own.map(|(device, _)| (*group, *device))
        });
        devices.collect()
    }

    /// Other nodes where a device has a session.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn nodes_of(&self, group: GroupId, device: DeviceId) -> HashSet<RelayId> {
        let inner = self.lock();
        let here = inner.groups.get(&group);
        let device = here.and_then(|here| here.devices.get(&device));
        device.map_or_else(HashSet::new, |device| {
            device.nodes.iter().copied().collect()
        })
    }

    /// Groups with a session on this node.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        let inner = self.lock();
        let open = inner.groups.iter().filter(|(_, here)| here.sessions > 0);
        open.map(|(group, _)| *group).collect()
    }
}

impl Inner {
    /// Forgets a group whose last session here has ended, once nobody waits to be told gone: who is there elsewhere is asked
    /// again.
    fn forget_if_over(&mut self, group: GroupId) {
        let over = |here: &Here| {
            here.sessions == 0 && !here.devices.values().any(|device| device.gone.is_some())
        };
        if self.groups.get(&group).is_some_and(over) {
            self.groups.remove(&group);
        }
    }
}

impl Here {
    /// A device has one session or node more.
    fn came(&mut self, device: DeviceId, now: Timestamp, change: impl FnOnce(&mut Device)) {
        let news = !self.devices.contains_key(&device);
        let known = self.devices.entry(device).or_default();
        change(known);
        known.gone = None;
        if news {
            self.tell(Presence {
                device,
                online: true,
                last_seen: now,
            });
        }
    }

    fn tell(&self, presence: Presence) {
        for (listener, queue) in self.listeners.values() {
            if *listener != presence.device {
                queue.tell(presence);
            }
        }
    }

    fn say(&self, said: &Ephemeral, metrics: &Metrics) {
        for (listener, queue) in self.listeners.values() {
            if *listener != said.sender && queue.say(said.clone()) {
                metrics.ephemeral_dropped.inc();
            }
        }
    }
}

/// One session's place; the device leaves it when this is dropped.
#[derive(Debug)]
pub struct Attending {
    attendance: Arc<Attendance>,
    group: GroupId,
    device: DeviceId,
    session: u64,
    queue: Option<Arc<Queue>>,
}

impl Attending {
    /// From now on what is new waits for [`Self::live`].
    pub fn listen(&mut self) {
        if self.queue.is_none() {
            let queue = Arc::new(Queue::default());
            let listener = (self.device, Arc::clone(&queue));
            let mut inner = self.attendance.lock();
            if let Some(here) = inner.groups.get_mut(&self.group) {
                here.listeners.insert(self.session, listener);
            }
            self.queue = Some(queue);
        }
    }

    /// Waits for what is new. Cancel-safe.
    pub async fn live(&self) -> Live {
        match &self.queue {
            Some(queue) => queue.next().await,
            None => std::future::pending().await,
        }
    }

    /// Puts those who are there into what the storage knows of the group's devices, the newest first.
    #[must_use]
    pub fn complete(&self, mut stored: Vec<ListedDevice>) -> Vec<ListedDevice> {
        let now = self.attendance.clock.now();
        let inner = self.attendance.lock();
        let Some(here) = inner.groups.get(&self.group) else {
            return stored;
        };
        let known: HashSet<DeviceId> = stored.iter().map(|listed| listed.device).collect();
        let new = here.devices.keys().filter(|device| !known.contains(device));
        stored.extend(new.map(|device| ListedDevice {
            device: *device,
            last_seen: now,
            acked: 0,
            online: true,
        }));
        for listed in &mut stored {
            if here.devices.contains_key(&listed.device) {
                listed.online = true;
                listed.last_seen = now;
            }
        }
        stored.sort_by_key(|listed| (!listed.online, std::cmp::Reverse(listed.last_seen)));
        stored.truncate(MAX_LISTED_DEVICES);
        stored
    }

    /// Forwards what the device says.
    pub fn say(&self, said: &Ephemeral) {
        let inner = self.attendance.lock();
        let Some(here) = inner.groups.get(&self.group) else {
            return;
        };
        here.say(said, &self.attendance.metrics);
        if here.devices.values().any(|device| !device.nodes.is_empty()) {
            let said = Said {
                group: self.group,
                said: said.clone(),
            };
            if self.attendance.outbox.say(said) {
                self.attendance.metrics.ephemeral_dropped.inc();
            }
        }
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        let attendance = &self.attendance;
        let mut inner = attendance.lock();
        let (group, device) = (self.group, self.device);
        let Some(here) = inner.groups.get_mut(&group) else {
            return;
        };
        here.sessions -= 1;
        here.listeners.remove(&self.session);
        attendance.left(&mut inner, group, device, |device| device.sessions -= 1);
        let here = inner.groups.get(&group);
        if here.is_some_and(|here| {
            here.devices
                .get(&device)
                .is_none_or(|known| known.sessions == 0)
        }) {
            attendance.outbox.changed(group);
        }
        inner.forget_if_over(group);
    }
}

#[cfg(test)]
mod tests;
