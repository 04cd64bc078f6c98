//! What apps do.

use std::time::Duration;

use bytes::Bytes;
use zerok_sync_shared::engine::Input;
use zerok_sync_shared::failure::SyncError;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::GroupState;

use super::{Happening, World};
use crate::faults::Fault;

/// An app that was refused asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(20);

impl World {
    pub(super) fn app(&mut self) {
        let wait = self.interval(self.plan.interval);
        self.after(wait, Happening::App);
        let at = self.rng.below(self.devices.len());
        let burst = [1, 1, 1, 1, 5, 40][self.rng.below(6)];
        for _ in 0..burst {
            self.push(at);
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
        let mut body = format!("push {} ", self.pushes).into_bytes();
        let extra = [0, 300, 3_000][self.rng.below(3)];
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

    /// Joins a group, unless the device is in it or has left it in the meantime.
    pub(super) fn join(&mut self, at: usize, group: GroupId) {
        let device = &self.devices[at];
        let wanted = device.groups.contains(&group);
        let stored = device.disk.groups.get(&group);
        let stored = stored.and_then(|disk| disk.state.as_ref());
        let is_member = stored.is_some_and(|state| !state.is_tombstone());
        if !wanted || is_member {
            return;
        }
        let keys = &self.ledger.groups[&group];
        let epochs = keys
            .iter()
            .map(|keys| (keys.epoch(), keys.secret().clone()));
        let state = GroupState {
            epochs: epochs.collect(),
            relays: self.relays.iter().map(|relay| relay.url.clone()).collect(),
            founded: at == 0,
            position: 0,
            seen: SortedMap::new(),
            pins: SortedMap::new(),
            bookmarks: SortedMap::new(),
            last_synced: None,
            own_seq: 0,
            tokens: SortedMap::new(),
        };
        let token = self.token(at);
        self.feed(
            at,
            Input::AddGroup {
                group,
                state: Box::new(state),
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
        if !self.devices[at].groups.contains(&group) {
            self.devices[at].groups.push(group);
            self.join(at, group);
        }
    }

    pub(super) fn refused(&mut self, at: usize, token: u64, error: &SyncError) {
        self.trace.note(self.now, token, || {
            format!("    device {}: refused {token}: {error}", at + 1)
        });
    }
}
