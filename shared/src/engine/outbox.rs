//! What waits to be sent to a relay, in the order of the log.

use std::collections::VecDeque;

use crate::ids::BlobId;
use crate::limits;
use crate::message::PushAck;
use crate::store::LogRecord;

#[derive(Debug)]
struct Unsent {
    position: u64,
    len: u32,
    /// The record until it is sent, as long as memory allows; otherwise it is read back from the store.
    record: Option<LogRecord>,
    /// Given to the relay in this session.
    sent: bool,
}

/// A blob that the relay was given and has not acknowledged.
#[derive(Debug)]
struct InFlight {
    blob_id: BlobId,
    position: u64,
    len: usize,
    ttl: u32,
}

#[derive(Debug)]
pub(super) struct Outbox {
    unsent: VecDeque<Unsent>,
    cached_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    loading: bool,
    /// Something was replaced while records were being read: the former one may still be among them.
    stale: bool,
}

/// What to send next.
pub(super) enum Next {
    Record(LogRecord),
    /// Load records after this position first.
    Load {
        after: u64,
    },
    Nothing,
}

impl Outbox {
    pub(super) fn new(unsent: Vec<(u64, u32)>) -> Self {
        let entry = |(position, len)| Unsent {
            position,
            len,
            record: None,
            sent: false,
        };
        Self {
            unsent: unsent.into_iter().map(entry).collect(),
            cached_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            loading: false,
            stale: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.unsent.len()
    }

    /// Position of the first that waits.
    pub(super) fn first(&self) -> Option<u64> {
        self.unsent.front().map(|unsent| unsent.position)
    }

    pub(super) fn contains(&self, position: u64) -> bool {
        self.find(position).is_some()
    }

    /// How many wait after a position.
    pub(super) fn count_after(&self, position: u64) -> u64 {
        (self.unsent.len()
            - self
                .unsent
                .partition_point(|unsent| unsent.position <= position)) as u64
    }

    /// The first that waits and is not among `done`.
    pub(super) fn first_except(&self, done: &[(u64, PushAck)]) -> Option<u64> {
        let mut done = done
            .iter()
            .map(|(position, _)| *position)
            .collect::<Vec<_>>();
        done.sort_unstable();
        self.unsent
            .iter()
            .map(|unsent| unsent.position)
            .find(|position| done.binary_search(position).is_err())
    }

    fn find(&self, position: u64) -> Option<usize> {
        self.unsent
            .binary_search_by_key(&position, |unsent| unsent.position)
            .ok()
    }

    /// A record of this device has become durable.
    pub(super) fn add(&mut self, record: LogRecord) {
        let position = record.position;
        let len = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
        // What comes before it and is not in memory is needed sooner.
        let last = self.unsent.back();
        let follows = last.is_none_or(|last| last.sent || last.record.is_some());
        self.unsent.push_back(Unsent {
            position,
            len,
            record: None,
            sent: false,
        });
        if follows {
            self.cache(record);
        }
    }

    /// Keeps a record for sending if there is room.
    fn cache(&mut self, record: LogRecord) {
        let len = record.payload.len();
        let Some(at) = self.find(record.position) else {
            return;
        };
        let unsent = &mut self.unsent[at];
        // A record that is larger than the whole cache must still get through.
        let room = self.cached_bytes + len <= limits::MAX_OUTBOX_CACHE || self.cached_bytes == 0;
        if unsent.record.is_none() && !unsent.sent && room {
            self.cached_bytes += len;
            unsent.record = Some(record);
        }
    }

    /// Records are being read back from the store.
    pub(super) const fn on_loading(&mut self) {
        self.loading = true;
    }

    /// They could not be read.
    pub(super) const fn on_unreadable(&mut self) {
        self.loading = false;
        self.stale = false;
    }

    /// Records from the next one on that is to be sent. They take the place of what was in memory: that is needed later, or
    /// is too large for this relay.
    pub(super) fn on_loaded(&mut self, records: Vec<LogRecord>) {
        let asked = core::mem::take(&mut self.loading);
        if core::mem::take(&mut self.stale) || !asked {
            return;
        }
        self.cached_bytes = 0;
        for unsent in &mut self.unsent {
            unsent.record = None;
        }
        for record in records {
            self.cache(record);
        }
    }

    /// A record that waits has been replaced. The former one must not be sent any more, so the new one is kept in any case.
    pub(super) fn replace(&mut self, record: LogRecord) {
        let Some(at) = self.find(record.position) else {
            return;
        };
        self.stale |= self.loading;
        let unsent = &mut self.unsent[at];
        unsent.len = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
        if let Some(former) = unsent.record.take() {
            self.cached_bytes -= former.payload.len();
        }
        if !unsent.sent {
            self.cached_bytes += record.payload.len();
            unsent.record = Some(record);
        }
    }

    /// The next record that was not sent in this session.
    pub(super) fn next(&mut self, max_payload: usize) -> Next {
        if !self.has_room() {
            return Next::Nothing;
        }
        let fits = |unsent: &&mut Unsent| !unsent.sent && unsent.len as usize <= max_payload;
        match self.unsent.iter_mut().find(fits) {
            None => Next::Nothing,
            Some(unsent) => match unsent.record.clone() {
                Some(record) => Next::Record(record),
                None if self.loading => Next::Nothing,
                None => Next::Load {
                    after: unsent.position - 1,
                },
            },
        }
    }

    /// Whether another blob may be given to the relay before it answers.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < limits::MAX_PUSHES_IN_FLIGHT
            && self.in_flight_bytes < limits::MAX_PUSH_BYTES_IN_FLIGHT
    }

    /// A record was given to the relay, from the outbox or for a repair.
    pub(super) fn sent(&mut self, record: &LogRecord) {
        let len = record.payload.len();
        self.in_flight.push_back(InFlight {
            blob_id: record.blob_id,
            position: record.position,
            len,
            ttl: record.ttl,
        });
        self.in_flight_bytes += len;
        if let Some(at) = self.find(record.position) {
            // It is in the store, should it have to be sent again: memory is for what follows.
            if let Some(cached) = self.unsent[at].record.take() {
                self.cached_bytes -= cached.payload.len();
            }
            self.unsent[at].sent = true;
        }
    }

    /// The relay has a blob: its position and time to live, if it was in flight.
    pub(super) fn acknowledged(&mut self, blob_id: BlobId) -> Option<(u64, u32)> {
        // Answers come in order; looking further only tolerates a relay that mixes them.
        let at = self
            .in_flight
            .iter()
            .position(|in_flight| in_flight.blob_id == blob_id)?;
        let in_flight = self.in_flight.remove(at)?;
        self.in_flight_bytes -= in_flight.len;
        Some((in_flight.position, in_flight.ttl))
    }

    /// The acknowledgement is durable: the blob waits no longer.
    pub(super) fn remove(&mut self, position: u64) {
        if let Some(at) = self.find(position)
            && let Some(unsent) = self.unsent.remove(at)
            && let Some(record) = unsent.record
        {
            self.cached_bytes -= record.payload.len();
        }
    }

    pub(super) fn nothing_in_flight(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The session ended: what was not acknowledged is sent again in the next one.
    pub(super) fn rewind(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        for unsent in &mut self.unsent {
            unsent.sent = false;
        }
    }

    /// Lengths of blobs that this relay will not take.
    pub(super) fn too_large(&self, max_payload: usize) -> usize {
        self.unsent
            .iter()
            .filter(|unsent| unsent.len as usize > max_payload)
            .count()
    }
}
