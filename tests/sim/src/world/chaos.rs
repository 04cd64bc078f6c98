//! What goes wrong, and how it heals.

use std::time::Duration;

use zerok_sync_shared::engine::Input;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::session;
use zerok_sync_shared::time::Timestamp;

use super::{Happening, IDLE_TIMEOUT, World};
use crate::database::Database;
use crate::faults::{Fault, Faults};
use crate::network::{Blocked, End, Frame};
use crate::rng::Rng;

/// Devices that one run can have.
const MAX_DEVICES: usize = 8;
const HOUR: usize = 3_600_000;

impl World {
    pub(super) fn fault_interval(&mut self) -> Duration {
        self.interval(self.plan.fault_interval)
    }

    /// One of the run's faults happens.
    pub(super) fn fault(&mut self) {
        let wait = self.fault_interval();
        self.after(wait, Happening::Fault);
        let faults: Vec<_> = self.faults.iter().collect();
        if faults.is_empty() {
            return;
        }
        let fault = faults[self.rng.below(faults.len())];
        let at = self.rng.below(self.devices.len());
        self.trace.note(self.now, fault as u64, || {
            format!("--- {} (device {})", fault.name(), at + 1)
        });
        match fault {
            Fault::Reset => self.reset(at),
            Fault::StreamReset => self.reset_stream(at),
            Fault::Partition => self.partition(at),
            // In force all the time.
            Fault::Loss | Fault::Delay | Fault::Duplicate | Fault::Expiry | Fault::Snapshots => {}
            Fault::Garbage => self.garbage(at),
            Fault::DeviceCrash => {
                let down = [0, 100, 10_000][self.rng.below(3)];
                self.crash(at, down);
            }
            Fault::DeviceSleep => {
                let down = [HOUR / 10, HOUR, 48 * HOUR][self.rng.below(3)];
                self.crash(at, down);
            }
            Fault::NetworkChange => {
                let online = self.rng.once_in(2);
                self.feed(at, Input::NetworkChanged { online });
            }
            Fault::DeviceFull => {
                let time = self.millis(120_000);
                self.devices[at].disk_full_until = self.now.plus(time);
            }
            Fault::DeviceUnreadable => {
                let time = self.millis(30_000);
                self.devices[at].unreadable_until = self.now.plus(time);
            }
            Fault::Clock => self.jump(at),
            Fault::RelayCrash => self.crash_relay(0),
            Fault::RelayRestart => self.restart_relay(0),
            Fault::RelayWipe => {
                self.crash_relay(0);
                self.relays[0].database = Database::new(&mut self.rng);
            }
            Fault::RelayRollback => self.roll_back(0),
            Fault::RelayRefuses => {
                let codes = [
                    ErrorCode::GroupQuotaExceeded,
                    ErrorCode::RateLimited,
                    ErrorCode::RelayOverloaded,
                    ErrorCode::StorageFailed,
                ];
                let code = codes[self.rng.below(codes.len())];
                let time = self.millis(120_000);
                self.relays[0].refuses = Some((code, self.now.plus(time)));
            }
            Fault::RelayUnreadable => {
                let time = self.millis(30_000);
                self.relays[0].unreadable_until = self.now.plus(time);
            }
            Fault::Tamper => self.relays[0].tamper_next = true,
            Fault::LateJoiner => {
                if self.devices.len() < MAX_DEVICES {
                    self.add_device();
                }
            }
            Fault::Leaving => {
                // The founder stays, so that the group is never without anybody.
                if at > 0 && self.rng.once_in(2) {
                    self.leave(at);
                } else {
                    self.rejoin(at);
                }
            }
            Fault::Rotation => self.revoke(),
        }
    }

    fn connection_of(&mut self, at: usize) -> Option<u64> {
        let own = self.connections.iter().filter(|(_, c)| c.device == at);
        let own: Vec<_> = own.map(|(id, _)| *id).collect();
        (!own.is_empty()).then(|| own[self.rng.below(own.len())])
    }

    fn reset(&mut self, at: usize) {
        if let Some(id) = self.connection_of(at) {
            for end in End::BOTH {
                let longest = [50, 500, 15_000][self.rng.below(3)];
                let wait = self.millis(longest);
                self.after(wait, Happening::Lose(id, end));
            }
        }
    }

    fn reset_stream(&mut self, at: usize) {
        let Some(id) = self.connection_of(at) else {
            return;
        };
        let streams: Vec<_> = self.connections[&id].streams.keys().copied().collect();
        if streams.is_empty() {
            return;
        }
        let stream = streams[self.rng.below(streams.len())];
        let connection = self.connections.get_mut(&id).expect("it is there");
        let queues = connection.streams.get_mut(&stream).expect("it is there");
        // What is under way never arrives whole.
        for end in End::BOTH {
            let queue = queues.towards(end);
            let kept = if queue.frames.is_empty() {
                0
            } else {
                self.rng.below(queue.frames.len())
            };
            queue.frames.truncate(kept);
        }
        self.send(id, stream, End::Device, Frame::End);
        self.send(id, stream, End::Relay, Frame::End);
    }

    fn garbage(&mut self, at: usize) {
        let Some(id) = self.connection_of(at) else {
            return;
        };
        let streams: Vec<_> = self.connections[&id].streams.keys().copied().collect();
        if !streams.is_empty() {
            let stream = streams[self.rng.below(streams.len())];
            let mut bytes = vec![0; 1 + self.rng.below(40)];
            self.rng.fill(&mut bytes);
            let frame = Frame::Bytes(bytes.into());
            self.send(id, stream, End::Relay, frame);
        }
    }

    fn partition(&mut self, at: usize) {
        let longest = [2_000, 60_000, HOUR][self.rng.below(3)];
        let time = self.millis(longest);
        let blocked = Blocked {
            since: self.now,
            until: self.now.plus(time),
        };
        let ends: &[End] = match self.rng.below(4) {
            0 => &[End::Device],
            1 => &[End::Relay],
            _ => &End::BOTH,
        };
        for end in ends {
            self.devices[at].air.blocked[*end as usize] = Some(blocked);
            let own = self.connections.iter().filter(|(_, c)| c.device == at);
            let own: Vec<_> = own.map(|(id, _)| *id).collect();
            for id in own {
                self.after(IDLE_TIMEOUT, Happening::Idle(id, *end, self.now));
            }
        }
    }

    pub(super) fn crash(&mut self, at: usize, down: usize) {
        if self.devices[at].engine.is_none() {
            return;
        }
        if let Some(writing) = self.devices[at].stop() {
            let mut rng = Rng::new(self.rng.number());
            self.apply(at, writing, |disk, entry| disk.crash(entry, &mut rng));
        }
        let id = self.devices[at].id;
        self.ledger.forget_asked(id);
        let own = self.connections.iter().filter(|(_, c)| c.device == at);
        let own: Vec<_> = own.map(|(id, _)| *id).collect();
        for connection in own {
            let says_so = self.rng.once_in(2);
            self.close_end(connection, End::Device, says_so);
        }
        let wait = self.millis(down);
        self.after(wait, Happening::Boot(at));
    }

    pub(super) fn boot(&mut self, at: usize) {
        if self.devices[at].engine.is_some() {
            return;
        }
        // Nothing tells a device that has just started that its clock went back.
        if self.faults.has(Fault::Clock) && self.rng.once_in(3) {
            self.devices[at].clock -= self.rng.below(2 * HOUR) as i64;
        }
        let mut rng = Rng::new(self.rng.number());
        self.devices[at].boot(&mut rng);
        self.feed(at, Input::Tick);
        for group in self.devices[at].groups.clone() {
            self.join(at, group);
        }
    }

    fn jump(&mut self, at: usize) {
        let jump = self.rng.below(12 * HOUR) as i64;
        if self.rng.once_in(3) {
            let back = self.rng.once_in(2);
            self.relays[0].clock += if back { -jump } else { jump };
        } else {
            // A running device's clock never goes back (platform::Clock).
            self.devices[at].clock += jump;
        }
    }

    fn crash_relay(&mut self, at: usize) {
        if self.relays[at].running {
            self.relays[at].crash(self.now, &mut self.rng);
            let down = [10, 5_000, HOUR][self.rng.below(3)];
            let wait = self.millis(down);
            self.after(wait, Happening::RelayBoot(at));
        }
        self.drop_all(at);
    }

    fn restart_relay(&mut self, at: usize) {
        let sessions: Vec<_> = self.relays[at].sessions.keys().copied().collect();
        for key in sessions {
            let retry_after_ms = self.rng.below(5_000) as u64;
            self.feed_session(at, key, session::Input::Shutdown { retry_after_ms });
        }
        self.crash_relay(at);
    }

    /// The relay's ends of all connections are gone; devices learn it at different times.
    fn drop_all(&mut self, at: usize) {
        let own = self
            .connections
            .iter()
            .filter(|(_, c)| c.relay == at && c.relay_open);
        let own: Vec<_> = own.map(|(id, _)| *id).collect();
        for id in own {
            let says_so = self.rng.once_in(2);
            // What it had sent before may still arrive.
            self.close_end(id, End::Relay, says_so);
        }
    }

    fn roll_back(&mut self, at: usize) {
        if self.relays[at].backups.is_empty() || self.rng.once_in(3) {
            let copy = self.relays[at].database.clone();
            let backups = &mut self.relays[at].backups;
            backups.push(copy);
            if backups.len() > 3 {
                backups.remove(0);
            }
            return;
        }
        self.crash_relay(at);
        let which = self.rng.below(self.relays[at].backups.len());
        self.relays[at].database = self.relays[at].backups[which].clone();
    }

    /// No more faults; what is broken is mended, and whoever is away comes back.
    pub(super) fn heal(&mut self) {
        self.trace
            .note(self.now, 0, || "--- everything heals".into());
        self.faults = Faults::default();
        for at in 0..self.relays.len() {
            self.relays[at].refuses = None;
            self.relays[at].unreadable_until = Timestamp::default();
            self.relays[at].tamper_next = false;
            self.relays[at].running = true;
        }
        for at in 0..self.devices.len() {
            let device = &mut self.devices[at];
            device.disk_full_until = Timestamp::default();
            device.unreadable_until = Timestamp::default();
            device.air.blocked = [None, None];
            self.boot(at);
            self.feed(at, Input::NetworkChanged { online: true });
            if self.plan.faults.has(Fault::Snapshots) {
                self.provide_snapshots(at);
            }
        }
    }
}
