//! A simulated relay: real sessions, one group commit at a time, and a database.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zerok_sync_shared::engine::StreamId;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{DeviceId, Incarnation, RelayId};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{RelayLimits, WireError, capability};
use zerok_sync_shared::session::{NewBlob, Session, SessionConfig, Stored};
use zerok_sync_shared::time::Timestamp;

use crate::Rng;
use crate::database::Database;
use crate::network::ConnectionId;

/// TLS exporter of every simulated connection.
pub const EXPORTER: [u8; 32] = [7; 32];
/// So long that no run outlasts it; runs with expiry give each blob its own time.
const DEFAULT_TTL: u64 = 10 * 365 * 24 * 3600;

/// One stream at the relay.
pub type Key = (ConnectionId, StreamId);

pub struct Serving {
    pub session: Session,
    pub device: usize,
}

/// A blob that waits for the next commit.
pub struct Waiting {
    pub key: Key,
    pub blob: NewBlob,
}

/// The relay process and its database.
pub struct Relay {
    pub id: RelayId,
    pub url: String,
    pub database: Database,
    /// Copies of earlier days.
    pub backups: Vec<Database>,
    pub life: u64,
    pub running: bool,
    pub sessions: BTreeMap<Key, Serving>,
    pub waiting: VecDeque<Waiting>,
    /// The transaction under way.
    pub committing: Vec<Waiting>,
    /// Committed, not yet answered.
    pub answers: Vec<(Key, Result<Stored, WireError>)>,
    /// Sessions of which a blob was refused: so are all later ones.
    pub refused: BTreeSet<Key>,
    pub refuses: Option<(ErrorCode, Timestamp)>,
    pub unreadable_until: Timestamp,
    pub tamper_next: bool,
    /// How far its clock is from the world's, in milliseconds.
    pub clock: i64,
    page_bytes: usize,
    pub max_payload: u32,
}

impl Relay {
    pub fn new(number: u8, rng: &mut Rng) -> Self {
        Self {
            id: DeviceId([0xFF - number; 32]),
            url: format!("http://relay{number}.test"),
            database: Database::new(rng),
            backups: Vec::new(),
            life: 0,
            running: true,
            sessions: BTreeMap::new(),
            waiting: VecDeque::new(),
            committing: Vec::new(),
            answers: Vec::new(),
            refused: BTreeSet::new(),
            refuses: None,
            unreadable_until: Timestamp::default(),
            tamper_next: false,
            clock: 0,
            page_bytes: [600, 2_000, 50_000][rng.below(3)],
            max_payload: limits::MAX_PAYLOAD as u32,
        }
    }

    pub const fn local(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.clock))
    }

    /// The process is gone; the transaction under way happened or did not.
    pub fn crash(&mut self, now: Timestamp, rng: &mut Rng) {
        self.life += 1;
        self.running = false;
        self.sessions.clear();
        self.waiting.clear();
        self.answers.clear();
        self.refused.clear();
        let happened = rng.once_in(2);
        let local = self.local(now);
        for waiting in self.committing.drain(..) {
            if happened && self.refuses.is_none() {
                self.database.store(waiting.blob, local);
            }
        }
    }

    pub fn session_config(&self, device: DeviceId) -> SessionConfig {
        SessionConfig {
            relay_id: self.id,
            incarnation: self.database.incarnation,
            run: Incarnation(u128::from(self.life).to_le_bytes()),
            device,
            exporter: EXPORTER,
            limits: RelayLimits {
                max_payload: self.max_payload,
                default_ttl: DEFAULT_TTL,
                group_quota: 0,
            },
            capabilities: [
                capability::DELETE,
                capability::PRESENCE,
                capability::SNAPSHOTS,
            ]
            .map(str::to_owned)
            .to_vec(),
            page_bytes: self.page_bytes,
            max_storing_bytes: 1 << 20,
        }
    }

    /// What it refuses blobs with at the moment.
    pub fn refusal(&self, now: Timestamp, rng: &mut Rng) -> Option<WireError> {
        let (code, _) = self.refuses.filter(|(_, until)| *until > now)?;
        let error = WireError::new(code, "the simulated relay refuses this");
        let wait = [None, Some(0), Some(2_000), Some(60_000)][rng.below(4)];
        Some(WireError {
            retry_after_ms: wait,
            ..error
        })
    }
}
