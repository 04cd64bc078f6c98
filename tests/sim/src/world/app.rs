//! What apps do.

use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::crypto::blob::Kind;
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::engine::Input;
use zerok_sync_shared::failure::SyncError;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::Membership;

use super::{Happening, World};
use crate::faults::Fault;
use crate::ledger::BROADCAST;

/// An app that was refused asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(20);

impl World {
    pub(super) fn app(&mut self) {
        let wait = self.interval(self.plan.interval);
        self.after(wait, Happening::App);
        let at = self.rng.below(self.devices.len());
        if self.rng.once_in(8) {
            self.delete(at);
        }
        if self.faults.has(Fault::Snapshots) {
            self.provide_snapshots(at);
        }
        let burst = [1, 1, 1, 1, 5, 40][self.rng.below(6)];
        for _ in 0..burst {
            self.push(at);
        }
    }

    pub(super) fn provide_snapshots(&mut self, at: usize) {
        for group in self.devices[at].groups.clone() {
            let available = true;
            self.feed(at, Input::ProvideSnapshots { group, available });
        }
    }

    /// A time around `mean`, as independent events have it.
    pub(super) fn interval(&mut self, mean: Duration) -> Duration {
        let uniform = (self.rng.below(1 << 20) as f64 + 1.0) / (1 << 20) as f64;
        mean.mul_f64(-uniform.ln())
    }

    fn token(&mut self, at: usize) -> u64 {
        self.devices[at].next_token += 1;
        self.devices[at].next_token
    }

    fn push(&mut self, at: usize) {
        let groups = self.devices[at].groups.clone();
        if groups.is_empty() || self.devices[at].engine.is_none() {
            return;
        }
        self.pushes += 1;
        let group = groups[self.rng.below(groups.len())];
        if self.pushes.is_multiple_of(5) {
            let body = [BROADCAST, self.pushes.to_string().as_bytes()]
                .concat()
                .into();
            self.feed(at, Input::Broadcast { group, body });
        }
        let mut body = format!("push {} ", self.pushes).into_bytes();
        let extra = [0, 300, self.plan.bodies][self.rng.below(3)];
        body.resize(body.len() + self.rng.below(extra + 1), b'.');
        let body = Bytes::from(body);
        let mortal = self.faults.has(Fault::Expiry) && self.rng.once_in(2);
        let ttl = if mortal {
            30 + self.rng.below(7_200) as u32
        } else {
            0
        };
        let token = self.token(at);
        let id = self.devices[at].id;
        self.ledger.ask(id, token, group, body.clone(), mortal);
        self.feed(
            at,
            Input::Push {
                group,
                body,
                ttl,
                token,
            },
        );
    }

    /// Deletes one of the newest blobs of a log, whoever has pushed it.
    fn delete(&mut self, at: usize) {
        let device = &self.devices[at];
        let groups = device.groups.clone();
        if groups.is_empty() || device.engine.is_none() {
            return;
        }
        let group = groups[self.rng.below(groups.len())];
        let log = device.disk.groups.get(&group).map(|disk| &disk.log);
        let blobs = log.into_iter().flatten().rev();
        let blobs = blobs.filter(|record| record.kind == Kind::App);
        let blobs: Vec<_> = blobs.take(30).map(|r| (r.blob_id, r.sender)).collect();
        if blobs.is_empty() {
            return;
        }
        let (blob_id, sender) = blobs[self.rng.below(blobs.len())];
        let force = sender == device.id && self.rng.once_in(2);
        let token = self.token(at);
        let id = self.devices[at].id;
        self.ledger.ask_to_delete(id, token, group, blob_id);
        self.feed(
            at,
            Input::Delete {
                group,
                blob_id,
                force,
                token,
            },
        );
    }

    /// Gives the state of an app: which blobs are in it.
    pub(super) fn give_snapshot(&mut self, at: usize, group: GroupId, request: u64) {
        let Some(disk) = self.devices[at].disk.groups.get(&group) else {
            return;
        };
        let mut ids = self.ledger.restored(group, disk);
        let blobs = disk.log.iter().filter(|record| record.kind == Kind::App);
        ids.extend(blobs.map(|record| record.blob_id));
        let state: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
        let given = !self.rng.once_in(5);
        let state = given.then(|| state.into());
        self.feed(
            at,
            Input::Snapshot {
                group,
                request,
                state,
            },
        );
    }

    /// Joins a group, unless the device is in it or has left it in the meantime.
    pub(super) fn join(&mut self, at: usize, group: GroupId) {
        let device = &self.devices[at];
        let wanted = device.groups.contains(&group);
        let stored = device.disk.groups.get(&group);
        let is_member = stored.is_some_and(|disk| disk.membership.is_some());
        let expelled = self.ledger.expelled.contains(&(device.id, group));
        if !wanted || is_member || expelled {
            return;
        }
        let membership = self.invited(at, group);
        let token = self.token(at);
        self.feed(
            at,
            Input::AddGroup {
                group,
                membership: Box::new(membership),
                token,
            },
        );
        // A crash or a full disk may have come between.
        self.after(ASK_AGAIN, Happening::Join(at, group));
    }

    pub(super) fn leave(&mut self, at: usize) {
        let groups = self.devices[at].groups.clone();
        if groups.is_empty() {
            return;
        }
        let group = groups[self.rng.below(groups.len())];
        let token = self.token(at);
        self.feed(at, Input::RemoveGroup { group, token });
    }

    pub(super) fn rejoin(&mut self, at: usize) {
        let groups: Vec<_> = self.ledger.groups.keys().copied().collect();
        let group = groups[self.rng.below(groups.len())];
        let id = self.devices[at].id;
        if !self.ledger.expelled.contains(&(id, group)) && !self.devices[at].groups.contains(&group)
        {
            self.devices[at].groups.push(group);
            self.join(at, group);
        }
    }

    /// A device that was left without keys gets an invite from somebody who has the newest.
    pub(super) fn invite_again(&mut self, at: usize, group: GroupId) {
        let device = &self.devices[at];
        let held = device.disk.groups.get(&group);
        let held = held.and_then(|disk| disk.membership.as_ref());
        let known = &self.ledger.groups[&group];
        if device.engine.is_none()
            || held.is_none_or(|held| held.expelled || held.epoch() as usize + 1 >= known.len())
        {
            return;
        }
        let membership = self.invited(at, group);
        let token = self.token(at);
        self.feed(
            at,
            Input::AddGroup {
                group,
                membership: Box::new(membership),
                token,
            },
        );
        self.after(ASK_AGAIN, Happening::InviteAgain(at, group));
    }

    /// What an invite gives.
    fn invited(&self, at: usize, group: GroupId) -> Membership {
        let keys = self.ledger.groups[&group].iter();
        Membership {
            epochs: keys
                .map(|keys| (keys.epoch(), keys.secret().clone()))
                .collect(),
            relays: self.relays.iter().map(|relay| relay.url.clone()).collect(),
            founded: at == 0,
            ..Membership::default()
        }
    }

    /// Somebody revokes somebody.
    pub(super) fn revoke(&mut self) {
        let groups: Vec<_> = self.ledger.groups.keys().copied().collect();
        let group = groups[self.rng.below(groups.len())];
        // A relay that is set back between two authors' rotations leaves the group with two sets of keys.
        let again = !self.ledger.revoking.insert(group);
        if again && !self.ledger.relay_is_safe {
            return;
        }
        let members = (0..self.devices.len()).filter(|at| {
            let disk = self.devices[*at].disk.groups.get(&group);
            let membership = disk.and_then(|disk| disk.membership.as_ref());
            membership.is_some_and(|membership| !membership.expelled)
        });
        let members: Vec<_> = members.collect();
        let author = members.get(self.rng.below(members.len().max(1))).copied();
        let victim = members.get(self.rng.below(members.len().max(1))).copied();
        // The founder stays, so that the group is never without anybody.
        let (Some(author), Some(victim)) = (author, victim) else {
            return;
        };
        if members.len() < 3 || victim == 0 || victim == author {
            self.ledger.revoking.remove(&group);
            return;
        }
        let reasons = [Reason::Lost, Reason::Decommissioned, Reason::Compromised];
        let reason = reasons[self.rng.below(reasons.len())];
        let (device, token) = (self.devices[victim].id, self.token(author));
        self.feed(
            author,
            Input::Revoke {
                group,
                device,
                reason,
                token,
            },
        );
    }

    pub(super) fn refused(&mut self, at: usize, token: u64, error: &SyncError) {
        self.trace.note(self.now, token, || {
            format!("    device {}: refused {token}: {error}", at + 1)
        });
    }
}
