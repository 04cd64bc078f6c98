//! A simulated relay: real sessions over a database that keeps what was committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zerok_sync_shared::codec;
use zerok_sync_shared::engine::StreamId;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{BlobId, DeviceId, Incarnation, RelayId};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{Blob, Message, RelayLimits, WireError};
use zerok_sync_shared::session::{
    GroupInfo, Input, NewBlob, Output, Page, Purpose, Session, SessionConfig, Stored,
};
use zerok_sync_shared::time::Timestamp;

use super::Rng;

/// What survives a crash.
#[derive(Debug, Clone)]
pub struct Database {
    pub incarnation: Incarnation,
    pub access_pub: Option<[u8; 32]>,
    pub blobs: Vec<Blob>,
    by_id: BTreeMap<BlobId, usize>,
}

impl Database {
    pub fn new(rng: &mut Rng) -> Self {
        let mut incarnation = [0; 16];
        rng.fill(&mut incarnation);
        let (blobs, by_id) = (Vec::new(), BTreeMap::new());
        Self {
            incarnation: Incarnation(incarnation),
            access_pub: None,
            blobs,
            by_id,
        }
    }

    fn max_cursor(&self) -> u64 {
        self.blobs.len() as u64
    }

    fn store(&mut self, blob: NewBlob, now: Timestamp) -> Stored {
        let at = *self.by_id.entry(blob.blob_id).or_insert_with(|| {
            self.blobs.push(Blob {
                cursor: self.blobs.len() as u64 + 1,
                blob_id: blob.blob_id,
                sender: blob.sender,
                epoch: blob.epoch,
                timestamp: now,
                payload: blob.payload,
            });
            self.blobs.len() - 1
        });
        Stored {
            cursor: self.blobs[at].cursor,
            timestamp: self.blobs[at].timestamp,
        }
    }

    fn page(&self, after: u64, max_blobs: u32, max_bytes: usize) -> Page {
        let mut bytes = 0;
        let fits = |blob: &&Blob| {
            bytes += blob.payload.len();
            bytes <= max_bytes || bytes == blob.payload.len()
        };
        let rest = self.blobs.iter().skip(after as usize);
        let blobs: Vec<Blob> = rest
            .take(max_blobs as usize)
            .take_while(fits)
            .cloned()
            .collect();
        let up_to = blobs
            .last()
            .map_or(self.max_cursor().max(after), |blob| blob.cursor);
        Page {
            blobs,
            up_to,
            has_more: up_to < self.max_cursor(),
            max_cursor: self.max_cursor(),
        }
    }
}

/// One stream at the relay.
struct Serving {
    session: Session,
    device: usize,
    stream: StreamId,
    storing: VecDeque<NewBlob>,
    /// Pages that were asked for: purpose, after, blobs, bytes.
    reads: VecDeque<(Purpose, u64, u32, usize)>,
    /// A store of this session was refused: so are all later ones.
    refused: bool,
    outgoing: VecDeque<Message>,
    open: bool,
}

/// The relay process and its database.
pub struct Relay {
    pub id: RelayId,
    pub database: Database,
    sessions: Vec<Serving>,
    /// Stores are refused while the group has no room.
    pub full: bool,
    /// The next blob is altered before it is stored.
    pub tamper_next: bool,
    /// Blobs that were.
    pub tampered: BTreeSet<BlobId>,
}

impl Relay {
    pub fn new(id: RelayId, rng: &mut Rng) -> Self {
        Self {
            id,
            database: Database::new(rng),
            sessions: Vec::new(),
            full: false,
            tamper_next: false,
            tampered: BTreeSet::new(),
        }
    }

    /// All connections are gone; what was not committed is lost.
    pub fn crash(&mut self) {
        self.sessions.clear();
    }

    pub fn drop_device(&mut self, device: usize) {
        self.sessions.retain(|serving| serving.device != device);
    }

    /// A frame of a device arrives, or the end of its stream.
    pub fn receive(
        &mut self,
        device: usize,
        device_id: DeviceId,
        stream: StreamId,
        message: Option<Message>,
        now: Timestamp,
    ) {
        let at = self
            .sessions
            .iter()
            .position(|s| s.device == device && s.stream == stream);
        let Some(message) = message else {
            if let Some(at) = at {
                self.sessions.remove(at);
            }
            return;
        };
        let at = at.unwrap_or_else(|| {
            self.sessions.push(Serving {
                session: Session::new(self.config(device_id), now),
                device,
                stream,
                storing: VecDeque::new(),
                reads: VecDeque::new(),
                refused: false,
                outgoing: VecDeque::new(),
                open: true,
            });
            self.sessions.len() - 1
        });
        // Through bytes, as on the wire.
        let frame = codec::encode(&message);
        let decoded = codec::decode(&frame[codec::PREFIX_LEN..]);
        assert_eq!(decoded.as_ref(), Ok(&message));
        self.feed(at, Input::Frame(decoded), now);
    }

    fn config(&self, device: DeviceId) -> SessionConfig {
        SessionConfig {
            relay_id: self.id,
            incarnation: self.database.incarnation,
            device,
            exporter: super::world::EXPORTER,
            limits: RelayLimits {
                max_payload: limits::MAX_PAYLOAD as u32,
                default_ttl: limits::DEFAULT_TTL.as_secs(),
                group_quota: 0,
            },
            capabilities: Vec::new(),
            page_bytes: 2000,
            max_storing_bytes: 1 << 20,
        }
    }

    fn feed(&mut self, at: usize, input: Input, now: Timestamp) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            let serving = &mut self.sessions[at];
            serving.session.handle(input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Send(message) => serving.outgoing.push_back(message),
                    Output::OpenGroup {
                        access_pub, epoch, ..
                    } => {
                        let known = *self.database.access_pub.get_or_insert(access_pub);
                        let max_cursor = self.database.max_cursor();
                        let info = GroupInfo {
                            max_cursor,
                            epoch,
                            access_pub: known,
                        };
                        inputs.push_back(Input::GroupOpened(Ok(info), now));
                    }
                    Output::Store(blob) => serving.storing.push_back(blob),
                    Output::Read {
                        purpose,
                        after,
                        max_blobs,
                        max_bytes,
                    } => serving
                        .reads
                        .push_back((purpose, after, max_blobs, max_bytes)),
                    Output::Has(ids) => {
                        let stored = ids
                            .into_iter()
                            .filter(|id| self.database.by_id.contains_key(id))
                            .collect();
                        inputs.push_back(Input::HasResult(Ok(stored)));
                    }
                    Output::Acked(cursor) => assert!(cursor <= self.database.max_cursor()),
                    Output::Close => serving.open = false,
                }
            }
        }
    }

    /// Commits what one session waits for, tells it, and tells all that the group has grown.
    pub fn commit_some(&mut self, rng: &mut Rng, now: Timestamp) -> bool {
        let waiting: Vec<usize> = (0..self.sessions.len())
            .filter(|at| !self.sessions[*at].storing.is_empty())
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let at = waiting[rng.below(waiting.len())];
        for _ in 0..=rng.below(4) {
            let Some(blob) = self.sessions[at].storing.pop_front() else {
                break;
            };
            let refused = self.sessions[at].refused || self.full;
            self.sessions[at].refused = refused;
            let mut blob = blob;
            if std::mem::take(&mut self.tamper_next) {
                let mut payload = blob.payload.to_vec();
                let byte = rng.below(payload.len());
                payload[byte] ^= 1;
                blob.payload = payload.into();
                self.tampered.insert(blob.blob_id);
            }
            let result = if refused {
                let error = WireError::new(
                    ErrorCode::GroupQuotaExceeded,
                    "the simulated quota is used up",
                );
                Err(WireError {
                    retry_after_ms: Some(2000),
                    ..error
                })
            } else {
                Ok(self.database.store(blob, now))
            };
            self.feed(at, Input::Stored(result), now);
        }
        let max_cursor = self.database.max_cursor();
        for at in 0..self.sessions.len() {
            self.feed(at, Input::Grown(max_cursor), now);
        }
        true
    }

    /// Answers one read of one session: a page is as new as the moment at which it is read.
    pub fn read_some(&mut self, rng: &mut Rng, now: Timestamp) -> bool {
        let waiting: Vec<usize> = (0..self.sessions.len())
            .filter(|at| !self.sessions[*at].reads.is_empty())
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let at = waiting[rng.below(waiting.len())];
        if let Some((purpose, after, blobs, bytes)) = self.sessions[at].reads.pop_front() {
            let page = self.database.page(after, blobs, bytes);
            self.feed(at, Input::Read(purpose, Ok(page)), now);
            if purpose == Purpose::Stream {
                self.feed(at, Input::Flushed, now);
            }
        }
        true
    }

    /// Takes a frame that is on its way to a device; `None` ends the stream.
    pub fn send_some(&mut self, rng: &mut Rng) -> Option<(usize, StreamId, Option<Message>)> {
        let ready: Vec<usize> = (0..self.sessions.len())
            .filter(|at| !self.sessions[*at].outgoing.is_empty() || !self.sessions[*at].open)
            .collect();
        if ready.is_empty() {
            return None;
        }
        let at = ready[rng.below(ready.len())];
        let serving = &mut self.sessions[at];
        let (device, stream) = (serving.device, serving.stream);
        match serving.outgoing.pop_front() {
            Some(message) => Some((device, stream, Some(message))),
            None => {
                self.sessions.remove(at);
                Some((device, stream, None))
            }
        }
    }
}
