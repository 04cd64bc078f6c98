//! Snapshots: reading the relay's when blobs are missing, and making one when many have come since the last.
//!
//! **Reading.** A device that is new to a relay, or was away for so long that the relay has dropped something, reads the
//! snapshot before it subscribes; one that finds holes after it has caught up asks for one now and then. A snapshot that
//! has nothing new is not taken.
//!
//! **Making.** The devices of a group draw lots: each that has something to give waits for a moment, looks whether another
//! was faster, and asks its app. What the snapshot stands in for is what this device had when it asked. Who finds that the
//! relay's has something that is not here takes it first: a snapshot never has less than the one that it replaces. One by a
//! device that was revoked counts for nothing, so the others replace it.

use core::time::Duration;

use bytes::Bytes;

use super::group::{Group, Received};
use super::staging::StagedGroup;
use super::{Context, Event, Output, link, roster};
use crate::crypto::blob::{Kind, OpenError};
use crate::crypto::snapshot::{self, Header, Name};
use crate::error::ErrorCode;
use crate::failure::{SyncError, code};
use crate::ids::{BlobId, DeviceId, RelayId};
use crate::limits;
use crate::map::SortedMap;
use crate::message::{Message, SnapshotAnswer, SnapshotPart, Subscribe, capability};
use crate::store::{Batch, GroupState, HeldSnapshot, LogRecord, Sequences, Write};
use crate::time::Timestamp;

/// What a device has to do with snapshots, over all sessions.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Whether the app gives its state when it is asked.
    pub(super) provider: bool,
    /// Payload bytes that have come since the newest snapshot, as far as this run knows.
    pub(super) fresh_bytes: u64,
    /// A device has joined since then.
    pub(super) newcomer: bool,
    /// The relay's may be by a device that was revoked, or have less than the snapshots on this device have together.
    pub(super) doubtful: bool,
    /// Not to be tried before.
    not_before: Option<Timestamp>,
    /// Requests to the app so far.
    requests: u64,
}

/// Snapshots in one session.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Cursor that the relay's snapshot covers.
    covers: u64,
    /// When to see whether one is to be made.
    make_at: Option<Timestamp>,
    /// When to ask for what is missing, and how often that was done.
    ask_at: Option<Timestamp>,
    asks: u32,
    /// The relay has deleted something that this device may need, and no snapshot has brought it.
    pub(super) lacking: bool,
    /// The subscription waits for the snapshot, and begins after this cursor.
    subscribe_after: Option<u64>,
    work: Work,
}

#[derive(Debug, Default)]
enum Work {
    #[default]
    None,
    /// Reading the relay's.
    Fetch(Fetch),
    /// Looking at the relay's before one is made.
    Check,
    /// The app was asked.
    Ask(Asked),
    Upload(Upload),
}

/// What a device finds that looks at the relay's snapshot before it makes one.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nothing,
    /// It is by a device that was revoked: nobody takes it.
    Worthless,
    /// It stands in for everything up to this cursor.
    Covers(u64),
    /// For that, but not for everything that only snapshots on this device have.
    Less(u64),
}

#[derive(Debug, Default)]
struct Fetch {
    begun: Option<(Name, Header)>,
    payloads: Vec<Bytes>,
    hashes: Vec<[u8; 32]>,
    restarts: u32,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    until: Timestamp,
    covers: u64,
    seen: SortedMap<DeviceId, Sequences>,
}

#[derive(Debug)]
struct Upload {
    name: Name,
    covers: u64,
    state: Bytes,
    /// The part that the relay was given last.
    part: u32,
}

/// A snapshot that is here as a whole and not durable yet.
#[derive(Debug)]
pub(super) struct Taken {
    name: Name,
    header: Header,
    payloads: Vec<Bytes>,
}

impl Taken {
    pub(super) fn len(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}

impl Exchange {
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        match &self.work {
            Work::None => [self.make_at, self.ask_at].into_iter().flatten().min(),
            Work::Ask(asked) => Some(asked.until),
            Work::Fetch(_) | Work::Check | Work::Upload(_) => None,
        }
    }

    /// Whether nothing is under way or planned.
    pub(super) const fn is_at_rest(&self) -> bool {
        matches!(self.work, Work::None) && self.make_at.is_none() && self.ask_at.is_none()
    }
}

impl Group {
    /// Subscribes, or reads the relay's snapshot first.
    pub(super) fn start_reading(&mut self, after: u64, context: &mut Context<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(welcome) = &session.welcome else {
            return;
        };
        let covers = welcome.snapshot.unwrap_or(0);
        let needed = covers > after && welcome.lacking;
        session.snapshots.covers = covers;
        session.snapshots.lacking = welcome.lacking || self.state.lacking;
        session.snapshots.subscribe_after = Some(after);
        let mut rotations = self.membership.rotations.iter();
        self.snapshots.doubtful |= covers > 0
            && (self.state.snapshots.len() > 1
                || rotations.any(|rotation| rotation.claims.revoked.is_some()));
        if needed || (covers > 0 && self.state.lacking) {
            self.fetch_snapshot(0, context);
        } else {
            self.subscribe(after, context);
        }
    }

    fn subscribe(&mut self, after_cursor: u64, context: &mut Context<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.snapshots.subscribe_after = None;
        let subscribe = Subscribe {
            after_cursor,
            window: limits::SUBSCRIBE_WINDOW,
        };
        context.send(session.stream, Message::Subscribe(subscribe));
    }

    fn fetch_snapshot(&mut self, restarts: u32, context: &mut Context<'_>) {
        self.work_on(Work::Fetch(Fetch {
            restarts,
            ..Fetch::default()
        }));
        self.get_part(0, context);
    }

    fn get_part(&self, part: u32, context: &mut Context<'_>) {
        if let Some(session) = &self.session {
            context.send(session.stream, Message::GetSnapshot { part });
        }
    }

    fn work_on(&mut self, work: Work) -> Work {
        let session = self.session.as_mut();
        session.map_or(Work::None, |session| {
            core::mem::replace(&mut session.snapshots.work, work)
        })
    }

    /// Reading is over; with what it brought, if anything. The subscription begins after what is covered.
    fn fetched(&mut self, taken: Option<Taken>, context: &mut Context<'_>) {
        self.work_on(Work::None);
        let Some(session) = &mut self.session else {
            return;
        };
        let after = session.snapshots.subscribe_after;
        let incarnation = session.welcome.as_ref().map(|welcome| welcome.incarnation);
        let relay_id = session.relay_id;
        let covered = taken
            .as_ref()
            .filter(|taken| is_for(&taken.header, relay_id, incarnation))
            .map_or(0, |taken| taken.header.cursor);
        if let Some(taken) = taken {
            session.snapshots.lacking = false;
            self.receive(Received::Snapshot(Box::new(taken)));
        }
        if let Some(after) = after {
            self.subscribe(after.max(covered), context);
        }
    }

    /// The relay's snapshot is not one: it is skipped, and the rest goes on.
    fn reject_snapshot(&mut self, what: &str, context: &mut Context<'_>) {
        let text = format!("the snapshot of {} {what}; it was skipped", self.relay());
        context.error(self.id, SyncError::new(code::BLOB_REJECTED, text), None);
        self.fetched(None, context);
    }

    pub(super) fn on_snapshot_part(&mut self, part: SnapshotPart, context: &mut Context<'_>) {
        match self.work_on(Work::None) {
            Work::Check => self.check(&part, context),
            Work::Fetch(fetch) => self.take_part(fetch, &part, context),
            Work::None | Work::Ask(_) | Work::Upload(_) => {
                self.give_up("sent a snapshot that was not asked for", context);
            }
        }
    }

    /// Looks at the relay's snapshot before one is made.
    fn check(&mut self, part: &SnapshotPart, context: &mut Context<'_>) {
        if !self.membership.vouches_for(part.author, part.epoch) {
            return self.checked(Found::Worthless, context);
        }
        let name = self.name_of(part);
        let Some(keys) = self.keys_of(name.epoch) else {
            return self.checked(Found::Covers(part.covers), context);
        };
        match name.open_header(keys, &part.payload) {
            Ok(header) if header.cursor != part.covers || !self.is_possible(&header) => {
                self.checked(Found::Worthless, context);
            }
            Ok(header) if is_useful(&header, &self.state) => {
                self.put_off(context);
                self.fetch_snapshot(0, context);
            }
            Ok(header) => {
                let mut held = self.state.snapshots.iter();
                let found = if held.all(|held| covers(&header.seen, &held.seen)) {
                    Found::Covers(part.covers)
                } else {
                    Found::Less(part.covers)
                };
                self.checked(found, context);
            }
            Err(_) => self.checked(Found::Worthless, context),
        }
    }

    const fn name_of(&self, part: &SnapshotPart) -> Name {
        Name {
            group_id: self.id,
            author: part.author,
            snapshot_id: part.snapshot_id,
            epoch: part.epoch,
            parts: part.parts,
        }
    }

    fn take_part(&mut self, mut fetch: Fetch, part: &SnapshotPart, context: &mut Context<'_>) {
        let name = self.name_of(part);
        if let Some((begun, _)) = &fetch.begun
            && *begun != name
        {
            if fetch.restarts >= limits::SNAPSHOT_RESTARTS {
                return self.fetched(None, context);
            }
            return self.fetch_snapshot(fetch.restarts + 1, context);
        }
        let expected = u32::try_from(fetch.payloads.len()).map_or(u32::MAX, |taken| taken + 1);
        let expected = if fetch.begun.is_some() { expected } else { 0 };
        if part.part != expected {
            return self.reject_snapshot("came in another order", context);
        }
        let keys = self.keys_of(name.epoch).ok_or(OpenError::UnknownEpoch);
        if expected == 0 {
            if !self.membership.vouches_for(name.author, name.epoch) {
                return self.reject_snapshot("is by a device that is not a member", context);
            }
            let header = match keys.and_then(|keys| name.open_header(keys, &part.payload)) {
                Ok(header) => header,
                Err(error) => {
                    return self.reject_snapshot(&format!("is refused: {error}"), context);
                }
            };
            if header.cursor != part.covers || !self.is_possible(&header) {
                return self.reject_snapshot("claims blobs that cannot be there", context);
            }
            if !is_useful(&header, &self.state) {
                if let Some(session) = &mut self.session {
                    session.snapshots.lacking = false;
                }
                return self.fetched(None, context);
            }
            if !has_room(&header, &self.state) {
                return self.reject_snapshot("is one more than a device keeps", context);
            }
            fetch.begun = Some((name, header));
        } else {
            match keys.and_then(|keys| name.open_part(keys, part.part, &part.payload)) {
                Ok(body) => fetch.hashes.push(zerok_sync_aead::sha256(&[&body])),
                Err(error) => {
                    return self.reject_snapshot(&format!("is refused: {error}"), context);
                }
            }
            fetch.payloads.push(part.payload.clone());
        }
        let next = expected + 1;
        if next < name.parts {
            self.work_on(Work::Fetch(fetch));
            return self.get_part(next, context);
        }
        match fetch.begun {
            Some((name, header)) if header.hash == snapshot::hash_of(&fetch.hashes) => {
                let taken = Taken {
                    name,
                    header,
                    payloads: fetch.payloads,
                };
                self.fetched(Some(taken), context);
            }
            _ => self.reject_snapshot("is not what its author signed", context),
        }
    }

    /// Whether the sequences in a header can have been reached: whoever makes a snapshot must not take them from others.
    fn is_possible(&self, header: &Header) -> bool {
        header.seen.iter().all(|(device, seen)| {
            let known = self.state.seen.get(device).map_or(0, Sequences::highest);
            seen.highest() <= known.saturating_add(limits::MAX_SEQUENCE_JUMP)
        })
    }

    pub(super) fn on_snapshot_answer(&mut self, answer: SnapshotAnswer, context: &mut Context<'_>) {
        match (self.work_on(Work::None), answer.refused) {
            (Work::Check, Some(_)) => self.checked(Found::Nothing, context),
            (Work::Fetch(_), Some(error)) => {
                if error.code != ErrorCode::NotFound {
                    let error = SyncError::from_relay(self.relay(), &error);
                    context.error(self.id, error, None);
                }
                self.fetched(None, context);
            }
            (Work::Upload(upload), None) if answer.part == upload.part => {
                self.uploaded(upload, context);
            }
            (Work::Upload(_), Some(error)) => {
                let asked = error.retry_after_ms.map(link::asked_for);
                // Somebody else was faster, or the keys have changed.
                if error.code != ErrorCode::StaleEpoch {
                    let error = SyncError::from_relay(self.relay(), &error);
                    context.error(self.id, error, None);
                }
                self.put_off_for(asked.unwrap_or_default(), context);
            }
            _ => self.give_up("answered what was not asked", context),
        }
    }

    fn put_off(&mut self, context: &Context<'_>) {
        self.put_off_for(Duration::ZERO, context);
    }

    /// Not before a relay has asked for, and not soon in any case: nobody waits for a snapshot.
    fn put_off_for(&mut self, asked: Duration, context: &Context<'_>) {
        let wait = limits::SNAPSHOT_RETRY.max(asked);
        self.snapshots.not_before = Some(context.now.plus(wait));
    }

    /// Everything that the relay has up to here is on this device.
    fn read_to(&self, relay_id: RelayId) -> u64 {
        let bookmark = self.state.bookmarks.get(&relay_id);
        bookmark.map_or(0, |bookmark| bookmark.cursor)
    }

    /// Whether there is reason to make one: enough blobs or bytes, or `for_newcomer` blobs when a device has joined.
    fn is_due(&self, covers: u64, read_to: u64, for_newcomer: u64) -> bool {
        let fresh = read_to.saturating_sub(covers);
        fresh >= limits::SNAPSHOT_BLOBS
            || (fresh > 0 && self.snapshots.fresh_bytes >= limits::SNAPSHOT_BYTES)
            || (self.snapshots.newcomer && fresh >= for_newcomer)
    }

    /// Starts what is due.
    pub(super) fn look_after_snapshots(&mut self, context: &mut Context<'_>) {
        let Some(session) = self.session.as_ref().filter(|session| session.caught_up) else {
            return;
        };
        let can = session.welcome.as_ref().is_some_and(|welcome| {
            let mut capabilities = welcome.capabilities.iter();
            capabilities.any(|name| name == capability::SNAPSHOTS)
        });
        if !can || session.is_paused() {
            return;
        }
        let due = self.snapshots.provider
            && session.repair.is_none()
            && self.membership.wishes.is_empty()
            && self.is_search_over()
            && (self.snapshots.doubtful
                || self.is_due(session.snapshots.covers, self.read_to(session.relay_id), 1));
        let holes = self
            .state
            .seen
            .values()
            .any(|seen| seen.holes().next().is_some());
        let not_before = self.snapshots.not_before.unwrap_or_default();
        let Some(session) = &mut self.session else {
            return;
        };
        let exchange = &mut session.snapshots;
        match &exchange.work {
            Work::None => {}
            Work::Ask(asked) if asked.until <= context.now => {
                exchange.work = Work::None;
                return self.put_off(context);
            }
            _ => return,
        }
        if !(holes || exchange.lacking) || exchange.asks >= limits::SNAPSHOT_ASKS {
            exchange.ask_at = None;
        } else if exchange.ask_at.is_none() {
            let wait = limits::SNAPSHOT_ASK * 2u32.saturating_pow(exchange.asks);
            exchange.ask_at = Some(context.now.plus(wait));
        }
        if !due {
            exchange.make_at = None;
        } else if exchange.make_at.is_none() {
            let most = limits::SNAPSHOT_JITTER.as_millis() as u64;
            let wait = u64::from_le_bytes(crate::random(context.entropy)) % most.max(1);
            let at = context.now.plus(core::time::Duration::from_millis(wait));
            exchange.make_at = Some(at.max(not_before));
        }
        if exchange.ask_at.is_some_and(|at| at <= context.now) {
            exchange.ask_at = None;
            exchange.asks += 1;
            self.fetch_snapshot(0, context);
        } else if exchange.make_at.is_some_and(|at| at <= context.now) {
            exchange.make_at = None;
            exchange.work = Work::Check;
            self.get_part(0, context);
        }
    }

    /// What the relay's snapshot covers is known for certain: one is made if that is not enough.
    fn checked(&mut self, found: Found, context: &mut Context<'_>) {
        let Some(relay_id) = self.session.as_ref().map(|session| session.relay_id) else {
            return;
        };
        let read_to = self.read_to(relay_id);
        if let (Found::Covers(covers), Some(session)) = (found, &self.session)
            && covers > session.snapshots.covers
        {
            // Somebody else was faster.
            self.snapshots.fresh_bytes = 0;
        }
        let (covers, due) = match found {
            Found::Nothing => (0, self.is_due(0, read_to, 1)),
            Found::Worthless => (0, read_to > 0),
            Found::Less(covers) => (covers, true),
            Found::Covers(covers) => {
                let due = self.is_due(covers, read_to, limits::SNAPSHOT_JOIN_BLOBS);
                (covers, due)
            }
        };
        if !self.is_search_over() {
            // What was deleted must not be in it: later.
            return;
        }
        let needed = self.snapshots.provider && due;
        self.snapshots.doubtful &= matches!(found, Found::Worthless | Found::Less(_));
        if !needed {
            self.snapshots.newcomer = false;
        }
        self.snapshots.requests += 1;
        let asked = Asked {
            request: self.snapshots.requests,
            until: context.now.plus(limits::SNAPSHOT_PATIENCE),
            covers: read_to,
            seen: self.state.seen.clone(),
        };
        let Some(session) = &mut self.session else {
            return;
        };
        session.snapshots.covers = covers;
        if needed {
            context.out.push(Output::Event(Event::SnapshotWanted {
                group: self.id,
                request: asked.request,
                place: self.state.position,
            }));
            session.snapshots.work = Work::Ask(asked);
        }
    }

    /// The app's answer: its state, or nothing this time.
    pub(super) fn on_snapshot_made(
        &mut self,
        request: u64,
        state: Option<Bytes>,
        context: &mut Context<'_>,
    ) {
        let asked = match self.work_on(Work::None) {
            Work::Ask(asked) if asked.request == request => asked,
            // A request of a session that is over.
            other => {
                self.work_on(other);
                return;
            }
        };
        let Some(state) = state else {
            return self.put_off(context);
        };
        if state.len() > limits::MAX_SNAPSHOT {
            let text = format!(
                "the app's snapshot has {} bytes, at most {} fit",
                state.len(),
                limits::MAX_SNAPSHOT
            );
            let error = SyncError::new(code::BLOB_TOO_LARGE, text);
            context.error(self.id, error, None);
            return self.put_off(context);
        }
        let (Some(session), Some(keys)) = (&self.session, self.current_keys()) else {
            return;
        };
        let Some(incarnation) = session.welcome.as_ref().map(|welcome| welcome.incarnation) else {
            return;
        };
        let hashes = snapshot::bodies(&state).map(|body| zerok_sync_aead::sha256(&[&body]));
        let header = Header {
            relay_id: session.relay_id,
            incarnation,
            cursor: asked.covers,
            seen: asked.seen,
            roster: self.membership.roster.values().cloned().collect(),
            len: state.len() as u64,
            hash: snapshot::hash_of(&hashes.collect::<Vec<_>>()),
        };
        let name = Name {
            group_id: self.id,
            author: context.device(),
            snapshot_id: BlobId(crate::random(context.entropy)),
            epoch: keys.epoch(),
            parts: snapshot::parts_of(state.len()),
        };
        let Some(payload) = name.seal_header(keys, context.keys, header, context.entropy) else {
            return self.put_off(context);
        };
        let upload = Upload {
            name,
            covers: asked.covers,
            state,
            part: 0,
        };
        self.send_part(upload, payload, context);
    }

    fn send_part(&mut self, upload: Upload, payload: Bytes, context: &mut Context<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let message = Message::Snapshot(SnapshotPart {
            snapshot_id: upload.name.snapshot_id,
            author: upload.name.author,
            epoch: upload.name.epoch,
            covers: upload.covers,
            part: upload.part,
            parts: upload.name.parts,
            payload,
        });
        context.send(session.stream, message);
        session.snapshots.work = Work::Upload(upload);
    }

    fn uploaded(&mut self, mut upload: Upload, context: &mut Context<'_>) {
        upload.part += 1;
        if upload.part < upload.name.parts {
            let Some(keys) = self.keys_of(upload.name.epoch) else {
                return;
            };
            let (part, name) = (upload.part, upload.name);
            let payload = name.seal_part(keys, part, &upload.state, context.entropy);
            return self.send_part(upload, payload, context);
        }
        self.snapshots.fresh_bytes = 0;
        self.snapshots.newcomer = false;
        self.snapshots.doubtful = false;
        if let Some(session) = &mut self.session {
            session.snapshots.covers = upload.covers;
        }
    }

    /// Takes a snapshot into the log and counts what it stands in for as seen.
    pub(super) fn stage_snapshot(
        &self,
        taken: &Taken,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &Context<'_>,
    ) {
        let Taken {
            name,
            header,
            payloads,
        } = taken;
        if !has_room(header, &work.state) {
            return;
        }
        if let Some(session) = &self.session {
            let incarnation = session.welcome.as_ref().map(|welcome| welcome.incarnation);
            if is_for(header, session.relay_id, incarnation)
                && let Some(bookmark) = work.state.bookmarks.get_mut(&session.relay_id)
            {
                bookmark.cursor = bookmark.cursor.max(header.cursor);
            }
        }
        work.state.lacking = false;
        if !is_useful(header, &work.state) {
            // What it has came in the meantime.
            return;
        }
        let place = self.first_place_beside(header, context.device());
        let membership = work
            .membership
            .get_or_insert_with(|| self.membership.clone());
        for entry in &header.roster {
            if entry.holds(self.id) {
                roster::take_in(membership, entry, name.epoch);
            }
        }
        let mut joined = Vec::new();
        for (device, seen) in header.seen.iter() {
            let known = work.state.seen.get_or_insert_with(*device, || {
                joined.push(*device);
                Sequences::default()
            });
            known.merge(seen);
        }
        joined.retain(|device| *device != context.device());
        let joined = joined
            .into_iter()
            .map(|device| roster::joined(self.id, device, membership));
        work.events.extend(joined);
        let first = work.state.position + 1;
        for (at, payload) in payloads.iter().enumerate() {
            let part = u32::try_from(at).map_or(u32::MAX, |at| at + 1);
            work.state.position += 1;
            work.state.hidden.push(work.state.position);
            batch.writes.push(Write::Append {
                group: self.id,
                record: LogRecord {
                    position: work.state.position,
                    blob_id: name.address(part).blob_id,
                    sender: name.author,
                    epoch: name.epoch,
                    seq: u64::from(part) + 1,
                    kind: Kind::Snapshot,
                    ttl: 0,
                    cursor: header.cursor,
                    timestamp: context.now,
                    payload: payload.clone(),
                },
                unsent: false,
            });
        }
        let snapshots = &mut work.state.snapshots;
        snapshots.retain(|held| !covers(&header.seen, &held.seen));
        snapshots.push(HeldSnapshot {
            first,
            parts: name.parts.saturating_sub(1),
            place,
            seen: header.seen.clone(),
        });
        work.events.push(Event::Snapshot { group: self.id });
    }

    /// The place in the log after which there is something that a snapshot does not stand in for.
    fn first_place_beside(&self, header: &Header, own: DeviceId) -> u64 {
        let none = Sequences::default();
        let has_all = |device: DeviceId, seen: &Sequences, but: u64| {
            let covered = header.seen.get(&device).unwrap_or(&none);
            covered.covers(seen) || covered.contiguous() >= seen.highest().saturating_sub(but)
        };
        let unsent = self.outbox.len() as u64;
        let mut seen = self.state.seen.iter();
        let all = seen
            .all(|(device, seen)| has_all(*device, seen, if *device == own { unsent } else { 0 }));
        match self.outbox.first() {
            _ if !all => 0,
            Some(first) => first.saturating_sub(1),
            None => self.state.position,
        }
    }
}

/// Whether a snapshot has something that a device lacks.
fn is_useful(header: &Header, state: &GroupState) -> bool {
    !covers(&state.seen, &header.seen)
}

/// Whether a device can keep a snapshot beside those that have what it lacks.
fn has_room(header: &Header, state: &GroupState) -> bool {
    let held = state.snapshots.iter();
    let beside = held.filter(|held| !covers(&header.seen, &held.seen));
    beside.count() < limits::HELD_SNAPSHOTS
}

/// Whether `all` has everything of `some`.
fn covers(all: &SortedMap<DeviceId, Sequences>, some: &SortedMap<DeviceId, Sequences>) -> bool {
    some.iter().all(|(device, seen)| {
        let known = all.get(device);
        known.is_some_and(|known| known.covers(seen))
    })
}

/// Whether the cursor of a header is one of this life of this relay.
fn is_for(
    header: &Header,
    relay_id: RelayId,
    incarnation: Option<crate::ids::Incarnation>,
) -> bool {
    header.relay_id == relay_id && Some(header.incarnation) == incarnation
}
