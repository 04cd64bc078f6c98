//! The relay's side of one session stream, as a state machine without I/O.
//!
//! ```text
//! AwaitingHello ──HELLO, proof holds──► Opening ──group opened──► Active ──BYE, error, shutdown──► Closing
//!                                          └──the group has newer keys──► Behind ──how they changed──┘
//! ```
//!
//! **How to drive it.** Make one [`Session`] per stream. Call [`Session::handle`] with every [`Input`] as it happens and
//! carry out the [`Output`]s in the order they come. Stop reading frames while [`Session::wants_frames`] is false. After
//! everything that was sent has been accepted by the stream, call `handle(Input::Flushed)`: only then does the session
//! ask for more blobs, so a slow reader costs one page of memory. [`Session::deadline`] says when to call
//! `handle(Input::DeadlinePassed)`. After [`Output::Close`] the stream is finished and further inputs do nothing.
//!
//! **What the storage owes.** `Store` outputs are carried out in order. When one is refused, every later one of the same
//! session is refused too, so that the order within a sender survives; the session answers only the first refusal.

use std::collections::{BTreeSet, VecDeque};

use crate::codec::{self};
use crate::crypto::access;
use crate::crypto::rotation::Certificate;
use crate::error::ErrorCode;
use crate::ids::{DeviceId, GroupId, Incarnation, RelayId};
use crate::limits;
use crate::message::{
    self, Hello, KeyPacket, Message, PullResponse, RelayLimits, Welcome, WireError,
};
use crate::time::Timestamp;

mod active;
mod interface;
mod presence;
mod snapshots;

#[cfg(test)]
mod tests;

use active::{Active, Subscription};
pub use interface::{
    GroupInfo, Input, KeysSince, NewBlob, NewRotation, NewSnapshotPart, Output, Page, Purpose,
    Stored,
};
use presence::Attendance;

/// What a relay knows before the first frame.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// This relay's endpoint id, as the device's TLS saw it.
    pub relay_id: RelayId,
    /// The life of the database.
    pub incarnation: Incarnation,
    /// One history of blobs that this process shows: made when it starts, and anew when its database is set back.
    pub run: Incarnation,
    /// The device at the other end, proven by TLS.
    pub device: DeviceId,
    /// TLS exporter, label [`access::EXPORTER_LABEL`].
    pub exporter: [u8; 32],
    /// What the relay accepts.
    pub limits: RelayLimits,
    /// Optional features that the relay has switched on.
    pub capabilities: Vec<String>,
    /// Largest page of blobs to read at once for a subscriber, in payload bytes.
    pub page_bytes: usize,
    /// Payload bytes handed to the storage and not yet answered at which reading stops.
    pub max_storing_bytes: usize,
}

/// Where a session is, for diagnostics and for seeing what tests exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing was said yet.
    AwaitingHello,
    /// The group is being looked up.
    Opening,
    /// The group has newer keys; the device will be told how they changed.
    Behind,
    /// Open, without a subscription.
    Open,
    /// Subscribed.
    Subscribed,
    /// A push was refused, and with it all later ones.
    Refusing,
    /// Finished.
    Closing,
}

impl Phase {
    /// Every phase.
    pub const ALL: &[Self] = &[
        Self::AwaitingHello,
        Self::Opening,
        Self::Behind,
        Self::Open,
        Self::Subscribed,
        Self::Refusing,
        Self::Closing,
    ];
}

#[derive(Debug)]
enum State {
    AwaitingHello,
    Opening {
        hello: Box<Hello>,
    },
    /// What the device proved: the access key of an epoch that is over.
    Behind {
        access_pub: [u8; 32],
    },
    Active(Box<Active>),
    Closing,
}

/// One session stream, seen from the relay.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    opened_at: Timestamp,
    /// The relay stops: what the device is told once its pushes are answered.
    leaving: Option<u64>,
}

impl Session {
    /// A stream that has just been accepted.
    #[must_use]
    pub fn new(config: SessionConfig, now: Timestamp) -> Self {
        Self {
            config,
            state: State::AwaitingHello,
            opened_at: now,
            leaving: None,
        }
    }

    /// When [`Input::DeadlinePassed`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        matches!(self.state, State::AwaitingHello)
            .then(|| self.opened_at.plus(limits::HELLO_TIMEOUT))
    }

    /// Longest frame to accept next.
    #[must_use]
    pub fn frame_limit(&self) -> usize {
        match self.state {
            State::Active(_) => limits::MAX_FRAME,
            _ => limits::MAX_HELLO_FRAME,
        }
    }

    /// Whether to read the next frame now.
    #[must_use]
    pub fn wants_frames(&self) -> bool {
        match &self.state {
            _ if self.leaving.is_some() => false,
            State::AwaitingHello => true,
            State::Active(active) => {
                active.storing_bytes < self.config.max_storing_bytes
                    && active.storing.len() < 2 * limits::MAX_PUSHES_IN_FLIGHT
                    && active.pulling.is_none()
                    && !active.asking
                    && active.deleting.is_none()
                    && !active.attendance.asking
                    && !active.rotating
                    && active.snapshot.is_none()
                    && !active.chain_asked
                    && !active.superseded
            }
            State::Opening { .. } | State::Behind { .. } | State::Closing => false,
        }
    }

    /// The group, once the session is open.
    #[must_use]
    pub fn group(&self) -> Option<GroupId> {
        match &self.state {
            State::Active(active) => Some(active.group_id),
            _ => None,
        }
    }

    /// Whether the device is there for the others of the group, and does not only ask whether the group exists.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        matches!(&self.state, State::Active(active) if !active.probe)
    }

    /// Whether to feed [`Input::Presence`] and [`Input::Said`] now. They are the first to be dropped: the caller keeps as
    /// little of them as it likes.
    #[must_use]
    pub const fn listens(&self) -> bool {
        match &self.state {
            State::Active(active) => {
                active.attendance.listens && !active.attendance.asking && !active.superseded
            }
            _ => false,
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.state {
            State::AwaitingHello => Phase::AwaitingHello,
            State::Opening { .. } => Phase::Opening,
            State::Behind { .. } => Phase::Behind,
            State::Active(active) if active.superseded => Phase::Behind,
            State::Active(active) if active.refusing => Phase::Refusing,
            State::Active(active) if active.subscription.is_some() => Phase::Subscribed,
            State::Active(_) => Phase::Open,
            State::Closing => Phase::Closing,
        }
    }

    /// Whether the stream is finished.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Takes in what happened and appends what to do about it.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match (&mut self.state, input) {
            (State::Closing, _) => {}
            (_, Input::Shutdown { retry_after_ms }) => {
                self.leaving = Some(retry_after_ms);
                self.leave(out);
            }
            (_, Input::Revoked(error)) => self.fail(error, out),
            // What is subscribed goes on. What was dropped may have been a push, so nothing may be stored after it.
            (State::Active(active), Input::RateLimited(error)) => {
                if !active.refusing {
                    active.refusing = true;
                    out.push(Output::Send(Message::Error(error)));
                }
            }
            (_, Input::RateLimited(error)) => self.fail(error, out),
            (_, Input::Frame(Ok(Message::Bye { .. }))) => self.close(out),
            (_, Input::Frame(Err(error))) => {
                self.fail(
                    WireError::new(ErrorCode::InvalidMessage, error.to_string()),
                    out,
                );
            }
            (State::AwaitingHello, Input::Frame(Ok(Message::Hello(hello)))) => {
                self.on_hello(hello, out);
            }
            (State::AwaitingHello, Input::DeadlinePassed) => {
                let text = "no HELLO within 10 seconds";
                self.fail(WireError::new(ErrorCode::InvalidMessage, text), out);
            }
            (State::Opening { .. }, Input::GroupOpened(result, now)) => {
                self.on_group_opened(result, now, out);
            }
            (State::Behind { access_pub }, Input::Keys(result)) => {
                let access_pub = *access_pub;
                self.tell_keys(result, access_pub, out);
            }
            (State::Active(active), Input::Keys(result)) if active.superseded => {
                let access_pub = active.access_pub;
                self.tell_keys(result, access_pub, out);
            }
            (State::Active(active), Input::Keys(result)) if active.chain_asked => {
                active.chain_asked = false;
                out.push(Output::Send(match result {
                    Ok(since) => Message::KeyPacket(KeyPacket {
                        certificates: since.certificates,
                        members: since.members,
                        packet: bytes::Bytes::new(),
                    }),
                    Err(error) => Message::Error(error),
                }));
            }
            (State::Active(active), Input::EpochChanged(epoch)) => {
                if epoch > active.epoch {
                    active.supersede(out);
                }
            }
            (State::Active(active), Input::Rotated(result)) => {
                active.rotating = false;
                match result {
                    Ok(()) => active.supersede(out),
                    // Somebody else was first; what has changed is on its way.
                    Err(_) if active.superseded => {}
                    Err(error) => out.push(Output::Send(Message::Error(error))),
                }
            }
            (State::Active(active), Input::Frame(Ok(_))) if active.superseded => {}
            (State::Active(_), Input::Frame(Ok(_))) if self.leaving.is_some() => {}
            (State::Active(_), Input::Frame(Ok(message))) => self.on_frame(message, out),
            (State::Active(active), Input::Stored(result)) => {
                active.on_stored(result, out);
                self.leave(out);
            }
            (State::Active(active), Input::Read(Purpose::Pull, result)) => {
                let Some(max_blobs) = active.pulling.take() else {
                    return;
                };
                // A device takes an empty page for the end.
                if let Ok(page) = &result
                    && page.blobs.is_empty()
                    && page.has_more
                {
                    active.pulling = Some(max_blobs);
                    out.push(read_to_pull(page.up_to, max_blobs));
                    return;
                }
                out.push(Output::Send(match result {
                    Ok(page) => Message::PullResponse(PullResponse {
                        blobs: page.blobs,
                        has_more: page.has_more,
                        max_cursor: page.max_cursor,
                    }),
                    Err(error) => Message::Error(error),
                }));
            }
            (State::Active(active), Input::Read(Purpose::Stream, _)) if active.superseded => {}
            // The group moved on while this session was being opened. What a device cannot read it would skip for ever.
            (State::Active(active), Input::Read(Purpose::Stream, Ok(page)))
                if page.blobs.iter().any(|blob| blob.epoch > active.epoch) =>
            {
                active.supersede(out);
            }
            (State::Active(active), Input::Read(Purpose::Stream, Ok(page))) => {
                active.on_page(page, self.config.device, out);
            }
            // A stream that cannot be read has to start again at the device's bookmark.
            (State::Active(_), Input::Read(Purpose::Stream, Err(error))) => self.fail(error, out),
            (State::Active(active), Input::HasResult(result)) => {
                active.asking = false;
                out.push(Output::Send(match result {
                    Ok(marks) => Message::HasResponse { marks },
                    Err(error) => Message::Error(error),
                }));
            }
            (State::Active(active), Input::Deleted(result)) => active.on_deleted(result, out),
            (State::Active(active), Input::Devices(result)) => active.on_listed(result, out),
            (State::Active(active), Input::Presence(presence)) => active.on_presence(presence, out),
            (State::Active(active), Input::Said(said)) => active.on_said(said, out),
            (State::Active(active), Input::EphemeralDropped(error)) => {
                active.on_dropped(error, out);
            }
            (State::Active(active), Input::SnapshotStored(result)) => {
                active.on_snapshot_stored(result, out);
            }
            (State::Active(active), Input::SnapshotRead(result)) => {
                active.on_snapshot_read(result, out);
            }
            (State::Active(active), Input::Grown(max_cursor)) => {
                active.max_cursor = active.max_cursor.max(max_cursor);
                active.read_on(out);
            }
            (State::Active(active), Input::Flushed) => {
                if let Some(subscription) = &mut active.subscription {
                    subscription.unflushed = false;
                }
                active.read_on(out);
            }
            (_, Input::Frame(Ok(_))) => {
                let text = "the first frame of a session is HELLO";
                self.fail(WireError::new(ErrorCode::InvalidMessage, text), out);
            }
            // Answers that arrive in a state that did not ask, and deadlines that no longer count.
            (
                _,
                Input::GroupOpened(..)
                | Input::Stored(_)
                | Input::Read(..)
                | Input::HasResult(_)
                | Input::Deleted(_)
                | Input::Devices(_)
                | Input::Presence(_)
                | Input::Said(_)
                | Input::EphemeralDropped(_)
                | Input::SnapshotStored(_)
                | Input::SnapshotRead(_)
                | Input::Keys(_)
                | Input::Rotated(_)
                | Input::EpochChanged(_)
                | Input::Grown(_)
                | Input::Flushed
                | Input::DeadlinePassed,
            ) => {}
        }
    }

    fn on_hello(&mut self, hello: Hello, out: &mut Vec<Output>) {
        let refusal = if hello.version < message::OLDEST_VERSION {
            Some((
                ErrorCode::UnsupportedVersion,
                "this relay speaks version 1 of the protocol",
            ))
        } else if hello.epoch == 0 && access::group_id(&hello.access_pub) != hello.group_id {
            Some((
                ErrorCode::Unauthorized,
                "the access key does not belong to this group",
            ))
        } else if !access::verify_hello(
            &hello,
            self.config.relay_id,
            self.config.device,
            &self.config.exporter,
        ) {
            Some((ErrorCode::Unauthorized, "the proof of membership is wrong"))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            return self.fail(WireError::new(code, text), out);
        }
        let Some(chain) = checked_chain(&hello) else {
            let text = "the chain of certificates does not lead to this access key";
            return self.fail(WireError::new(ErrorCode::Unauthorized, text), out);
        };
        out.push(Output::OpenGroup {
            group_id: hello.group_id,
            access_pub: hello.access_pub,
            epoch: hello.epoch,
            create: !hello.probe && (hello.epoch == 0 || !chain.is_empty()),
            chain,
            marks: hello.marks.clone(),
            after_cursor: hello.after_cursor,
        });
        self.state = State::Opening {
            hello: Box::new(hello),
        };
    }

    fn on_group_opened(
        &mut self,
        result: Result<GroupInfo, WireError>,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) {
        let State::Opening { hello } = &self.state else {
            return;
        };
        let group = match result {
            Ok(group) if group.revoked && group.epoch == hello.epoch => {
                let text = "this device was revoked";
                return self.fail(WireError::new(ErrorCode::DeviceRevoked, text), out);
            }
            Ok(group) if group.epoch > hello.epoch => {
                out.push(Output::Keys {
                    group_id: hello.group_id,
                    after_epoch: hello.epoch,
                });
                self.state = State::Behind {
                    access_pub: hello.access_pub,
                };
                return;
            }
            // It will send the chain.
            Ok(group) if group.epoch < hello.epoch && hello.certificates.is_empty() => {
                let text = "this relay does not know the group's newest keys yet";
                return self.fail(WireError::new(ErrorCode::UnknownGroup, text), out);
            }
            Ok(group) if group.epoch == hello.epoch && group.access_pub == hello.access_pub => {
                group
            }
            Ok(_) => {
                let text = "the group's keys are not those that this relay knows";
                return self.fail(WireError::new(ErrorCode::StaleEpoch, text), out);
            }
            Err(error) => return self.fail(error, out),
        };
        out.push(Output::Send(Message::Welcome(Welcome {
            version: hello.version.min(message::VERSION),
            capabilities: self.config.capabilities.clone(),
            relay_id: self.config.relay_id,
            incarnation: self.config.incarnation.of_group(group.founding),
            max_cursor: group.max_cursor,
            epoch: group.epoch,
            snapshot: group.snapshot,
            limits: self.config.limits,
            now,
            marks: group.marks,
            run: Some(self.config.run),
            lacking: group.lacking,
        })));
        self.state = State::Active(Box::new(Active {
            group_id: hello.group_id,
            epoch: group.epoch,
            access_pub: group.access_pub,
            members: hello
                .certificates
                .last()
                .and_then(|last| codec::from_bytes::<Certificate>(last).ok())
                .map(|last| last.claims.members),
            rotating: false,
            chain_asked: false,
            superseded: false,
            max_cursor: group.max_cursor,
            acked: 0,
            storing: VecDeque::new(),
            storing_bytes: 0,
            refusing: false,
            pulling: None,
            asking: false,
            deleting: None,
            probe: hello.probe,
            attendance: Attendance::default(),
            snapshot: None,
            subscription: None,
        }));
    }

    fn on_frame(&mut self, message: Message, out: &mut Vec<Output>) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        match message {
            Message::Push(push) => active.on_push(push, &self.config, out),
            Message::Subscribe(_) if active.subscription.is_some() => {
                self.fail(
                    WireError::new(ErrorCode::InvalidMessage, "a second SUBSCRIBE"),
                    out,
                );
            }
            Message::Subscribe(subscribe) => {
                let window = subscribe.window as usize;
                active.subscription = Some(Subscription {
                    next_after: subscribe.after_cursor,
                    page_bytes: window.clamp(1, self.config.page_bytes),
                    target: Some(active.max_cursor),
                    reading: false,
                    unflushed: false,
                    own: BTreeSet::new(),
                });
                active.read_on(out);
            }
            Message::Ack { cursor } => {
                if cursor > active.acked && cursor <= active.max_cursor {
                    active.acked = cursor;
                    out.push(Output::Acked(cursor));
                }
            }
            Message::Pull(pull) => {
                let max_blobs = pull.limit.clamp(1, limits::MAX_PULL_BLOBS);
                active.pulling = Some(max_blobs);
                out.push(read_to_pull(pull.after_cursor, max_blobs));
            }
            Message::Has { blob_ids } => {
                active.asking = true;
                out.push(Output::Has(blob_ids));
            }
            Message::Delete(delete) => {
                active.deleting = Some(delete.blob_id);
                out.push(Output::Delete {
                    group_id: active.group_id,
                    delete,
                });
            }
            Message::Snapshot(part) => active.on_snapshot(part, &self.config, out),
            Message::GetSnapshot { part } => active.on_get_snapshot(part, out),
            Message::Revoke(revoke) => {
                if let Err(error) = active.on_revoke(revoke, self.config.device, out) {
                    self.fail(error, out);
                }
            }
            Message::KeyPackets(keys)
                if active.members == Some(zerok_sync_aead::sha256(&[&keys.members])) =>
            {
                out.push(Output::KeepKeys {
                    group_id: active.group_id,
                    epoch: active.epoch,
                    members: keys.members,
                    packets: keys.packets,
                });
            }
            Message::Devices => active.on_devices(out),
            Message::Ephemeral(said) => {
                if let Err(error) = active.on_ephemeral(said, self.config.device, out) {
                    self.fail(error, out);
                }
            }
            Message::Chain { after_epoch } => {
                active.chain_asked = true;
                out.push(Output::Keys {
                    group_id: active.group_id,
                    after_epoch,
                });
            }
            // A relay of a newer version may have told the device something that the device answers.
            Message::Error(_) => self.close(out),
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::PushAck(_)
            | Message::Blob(_)
            | Message::CaughtUp { .. }
            | Message::PullResponse(_)
            | Message::HasResponse { .. }
            | Message::Deleted { .. }
            | Message::Presence(_)
            | Message::DevicesResponse { .. }
            | Message::SnapshotAnswer(_)
            | Message::Revoked { .. }
            | Message::KeyPacket(_)
            | Message::KeyPackets(_)
            | Message::Bye { .. } => {
                let text = "this message is not for a relay in an open session";
                self.fail(WireError::new(ErrorCode::InvalidMessage, text), out);
            }
        }
    }

    /// The last words of a session whose group has newer keys: those for the device, or that it is out.
    fn tell_keys(
        &mut self,
        result: Result<KeysSince, WireError>,
        access_pub: [u8; 32],
        out: &mut Vec<Output>,
    ) {
        let since = match result {
            Ok(since) => since,
            Err(error) => return self.fail(error, out),
        };
        let chain: Vec<Certificate> = since
            .certificates
            .iter()
            .filter_map(|link| codec::from_bytes(link).ok())
            .collect();
        let follows = chain
            .first()
            .is_some_and(|first| first.claims.previous_pub == access_pub);
        let revoked = |link: &Certificate| link.claims.revoked == Some(self.config.device);
        let message = if !follows {
            let text = "the access key is of another group or of an epoch that never was";
            Message::Error(WireError::new(ErrorCode::Unauthorized, text))
        } else if chain.iter().any(revoked) {
            Message::Revoked {
                certificates: since.certificates,
            }
        } else if let Some(packet) = since.packet {
            Message::KeyPacket(KeyPacket {
                certificates: since.certificates,
                members: since.members,
                packet,
            })
        } else {
            let text = "the group has changed its keys, and there are none here for this device";
            Message::Error(WireError::new(ErrorCode::StaleEpoch, text))
        };
        out.push(Output::Send(message));
        self.close(out);
    }

    /// Ends the session of a relay that stops, once everything that was taken in is answered.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let Some(retry_after_ms) = self.leaving else {
            return;
        };
        let answered = match &self.state {
            State::Active(active) => active.storing.is_empty(),
            _ => true,
        };
        if answered {
            let error = WireError {
                code: ErrorCode::RelayShuttingDown,
                message: "the relay is stopping; what it has not answered is sent again".into(),
                retry_after_ms: Some(retry_after_ms),
            };
            self.fail(error, out);
        }
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<Output>) {
        out.push(Output::Send(Message::Error(error)));
        self.close(out);
    }

    fn close(&mut self, out: &mut Vec<Output>) {
        self.state = State::Closing;
        out.push(Output::Close);
    }
}

/// The chain that a HELLO brings, complete from the founding key to the access key that it proves; `None` if it is not that.
fn checked_chain(hello: &Hello) -> Option<Vec<Certificate>> {
    if hello.certificates.is_empty() {
        return Some(Vec::new());
    }
    let chain = Certificate::read_chain(&hello.certificates, hello.group_id, 0, None).ok()?;
    let newest = &chain.last()?.claims;
    (newest.epoch == hello.epoch && newest.access_pub == hello.access_pub).then_some(chain)
}

fn read_to_pull(after: u64, max_blobs: u32) -> Output {
    Output::Read {
        purpose: Purpose::Pull,
        after,
        max_blobs,
        max_bytes: limits::MAX_PULL_BYTES,
    }
}
