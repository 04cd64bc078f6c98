//! The device, as a state machine without I/O.
//!
//! **How to drive it.** Make one [`Engine`] from what the store holds. Call [`Engine::handle`] with every [`Input`] as it
//! happens and carry out the [`Output`]s in order; then do the same for [`Engine::take_changed`]. Call it with
//! [`Input::Tick`] when [`Engine::next_wake`] has come. Stop reading a stream while [`Engine::wants_frames`] is false.
//!
//! **Who holds what.** A relay has one *link* (a connection), which carries one *session* (a stream) per group. What has
//! to become durable waits in the group as an intent: pushes of the app, frames of the relay. At most one write is under
//! way; when it is done, everything that has gathered goes into the next one. Memory changes only after the write:
//! a failed write loses nothing and a crash leaves no trace of what was not written.
//!
//! **What a relay's cursor is worth.** It moves this device's bookmark only when the blob came through the subscription,
//! never through a PUSH_ACK, and in the same write that puts the blob into the log.

use std::collections::VecDeque;

use crate::Entropy;
use crate::codec::DecodeError;
use crate::crypto::device::DeviceKeys;
use crate::crypto::keys::{EpochKeys, Secret};
use crate::crypto::token::AccessToken;
use crate::error::ErrorCode;
use crate::failure::SyncError;
use crate::ids::{DeviceId, GroupId};
use crate::limits;
use crate::map::{SortedMap, SortedSet};
use crate::message::Message;
use crate::store::{StoredGroup, Wish};
use crate::time::Timestamp;

mod choice;
mod deletes;
pub(crate) mod forks;
mod group;
mod io;
mod keys;
mod link;
mod outbox;
mod places;
mod presence;
mod repair;
mod requests;
mod roster;
mod session;
mod snapshots;
mod staging;
mod status;
mod writes;

#[cfg(test)]
mod tests;

use group::Group;
pub use io::{Event, Input, LoadPurpose, Output, StreamId, Token};
use link::Link;
pub use places::Places;
pub use roster::{DeviceInfo, Profile};
pub use status::{DeviceView, GroupView, Phase, Progress, State};
use writes::{Admin, Staged};

/// What every part of the engine needs while it handles one input.
struct Context<'a> {
    now: Timestamp,
    keys: &'a DeviceKeys,
    profile: &'a Profile,
    entropy: &'a mut dyn Entropy,
    out: &'a mut Vec<Output>,
}

impl Context<'_> {
    fn device(&self) -> DeviceId {
        self.keys.id()
    }

    fn send(&mut self, stream: StreamId, message: Message) {
        self.out.push(Output::Send { stream, message });
    }

    fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    fn error(&mut self, group: GroupId, error: SyncError, cursor: Option<u64>) {
        self.event(Event::Error {
            group: Some(group),
            error,
            cursor,
        });
    }
}

/// A device with its groups and its relays.
pub struct Engine {
    keys: DeviceKeys,
    profile: Profile,
    entropy: Box<dyn Entropy + Send>,
    groups: SortedMap<GroupId, Group>,
    /// Groups that this device has left, and the own sequences that are taken in them.
    former: SortedMap<GroupId, u64>,
    links: SortedMap<String, Link>,
    streams: SortedMap<StreamId, GroupId>,
    next_stream: u64,
    admin: VecDeque<Admin>,
    writing: Option<Staged>,
    /// After a failed write: how many failed in a row, when to try again, and why it failed.
    storage_trouble: Option<(u32, Timestamp, SyncError)>,
    changed: SortedSet<GroupId>,
}

impl Engine {
    /// The device as the store left it. [`Input::Tick`] starts it.
    #[must_use]
    pub fn new(
        keys: DeviceKeys,
        profile: Profile,
        stored: Vec<StoredGroup>,
        entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        let mut former = SortedMap::new();
        let mut groups = SortedMap::new();
        for stored in stored {
            let (id, state) = (stored.group, stored.state);
            match stored.membership {
                None => {
                    former.insert(id, state.own_seq);
                }
                Some(membership) => {
                    groups.insert(id, Group::load(id, state, membership, stored.unsent));
                }
            }
        }
        Self {
            keys,
            profile,
            entropy,
            changed: groups.keys().copied().collect(),
            groups,
            former,
            links: SortedMap::new(),
            streams: SortedMap::new(),
            next_stream: 0,
            admin: VecDeque::new(),
            writing: None,
            storage_trouble: None,
        }
    }

    /// Takes in what happened and appends what to do about it.
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Push {
                group,
                body,
                ttl,
                token,
            } => self.on_push(group, body, ttl, token, out),
            Input::AddGroup {
                group,
                membership,
                token,
            } => self.admin.push_back(Admin::Add {
                group,
                own_seq: 0,
                membership,
                token,
            }),
            Input::Revoke {
                group,
                device,
                reason,
                token,
            } => {
                let seed = Secret::new(crate::random(&mut *self.entropy));
                let wish = Wish {
                    device,
                    reason,
                    seed,
                };
                self.on_revoke(group, wish, token, out);
            }
            Input::Rename { group, name, token } => self.on_rename(group, name, token, out),
            Input::Delete {
                group,
                blob_id,
                force,
                token,
            } => match self.member(group) {
                Ok(group) => group.ask_to_delete(deletes::Asked {
                    blob_id,
                    force,
                    token,
                }),
                Err(error) => out.push(Output::Refused { token, error }),
            },
            Input::Broadcast { group, body } => {
                self.with_group(now, group, out, |group, context| {
                    group.broadcast(body, context);
                });
            }
            Input::ProvideSnapshots { group, available } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.snapshots.provider = available;
                }
            }
            Input::Snapshot {
                group,
                request,
                state,
            } => self.with_group(now, group, out, |group, context| {
                group.on_snapshot_made(request, state, context);
            }),
            Input::RemoveGroup { group, token } => {
                self.admin.push_back(Admin::Remove { group, token });
            }
            Input::Connected {
                relay,
                relay_id,
                exporter,
            } => {
                if let Some(link) = self.links.get_mut(&relay) {
                    link.on_connected(relay_id, exporter);
                }
                self.touch_groups_of(&relay);
            }
            Input::OtherNodes { relay } => {
                if let Some(link) = self.links.get_mut(&relay) {
                    link.on_other_nodes();
                }
            }
            Input::Disconnected { relay, error } => self.on_disconnected(now, &relay, &error, out),
            Input::Frame { stream, message } => self.on_frame(now, stream, message, out),
            Input::StreamEnded { stream } => {
                if let Some(group) = self.streams.remove(&stream) {
                    self.with_group(now, group, out, |group, context| {
                        group.on_stream_ended(context)
                    });
                    self.leave_link(now, group, out);
                }
            }
            Input::Written(result) => self.on_written(now, result, out),
            Input::Loaded {
                group,
                purpose,
                records,
            } => {
                self.with_group(now, group, out, |group, context| {
                    group.on_loaded(purpose, records, context);
                });
            }
            Input::NetworkChanged { online } => self.on_network(now, online, out),
            Input::Tick => {}
        }
        self.advance(now, out);
    }

    /// When to call [`Engine::handle`] with [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let links = self.links.values().filter_map(Link::next_wake);
        let groups = self.groups.values().filter_map(|group| {
            let connected = self
                .links
                .get(group.relay())
                .and_then(Link::connection)
                .is_some();
            let look = group.next_look(connected);
            group.next_wake(connected).into_iter().chain(look).min()
        });
        // Only moments at which something will be done: one that passed without effect would wake the device for ever.
        let storage = self
            .storage_trouble
            .iter()
            .map(|(_, at, _)| *at)
            .filter(|_| self.writing.is_none());
        let presence = self
            .groups
            .values()
            .filter_map(|group| group.attendance.stale_at);
        let searches = self
            .groups
            .values()
            .filter_map(|group| group.deletes.next_wake());
        links
            .chain(groups)
            .chain(searches)
            .chain(storage)
            .chain(presence)
            .min()
    }

    /// Whether to read the next frame of a stream now.
    #[must_use]
    pub fn wants_frames(&self, stream: StreamId) -> bool {
        self.streams
            .get(&stream)
            .and_then(|group| self.groups.get(group))
            .is_none_or(Group::wants_frames)
    }

    /// Groups whose views changed since the last call.
    pub fn take_changed(&mut self) -> SortedSet<GroupId> {
        core::mem::take(&mut self.changed)
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.writing.is_none()
            && self.admin.is_empty()
            && !self
                .groups
                .values()
                .any(|group| group.has_intents(self.keys.id()) || !group.is_search_over())
    }

    /// Whether a snapshot is read or made, or will be asked for.
    #[must_use]
    pub fn looks_after_snapshots(&self) -> bool {
        let sessions = self
            .groups
            .values()
            .filter_map(|group| group.session.as_ref());
        let mut exchanges = sessions.map(|session| &session.snapshots);
        exchanges.any(|exchange| !exchange.is_at_rest())
    }

    /// Whether the app waits for something, or a write is under way.
    #[must_use]
    pub fn owes_an_answer(&self) -> bool {
        let asked = |group: &Group| {
            !group.pushes.is_empty()
                || !group.wishes.is_empty()
                || group.rename.is_some()
                || group.deletes.waits_for_app()
        };
        self.writing.is_some() || !self.admin.is_empty() || self.groups.values().any(asked)
    }

    /// The groups on this device.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// The keys of a group, oldest epoch first, for reading its log or inviting to it.
    #[must_use]
    pub fn keys(&self, group: GroupId) -> Option<&[EpochKeys]> {
        self.groups.get(&group).map(|group| group.keys.as_slice())
    }

    /// The access token for a relay, if a group that uses it has one.
    #[must_use]
    pub fn token(&self, relay: &str) -> Option<&AccessToken> {
        let mut groups = self.groups.values().filter(|group| group.needs_link(relay));
        groups.find_map(|group| group.membership.tokens.get(relay))
    }

    /// The access tokens that a group has for its relays.
    #[must_use]
    pub fn tokens(&self, group: GroupId) -> SortedMap<String, AccessToken> {
        let group = self.groups.get(&group);
        group.map_or_else(SortedMap::new, |group| group.membership.tokens.clone())
    }

    /// What an app sees of a group.
    #[must_use]
    pub fn view(&self, group: GroupId) -> Option<GroupView> {
        let storage_error = self.storage_trouble.as_ref().map(|(_, _, error)| error);
        self.groups
            .get(&group)
            .map(|group| group.view(&self.links, storage_error))
    }

    /// The devices of a group, as its members know them.
    #[must_use]
    pub fn devices(&self, group: GroupId) -> Vec<DeviceInfo> {
        let group = self.groups.get(&group);
        group.map_or_else(Vec::new, |group| group.devices(self.keys.id()))
    }

    /// What a group is doing with its relay.
    #[must_use]
    pub fn phase(&self, group: GroupId) -> Option<Phase> {
        let group = self.groups.get(&group)?;
        Some(group.phase(self.links.get(group.relay())))
    }

    /// What an app sees of the device as a whole.
    #[must_use]
    pub fn device_view(&self) -> DeviceView {
        let storage_error = self.storage_trouble.as_ref().map(|(_, _, error)| error);
        status::device_view(
            self.groups
                .values()
                .map(|group| group.view(&self.links, storage_error)),
        )
    }

    fn on_frame(
        &mut self,
        now: Timestamp,
        stream: StreamId,
        message: Result<Message, DecodeError>,
        out: &mut Vec<Output>,
    ) {
        let Some(&group) = self.streams.get(&stream) else {
            return;
        };
        let relay = self.groups.get(&group).map(Group::relay);
        if let Some(relay) = relay
            && let Some(link) = self.links.get_mut(relay)
        {
            match &message {
                Ok(Message::Welcome(_)) => link.on_welcome(),
                Ok(Message::Error(error)) if error.code == ErrorCode::RelayShuttingDown => {
                    let wait = error
                        .retry_after_ms
                        .map_or(limits::BACKOFF.0, link::asked_for);
                    link.on_leaving(now.plus(wait), SyncError::from_relay(relay, error));
                }
                _ => {}
            }
        }
        self.with_group(now, group, out, |group, context| {
            group.on_frame(message, context)
        });
    }

    fn on_disconnected(
        &mut self,
        now: Timestamp,
        relay: &str,
        error: &SyncError,
        out: &mut Vec<Output>,
    ) {
        let Some(link) = self.links.get_mut(relay) else {
            return;
        };
        let announced = link.leaving().is_some();
        let elsewhere = link.goes_on_elsewhere();
        link.on_disconnected(now, error.clone(), &mut *self.entropy);
        let asked = link.not_before();
        let mut looked = false;
        for group in self.groups.values_mut() {
            if group.looked_for() == Some(relay) {
                group.on_look_failed(now, asked, &mut *self.entropy);
                looked = true;
            }
        }
        let mut in_use = false;
        for group in self
            .groups
            .values_mut()
            .filter(|group| group.relay() == relay)
        {
            in_use = true;
            self.changed.insert(group.id);
            if let Some(stream) = group.drop_session() {
                self.streams.remove(&stream);
            }
            let moved = group.on_link_lost(announced, asked);
            // The wait was for the relay that is going.
            if moved || (announced && elsewhere) {
                group.retry_now();
            }
        }
        // A relay that says it is going is not an error that a person has to see, nor one that was only looked for.
        if !announced && (in_use || !looked) {
            out.push(Output::Event(Event::Error {
                group: None,
                error: error.clone(),
                cursor: None,
            }));
        }
    }

    fn on_network(&mut self, now: Timestamp, online: bool, out: &mut Vec<Output>) {
        for (relay, link) in self.links.iter_mut() {
            if link.on_network(now, online) {
                out.push(Output::Disconnect {
                    relay: relay.clone(),
                });
            }
        }
        for group in self.groups.values_mut() {
            group.on_network();
            if !online {
                group.stop_looking();
            }
            if !online && let Some(stream) = group.drop_session() {
                self.streams.remove(&stream);
            }
            self.changed.insert(group.id);
        }
    }

    /// Closes the connection to a relay that is stopping, when the last session on it has ended: the relay waits for that.
    fn leave_link(&mut self, now: Timestamp, group: GroupId, out: &mut Vec<Output>) {
        let Some(relay) = self
            .groups
            .get(&group)
            .map(|group| group.relay().to_owned())
        else {
            return;
        };
        let in_use = self
            .groups
            .values()
            .any(|group| group.relay() == relay && group.session.is_some());
        let leaving = self.links.get(&relay).and_then(Link::leaving).cloned();
        if let Some(error) = leaving.filter(|_| !in_use) {
            self.on_disconnected(now, &relay, &error, out);
            out.push(Output::Disconnect { relay });
        }
    }

    fn touch_groups_of(&mut self, relay: &str) {
        let groups = self.groups.values().filter(|group| group.relay() == relay);
        self.changed.extend(groups.map(|group| group.id));
    }

    /// Runs `work` on a group; its view counts as changed.
    fn with_group(
        &mut self,
        now: Timestamp,
        id: GroupId,
        out: &mut Vec<Output>,
        work: impl FnOnce(&mut Group, &mut Context<'_>),
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let mut context = Context {
            now,
            keys: &self.keys,
            profile: &self.profile,
            entropy: &mut *self.entropy,
            out,
        };
        work(group, &mut context);
        self.changed.insert(id);
    }

    /// Starts whatever can go on: connections, sessions, sending, and the next write.
    fn advance(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.choose_relays(now, out);
        self.advance_links(now, out);
        for group in self.groups.values_mut() {
            let mut context = Context {
                now,
                keys: &self.keys,
                profile: &self.profile,
                entropy: &mut *self.entropy,
                out,
            };
            let link = self.links.get(group.relay());
            if let Some((relay_id, exporter)) = link.and_then(Link::connection)
                && group.wants_session(now)
            {
                let stream = StreamId(self.next_stream);
                self.next_stream += 1;
                self.streams.insert(stream, group.id);
                self.changed.insert(group.id);
                group.open_session(stream, relay_id, &exporter, &mut context);
            }
            group.look_after_snapshots(&mut context);
            group.send_more(&mut context);
            group.search_log(&mut context);
            if group.attendance.settle(now) {
                self.changed.insert(group.id);
            }
        }
        self.start_write(now, out);
        // What could not be written was refused, or is being tried again: otherwise the trouble is over until it shows
        // again.
        if self.writing.is_none()
            && self
                .storage_trouble
                .as_ref()
                .is_some_and(|(_, at, _)| *at <= now)
        {
            self.storage_trouble = None;
            self.changed.extend(self.groups.keys().copied());
        }
    }

    /// Ends sessions whose time is over, and those at a later relay when the first is there. Before the links: which of them
    /// are needed depends on it.
    fn choose_relays(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        for group in self.groups.values_mut() {
            let mut context = Context {
                now,
                keys: &self.keys,
                profile: &self.profile,
                entropy: &mut *self.entropy,
                out,
            };
            if let Some(stream) = group.expire(&mut context) {
                self.streams.remove(&stream);
                self.changed.insert(group.id);
            }
            let connected = |relay: &str| {
                let link = self.links.get(relay);
                link.and_then(Link::connection).is_some()
            };
            group.look_if_due(now, connected(group.relay()), context.entropy);
            if group.looked_for().is_some_and(connected) {
                if let Some(stream) = group.go_to_first(&mut context) {
                    self.streams.remove(&stream);
                }
                self.changed.insert(group.id);
            }
        }
    }

    fn advance_links(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        for group in self.groups.values() {
            for relay in [Some(group.relay()), group.looked_for()]
                .into_iter()
                .flatten()
            {
                if !self.links.contains_key(relay) {
                    self.links.insert(relay.to_owned(), Link::default());
                }
            }
        }
        self.links.retain(|relay, link| {
            let used = self.groups.values().any(|group| group.needs_link(relay));
            if !used {
                if link.is_open() {
                    out.push(Output::Disconnect {
                        relay: relay.clone(),
                    });
                }
                return false;
            }
            if link.start_if_due(now) {
                out.push(Output::Connect {
                    relay: relay.clone(),
                });
            }
            true
        });
    }
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}
