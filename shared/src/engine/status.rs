//! What an app sees of a group and of the device.

use super::Places;
use super::group::{Group, Received};
use super::link::Link;
use crate::failure::SyncError;
use crate::ids::DeviceId;
use crate::map::SortedMap;
use crate::store::HeldSnapshot;
use crate::time::Timestamp;

/// How a group stands, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything is here and everything is there.
    Synced,
    /// Blobs wait to be sent.
    Pending,
    /// Blobs are arriving.
    Syncing,
    /// No relay is connected.
    Offline,
    /// The first sync is under way: what is missing may still come.
    Restoring,
    /// Joined, but nothing has ever been fetched: an empty log means nothing yet.
    NeverSynced,
    /// Something has to be done; `error` says what.
    Error,
}

impl State {
    /// The name that apps see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Pending => "pending",
            Self::Syncing => "syncing",
            Self::Offline => "offline",
            Self::Restoring => "restoring",
            Self::NeverSynced => "never-synced",
            Self::Error => "error",
        }
    }
}

/// What a group is doing with its relay, finer than [`State`]: for diagnostics, and for seeing what tests exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No connection, and none is being made.
    Offline,
    /// A connection is being made.
    Connecting,
    /// Connected; the next session has to wait.
    Waiting,
    /// HELLO was sent, WELCOME has not come.
    Greeting,
    /// The relay is given back what it lacks.
    Repairing,
    /// What the relay has is arriving.
    CatchingUp,
    /// Everything is here; changes go both ways as they happen.
    Live,
    /// The relay refused something: it is listened to, and sent nothing until the next session.
    Paused,
}

impl Phase {
    /// Every phase.
    pub const ALL: &[Self] = &[
        Self::Offline,
        Self::Connecting,
        Self::Waiting,
        Self::Greeting,
        Self::Repairing,
        Self::CatchingUp,
        Self::Live,
        Self::Paused,
    ];
}

/// How far a catch-up is, in cursors of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Fetched.
    pub done: u64,
    /// To fetch.
    pub total: u64,
}

/// A group as an app sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// How it stands.
    pub state: State,
    /// Blobs that no relay has yet.
    pub pending: usize,
    /// The same, with what this device has said of itself.
    pub unsent: usize,
    /// While blobs are arriving.
    pub progress: Option<Progress>,
    /// URL of the relay in use, when it is connected.
    pub relay: Option<String>,
    /// All relays and whether they are connected.
    pub relays: Vec<(String, bool)>,
    /// When everything a relay had was last here.
    pub last_synced: Option<Timestamp>,
    /// What has to be done, or why there is no connection.
    pub error: Option<SyncError>,
    /// Highest contiguous sequence per device.
    pub version_vector: SortedMap<DeviceId, u64>,
    /// The app's newest position.
    pub position: u64,
    /// Newest place in the log.
    pub place: u64,
    /// Which places are not the app's.
    pub places: Places,
    /// The snapshots that were taken in, the newest last.
    pub snapshots: Vec<HeldSnapshot>,
    /// Whether an app may take an empty log for an empty group.
    pub ready: bool,
}

/// All groups together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// The worst of them.
    pub state: State,
    /// Sum.
    pub pending: usize,
    /// Sum.
    pub progress: Option<Progress>,
    /// Relay of the first group that is connected.
    pub relay: Option<String>,
    /// Relays of all groups.
    pub relays: SortedMap<String, bool>,
    /// Oldest of them.
    pub last_synced: Option<Timestamp>,
    /// The first.
    pub error: Option<SyncError>,
}

impl Group {
    pub(super) fn phase(&self, link: Option<&Link>) -> Phase {
        match &self.session {
            Some(session) if session.is_paused() => Phase::Paused,
            Some(session) if !session.is_open() => Phase::Greeting,
            Some(session) if session.repair.is_some() => Phase::Repairing,
            Some(session) if !session.caught_up => Phase::CatchingUp,
            Some(_) => Phase::Live,
            None if link.is_some_and(|link| link.connection().is_some()) => Phase::Waiting,
            None if link.is_some_and(Link::is_open) => Phase::Connecting,
            None => Phase::Offline,
        }
    }

    pub(super) fn view(
        &self,
        links: &SortedMap<String, Link>,
        storage_error: Option<&SyncError>,
    ) -> GroupView {
        let session = self.session.as_ref().filter(|session| session.is_open());
        let connected = session.is_some();
        let pending = self.outbox.len().saturating_sub(self.state.entries.len());
        let ready = self.membership.founded || self.state.last_synced.is_some();
        let progress = session
            .filter(|session| !session.caught_up)
            .and_then(|session| {
                let welcome = session.welcome.as_ref()?;
                let bookmark = self
                    .state
                    .bookmarks
                    .get(&session.relay_id)
                    .map_or(0, |bookmark| bookmark.cursor);
                let total = welcome.max_cursor.saturating_sub(session.started_at);
                let done = bookmark.saturating_sub(session.started_at).min(total);
                (total > 0).then_some(Progress { done, total })
            });
        let link_error = links
            .get(self.relay())
            .and_then(|link| link.last_error.as_ref());
        let error = storage_error
            .or(self.last_error.as_ref())
            .or(link_error)
            .cloned();
        let needs_action = storage_error.is_some()
            || self
                .last_error
                .as_ref()
                .is_some_and(|error| connected || !error.retryable);
        let arriving = progress.is_some()
            || self
                .inbox
                .iter()
                .any(|item| matches!(item, Received::Blob(_)));
        let state = if needs_action {
            State::Error
        } else if !ready && connected {
            State::Restoring
        } else if !ready {
            State::NeverSynced
        } else if !connected {
            State::Offline
        } else if arriving || session.is_some_and(|session| session.repair.is_some()) {
            State::Syncing
        } else if pending > 0 {
            State::Pending
        } else {
            State::Synced
        };
        let places = Places(self.state.hidden.clone());
        GroupView {
            state,
            pending,
            unsent: self.outbox.len(),
            progress,
            relay: connected.then(|| self.relay().to_owned()),
            relays: self
                .membership
                .relays
                .iter()
                .map(|url| (url.clone(), connected && url == self.relay()))
                .collect(),
            last_synced: self.state.last_synced,
            error,
            version_vector: self
                .state
                .seen
                .iter()
                .map(|(device, seen)| (*device, seen.contiguous()))
                .collect(),
            position: places.position_of(self.state.position),
            place: self.state.position,
            places,
            snapshots: self.state.snapshots.clone(),
            ready,
        }
    }
}

/// The worst state, and sums.
pub(super) fn device_view(groups: impl Iterator<Item = GroupView>) -> DeviceView {
    let mut all = DeviceView {
        state: State::Synced,
        pending: 0,
        progress: None,
        relay: None,
        relays: SortedMap::new(),
        last_synced: None,
        error: None,
    };
    for view in groups {
        all.state = all.state.max(view.state);
        all.pending += view.pending;
        all.progress = match (all.progress, view.progress) {
            (Some(a), Some(b)) => Some(Progress {
                done: a.done + b.done,
                total: a.total + b.total,
            }),
            (a, b) => a.or(b),
        };
        all.relay = all.relay.or(view.relay);
        for (url, connected) in view.relays {
            *all.relays.get_or_insert_with(url, || false) |= connected;
        }
        all.last_synced = match (all.last_synced, view.last_synced) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        all.error = all.error.or(view.error);
    }
    all
}
