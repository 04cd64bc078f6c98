//! The devices' side of the world: what their engines ask for, and their disks.

use zerok_sync_shared::engine::{self, Event};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, Write};

use super::wire::encode;
use super::{Happening, World};
use crate::coverage;
use crate::device::Writing;
use crate::disk::{Disk, Entry, GroupDisk};
use crate::network::{End, Frame};

impl World {
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

    pub(super) fn carry_out(&mut self, at: usize, output: engine::Output) {
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
            Output::Done { token } => self.ledger.done(&self.devices[at], token),
            Output::Event(event) => self.event(at, &event),
        }
    }

    pub(super) fn event(&mut self, at: usize, event: &Event) {
        self.trace
            .note(self.now, 1, || format!("    device {}: {event:?}", at + 1));
        self.ledger.event(self.devices[at].id, event);
        if let Event::SnapshotWanted { group, request, .. } = event {
            let life = self.devices[at].life;
            let wait = self.millis(5_000);
            self.after(wait, Happening::GiveSnapshot(at, life, *group, *request));
        }
        // Keys were made without it, by somebody who did not know it yet.
        if let Event::Error {
            group: Some(group),
            error,
            ..
        } = event
            && error.code == ErrorCode::StaleEpoch.name()
        {
            let wait = self.millis(60_000);
            self.after(wait, Happening::InviteAgain(at, *group));
        }
    }

    pub(super) fn schedule_wake(&mut self, at: usize) {
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

    pub(super) fn wake(&mut self, at: usize) {
        self.feed(at, engine::Input::Tick);
        let device = &self.devices[at];
        let now = device.local(self.now);
        let next = device.engine.as_ref().and_then(engine::Engine::next_wake);
        assert!(
            next.is_none_or(|next| next > now),
            "a device that wakes for nothing never sleeps"
        );
    }

    pub(super) fn start_write(&mut self, at: usize, batch: &Batch) {
        let device = &mut self.devices[at];
        assert!(device.writing.is_none(), "one write at a time");
        self.ledger.learn(batch);
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

    pub(super) fn written(&mut self, at: usize, life: u64) {
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
    pub(super) fn apply(
        &mut self,
        at: usize,
        writing: Writing,
        reach: impl FnOnce(&mut Disk, &Entry) -> bool,
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
            self.left(at, group, &disk);
        }
        let disk = &self.devices[at].disk.groups;
        let expelled = disk.iter().filter(|(_, disk)| {
            let membership = disk.membership.as_ref();
            membership.is_some_and(|membership| membership.expelled)
        });
        let expelled: Vec<_> = expelled
            .map(|(group, disk)| (*group, disk.clone()))
            .collect();
        for (group, disk) in expelled {
            if self.ledger.expelled.insert((self.devices[at].id, group)) {
                self.left(at, group, &disk);
            }
        }
    }

    /// A device is not in a group any more, by its own will or by another's.
    fn left(&mut self, at: usize, group: GroupId, disk: &GroupDisk) {
        self.devices[at].groups.retain(|of| *of != group);
        let others = self.devices.iter().enumerate().filter(|(n, _)| *n != at);
        let logs = others.filter_map(|(_, d)| d.disk.groups.get(&group));
        let elsewhere = logs.flat_map(|disk| disk.log.iter().map(|record| record.blob_id));
        let elsewhere = elsewhere.collect();
        let id = self.devices[at].id;
        self.ledger.leave(id, group, disk, &elsewhere);
    }

    pub(super) fn loaded(&mut self, at: usize, life: u64) {
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
        self.feed(
            at,
            engine::Input::Loaded {
                group,
                purpose,
                records,
            },
        );
    }
}
