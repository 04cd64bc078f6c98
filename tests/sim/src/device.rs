//! A simulated device: an engine, a disk that survives its crashes, and what the app was promised.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use zerok_sync_shared::engine::{Engine, Event, Input, Output, StreamId};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::message::Message;
use zerok_sync_shared::store::{Batch, GroupState, LogRecord, StoredGroup, Write};
use zerok_sync_shared::time::Timestamp;

use super::Rng;

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub state: Option<GroupState>,
    pub log: Vec<LogRecord>,
    pub unsent: BTreeMap<u64, u32>,
}

impl Disk {
    /// Applies a batch; panics on a write that makes no sense, because the engine must never ask for one.
    pub fn apply(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::State { state, .. } => self.state = Some((**state).clone()),
                Write::Append { record, unsent, .. } => {
                    assert_eq!(
                        record.position,
                        self.log.len() as u64 + 1,
                        "positions are gapless"
                    );
                    if *unsent {
                        self.unsent
                            .insert(record.position, record.payload.len() as u32);
                    }
                    self.log.push(record.clone());
                }
                Write::Sent {
                    position,
                    cursor,
                    timestamp,
                    ..
                } => {
                    assert!(
                        self.unsent.remove(position).is_some(),
                        "only what waits is sent"
                    );
                    let record = &mut self.log[*position as usize - 1];
                    (record.cursor, record.timestamp) = (*cursor, *timestamp);
                }
                Write::Remove { .. } => *self = Self::default(),
            }
        }
        if let Some(state) = &self.state {
            assert_eq!(state.position, self.log.len() as u64, "state and log agree");
        }
    }
}

/// A device.
pub struct Device {
    pub id: DeviceId,
    pub disk: Disk,
    pub engine: Engine,
    /// The write under way.
    pub writing: Option<Batch>,
    pub loads: VecDeque<Output>,
    /// Streams and what is on its way to the relay on each; `None` ends a stream.
    pub streams: BTreeMap<StreamId, VecDeque<Option<Message>>>,
    pub connecting: bool,
    pub connected: bool,
    /// Bodies whose push has resolved, by blob.
    pub promised: BTreeMap<BlobId, Bytes>,
    /// Bodies of pushes without an answer, by token.
    pub asked: BTreeMap<u64, Bytes>,
    pub events: Vec<Event>,
    pub next_token: u64,
}

impl Device {
    /// A member of the group with an empty log.
    pub fn new(id: DeviceId, group: GroupId, state: GroupState, rng: &mut Rng) -> Self {
        let disk = Disk {
            state: Some(state),
            ..Disk::default()
        };
        let engine = boot(id, group, &disk, rng);
        Self {
            id,
            disk,
            engine,
            writing: None,
            loads: VecDeque::new(),
            streams: BTreeMap::new(),
            connecting: false,
            connected: false,
            promised: BTreeMap::new(),
            asked: BTreeMap::new(),
            events: Vec::new(),
            next_token: 0,
        }
    }

    /// Everything but the disk is lost; the write under way happened or did not.
    pub fn crash(&mut self, group: GroupId, rng: &mut Rng) {
        if let Some(batch) = self.writing.take()
            && rng.once_in(2)
        {
            self.disk.apply(&batch);
        }
        self.loads.clear();
        self.streams.clear();
        (self.connecting, self.connected) = (false, false);
        // Nobody was told that these are durable; they may be all the same.
        self.asked.clear();
        self.engine = boot(self.id, group, &self.disk, rng);
    }

    /// Feeds the engine and takes in what it answers.
    pub fn feed(&mut self, now: Timestamp, input: Input) {
        let mut outputs = Vec::new();
        self.engine.handle(now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Connect { .. } => self.connecting = true,
                Output::Disconnect { .. } => self.lose_connection(),
                Output::OpenStream { stream, .. } => {
                    assert!(self.connected, "a stream needs a connection");
                    self.streams.insert(stream, VecDeque::new());
                }
                Output::Send { stream, message } => {
                    if let Some(queue) = self.streams.get_mut(&stream) {
                        queue.push_back(Some(message));
                    }
                }
                Output::CloseStream { stream } => {
                    if let Some(queue) = self.streams.get_mut(&stream) {
                        queue.push_back(None);
                    }
                }
                Output::Write(batch) => {
                    assert!(self.writing.is_none(), "one write at a time");
                    self.writing = Some(batch);
                }
                Output::Load { .. } => self.loads.push_back(output),
                Output::Pushed { token, blob_id, .. } => {
                    if let Some(body) = self.asked.remove(&token) {
                        self.promised.insert(blob_id, body);
                    }
                }
                Output::Refused { token, .. } => drop(self.asked.remove(&token)),
                Output::Done { .. } => {}
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    pub fn lose_connection(&mut self) {
        (self.connecting, self.connected) = (false, false);
        self.streams.clear();
    }

    /// The write under way becomes durable, or fails.
    pub fn finish_write(&mut self, now: Timestamp, fails: bool) {
        let Some(batch) = self.writing.take() else {
            return;
        };
        if fails {
            let error = SyncError::passing(code::STORAGE_FULL, "the simulated disk is full");
            return self.feed(now, Input::Written(Err(error)));
        }
        self.disk.apply(&batch);
        self.feed(now, Input::Written(Ok(())));
    }

    /// Answers the oldest read.
    pub fn finish_load(&mut self, now: Timestamp) {
        let Some(Output::Load {
            group,
            purpose,
            after,
            max_records,
            max_bytes,
        }) = self.loads.pop_front()
        else {
            return;
        };
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            bytes += record.payload.len();
            bytes <= max_bytes || bytes == record.payload.len()
        };
        let records = self
            .disk
            .log
            .iter()
            .skip(after as usize)
            .take(max_records)
            .take_while(fits)
            .cloned()
            .collect();
        self.feed(
            now,
            Input::Loaded {
                group,
                purpose,
                records: Ok(records),
            },
        );
    }
}

fn boot(id: DeviceId, group: GroupId, disk: &Disk, rng: &mut Rng) -> Engine {
    let stored = disk.state.clone().map(|state| StoredGroup {
        group,
        state,
        unsent: disk
            .unsent
            .iter()
            .map(|(position, len)| (*position, *len))
            .collect(),
    });
    let mut entropy = Rng::new(rng.number());
    Engine::new(
        id,
        stored.into_iter().collect(),
        Box::new(move |bytes: &mut [u8]| entropy.fill(bytes)),
    )
}
