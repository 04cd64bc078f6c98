//! Which events met which states: what is never exercised has to be visible.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zerok_sync_shared::engine::{self, LoadPurpose};
use zerok_sync_shared::message::Message;
use zerok_sync_shared::session::{self, Purpose};

/// Counts per pair of state and event.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    device: BTreeMap<(engine::Phase, &'static str), u64>,
    relay: BTreeMap<(session::Phase, &'static str), u64>,
}

/// Events of a device, in the order of the table.
const DEVICE_EVENTS: &[&str] = &[
    "push",
    "delete",
    "broadcast",
    "join",
    "leave",
    "connected",
    "disconnected",
    "WELCOME",
    "BLOB",
    "CAUGHT_UP",
    "PUSH_ACK",
    "HAS_RESPONSE",
    "DELETED",
    "DEVICES_RESPONSE",
    "EPHEMERAL",
    "ERROR",
    "BYE",
    "garbage",
    "stream ended",
    "written",
    "write failed",
    "outbox read",
    "outbox unread",
    "repair read",
    "repair unread",
    "search read",
    "search unread",
    "network came",
    "network went",
    "tick",
];

/// Events of a relay's session.
const RELAY_EVENTS: &[&str] = &[
    "HELLO",
    "SUBSCRIBE",
    "PUSH",
    "HAS",
    "DELETE",
    "DEVICES",
    "EPHEMERAL",
    "ACK",
    "BYE",
    "garbage",
    "opened",
    "not opened",
    "stored",
    "not stored",
    "page",
    "no page",
    "has",
    "has failed",
    "deleted",
    "not deleted",
    "listed",
    "said",
    "grown",
    "flushed",
    "deadline",
    "shutdown",
];

fn frame_name(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "HELLO",
        Message::Welcome(_) => "WELCOME",
        Message::Push(_) => "PUSH",
        Message::PushAck(_) => "PUSH_ACK",
        Message::Subscribe(_) => "SUBSCRIBE",
        Message::Blob(_) => "BLOB",
        Message::CaughtUp { .. } => "CAUGHT_UP",
        Message::Ack { .. } => "ACK",
        Message::Pull(_) => "PULL",
        Message::PullResponse(_) => "PULL_RESPONSE",
        Message::Has { .. } => "HAS",
        Message::HasResponse { .. } => "HAS_RESPONSE",
        Message::Delete(_) => "DELETE",
        Message::Deleted { .. } => "DELETED",
        Message::Presence(_) => "PRESENCE",
        Message::Ephemeral(_) => "EPHEMERAL",
        Message::Devices => "DEVICES",
        Message::DevicesResponse { .. } => "DEVICES_RESPONSE",
        Message::Snapshot(_) => "SNAPSHOT",
        Message::SnapshotAnswer(_) => "SNAPSHOT_ANSWER",
        Message::GetSnapshot { .. } => "GET_SNAPSHOT",
        Message::Revoke(_) => "REVOKE_DEVICE",
        Message::Revoked { .. } => "DEVICE_REVOKED",
        Message::KeyPacket(_) => "KEY_PACKET",
        Message::KeyPackets(_) => "KEY_PACKETS",
        Message::Chain { .. } => "CHAIN",
        Message::Bye { .. } => "BYE",
        Message::Error(_) => "ERROR",
    }
}

/// The name of what a device is fed.
pub fn device_event(input: &engine::Input) -> &'static str {
    use engine::Input;
    match input {
        Input::Push { .. } => "push",
        Input::AddGroup { .. } => "join",
        Input::RemoveGroup { .. } => "leave",
        Input::Revoke { .. } => "revoke",
        Input::Rename { .. } => "rename",
        Input::Delete { .. } => "delete",
        Input::Broadcast { .. } => "broadcast",
        Input::ProvideSnapshots { .. } => "provides snapshots",
        Input::Snapshot { .. } => "snapshot given",
        Input::Connected { .. } => "connected",
        Input::OtherNodes { .. } => "told of nodes",
        Input::Disconnected { .. } => "disconnected",
        Input::Frame {
            message: Ok(message),
            ..
        } => frame_name(message),
        Input::Frame { .. } => "garbage",
        Input::StreamEnded { .. } => "stream ended",
        Input::Written(Ok(())) => "written",
        Input::Written(Err(_)) => "write failed",
        Input::Loaded {
            purpose, records, ..
        } => match (purpose, records.is_ok()) {
            (LoadPurpose::Outbox, true) => "outbox read",
            (LoadPurpose::Outbox, false) => "outbox unread",
            (LoadPurpose::Repair, true) => "repair read",
            (LoadPurpose::Repair, false) => "repair unread",
            (LoadPurpose::Deletion, true) => "search read",
            (LoadPurpose::Deletion, false) => "search unread",
        },
        Input::NetworkChanged { online: true } => "network came",
        Input::NetworkChanged { online: false } => "network went",
        Input::Tick => "tick",
    }
}

/// The name of what a session is fed.
pub fn relay_event(input: &session::Input) -> &'static str {
    use session::Input;
    match input {
        Input::Frame(Ok(message)) => frame_name(message),
        Input::Frame(Err(_)) => "garbage",
        Input::GroupOpened(Ok(_), _) => "opened",
        Input::GroupOpened(..) => "not opened",
        Input::Stored(Ok(_)) => "stored",
        Input::Stored(Err(_)) => "not stored",
        Input::Read(Purpose::Stream | Purpose::Pull, Ok(_)) => "page",
        Input::Read(..) => "no page",
        Input::HasResult(Ok(_)) => "has",
        Input::HasResult(Err(_)) => "has failed",
        Input::Deleted(Ok(())) => "deleted",
        Input::Deleted(Err(_)) => "not deleted",
        Input::Devices(_) => "listed",
        Input::Presence(_) => "presence",
        Input::Said(_) => "said",
        Input::EphemeralDropped(_) => "dropped",
        Input::SnapshotStored(Ok(())) => "snapshot stored",
        Input::SnapshotStored(Err(_)) => "snapshot not stored",
        Input::SnapshotRead(Ok(_)) => "snapshot read",
        Input::SnapshotRead(Err(_)) => "snapshot unread",
        Input::Keys(Ok(_)) => "keys",
        Input::Keys(Err(_)) => "no keys",
        Input::Rotated(Ok(())) => "rotated",
        Input::Rotated(Err(_)) => "not rotated",
        Input::EpochChanged(_) => "new epoch",
        Input::Grown(_) => "grown",
        Input::Flushed => "flushed",
        Input::DeadlinePassed => "deadline",
        Input::Shutdown { .. } => "shutdown",
        Input::Revoked(_) => "revoked",
        Input::RateLimited(_) => "rate limited",
    }
}

impl Coverage {
    pub(crate) fn device(&mut self, phase: engine::Phase, event: &'static str) {
        *self.device.entry((phase, event)).or_default() += 1;
    }

    pub(crate) fn relay(&mut self, phase: session::Phase, event: &'static str) {
        *self.relay.entry((phase, event)).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (pair, count) in &other.device {
            *self.device.entry(*pair).or_default() += count;
        }
        for (pair, count) in &other.relay {
            *self.relay.entry(*pair).or_default() += count;
        }
    }

    /// Pairs that happened, of all that can be written down: (device, relay).
    #[must_use]
    pub fn pairs(&self) -> [(usize, usize); 2] {
        [
            (
                self.device.len(),
                engine::Phase::ALL.len() * DEVICE_EVENTS.len(),
            ),
            (
                self.relay.len(),
                session::Phase::ALL.len() * RELAY_EVENTS.len(),
            ),
        ]
    }

    /// How often a pair of a device happened.
    #[must_use]
    pub fn device_count(&self, phase: engine::Phase, event: &'static str) -> u64 {
        self.device.get(&(phase, event)).copied().unwrap_or(0)
    }

    /// Two tables; a dot is a pair that never happened.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let device = |phase: &engine::Phase, event| self.device.get(&(*phase, event)).copied();
        table(
            &mut text,
            "device",
            engine::Phase::ALL,
            DEVICE_EVENTS,
            device,
        );
        text.push('\n');
        let relay = |phase: &session::Phase, event| self.relay.get(&(*phase, event)).copied();
        table(
            &mut text,
            "relay session",
            session::Phase::ALL,
            RELAY_EVENTS,
            relay,
        );
        text
    }
}

fn table<P: std::fmt::Debug>(
    text: &mut String,
    title: &str,
    phases: &[P],
    events: &[&'static str],
    count: impl Fn(&P, &'static str) -> Option<u64>,
) {
    let _ = write!(text, "{title:14}");
    for phase in phases {
        let _ = write!(text, "{:>14}", format!("{phase:?}"));
    }
    text.push('\n');
    for event in events {
        let _ = write!(text, "{event:14}");
        for phase in phases {
            let cell = count(phase, event).map_or_else(|| "·".to_owned(), |n| n.to_string());
            let _ = write!(text, "{cell:>14}");
        }
        text.push('\n');
    }
}
