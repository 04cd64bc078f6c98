//! Deleting blobs: what the app asks for, and what others' tombstones name.
//!
//! A store finds entries of the log by position only, so a blob that is to go is looked for first, newest entries first.
//! A deletion of this device becomes durable together with the erasure. One of somebody else is a *grave* in the group's
//! state until it has been found: a crash in between forgets nothing.
//!
//! **The relay.** It is asked to let go of the payload once it has the tombstone, and the tombstone counts as sent when it has
//! answered. So whatever ends the session in between, it is asked again, and it never erases what nobody would be told of.

use std::collections::VecDeque;

use bytes::Bytes;

use super::group::{Group, Received};
use super::staging::StagedGroup;
use super::{Context, Event, LoadPurpose, Output, Token, link};
use crate::codec;
use crate::crypto::blob::{self, Kind, Plain};
use crate::crypto::tombstone::Tombstone;
use crate::error::ErrorCode;
use crate::failure::{SyncError, code};
use crate::ids::{BlobId, DeviceId};
use crate::limits;
use crate::map::SortedMap;
use crate::message::{Delete, Message, PushAck, capability};
use crate::store::{Batch, Grave, LogRecord, Sequences, Write};
use crate::time::Timestamp;

/// The app deletes a blob.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) blob_id: BlobId,
    pub(super) force: bool,
    pub(super) token: Token,
}

/// A walk through the log, from its end to its start in windows, each forwards.
#[derive(Debug)]
struct Search {
    wanted: SortedMap<BlobId, ()>,
    /// The window: positions after `low` up to `high`; those up to `next` have been seen.
    low: u64,
    next: u64,
    high: u64,
    loading: bool,
}

impl Search {
    fn new(wanted: SortedMap<BlobId, ()>, newest: u64) -> Self {
        let mut search = Self {
            wanted,
            low: 0,
            next: 0,
            high: 0,
            loading: false,
        };
        search.window_to(newest);
        search
    }

    fn window_to(&mut self, high: u64) {
        self.high = high;
        self.low = high.saturating_sub(limits::SEARCH_WINDOW);
        self.next = self.low;
    }
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    asked: Vec<Asked>,
    search: Option<Search>,
    /// Entries that were found, without their payloads, and `None` for what is not in the log.
    found: SortedMap<BlobId, Option<LogRecord>>,
    /// After the store could not be read: how often in a row, and when to try again.
    trouble: Option<(u32, Timestamp)>,
}

/// What one write does about it.
#[derive(Debug, Default)]
pub(super) struct StagedDeletes {
    /// Requests that it fulfils.
    asked: Vec<Token>,
    /// What it says to the others.
    tombstones: Vec<LogRecord>,
    /// What it looked at.
    found: Vec<BlobId>,
    /// What it erases.
    erased: Vec<LogRecord>,
}

impl StagedDeletes {
    /// Position of the first tombstone.
    pub(super) fn first_position(&self) -> Option<u64> {
        self.tombstones.first().map(|record| record.position)
    }
}

/// Tombstones that the relay of a session was given, until it has let go of what they name.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By the tombstone's own id.
    sent: SortedMap<BlobId, Delete>,
    /// The tombstone is stored; DELETE is not answered yet. In order.
    asked: VecDeque<(BlobId, Received)>,
}

impl Requests {
    /// The answer to the oldest DELETE, if it is about this blob.
    fn answered(&mut self, blob_id: BlobId) -> Option<Received> {
        let is_next = self.asked.front().is_some_and(|(next, _)| *next == blob_id);
        let (_, acknowledged) = self.asked.pop_front_if(|_| is_next)?;
        Some(acknowledged)
    }
}

impl Deletes {
    pub(super) fn has_intents(&self) -> bool {
        !self.found.is_empty()
    }

    pub(super) fn waits_for_app(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether the app waits for what was found.
    pub(super) fn app_waits(&self) -> bool {
        let found = |asked: &Asked| self.found.contains_key(&asked.blob_id);
        self.asked.iter().any(found)
    }

    /// Whether nothing is being looked for.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.search.is_none() && self.found.is_empty()
    }

    /// Requests that end with the group.
    pub(super) fn into_tokens(self) -> impl Iterator<Item = Token> {
        self.asked.into_iter().map(|asked| asked.token)
    }

    /// Takes the requests for a blob out.
    fn take_asked(&mut self, holds: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let (taken, rest) = core::mem::take(&mut self.asked)
            .into_iter()
            .partition(|asked| holds(asked));
        self.asked = rest;
        taken
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.trouble
            .filter(|_| self.search.is_none())
            .map(|(_, at)| at)
    }
}

impl Group {
    pub(super) fn ask_to_delete(&mut self, asked: Asked) {
        self.deletes.asked.push(asked);
        if let Some((_, at)) = &mut self.deletes.trouble {
            // The app waits.
            *at = Timestamp::default();
        }
    }

    /// Whether everything that is to be erased was found.
    pub(super) fn is_search_over(&self) -> bool {
        self.deletes.is_idle() && self.state.graves.is_empty()
    }

    /// Looks for what is to be erased, as far as nobody has looked yet.
    pub(super) fn search_log(&mut self, context: &mut Context<'_>) {
        let deletes = &mut self.deletes;
        if deletes.search.is_none() {
            if deletes.trouble.is_some_and(|(_, at)| at > context.now) {
                return;
            }
            let graves = self.state.graves.iter();
            let mut wanted = SortedMap::new();
            for blob_id in graves
                .map(|grave| grave.tombstone.blob_id)
                .chain(deletes.asked.iter().map(|asked| asked.blob_id))
            {
                if !deletes.found.contains_key(&blob_id) {
                    wanted.insert(blob_id, ());
                }
            }
            if wanted.iter().len() == 0 {
                deletes.trouble = None;
                return;
            }
            deletes.search = Some(Search::new(wanted, self.state.position));
        }
        if let Some(search) = &mut deletes.search
            && !search.loading
        {
            search.loading = true;
            context.out.push(Output::Load {
                group: self.id,
                purpose: LoadPurpose::Deletion,
                after: search.next,
                max_records: limits::REPAIR_PAGE,
                max_bytes: limits::MAX_OUTBOX_CACHE,
            });
        }
    }

    /// A page of the search.
    pub(super) fn on_searched(
        &mut self,
        records: Result<Vec<LogRecord>, SyncError>,
        context: &mut Context<'_>,
    ) {
        let Some(mut search) = self.deletes.search.take() else {
            return;
        };
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                let failures = self.deletes.trouble.map_or(0, |(failures, _)| failures);
                let at = context.now.plus(link::backoff(failures, context.entropy));
                self.deletes.trouble = Some((failures.saturating_add(1), at));
                for asked in core::mem::take(&mut self.deletes.asked) {
                    let (token, error) = (asked.token, error.clone());
                    context.out.push(Output::Refused { token, error });
                }
                return;
            }
        };
        self.deletes.trouble = None;
        search.loading = false;
        let last = records.last().map(|record| record.position);
        for mut record in records {
            let here = record.position > search.low && record.position <= search.high;
            if here && search.wanted.remove(&record.blob_id).is_some() {
                record.payload = Bytes::new();
                self.found(record.blob_id, Some(record), context);
            }
        }
        match last {
            Some(last) if last < search.high => search.next = last,
            _ => search.window_to(search.low),
        }
        if search.wanted.iter().len() == 0 {
            return;
        }
        if search.high > 0 {
            self.deletes.search = Some(search);
            return;
        }
        for blob_id in search.wanted.keys() {
            self.found(*blob_id, None, context);
        }
    }

    /// Notes where a blob is, and refuses what cannot be done about it.
    fn found(&mut self, blob_id: BlobId, record: Option<LogRecord>, context: &mut Context<'_>) {
        let about = |asked: &Asked| asked.blob_id == blob_id;
        let own = context.device();
        let answers = match &record {
            Some(record) if record.kind == Kind::App && record.sender != own => {
                let forced = self.deletes.take_asked(|asked| about(asked) && asked.force);
                let text = "only the device that pushed a blob may force its deletion; delete it without force";
                refusals(forced, ErrorCode::NotBlobOwner.name(), text)
            }
            Some(record) if record.kind == Kind::App => Vec::new(),
            // Erased before. Only asking relays to do it at once is more than that.
            Some(record)
                if record.kind == Kind::Tombstone
                    && self.state.hidden.binary_search(&record.position).is_err() =>
            {
                let more = |asked: &Asked| asked.force && record.sender == own;
                let done = self
                    .deletes
                    .take_asked(|asked| about(asked) && !more(asked));
                done.into_iter()
                    .map(|asked| Output::Done { token: asked.token })
                    .collect()
            }
            _ => {
                let asked = self.deletes.take_asked(about);
                refusals(asked, code::NOT_FOUND, "no blob of this log has this id")
            }
        };
        context.out.extend(answers);
        let waits = self.deletes.asked.iter().any(about)
            || self
                .state
                .graves
                .iter()
                .any(|grave| grave.tombstone.blob_id == blob_id);
        if waits {
            self.deletes.found.insert(blob_id, record);
        }
    }

    /// Erases what was found, and says so to the others where it is this device that deletes.
    pub(super) fn stage_deletes(
        &self,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &mut Context<'_>,
    ) {
        for (blob_id, record) in self.deletes.found.iter().take(limits::MAX_WRITE_BLOBS) {
            let asked = self.deletes.asked.iter();
            let mut asked = asked.filter(|asked| asked.blob_id == *blob_id);
            if let Some(record) = record {
                let mut graves = work.state.graves.iter();
                let grave = graves.find(|grave| is_of(grave, record));
                let mut by = grave.map(|grave| (grave.by, grave.tombstone.forced));
                // Several requests for one blob that came together are one.
                let tokens = asked.clone().map(|asked| asked.token);
                work.deletes.asked.extend(tokens);
                let force = asked.clone().any(|asked| asked.force);
                if asked.next().is_some() {
                    self.stage_tombstone(record, force, work, batch, context);
                    by = by.or(Some((context.device(), force)));
                }
                if let Some((by, forced)) = by.filter(|_| record.kind == Kind::App) {
                    self.stage_erasure(record, work, batch, context);
                    work.events.push(Event::Deleted {
                        group: self.id,
                        blob_id: *blob_id,
                        by,
                        position: record.position,
                        forced,
                    });
                }
            }
            work.state
                .graves
                .retain(|grave| grave.tombstone.blob_id != *blob_id);
            work.deletes.found.push(*blob_id);
        }
    }

    fn stage_tombstone(
        &self,
        record: &LogRecord,
        forced: bool,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &mut Context<'_>,
    ) {
        let Some(keys) = self.current_keys() else {
            return;
        };
        let tombstone = Tombstone {
            blob_id: record.blob_id,
            sender: record.sender,
            seq: record.seq,
            forced,
        };
        let body = codec::to_bytes(&tombstone).into();
        let ttl = limits::TOMBSTONE_TTL;
        let appended = self.append(keys, Kind::Tombstone, ttl, body, work, batch, context);
        work.state.entries.push(appended.position);
        work.state.hidden.push(appended.position);
        work.deletes.tombstones.push(appended);
    }

    /// What was not sent yet is sent empty: its sequence must not be missing for the others.
    fn stage_erasure(
        &self,
        record: &LogRecord,
        work: &mut StagedGroup,
        batch: &mut Batch,
        context: &mut Context<'_>,
    ) {
        let mut record = record.clone();
        record.kind = Kind::Tombstone;
        let sent = work.sent.iter().any(|(at, _)| *at == record.position);
        let unsent = self.outbox.contains(record.position) && !sent;
        if unsent && let Some(keys) = self.keys_of(record.epoch) {
            let nothing = Plain {
                kind: Kind::Tombstone,
                seq: record.seq,
                witness: None,
                body: Bytes::new(),
            };
            let address = record.address(self.id);
            record.payload = blob::seal(keys, &address, &nothing, context.entropy);
        }
        batch.writes.push(Write::Replace {
            group: self.id,
            record: record.clone(),
            unsent,
        });
        work.deletes.erased.push(record);
    }

    /// The write is durable.
    pub(super) fn commit_deletes(&mut self, work: StagedDeletes, context: &mut Context<'_>) {
        for blob_id in &work.found {
            self.deletes.found.remove(blob_id);
        }
        for record in work.erased {
            if let Some(repair) = self
                .session
                .as_mut()
                .and_then(|session| session.repair.as_mut())
            {
                repair.erased(&record);
            }
            self.outbox.replace(record);
        }
        for tombstone in work.tombstones {
            self.outbox.add(tombstone);
        }
        let done = |asked: &Asked| work.asked.contains(&asked.token);
        for asked in self.deletes.take_asked(done) {
            context.out.push(Output::Done { token: asked.token });
        }
    }

    /// The write did not happen. Graves stay for the next one.
    pub(super) fn roll_back_deletes(
        &mut self,
        work: &StagedDeletes,
        error: &SyncError,
        context: &mut Context<'_>,
    ) {
        let refused = |asked: &Asked| work.asked.contains(&asked.token);
        for asked in self.deletes.take_asked(refused) {
            let (token, error) = (asked.token, error.clone());
            context.out.push(Output::Refused { token, error });
        }
        let Self { deletes, state, .. } = self;
        let graves = &state.graves;
        deletes.found.retain(|blob_id, _| {
            graves
                .iter()
                .any(|grave| grave.tombstone.blob_id == *blob_id)
        });
    }

    /// Takes in what another device has deleted. A blob that is not here yet counts as seen, and is passed over when it comes.
    /// Gives the blob's sender if nothing of it was here before.
    pub(super) fn bury(
        &self,
        by: DeviceId,
        epoch: u32,
        body: &[u8],
        work: &mut StagedGroup,
    ) -> Option<DeviceId> {
        let tombstone = Tombstone::read(body, by)?;
        let state = &mut work.state;
        let seen = state.seen.get(&tombstone.sender);
        let newcomer = seen.is_none().then_some(tombstone.sender);
        let highest = seen.map_or(0, Sequences::highest);
        if seen.is_some_and(|seen| seen.contains(tombstone.seq)) {
            // Of several that name one blob, one may be false.
            let mut known = state.graves.iter();
            let same = |grave: &Grave| grave.tombstone == tombstone && grave.epoch >= epoch;
            if !known.any(same) {
                state.graves.push(Grave {
                    tombstone,
                    by,
                    epoch,
                });
            }
            return None;
        }
        if tombstone.seq > highest.saturating_add(limits::MAX_SEQUENCE_JUMP) {
            return None;
        }
        self.stage_seen(tombstone.sender, tombstone.seq, work);
        newcomer
    }

    /// A tombstone is being given to the relay, which will be asked to let go of what it names.
    pub(super) fn note_tombstone(&mut self, record: &LogRecord, device: DeviceId) {
        if record.kind != Kind::Tombstone {
            return;
        }
        let opened = self
            .keys_of(record.epoch)
            .and_then(|keys| blob::open(keys, &record.address(self.id), &record.payload).ok());
        let tombstone = opened.and_then(|plain| Tombstone::read(&plain.body, record.sender));
        let session = self.session.as_mut().filter(|session| {
            let welcome = session.welcome.as_ref();
            welcome.is_some_and(|welcome| {
                let mut known = welcome.capabilities.iter();
                known.any(|name| name == capability::DELETE)
            })
        });
        if let Some(tombstone) = tombstone
            && let Some(session) = session
        {
            let delete = Delete {
                blob_id: tombstone.blob_id,
                force: tombstone.forced && tombstone.sender == device,
            };
            session.deletes.sent.insert(record.blob_id, delete);
        }
    }

    /// The relay has stored a blob. That of a tombstone counts once it has let go of what it names.
    pub(super) fn on_push_ack(&mut self, ack: PushAck, context: &mut Context<'_>) {
        let Some((position, ttl)) = self.outbox.acknowledged(ack.blob_id) else {
            return;
        };
        let received = Received::Ack { position, ack, ttl };
        let Some(session) = &mut self.session else {
            return;
        };
        match session.deletes.sent.remove(&ack.blob_id) {
            None => self.receive(received),
            Some(delete) => {
                session.deletes.asked.push_back((delete.blob_id, received));
                let stream = session.stream;
                context.send(stream, Message::Delete(delete));
            }
        }
    }

    /// The relay lets go of a blob.
    pub(super) fn on_deleted(&mut self, blob_id: BlobId) {
        let session = self.session.as_mut();
        let acknowledged = session.and_then(|session| session.deletes.answered(blob_id));
        if let Some(acknowledged) = acknowledged {
            self.receive(acknowledged);
        }
    }

    /// The relay does not take this device for the sender; whether it was asked for that. Asking again would not help.
    pub(super) fn on_not_owner(&mut self) -> bool {
        let session = self.session.as_mut();
        let next = session.and_then(|session| session.deletes.asked.pop_front());
        let asked = next.is_some();
        if let Some((_, acknowledged)) = next {
            self.receive(acknowledged);
        }
        asked
    }
}

/// Whether a grave is that of a blob. Who was revoked has the keys of old epochs, and deletes nothing newer with them.
fn is_of(grave: &Grave, record: &LogRecord) -> bool {
    let tombstone = &grave.tombstone;
    (tombstone.blob_id, tombstone.sender, tombstone.seq)
        == (record.blob_id, record.sender, record.seq)
        && record.epoch <= grave.epoch
}

fn refusals(asked: Vec<Asked>, code: &'static str, text: &str) -> Vec<Output> {
    let refused = |asked: Asked| Output::Refused {
        token: asked.token,
        error: SyncError::new(code, text),
    };
    asked.into_iter().map(refused).collect()
}
