//! Group commit: one task gathers the pushes of all sessions, stores what waits in one transaction, and answers.
//!
//! While a transaction is flushed to disk, the next one gathers; so the more devices push, the more blobs share a flush.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{DeviceId, GroupId, Incarnation};
use zerok_sync_shared::message::{Blob, WireError};
use zerok_sync_shared::session::{NewBlob, Stored};

use crate::clock::Clock;
use crate::groups::{Groups, Known};
use crate::limits;
use crate::metrics::Metrics;
use crate::storage::{Batch, Kept, Pending, Refused, Seen, Storage};

mod pace;
mod shares;
mod turns;

use pace::{Pace, weight};
use shares::Shares;
use turns::{Share, Turns};

/// What the writer works with.
#[derive(Clone)]
pub struct WriterContext {
    /// Where it writes.
    pub storage: Arc<dyn Storage>,
    /// Whom it wakes.
    pub groups: Arc<Groups>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// The relay's clock.
    pub clock: Arc<Clock>,
    /// Bytes that a group may store; 0 means no limit.
    pub quota: u64,
}

/// The answer to one blob.
pub type Answer = Result<Stored, WireError>;

struct Request {
    blob: NewBlob,
    session: Arc<SessionState>,
    answers: mpsc::Sender<Answer>,
    _bytes: [OwnedSemaphorePermit; 2],
}

#[derive(Debug)]
struct SessionState {
    number: u64,
    /// Once set, nothing more of the session is stored, so that no blob overtakes a refused one.
    refused: AtomicBool,
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
    seen: mpsc::Sender<Seen>,
    bytes: Arc<Semaphore>,
    rooms: Rooms,
    failing: Arc<AtomicBool>,
    sessions: Arc<AtomicU64>,
}

/// Room that each group has for what waits, so that one which pushes large blobs leaves the others theirs.
#[derive(Debug, Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<GroupId, Weak<Semaphore>>>>);

impl Rooms {
    fn of(&self, group: GroupId) -> Arc<Semaphore> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(group).or_default();
        room.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(limits::GROUP_BYTES));
            *room = Arc::downgrade(&new);
            new
        })
    }

    /// Forgets those of groups that have no session here and nothing waiting.
    fn forget_unused(&self) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|_, room| room.strong_count() > 0);
    }
}

/// One session's way to the writer.
#[derive(Debug)]
pub struct SessionWriter {
    writer: Writer,
    state: Arc<SessionState>,
    /// Room of its group.
    room: OnceLock<Arc<Semaphore>>,
    answers: mpsc::Sender<Answer>,
}

/// The writer is gone: the relay is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping")]
pub struct Stopped;

impl Writer {
    /// Starts the writer. It ends, with everything written, when the last [`Writer`] is dropped.
    #[must_use]
    pub fn start(context: WriterContext) -> (Self, JoinHandle<()>) {
        let (requests, incoming) = mpsc::channel(limits::WRITER_QUEUE);
        let (seen, incoming_seen) = mpsc::channel(limits::WRITER_QUEUE);
        let failing = Arc::new(AtomicBool::new(false));
        let rooms = Rooms::default();
        let task = Task {
            run: context.groups.run().id,
            context,
            failing: Arc::clone(&failing),
            queue: Turns::default(),
            mixed_pace: Pace::new(limits::MIXED_TIME),
            lone_pace: Pace::new(limits::LONE_TIME),
            shares: Shares::new(),
            rooms: rooms.clone(),
            rest_until: None,
            ending: false,
            last_group: None,
            mixed_at: None,
            pending: Vec::new(),
            waiting: Vec::new(),
            seen: HashMap::new(),
        };
        let handle = tokio::spawn(task.run(incoming, incoming_seen));
        let bytes = Arc::new(Semaphore::new(limits::WRITER_BYTES));
        (
            Self {
                requests,
                seen,
                bytes,
                rooms,
                failing,
                sessions: Arc::default(),
            },
            handle,
        )
    }

    /// A way to the writer for one session, whose answers arrive in `answers` in the order of its blobs.
    ///
    /// `answers` must have room for as many as the session leaves unanswered.
    #[must_use]
    pub fn session(&self, answers: mpsc::Sender<Answer>) -> SessionWriter {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(SessionState {
            number,
            refused: AtomicBool::new(false),
        });
        SessionWriter {
            writer: self.clone(),
            state,
            room: OnceLock::new(),
            answers,
        }
    }

    /// Notes that a device was here; dropped when there is too much of that.
    pub fn seen(&self, seen: Seen) {
        let _ = self.seen.try_send(seen);
    }

    /// Whether the last transaction failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Blobs that wait, and payload bytes that wait or are being written.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        let blobs = self.requests.max_capacity() - self.requests.capacity();
        (blobs, limits::WRITER_BYTES - self.bytes.available_permits())
    }

    /// The storage has been found to work again.
    pub fn recovered(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }
}

impl SessionWriter {
    /// Hands a blob over, when there is room for it.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn store(&self, blob: NewBlob) -> Result<(), Stopped> {
        let size = blob.payload.len() + limits::WAITING_BLOB;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        // A session is of one group.
        let room = self
            .room
            .get_or_init(|| self.writer.rooms.of(blob.group_id));
        let of_group = Arc::clone(room).acquire_many_owned(size).await;
        let of_all = Arc::clone(&self.writer.bytes)
            .acquire_many_owned(size)
            .await;
        let request = Request {
            blob,
            session: Arc::clone(&self.state),
            answers: self.answers.clone(),
            _bytes: [of_group.map_err(|_| Stopped)?, of_all.map_err(|_| Stopped)?],
        };
        self.writer
            .requests
            .send(request)
            .await
            .map_err(|_| Stopped)
    }
}

/// Who waits for the answer to the blob at the same place of the batch.
struct Waiting {
    session: Arc<SessionState>,
    answers: mpsc::Sender<Answer>,
    size: u64,
    _bytes: [OwnedSemaphorePermit; 2],
}

impl Waiting {
    fn answer(&self, answer: Answer) {
        if answer.is_err() {
            self.session.refused.store(true, Ordering::Relaxed);
        }
        // A session that is gone needs no answer, and one that is there has room for it.
        let _ = self.answers.try_send(answer);
    }
}

struct Task {
    context: WriterContext,
    failing: Arc<AtomicBool>,
    queue: Turns<Request>,
    /// While several groups push.
    mixed_pace: Pace,
    /// While one does.
    lone_pace: Pace,
    shares: Shares,
    rooms: Rooms,
    /// When something that rests may go on.
    rest_until: Option<Instant>,
    /// Nobody waits for anything but the end.
    ending: bool,
    /// The group that pushed last, and when it was another one than before.
    last_group: Option<GroupId>,
    mixed_at: Option<Instant>,
    pending: Vec<Pending>,
    waiting: Vec<Waiting>,
    seen: HashMap<(GroupId, DeviceId), Seen>,
    /// To which the cursors in `seen` belong.
    run: Incarnation,
}

impl Task {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut seen: mpsc::Receiver<Seen>) {
        let mut tick = interval(limits::SEEN_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut ticked = false;
            if self.queue.is_empty() || self.rest_until.is_some() {
                let rest_until = self.rest_until.unwrap_or_else(Instant::now);
                tokio::select! {
                    biased;
                    request = requests.recv() => match request {
                        Some(request) => self.enqueue(request),
                        None if self.queue.is_empty() => break,
                        None => self.ending = true,
                    },
                    Some(one) = seen.recv() => {
                        self.note(one);
                        continue;
                    }
                    _ = tick.tick() => ticked = true,
                    () = sleep_until(rest_until), if self.rest_until.is_some() => {}
                }
            }
            while let Ok(request) = requests.try_recv() {
                self.enqueue(request);
            }
            while let Ok(one) = seen.try_recv() {
                self.note(one);
            }
            self.gather();
            self.context
                .metrics
                .queue_depth
                .set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
            if ticked {
                self.shares.forget_full();
                self.rooms.forget_unused();
            }
            if ticked || !self.pending.is_empty() {
                self.commit().await;
            }
        }
        self.commit().await;
    }

    fn enqueue(&mut self, request: Request) {
        let (group, session) = (request.blob.group_id, request.session.number);
        let size = request.blob.payload.len();
        let before = self.last_group.replace(group);
        if before.is_some_and(|before| before != group) {
            self.mixed_at = Some(Instant::now());
        }
        self.queue.push(group, session, size, request);
    }

    /// Takes what waits, group by group in turns, as much as one transaction shall have. Whoever comes while it is under
    /// way waits for it, so it is short; and shorter where others are about, who would notice.
    fn gather(&mut self) {
        let mut refused = Vec::new();
        let weight = self.queue.groups().saturating_mul(limits::GROUP_WEIGHT);
        let room = Share {
            count: limits::BATCH_BLOBS,
            size: limits::BATCH_BYTES,
            weight: weight.max(self.pace().allowance()),
        };
        let alone = self.ending || !self.is_mixed();
        let shares = &self.shares;
        let may = |group, weight| {
            if alone {
                Ok(())
            } else {
                shares.take(group, weight)
            }
        };
        let (pending, waiting) = (&mut self.pending, &mut self.waiting);
        let rest = self.queue.take(room, may, |request| {
            let Request {
                blob,
                session,
                answers,
                _bytes,
            } = request;
            let one = Waiting {
                size: blob.payload.len() as u64,
                session,
                answers,
                _bytes,
            };
            if one.session.refused.load(Ordering::Relaxed) {
                refused.push(one);
                return;
            }
            pending.push(Pending {
                blob,
                session: one.session.number,
            });
            waiting.push(one);
        });
        self.rest_until = rest.map(|rest| Instant::now() + rest);
        for one in refused {
            one.answer(Err(refusal(Refused::AfterRefusal)));
        }
    }

    /// Whether several groups push.
    fn is_mixed(&self) -> bool {
        self.mixed_at
            .is_some_and(|at| at.elapsed() < limits::GROUPS_MIXED)
    }

    fn pace(&mut self) -> &mut Pace {
        if self.is_mixed() {
            &mut self.mixed_pace
        } else {
            &mut self.lone_pace
        }
    }

    fn note(&mut self, seen: Seen) {
        if self.seen.len() < limits::MAX_PENDING_SEEN {
            let known = self
                .seen
                .entry((seen.group_id, seen.device))
                .or_insert(seen);
            known.acked = known.acked.max(seen.acked);
            known.at = known.at.max(seen.at);
        }
    }

    async fn commit(&mut self) {
        if self.pending.is_empty() && self.seen.is_empty() {
            return;
        }
        let started = Instant::now();
        let known = self
            .context
            .groups
            .known(self.pending.iter().map(|one| one.blob.group_id));
        if known.run != self.run {
            // Cursors of a history that is no more.
            self.run = known.run;
            self.seen.clear();
        }
        let seen: Vec<Seen> = self.seen.drain().map(|(_, seen)| seen).collect();
        let batch = Batch {
            blobs: &self.pending,
            seen: &seen,
            quota: self.context.quota,
            now: self.context.clock.now(),
        };
        let result = self.context.storage.commit(batch).await;
        let pending = std::mem::take(&mut self.pending);
        let waiting = std::mem::take(&mut self.waiting);
        match result {
            Ok(answers) => {
                self.failing.store(false, Ordering::Relaxed);
                let bytes = pending.iter().map(|one| one.blob.payload.len()).sum();
                self.pace()
                    .note(weight(pending.len(), bytes), started.elapsed());
                self.answer(&known, pending, waiting, answers, started.elapsed());
            }
            Err(error) => {
                // What devices have said they hold is said only once; it goes with the next transaction that succeeds.
                for one in seen {
                    self.note(one);
                }
                // Once, not for every batch that fails for the same reason.
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "cannot write to the database; check the disk");
                }
                for waiting in waiting {
                    waiting.answer(Err(storage_failed()));
                }
            }
        }
    }

    fn answer(
        &self,
        known: &Known,
        pending: Vec<Pending>,
        waiting: Vec<Waiting>,
        answers: Vec<Result<Kept, Refused>>,
        took: Duration,
    ) {
        let metrics = &self.context.metrics;
        if !waiting.is_empty() {
            metrics.commits.inc();
            metrics.commit_blobs.observe(waiting.len() as f64);
            metrics.commit_seconds.observe(took.as_secs_f64());
        }
        let mut newest: HashMap<GroupId, u64> = HashMap::new();
        let mut fresh = Vec::with_capacity(pending.len());
        for (pending, answer) in pending.into_iter().zip(&answers) {
            if let Ok(kept) = answer {
                let group = pending.blob.group_id;
                let cursor = newest.entry(group).or_default();
                *cursor = kept.stored.cursor.max(*cursor);
                if kept.new {
                    // What was before it.
                    let before = kept.stored.cursor.saturating_sub(1);
                    self.context.groups.check(known, group, before);
                    fresh.push((group, delivered(pending.blob, kept.stored)));
                }
            }
        }
        self.context.groups.stored(known.run, fresh);
        // The answers before the wake-up: a session that has them sends a device's own blobs without their bytes.
        for (waiting, answer) in waiting.into_iter().zip(answers) {
            if answer.is_ok() {
                metrics.pushes.inc();
                metrics.push_bytes.inc_by(waiting.size);
            }
            waiting.answer(answer.map(|kept| kept.stored).map_err(refusal));
        }
        for (group, cursor) in newest {
            self.context.groups.grown(known.run, group, cursor);
        }
    }
}

/// A blob as subscribers get it.
fn delivered(blob: NewBlob, stored: Stored) -> Blob {
    Blob {
        cursor: stored.cursor,
        blob_id: blob.blob_id,
        sender: blob.sender,
        epoch: blob.epoch,
        timestamp: stored.timestamp,
        ttl: u32::try_from(blob.ttl).unwrap_or(u32::MAX),
        payload: blob.payload,
    }
}

fn refusal(refused: Refused) -> WireError {
    match refused {
        Refused::Quota => WireError {
            code: ErrorCode::GroupQuotaExceeded,
            message: "the group has used up its storage on this relay; it is tried again".into(),
            retry_after_ms: Some(millis(limits::QUOTA_RETRY)),
        },
        Refused::Full => full(),
        Refused::UnknownGroup => WireError::new(
            ErrorCode::UnknownGroup,
            "this relay does not know the group",
        ),
        Refused::AfterRefusal => WireError::new(
            ErrorCode::InvalidMessage,
            "an earlier blob of this session was refused; open another session",
        ),
    }
}

/// What a device is told when there is no room for anything new.
#[must_use]
pub fn full() -> WireError {
    WireError {
        code: ErrorCode::RelayOverloaded,
        message: "the storage of this relay is used up; it is tried again".into(),
        retry_after_ms: Some(millis(limits::QUOTA_RETRY)),
    }
}

/// What a device is told when the storage failed.
#[must_use]
pub fn storage_failed() -> WireError {
    WireError {
        code: ErrorCode::StorageFailed,
        message: "the relay cannot use its disk at the moment; nothing is lost, try again".into(),
        retry_after_ms: Some(millis(limits::STORAGE_RETRY)),
    }
}

/// A duration for the wire.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
