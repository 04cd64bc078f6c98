//! The device's side of one session stream.
//!
//! ```text
//! HELLO ──► WELCOME ──► SUBSCRIBE, then pushes ──ERROR──► paused (still receiving) ──► closed and opened again
//! ```

use bytes::Bytes;

use super::deletes::Requests;
use super::group::{Group, Received};
use super::outbox::Next;
use super::repair::Repair;
use super::snapshots::Exchange;
use super::{Context, LoadPurpose, Output, StreamId, link};
use crate::codec::{self, DecodeError};
use crate::crypto::access;
use crate::crypto::blob::{self, Address};
use crate::error::ErrorCode;
use crate::failure::{SyncError, code};
use crate::ids::RelayId;
use crate::limits;
use crate::message::{self, Hello, Message, Push, Welcome, WireError};
use crate::store::{Bookmark, Known, LogRecord};
use crate::time::Timestamp;

/// An open session stream.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) stream: StreamId,
    pub(super) relay_id: RelayId,
    /// When WELCOME must have come.
    welcome_by: Option<Timestamp>,
    pub(super) welcome: Option<Welcome>,
    /// When it came, on this device's clock.
    welcomed_at: Timestamp,
    /// Where the subscription started.
    pub(super) started_at: u64,
    pub(super) caught_up: bool,
    pub(super) repair: Option<Repair>,
    /// What the relay is to let go of.
    pub(super) deletes: Requests,
    /// A rotation of this device is at the relay.
    pub(super) rotating: bool,
    /// The relay was asked for the chain.
    pub(super) chain_asked: bool,
    /// The relay refused a push and ignores all further ones: open another session then.
    paused_until: Option<Timestamp>,
    pub(super) snapshots: Exchange,
    acked: u64,
    /// When the newest ACK was sent.
    acked_at: Timestamp,
    ack_due: Option<Timestamp>,
}

impl Session {
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let snapshots = (self.caught_up && !self.is_paused()).then(|| self.snapshots.next_wake());
        [
            self.welcome_by,
            self.paused_until,
            self.ack_due,
            snapshots.flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends it as soon as possible.
    pub(super) const fn end(&mut self, now: Timestamp) {
        self.paused_until = Some(now);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.welcome.is_some()
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// What the relay's clock says. That of this device may be wrong.
    pub(super) fn relay_time(&self, now: Timestamp) -> Option<Timestamp> {
        let welcome = self.welcome.as_ref()?;
        Some(welcome.now.plus(now.since(self.welcomed_at)))
    }

    fn max_payload(&self) -> usize {
        self.welcome
            .as_ref()
            .map_or(0, |welcome| welcome.limits.max_payload as usize)
    }
}

/// The cursor after which to go on reading; none if the relay's past is not the one that the bookmark belongs to, because
/// it was wiped or set back, even if it has grown since.
fn goes_on_after(bookmark: &Bookmark, welcome: &Welcome) -> Option<u64> {
    if bookmark.incarnation != welcome.incarnation || bookmark.cursor > welcome.max_cursor {
        return None;
    }
    let mut after = 0;
    for Known { mark, expires } in [bookmark.longest, bookmark.newest].into_iter().flatten() {
        let there = welcome
            .marks
            .iter()
            .find(|there| there.cursor == mark.cursor);
        match there {
            Some(there) if *there != mark => return None,
            // Everything before it is as it was. The last one is the newest and reaches as far as the bookmark.
            Some(_) => after = bookmark.cursor.min(mark.cursor),
            None if mark.cursor > welcome.max_cursor || welcome.now < expires => return None,
            // It has expired and proves nothing.
            None => {}
        }
    }
    let newest = bookmark.newest.map(|newest| newest.mark);
    let proven = newest.is_some_and(|newest| welcome.marks.contains(&newest));
    // When all that this device knew has expired, whatever is there is new to it: from the start.
    Some(if proven { bookmark.cursor } else { after })
}

impl Group {
    /// The bookmark to go on from, and whose it is. Relays that share a database have one past: where this one has none of
    /// its own, that of the relay last met at the URL is tried, and then the one that knows most.
    fn bookmark(&self, relay_id: RelayId) -> Option<(RelayId, &Bookmark)> {
        let bookmarks = &self.state.bookmarks;
        let pinned = self.state.pins.get(self.relay());
        [Some(&relay_id), pinned]
            .into_iter()
            .flatten()
            .find_map(|id| Some((*id, bookmarks.get(id)?)))
            .or_else(|| {
                let most = bookmarks.iter().max_by_key(|(_, known)| known.held_to);
                most.map(|(id, known)| (*id, known))
            })
    }

    pub(super) fn open_session(
        &mut self,
        stream: StreamId,
        relay_id: RelayId,
        exporter: &[u8; 32],
        context: &mut Context<'_>,
    ) {
        let Some(keys) = self.current_keys() else {
            return;
        };
        let known = self.bookmark(relay_id).map(|(_, known)| known);
        let hello = Hello {
            version: message::VERSION,
            group_id: self.id,
            epoch: keys.epoch(),
            access_pub: keys.access_pub(),
            certificates: self.chain_for_relay(),
            proof: access::hello_proof(keys, relay_id, context.device(), self.id, exporter),
            after_cursor: known.map_or(0, |known| known.cursor),
            capabilities: Vec::new(),
            access_token: self.token().map(|token| token.expose().to_owned()),
            marks: known
                .into_iter()
                // Usually they are the same.
                .flat_map(|known| {
                    [
                        known.newest,
                        known.longest.filter(|_| known.longest != known.newest),
                    ]
                })
                .flatten()
                .map(|known| known.mark.cursor)
                .collect(),
            probe: false,
        };
        context.out.push(Output::OpenStream {
            stream,
            relay: self.relay().to_owned(),
        });
        context.out.push(Output::Send {
            stream,
            message: Message::Hello(hello),
        });
        self.forget_wait();
        self.session = Some(Session {
            stream,
            relay_id,
            welcome_by: Some(context.now.plus(limits::WELCOME_TIMEOUT)),
            welcome: None,
            welcomed_at: Timestamp::default(),
            started_at: 0,
            caught_up: false,
            repair: None,
            deletes: Requests::default(),
            rotating: false,
            chain_asked: false,
            paused_until: None,
            snapshots: Exchange::default(),
            acked: 0,
            acked_at: Timestamp::default(),
            ack_due: None,
        });
    }

    pub(super) fn on_frame(
        &mut self,
        message: Result<Message, DecodeError>,
        context: &mut Context<'_>,
    ) {
        let Some(session) = &mut self.session else {
            return;
        };
        match message {
            Ok(Message::Welcome(welcome)) if !session.is_open() => {
                self.on_welcome(welcome, context)
            }
            Ok(Message::Error(error)) if error.code == ErrorCode::EphemeralDropped => {
                self.on_ephemeral_dropped(&error, context);
            }
            Ok(Message::Error(error)) => self.on_error(&error, context),
            Ok(Message::KeyPacket(keys)) => self.on_key_packet(keys, context),
            Ok(Message::Revoked { certificates }) => self.on_revoked(&certificates, context),
            // The stream ends right after it.
            Ok(Message::Bye { .. }) => {}
            Ok(Message::Blob(blob)) if session.is_open() => {
                self.receive(Received::Blob(blob));
            }
            Ok(Message::CaughtUp { max_cursor }) if session.is_open() => {
                self.receive(Received::CaughtUp { max_cursor });
            }
            Ok(Message::PushAck(ack)) if session.is_open() => self.on_push_ack(ack, context),
            Ok(Message::Deleted { blob_id }) if session.is_open() => self.on_deleted(blob_id),
            Ok(Message::HasResponse { marks }) if session.is_open() => {
                if let Some(repair) = &mut session.repair {
                    repair.on_answer(&marks);
                }
            }
            Ok(Message::DevicesResponse { devices }) if session.is_open() => {
                self.on_listed(devices);
            }
            Ok(Message::Presence(presence)) if session.is_open() => self.on_presence(presence),
            Ok(Message::Ephemeral(said)) if session.is_open() => self.on_ephemeral(&said, context),
            Ok(Message::Snapshot(part)) if session.is_open() => {
                self.on_snapshot_part(part, context);
            }
            Ok(Message::SnapshotAnswer(answer)) if session.is_open() => {
                self.on_snapshot_answer(answer, context);
            }
            Ok(_) => self.give_up("sent a message that does not belong here", context),
            Err(_) => self.give_up("sent something that is not of this protocol", context),
        }
    }

    fn on_welcome(&mut self, welcome: Welcome, context: &mut Context<'_>) {
        let relay_url = self.relay().to_owned();
        let Some(relay_id) = self.session.as_ref().map(|session| session.relay_id) else {
            return;
        };
        let known = self
            .bookmark(relay_id)
            .and_then(|(of, known)| Some((of, *known, goes_on_after(known, &welcome)?)));
        let Some(session) = &mut self.session else {
            return;
        };
        if welcome.version == 0
            || welcome.version > message::VERSION
            || welcome.relay_id != session.relay_id
        {
            return self.give_up("answered for another relay or another version", context);
        }
        if !self.membership.knows_chain() {
            // Who has joined by an invite has the keys without the chain, which says who else is a member.
            session.chain_asked = true;
            let stream = session.stream;
            return context.send(stream, Message::Chain { after_epoch: 0 });
        }
        session.welcome_by = None;
        let pinned = self.state.pins.get(&relay_url).copied();
        // One that has the same past is another node of the same deployment, or the same one with a new key.
        if known.is_none()
            && let Some(former) = pinned
            && former != relay_id
        {
            let text = format!(
                "{relay_url} has another identity than before; it gets everything again. If nobody has set it up anew, \
                 ask the person who runs it"
            );
            context.error(
                self.id,
                SyncError::passing(code::RELAY_IDENTITY_CHANGED, text),
                None,
            );
        }
        let after = known.map_or(0, |(_, _, after)| after);
        session.started_at = after;
        session.acked = after;
        // What a relay lost, or never had, is given back to it. What was never sent to anybody is simply sent.
        let held_to = known.map_or(0, |(_, known, _)| known.held_to);
        let unsure = self.state.position - held_to > self.outbox.count_after(held_to);
        session.repair = unsure.then(|| Repair::new(held_to));
        let max_payload = welcome.limits.max_payload as usize;
        let incarnation = welcome.incarnation;
        session.welcome = Some(welcome);
        session.welcomed_at = context.now;
        self.on_chosen();
        let bookmark_of = known.map(|(of, ..)| of);
        if bookmark_of != Some(relay_id) || pinned != Some(relay_id) {
            self.receive(Received::Met {
                relay_url: relay_url.clone(),
                incarnation,
                bookmark_of,
            });
        }
        // First, so that it is known who is there when everything else is.
        self.ask_who_is_there(context);
        // Only a mark at the bookmark or after it proves all that was hashed.
        if known.is_some_and(|(_, known, after)| after != known.cursor) {
            self.receive(Received::StartsAgain);
        }
        self.start_reading(after, context);
        if core::mem::take(&mut self.send_chain) {
            self.give_keys(context);
        }
        let too_large = self.outbox.too_large(max_payload);
        if too_large > 0 {
            let text = format!(
                "{relay_url} takes blobs of at most {max_payload} bytes; {too_large} stay on this device"
            );
            self.fail(SyncError::new(code::BLOB_TOO_LARGE, text), context);
        }
    }

    fn on_error(&mut self, error: &WireError, context: &mut Context<'_>) {
        if error.code == ErrorCode::NotBlobOwner && self.on_not_owner() {
            let error = SyncError::from_relay(self.relay(), error);
            return context.error(self.id, error, None);
        }
        let wait = error.retry_after_ms.map_or_else(
            || link::backoff(self.failures, context.entropy),
            link::asked_for,
        );
        self.failures = self.failures.saturating_add(1);
        let rotating = self.session.as_ref().is_some_and(|now| now.rotating);
        if let Some(session) = &mut self.session {
            let until = context.now.plus(wait);
            session.paused_until = Some(until);
            self.retry_after(until, error.retry_after_ms.is_some());
        }
        // Asking again would not help, and nothing is sent before it is done.
        if error.code == ErrorCode::InvalidMessage && rotating {
            let wish = self.membership.wishes.first();
            self.refused_wish = wish.map(|wish| wish.device);
        }
        if error.code == ErrorCode::UnknownGroup && !self.send_chain && self.has_chain() {
            self.send_chain = true;
            self.retry_now();
            if let Some(session) = &mut self.session {
                session.end(context.now);
            }
            return;
        }
        // A relay that says it is going, and a rotation that somebody else's has overtaken, are not errors that a person
        // has to see.
        let overtaken = error.code == ErrorCode::StaleEpoch && rotating;
        if error.code != ErrorCode::RelayShuttingDown && !overtaken {
            self.fail(SyncError::from_relay(self.relay(), error), context);
        }
        let asked = error.retry_after_ms.map(|_| context.now.plus(wait));
        self.go_back(asked, context.now);
    }

    /// The relay does not behave: end the session and try again later.
    pub(super) fn give_up(&mut self, what: &str, context: &mut Context<'_>) {
        let error = SyncError::passing(code::RELAY_UNREACHABLE, format!("{} {what}", self.relay()));
        if let Some(session) = &mut self.session {
            let wait = link::backoff(self.failures, context.entropy);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(context.now.plus(wait));
            // Closed by `expire`, which knows how to forget the stream.
            session.paused_until = Some(context.now);
        }
        self.fail(error, context);
        self.go_back(None, context.now);
    }

    pub(super) fn on_stream_ended(&mut self, context: &mut Context<'_>) {
        if self.drop_session().is_some() && self.retry_at.is_none() {
            let wait = link::backoff(self.failures, context.entropy);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(context.now.plus(wait));
            self.go_back(None, context.now);
        }
    }

    /// Ends a session whose time is over, and sends an ACK that is due.
    pub(super) fn expire(&mut self, context: &mut Context<'_>) -> Option<StreamId> {
        let session = self.session.as_mut()?;
        if session.ack_due.is_some_and(|at| at <= context.now) {
            self.acknowledge(context);
        }
        let session = self.session.as_ref()?;
        if session.welcome_by.is_some_and(|at| at <= context.now) {
            self.give_up("does not answer", context);
        }
        let session = self.session.as_ref()?;
        if session.paused_until.is_none_or(|at| at > context.now) {
            return None;
        }
        self.close_session(context)
    }

    /// Ends the session now; gives its stream.
    pub(super) fn close_session(&mut self, context: &mut Context<'_>) -> Option<StreamId> {
        let session = self.session.as_ref()?;
        let stream = session.stream;
        if session.is_open() {
            let bye = Message::Bye {
                reason: "starting again".into(),
            };
            context.out.push(Output::Send {
                stream,
                message: bye,
            });
        }
        context.out.push(Output::CloseStream { stream });
        self.drop_session()
    }

    /// Tells the relay what is durable here, at most once a second.
    pub(super) fn acknowledge(&mut self, context: &mut Context<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        // A bookmark that the relay's new life has made void counts no longer, even before that is written.
        let void = matches!(
            self.inbox.front(),
            Some(Received::Met {
                bookmark_of: None,
                ..
            })
        );
        let bookmark = self.state.bookmarks.get(&session.relay_id);
        let cursor = bookmark
            .filter(|_| !void)
            .map_or(0, |bookmark| bookmark.cursor);
        if !session.is_open() || cursor <= session.acked {
            session.ack_due = None;
            return;
        }
        let due = session.acked_at.plus(limits::ACK_INTERVAL);
        if due > context.now {
            session.ack_due = Some(due);
            return;
        }
        session.ack_due = None;
        session.acked = cursor;
        session.acked_at = context.now;
        context.out.push(Output::Send {
            stream: session.stream,
            message: Message::Ack { cursor },
        });
    }

    /// Gives the relay what it lacks, as far as the window allows.
    pub(super) fn send_more(&mut self, context: &mut Context<'_>) {
        loop {
            let Some(session) = &self.session else { return };
            if !session.is_open() || session.paused_until.is_some() {
                return;
            }
            // What was pushed since somebody was to go is sealed so that this device does not read it.
            if !self.membership.wishes.is_empty() {
                return self.fulfil_wish(context);
            }
            if session.repair.is_some() {
                return self.repair_more(context);
            }
            match self.outbox.next(session.max_payload()) {
                Next::Record(record) => self.send_record(&record, context),
                Next::Load { after } => {
                    self.outbox.on_loading();
                    context.out.push(Output::Load {
                        group: self.id,
                        purpose: LoadPurpose::Outbox,
                        after,
                        max_records: limits::MAX_PUSHES_IN_FLIGHT,
                        max_bytes: limits::MAX_OUTBOX_CACHE,
                    });
                    return;
                }
                Next::Nothing => return,
            }
        }
    }

    pub(super) fn send_record(&mut self, record: &LogRecord, context: &mut Context<'_>) {
        self.note_tombstone(record, context.device());
        let Some(session) = &self.session else { return };
        let stream = session.stream;
        let (epoch, payload) = self
            .sealed_anew(record, context)
            .unwrap_or_else(|| (record.epoch, record.payload.clone()));
        let push = Push {
            blob_id: record.blob_id,
            epoch,
            ttl: record.ttl,
            payload,
            origin: (record.sender != context.device()).then_some(record.sender),
        };
        context.send(stream, Message::Push(push));
        self.outbox.sent(record);
    }

    /// What this device itself pushed before it learned of newer keys is sealed with them when it is sent: whoever was
    /// revoked has the old ones.
    fn sealed_anew(&self, record: &LogRecord, context: &mut Context<'_>) -> Option<(u32, Bytes)> {
        let newest = self.current_keys()?;
        if record.sender != context.device() || record.epoch == newest.epoch() {
            return None;
        }
        let address = record.address(self.id);
        let plain = blob::open(self.keys_of(record.epoch)?, &address, &record.payload).ok()?;
        let address = Address {
            epoch: newest.epoch(),
            ..address
        };
        let payload = blob::seal(newest, &address, &plain, context.entropy);
        Some((newest.epoch(), payload))
    }

    /// Whether this device can prove the newest epoch to a relay that does not know it.
    fn has_chain(&self) -> bool {
        self.membership.epoch() > 0 && self.membership.knows_chain()
    }

    fn chain_for_relay(&self) -> Vec<Bytes> {
        let rotations = self.membership.rotations.iter().filter(|_| self.send_chain);
        rotations.map(|link| codec::to_bytes(link).into()).collect()
    }

    pub(super) fn on_loaded(
        &mut self,
        purpose: LoadPurpose,
        records: Result<Vec<LogRecord>, SyncError>,
        context: &mut Context<'_>,
    ) {
        match (purpose, records) {
            (LoadPurpose::Deletion, records) => self.on_searched(records, context),
            (LoadPurpose::Outbox, Ok(records)) => self.outbox.on_loaded(records),
            (LoadPurpose::Repair, Ok(records)) => {
                if let Some(repair) = self
                    .session
                    .as_mut()
                    .and_then(|session| session.repair.as_mut())
                {
                    repair.on_loaded(records);
                }
            }
            (purpose, Err(error)) => {
                if purpose == LoadPurpose::Outbox {
                    self.outbox.on_unreadable();
                }
                self.fail(error, context);
                self.pause(context);
            }
        }
    }

    /// Stops sending for a while: the next session starts over.
    fn pause(&mut self, context: &mut Context<'_>) {
        let wait = link::backoff(self.failures, context.entropy);
        self.failures = self.failures.saturating_add(1);
        if let Some(session) = &mut self.session {
            session.paused_until = Some(context.now.plus(wait));
            self.retry_at = session.paused_until;
        }
    }
}
