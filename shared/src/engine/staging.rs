//! From intents to one write, and from the write's result back to memory.
//!
//! A write is made from a copy of the group's state. Only when it is durable does the copy become the state.

use bytes::Bytes;

use super::deletes::StagedDeletes;
use super::forks::Trail;
use super::group::{Group, PendingPush, Received};
use super::{Context, Event, Output, Token, roster};
use crate::crypto::blob::{self, Kind, OpenError, Plain};
use crate::crypto::keys::EpochKeys;
use crate::crypto::roster::SignedEntry;
use crate::failure::{SyncError, code};
use crate::ids::{BlobIds, DeviceId, RelayId};
use crate::limits;
use crate::message::{Blob, Mark, PushAck, Welcome};
use crate::store::{
    Batch, Bookmark, GroupState, Head, Known, LogRecord, Membership, Sequences, Write,
};

/// What one write does to one group.
#[derive(Debug)]
pub(super) struct StagedGroup {
    pub(super) state: GroupState,
    blob_ids: BlobIds,
    /// If it changes.
    pub(super) membership: Option<Membership>,
    /// Requests that the new membership fulfils.
    wishes: usize,
    /// A request that no relay fulfils, and that is given up.
    dropped: Option<DeviceId>,
    renamed: bool,
    /// It has what the relay told of newer keys.
    changed: bool,
    /// This device's entry is among `pushed`.
    entry: Option<LogRecord>,
    pushed: Vec<(Token, LogRecord)>,
    pub(super) sent: Vec<(u64, PushAck)>,
    /// Items of the inbox that it covers.
    received: usize,
    pub(super) events: Vec<Event>,
    pub(super) deletes: StagedDeletes,
    pub(super) trail: Trail,
    /// Relay, own head and that of another device.
    pub(super) forked: Option<(RelayId, [u8; 32], [u8; 32])>,
    /// Blobs that came after later ones of their senders, and their cursors.
    late: Vec<(DeviceId, u64)>,
    caught_up: bool,
    /// Payload bytes that are new in the group.
    fresh_bytes: u64,
    /// The relay has left something out.
    holes: bool,
}

impl Group {
    /// Adds what waits to `batch`, if anything does.
    pub(super) fn stage(
        &mut self,
        batch: &mut Batch,
        with_inbox: bool,
        context: &mut Context<'_>,
    ) -> Option<StagedGroup> {
        if !self.has_intents(context.device()) {
            return None;
        }
        let mut work = StagedGroup {
            state: self.state.clone(),
            blob_ids: self.blob_ids,
            membership: None,
            wishes: 0,
            dropped: None,
            renamed: false,
            changed: self.change.is_some(),
            entry: None,
            pushed: Vec::new(),
            sent: Vec::new(),
            received: 0,
            events: Vec::new(),
            deletes: StagedDeletes::default(),
            trail: self.trail.clone(),
            forked: None,
            late: Vec::new(),
            caught_up: false,
            fresh_bytes: 0,
            holes: false,
        };
        let first = batch.writes.len();
        work.dropped = self.refused_wish;
        if self.change.is_some() || !self.wishes.is_empty() || work.dropped.is_some() {
            let mut membership = self.membership.clone();
            self.stage_keys(&mut membership, &mut work.events, context.device());
            work.wishes = self.wishes.len();
            work.membership = Some(membership);
        }
        // Before everything else that this device pushes, so that others know it when they see that.
        if self.entry_due(context.device()) {
            self.stage_entry(&mut work, batch, context);
        }
        self.stage_pushes(&mut work, batch, context);
        let most = if with_inbox {
            limits::MAX_WRITE_BLOBS
        } else {
            0
        };
        for item in self.inbox.iter().take(most) {
            work.received += 1;
            self.stage_received(item, &mut work, batch, context);
        }
        self.stage_deletes(&mut work, batch, context);
        self.stage_held(&mut work);
        if let Some(membership) = &work.membership
            && *membership != self.membership
        {
            batch.writes.insert(
                first,
                Write::Membership {
                    group: self.id,
                    membership: Box::new(membership.clone()),
                },
            );
        }
        if work.state != self.state {
            batch.writes.insert(
                first,
                Write::State {
                    group: self.id,
                    state: Box::new(work.state.clone()),
                },
            );
        }
        if batch.writes.len() == first {
            // Nothing of it changes the store (a blob that was already here): done without a write.
            self.commit(work, context);
            return None;
        }
        self.staging = work.received;
        Some(work)
    }

    fn stage_pushes(&self, work: &mut StagedGroup, batch: &mut Batch, context: &mut Context<'_>) {
        let Some(keys) = self.current_keys() else {
            return;
        };
        let mut bytes = 0;
        for PendingPush { body, ttl, token } in self.pushes.iter().take(limits::MAX_WRITE_BLOBS) {
            bytes += body.len();
            if bytes > limits::MAX_UNWRITTEN_BYTES && !work.pushed.is_empty() {
                break;
            }
            let record = self.append(keys, Kind::App, *ttl, body.clone(), work, batch, context);
            work.fresh_bytes += record.payload.len() as u64;
            work.pushed.push((*token, record));
        }
    }

    /// Says who this device is.
    fn stage_entry(&self, work: &mut StagedGroup, batch: &mut Batch, context: &mut Context<'_>) {
        let Some(keys) = self.current_keys() else {
            return;
        };
        let entry = self.own_entry(context);
        let body = roster::body(&entry);
        let ttl = limits::ROSTER_TTL;
        let record = self.append(keys, Kind::Roster, ttl, body, work, batch, context);
        work.state.entries.push(record.position);
        work.state.hidden.push(record.position);
        work.entry = Some(record);
        work.renamed = self.rename.is_some();
        let membership = work
            .membership
            .get_or_insert_with(|| self.membership.clone());
        membership.roster.insert(context.device(), entry);
    }

    /// Seals something and adds it to the log, to be sent.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is sealed, and where it goes"
    )]
    pub(super) fn append(
        &self,
        keys: &EpochKeys,
        kind: Kind,
        ttl: u32,
        body: Bytes,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &mut Context<'_>,
    ) -> LogRecord {
        let own = work
            .state
            .seen
            .get_or_insert_with(context.device(), Sequences::default);
        let seq = own.highest().max(work.state.own_seq).saturating_add(1);
        own.insert(seq);
        work.state.position += 1;
        let mut record = LogRecord {
            position: work.state.position,
            blob_id: work.blob_ids.draw(context.entropy),
            sender: context.device(),
            epoch: keys.epoch(),
            seq,
            kind,
            ttl,
            cursor: 0,
            timestamp: context.now,
            payload: Bytes::new(),
        };
        let plain = Plain {
            kind,
            seq,
            witness: self.witness(),
            body,
        };
        record.payload = blob::seal(keys, &record.address(self.id), &plain, context.entropy);
        batch.writes.push(Write::Append {
            group: self.id,
            record: record.clone(),
            unsent: true,
        });
        record
    }

    fn stage_received(
        &self,
        item: &Received,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &mut Context<'_>,
    ) {
        // The inbox is emptied when its session ends.
        let Some(relay_id) = self.session.as_ref().map(|session| session.relay_id) else {
            return;
        };
        match item {
            Received::Met {
                relay_url,
                incarnation,
                bookmark_of,
            } => {
                work.state.pins.insert(relay_url.clone(), relay_id);
                // Moved, not copied: one that stays behind would be old when its relay is met again.
                let bookmark = bookmark_of.and_then(|of| work.state.bookmarks.remove(&of));
                let bookmark = bookmark.unwrap_or(Bookmark {
                    incarnation: *incarnation,
                    cursor: 0,
                    held_to: 0,
                    newest: None,
                    longest: None,
                    head: Some(Head {
                        cursor: 0,
                        head: [0; 32],
                    }),
                });
                work.trail.forget();
                work.state.bookmarks.insert(relay_id, bookmark);
            }
            Received::StartsAgain => {
                work.trail.forget();
                if let Some(bookmark) = work.state.bookmarks.get_mut(&relay_id) {
                    bookmark.head = None;
                }
            }
            Received::Blob(blob) => {
                let read = (blob.cursor, blob.blob_id, blob.sender);
                Self::stage_head(work, relay_id, read);
                work.fresh_bytes += blob.payload.len() as u64;
                self.stage_hole(work, relay_id, blob.cursor);
                self.stage_blob(blob, work, batch, context.device());
                advance(&mut work.state, relay_id, blob.cursor);
                let mark = Mark {
                    cursor: blob.cursor,
                    blob_id: blob.blob_id,
                    timestamp: blob.timestamp,
                };
                note(&mut work.state, relay_id, mark, blob.ttl.into());
            }
            Received::Snapshot(taken) => self.stage_snapshot(taken, work, batch, context),
            Received::CaughtUp { max_cursor } => {
                self.stage_hole(work, relay_id, max_cursor.saturating_add(1));
                advance(&mut work.state, relay_id, *max_cursor);
                work.state.last_synced = Some(context.now);
                if let Some(session) = &self.session {
                    work.state.lacking = session.snapshots.lacking || work.holes;
                }
                work.caught_up = true;
            }
            Received::Repaired { up_to, marks } => {
                for (mark, ttl) in marks {
                    note(&mut work.state, relay_id, *mark, self.seconds(*ttl));
                }
                if let Some(bookmark) = work.state.bookmarks.get_mut(&relay_id) {
                    bookmark.held_to = bookmark.held_to.max(*up_to);
                }
            }
            Received::Ack { position, ack, ttl } => {
                let mark = Mark {
                    cursor: ack.cursor,
                    blob_id: ack.blob_id,
                    timestamp: ack.timestamp,
                };
                note(&mut work.state, relay_id, mark, self.seconds(*ttl));
                // A repair gives away blobs of others and blobs that were sent before: nothing waits for those.
                if self.outbox.contains(*position) {
                    batch.writes.push(Write::Sent {
                        group: self.id,
                        position: *position,
                        cursor: ack.cursor,
                        timestamp: ack.timestamp,
                    });
                    work.state.entries.retain(|entry| entry != position);
                    work.sent.push((*position, *ack));
                }
            }
        }
    }

    /// Whether the relay has left something out before a cursor: it is not stored any more.
    fn stage_hole(&self, work: &mut StagedGroup, relay_id: RelayId, cursor: u64) {
        let bookmark = work.state.bookmarks.get(&relay_id);
        work.holes |= bookmark.is_some_and(|bookmark| cursor > bookmark.cursor.saturating_add(1));
    }

    /// Whether the app was told that a sequence is missing.
    fn is_told(&self, sender: DeviceId, seq: u64) -> bool {
        let told = self.told_gaps.get(&sender);
        told.is_some_and(|told| told.iter().any(|(from, to)| (*from..=*to).contains(&seq)))
    }

    /// Whether the app was told of all of a hole.
    fn is_hole_told(&self, sender: DeviceId, (from, to): (u64, u64)) -> bool {
        let told = self.told_gaps.get(&sender);
        told.is_some_and(|told| {
            told.iter()
                .any(|(first, last)| *first <= from && to <= *last)
        })
    }

    /// What a time to live means at the relay of the session.
    fn seconds(&self, ttl: u32) -> u64 {
        let session = self.session.as_ref();
        let welcome = session.and_then(|session| session.welcome.as_ref());
        match ttl {
            0 => welcome.map_or(0, |welcome| welcome.limits.default_ttl),
            seconds => u64::from(seconds).min(welcome.map_or(u64::MAX, Welcome::max_ttl)),
        }
    }

    /// Notes how much of the log the relay of the session holds: all before the first blob that it has not acknowledged,
    /// unless a repair is under way.
    fn stage_held(&self, work: &mut StagedGroup) {
        let Some(session) = self.session.as_ref().filter(|session| session.is_open()) else {
            return;
        };
        if session.repair.is_some() {
            return;
        }
        let entry = work.entry.as_ref();
        let first_pushed = entry
            .or(work.pushed.first().map(|(_, record)| record))
            .map(|record| record.position);
        let first_unsent = self
            .outbox
            .first_except(&work.sent)
            .or(first_pushed)
            .or(work.deletes.first_position());
        let held_to = first_unsent.map_or(work.state.position, |first| first - 1);
        if let Some(bookmark) = work.state.bookmarks.get_mut(&session.relay_id) {
            bookmark.held_to = bookmark.held_to.max(held_to);
        }
    }

    /// Notes a sequence; whether it is new. An app is told of what is not waited for any longer, unless it was before.
    pub(super) fn stage_seen(&self, sender: DeviceId, seq: u64, work: &mut StagedGroup) -> bool {
        let seen = work
            .state
            .seen
            .get_or_insert_with(sender, Sequences::default);
        if let Some((from, to)) = seen.given_up_for(seq)
            && !self.is_hole_told(sender, (from, to))
        {
            work.events.push(Event::Gap {
                group: self.id,
                sender,
                from,
                to,
            });
        }
        seen.insert(seq)
    }

    /// Takes a blob into the log, unless it is there already or is not what it claims to be.
    fn stage_blob(&self, blob: &Blob, work: &mut StagedGroup, batch: &mut Batch, device: DeviceId) {
        if blob.payload.is_empty() && blob.sender == device {
            return;
        }
        let mut record = LogRecord {
            position: 0,
            blob_id: blob.blob_id,
            sender: blob.sender,
            epoch: blob.epoch,
            seq: 0,
            kind: Kind::App,
            ttl: blob.ttl,
            cursor: blob.cursor,
            timestamp: blob.timestamp,
            payload: blob.payload.clone(),
        };
        let membership = work.membership.as_ref().unwrap_or(&self.membership);
        let revocation = membership.revocation(blob.sender);
        let opened = if revocation.is_some_and(|link| blob.epoch >= link.claims.epoch) {
            Err("the blob is of a device that was revoked before".to_owned())
        } else {
            self.keys_of(blob.epoch)
                .ok_or(OpenError::UnknownEpoch)
                .and_then(|keys| blob::open(keys, &record.address(self.id), &blob.payload))
                .map_err(|error| error.to_string())
        };
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => {
                let error = SyncError::new(code::BLOB_REJECTED, format!("{error}; it was skipped"));
                work.events.push(Event::Error {
                    group: Some(self.id),
                    error,
                    cursor: Some(blob.cursor),
                });
                return;
            }
        };
        if let Some(witness) = plain.witness.as_ref().filter(|_| blob.sender != device) {
            self.stage_witness(witness, blob.cursor, work);
        }
        let seen = work.state.seen.get(&blob.sender);
        let highest = seen.map_or(0, Sequences::highest);
        if plain.seq > highest.saturating_add(limits::MAX_SEQUENCE_JUMP) {
            let text =
                "the blob has a sequence that its sender cannot have reached; it was skipped";
            work.events.push(Event::Error {
                group: Some(self.id),
                error: SyncError::new(code::BLOB_REJECTED, text),
                cursor: Some(blob.cursor),
            });
            return;
        }
        let newcomer = seen.is_none();
        let late = seen.is_some_and(|seen| plain.seq < seen.highest());
        // A device that has not been here before may start late, when relays have forgotten its first blobs.
        if !self.stage_seen(blob.sender, plain.seq, work) {
            return;
        }
        // Of its own former blobs, and of those that the app knows to be missing, a device expects nothing else.
        if late && blob.sender != device && !self.is_told(blob.sender, plain.seq) {
            work.late.push((blob.sender, blob.cursor));
        }
        work.state.position += 1;
        record.position = work.state.position;
        record.seq = plain.seq;
        record.kind = plain.kind;
        if plain.kind != Kind::App {
            work.state.hidden.push(record.position);
        }
        let buried = (plain.kind == Kind::Tombstone)
            .then(|| self.bury(blob.sender, blob.epoch, &plain.body, work))
            .flatten();
        if plain.kind == Kind::Roster {
            let membership = work
                .membership
                .get_or_insert_with(|| self.membership.clone());
            if let Some(entry) = SignedEntry::read(&plain.body, self.id, record.sender) {
                roster::take_in(membership, &entry, record.epoch);
            }
        }
        let newcomers = newcomer.then_some(blob.sender).into_iter().chain(buried);
        for joined in newcomers.filter(|joined| *joined != device) {
            let membership = work.membership.as_ref().unwrap_or(&self.membership);
            work.events
                .push(roster::joined(self.id, joined, membership));
        }
        batch.writes.push(Write::Append {
            group: self.id,
            record,
            unsent: false,
        });
    }

    /// The write is durable.
    pub(super) fn commit(&mut self, mut work: StagedGroup, context: &mut Context<'_>) {
        let deletes = core::mem::take(&mut work.deletes);
        let entries = core::mem::replace(&mut self.state, work.state).entries;
        self.blob_ids = work.blob_ids;
        self.trail = work.trail;
        self.staging = 0;
        for (_, token) in self.wishes.drain(..work.wishes) {
            context.out.push(Output::Done { token });
        }
        if work.dropped.is_some() {
            self.refused_wish = None;
        }
        if work.renamed
            && let Some(rename) = self.rename.take()
        {
            context.out.push(Output::Done {
                token: rename.token,
            });
        }
        if let Some(entry) = work.entry {
            self.outbox.add(entry);
        }
        if let Some(membership) = work.membership {
            self.commit_keys(membership, work.changed, context);
        }
        for item in self.inbox.drain(..work.received) {
            self.inbox_bytes -= item.len();
        }
        for (token, record) in work.pushed {
            self.pushes.pop_front();
            context.out.push(Output::Pushed {
                token,
                blob_id: record.blob_id,
                position: record.position,
            });
            self.outbox.add(record);
        }
        self.commit_deletes(deletes, context);
        for (position, ack) in work.sent {
            self.outbox.remove(position);
            if entries.contains(&position) {
                continue;
            }
            let (
                group,
                PushAck {
                    blob_id, cursor, ..
                },
            ) = (self.id, ack);
            context.event(Event::Pushed {
                group,
                blob_id,
                position,
                cursor,
            });
        }
        self.snapshots.fresh_bytes = self.snapshots.fresh_bytes.saturating_add(work.fresh_bytes);
        if work.holes
            && let Some(session) = &mut self.session
        {
            session.snapshots.lacking = true;
        }
        let live = self
            .session
            .as_ref()
            .is_some_and(|session| session.caught_up);
        for event in work.events {
            self.snapshots.newcomer |= live && matches!(event, Event::DeviceJoined { .. });
            self.snapshots.doubtful |= match &event {
                Event::DeviceRevoked { .. } => true,
                Event::Snapshot { .. } => self.state.snapshots.len() > 1,
                _ => false,
            };
            context.event(event);
        }
        for (sender, cursor) in work.late {
            // Once for each sender: after a relay has lost its past there can be thousands.
            if self.told_late.insert(sender) {
                let text = format!(
                    "a blob came after later ones of its sender: {} has mixed them up, or had lost it",
                    self.relay()
                );
                let error = SyncError::new(code::BLOB_OUT_OF_ORDER, text);
                context.error(self.id, error, Some(cursor));
            }
        }
        if work.caught_up {
            self.on_caught_up(context);
        }
        if let Some(forked) = work.forked {
            self.on_forked(forked, context);
        }
        self.acknowledge(context);
    }

    /// The write did not happen: pushes fail, what came from the relay waits for the next attempt.
    pub(super) fn roll_back(
        &mut self,
        work: &StagedGroup,
        error: &SyncError,
        context: &mut Context<'_>,
    ) {
        self.staging = 0;
        if self.session.is_none() {
            self.forget_received(0);
        }
        self.roll_back_deletes(&work.deletes, error, context);
        let mut refuse = |token| {
            context.out.push(Output::Refused {
                token,
                error: error.clone(),
            });
        };
        for (token, _) in &work.pushed {
            self.pushes.pop_front();
            refuse(*token);
        }
        self.wishes
            .drain(..work.wishes)
            .for_each(|(_, token)| refuse(token));
        if work.renamed
            && let Some(rename) = self.rename.take()
        {
            refuse(rename.token);
        }
    }

    fn on_caught_up(&mut self, context: &mut Context<'_>) {
        if let Some(session) = &mut self.session {
            session.caught_up = true;
        }
        self.failures = 0;
        if self
            .session
            .as_ref()
            .is_some_and(|session| !session.is_paused())
        {
            self.last_error = None;
        }
        for (sender, seen) in self.state.seen.iter() {
            let told = self.told_gaps.get_or_insert_with(*sender, Vec::new);
            told.retain(|(_, to)| *to > seen.contiguous());
            for (from, to) in seen.holes() {
                if told
                    .iter()
                    .any(|(first, last)| *first <= from && to <= *last)
                {
                    continue;
                }
                told.push((from, to));
                context.event(Event::Gap {
                    group: self.id,
                    sender: *sender,
                    from,
                    to,
                });
            }
        }
    }
}

/// Everything up to `cursor` is in this write or was in an earlier one.
fn advance(state: &mut GroupState, relay_id: RelayId, cursor: u64) {
    if let Some(bookmark) = state.bookmarks.get_mut(&relay_id) {
        bookmark.cursor = bookmark.cursor.max(cursor);
    }
}

/// Remembers what is at a cursor of a relay, for `ttl` seconds from the mark's time.
fn note(state: &mut GroupState, relay_id: RelayId, mark: Mark, ttl: u64) {
    let Some(bookmark) = state.bookmarks.get_mut(&relay_id) else {
        return;
    };
    let expires = mark.timestamp.plus(core::time::Duration::from_secs(ttl));
    let known = Known { mark, expires };
    let is_newer = |former: &Known| former.mark.cursor < mark.cursor;
    if bookmark.newest.as_ref().is_none_or(is_newer) {
        bookmark.newest = Some(known);
    }
    let lives_longer = |former: &Known| is_newer(former) && former.expires <= expires;
    if bookmark.longest.as_ref().is_none_or(lives_longer) {
        bookmark.longest = Some(known);
    }
}
