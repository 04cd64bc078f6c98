//! One task per session stream: carries out what the session state machine decides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use iroh::endpoint::{RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zerok_sync_shared::codec::DecodeError;
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{DeviceId, GroupId};
use zerok_sync_shared::limits::MAX_PUSHES_IN_FLIGHT;
use zerok_sync_shared::message::{Blob, Message, WireError};
use zerok_sync_shared::session::{Input, Output, Page, Phase, Purpose, Session, SessionConfig};
use zerok_sync_shared::time::Timestamp;
use zerok_sync_transport::frames::{FrameReader, FrameWriter};

use crate::access::{Access, Admission};
use crate::attendance::{Attendance, Attending};
use crate::budget::{Budget, Held};
use crate::clock::Clock;
use crate::groups::{Groups, Membership, News, Run};
use crate::limits;
use crate::metrics::{Counted, Metrics};
use crate::network::Network;
use crate::rates::{DeviceRates, Rates, Toll, dropped, too_fast};
use crate::restart;
use crate::storage::keys::KeptKeys;
use crate::storage::{Deletion, OpenGroup, Seen, Storage};
use crate::writer::{Answer, SessionWriter, Writer, millis};

mod asked;
mod live;
mod patience;
mod room;

use asked::{delete, open_or_found, read_failed, rotate, store_snapshot, to_its_end};
use live::live;
use patience::Patience;
pub use room::Room;
use room::{Arriving, asks_much, step};

/// What every session works with.
#[derive(Clone)]
pub struct SessionContext {
    /// Where it reads.
    pub storage: Arc<dyn Storage>,
    /// How it writes.
    pub writer: Writer,
    /// Where it hears of new blobs.
    pub groups: Arc<Groups>,
    /// Where it hears of who is there.
    pub attendance: Arc<Attendance>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// The relay's clock.
    pub clock: Arc<Clock>,
    /// Who may come in.
    pub access: Access,
    /// How much devices may send.
    pub rates: Arc<Rates>,
    /// What answers may take of memory.
    pub sending: Arc<Budget>,
    /// What frames may take of it.
    pub receiving: Arc<Budget>,
    /// How long a device may take nothing of what is sent to it.
    pub slow_reader: Duration,
    /// Groups that may exist.
    pub max_groups: u64,
    /// A group that nobody uses for so long is forgotten.
    pub inactive_after: Duration,
    /// Bytes that a group may store; 0 means no limit.
    pub group_quota: u64,
    /// Seconds that a blob is kept at most, whatever its sender asks for.
    pub max_blob_ttl: u64,
    /// Cancelled when the relay stops.
    pub shutdown: CancellationToken,
}

impl SessionContext {
    /// A group that was last opened before this is noted as opened, long before it would be forgotten.
    fn renew_before(&self) -> Timestamp {
        let now = self.clock.expiry();
        Timestamp(now.0.saturating_sub(millis(self.inactive_after / 2)))
    }
}

/// Answers that one session may wait for: as many pushes as it takes in, with the same margin as the session.
const ANSWERS: usize = 2 * MAX_PUSHES_IN_FLIGHT + 1;

/// Runs one session to its end, within one run of the relay.
pub async fn run(
    context: SessionContext,
    run: Run,
    config: SessionConfig,
    network: Option<Network>,
    room: Room,
    send: SendStream,
    receive: RecvStream,
) {
    let _counted = Counted::new(&context.metrics.sessions);
    let (answers, incoming) = mpsc::channel(ANSWERS);
    let device = config.device;
    let mut driver = Driver {
        session: Session::new(config, context.clock.now()),
        store: context.writer.session(answers),
        rates: context.rates.of(device),
        patience: Patience::new(context.slow_reader, Instant::now()),
        arriving: Arriving::new(Patience::new(context.slow_reader, Instant::now())),
        room,
        sending: Held::default(),
        later: None,
        context,
        run,
        device,
        network,
        held: None,
        muted_until: None,
        reader: FrameReader::new(receive),
        writer: FrameWriter::new(send),
        answers: incoming,
        work: FuturesUnordered::new(),
        admission: None,
        membership: None,
        attending: None,
        superseded: false,
        news: None,
        subscribed: None,
        flushed: true,
        leaving: false,
    };
    let ended = driver.drive().await;
    driver.leave();
    if ended.is_ok() {
        driver.finish().await;
    }
}

/// The stream or its connection is gone; nothing can be said any more.
struct Gone;

/// Work that is done, and the room for what came of it.
struct Done {
    input: Input,
    held: Held,
}

impl From<Input> for Done {
    fn from(input: Input) -> Self {
        Self {
            input,
            held: Held::default(),
        }
    }
}

/// A frame that came too soon.
struct Early {
    frame: Result<Message, DecodeError>,
    toll: Toll,
    since: Instant,
    until: Instant,
}

struct Driver {
    context: SessionContext,
    /// The history that the device is shown.
    run: Run,
    device: DeviceId,
    /// Where it is, if anybody can tell.
    network: Option<Network>,
    rates: DeviceRates,
    held: Option<Early>,
    /// After a refusal nothing is read before the device was told to come back.
    muted_until: Option<Instant>,
    session: Session,
    reader: FrameReader,
    writer: FrameWriter,
    store: SessionWriter,
    answers: mpsc::Receiver<Answer>,
    /// Reads and look-ups that are under way; the session has at most a few at a time.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    admission: Option<Admission>,
    membership: Option<Membership>,
    /// The device's place among those who are there, and its group.
    attending: Option<(Attending, GroupId)>,
    /// Whether the group has newer keys than the session.
    superseded: bool,
    /// The other half of what was heard of the group.
    news: Option<Input>,
    subscribed: Option<Counted>,
    /// Whether the session knows that all it sent was taken.
    flushed: bool,
    /// Whether the session knows that the relay stops.
    leaving: bool,
    patience: Patience,
    room: Room,
    /// What was taken for that which is queued.
    sending: Held,
    arriving: Arriving,
    /// A question that waits until what was asked for before is taken.
    later: Option<Input>,
}

impl Driver {
    async fn drive(&mut self) -> Result<(), Gone> {
        let mut outputs = Vec::new();
        let opened = Instant::now();
        let deadline = opened + zerok_sync_shared::limits::HELLO_TIMEOUT;
        loop {
            let Some(mut input) = self.next_input(deadline).await? else {
                return Ok(());
            };
            // After the wait: what was read or stored may be of another history than what the device has.
            if self.run.is_over() {
                input = self.set_back();
            }
            // What others have been told is stored counts for this device too, though it has not been woken yet.
            if matches!(input, Input::Frame(Ok(Message::Subscribe(_))))
                && let Some(group) = &self.membership
            {
                let newest = group.newest();
                self.session.handle(Input::Grown(newest), &mut outputs);
            }
            // Before its signatures are looked at, which may be many: who may not come in shall cost little.
            if self.admission.is_none()
                && let Input::Frame(Ok(Message::Hello(hello))) = &input
            {
                match self.context.access.admit(hello.access_token.as_deref()) {
                    Ok(admission) => self.admission = Some(admission),
                    Err(error) => input = Input::Revoked(error),
                }
            }
            let input = self.complete(input);
            self.session.handle(input, &mut outputs);
            for output in outputs.drain(..) {
                if matches!(output, Output::Close) {
                    return Ok(());
                }
                self.carry_out(output).await?;
            }
            self.settle();
        }
    }

    /// What happens next: first what is there already, then whatever comes first. `None` at the end of the stream.
    async fn next_input(&mut self, deadline: Instant) -> Result<Option<Input>, Gone> {
        loop {
            if !self.leaving && self.context.shutdown.is_cancelled() {
                self.leaving = true;
                return Ok(Some(self.shutdown()));
            }
            let slowed = self
                .held
                .as_ref()
                .map(|held| held.until)
                .or(self.muted_until);
            let unpaid = self.writer.queued().saturating_sub(self.sending.bytes());
            let wants_frames = slowed.is_none()
                && self.later.is_none()
                && self.session.wants_frames()
                && unpaid < limits::MAX_QUEUED;
            let frame_limit = self.session.frame_limit();
            if let Some(input) = self.news.take() {
                return Ok(Some(input));
            }
            if let Ok(answer) = self.answers.try_recv() {
                return Ok(Some(Input::Stored(answer)));
            }
            if wants_frames && let Some(frame) = self.reader.try_next(frame_limit) {
                if let Some(input) = self.accept(frame) {
                    return Ok(Some(input));
                }
                continue;
            }
            if self.writer.is_empty() && self.later.is_some() {
                return Ok(self.later.take());
            }
            if self.writer.is_empty() && !self.flushed {
                self.flushed = true;
                return Ok(Some(Input::Flushed));
            }
            let queued = self.writer.queued();
            let writing = queued > 0;
            let active = self.session.group().is_some();
            let listens =
                self.session.listens() && queued < limits::LIVE_QUEUED && self.later.is_none();
            let reads = self.admits(wants_frames);
            let arrived = self.reader.arrived();
            tokio::select! {
                more = self.reader.fill(), if reads => {
                    if !more.map_err(|_| Gone)? {
                        return Ok(None);
                    }
                    self.arriving.took(self.reader.arrived().saturating_sub(arrived));
                }
                step = step(&mut self.arriving) => {
                    if let Some(input) = self.step(step) {
                        return Ok(Some(input));
                    }
                }
                () = sleep_until(slowed.unwrap_or(deadline)), if slowed.is_some() => {
                    self.muted_until = None;
                    if let Some(input) = self.release() {
                        return Ok(Some(input));
                    }
                }
                Some(answer) = self.answers.recv() => return Ok(Some(Input::Stored(answer))),
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.sending.add(done.held);
                    return Ok(Some(done.input));
                }
                news = news(&mut self.membership), if active => {
                    self.news = Some(Input::Grown(news.cursor));
                    return Ok(Some(Input::EpochChanged(news.epoch)));
                }
                live = live(&self.attending), if listens => {
                    if let Some(input) = self.take_live(live) {
                        return Ok(Some(input));
                    }
                }
                written = self.writer.write_some(), if writing => {
                    written.map_err(|_| Gone)?;
                    let taken = queued.saturating_sub(self.writer.queued());
                    self.patience.took(taken, Instant::now());
                    self.sending.keep(self.writer.queued());
                }
                () = sleep_until(self.patience.until()), if writing => {
                    let wanted = self.sending.bytes() > 0 && self.room.sending.is_wanted();
                    if self.patience.is_over(Instant::now(), wanted) {
                        self.cut();
                        return Err(Gone);
                    }
                }
                () = sleep_until(deadline), if self.session.deadline().is_some() => {
                    return Ok(Some(Input::DeadlinePassed));
                }
                error = revoked(&mut self.admission) => return Ok(Some(Input::Revoked(error))),
                () = self.run.over() => return Ok(Some(self.set_back())),
                () = self.context.shutdown.cancelled(), if !self.leaving => {}
            }
        }
    }

    fn shutdown(&self) -> Input {
        let retry = restart::come_back_in(self.context.metrics.open_connections());
        Input::Shutdown {
            retry_after_ms: millis(retry),
        }
    }

    /// The device comes back and says what it has; nothing more that it is told would fit that.
    fn set_back(&self) -> Input {
        let retry = restart::come_back_in(self.context.metrics.open_connections());
        Input::Revoked(WireError {
            code: ErrorCode::RelayShuttingDown,
            message: "the relay's database was set back; come again and bring what it lacks".into(),
            retry_after_ms: Some(millis(retry)),
        })
    }

    /// After an input was dealt with: gives back the room of what is neither queued nor on its way.
    fn settle(&mut self) {
        self.sending.keep(self.writer.queued());
        if self.held.is_none() && self.later.is_none() {
            self.arriving.held.keep(self.reader.announced());
        }
    }

    /// Takes a frame in, unless it came too soon.
    fn accept(&mut self, frame: Result<Message, DecodeError>) -> Option<Input> {
        self.arriving.complete();
        let now = Instant::now();
        self.held = Some(Early {
            frame,
            toll: Toll::new(self.reader.last_len()),
            since: now,
            until: now,
        });
        self.release()
    }

    /// What becomes of the frame that is held, if anything does already.
    fn release(&mut self) -> Option<Input> {
        let held = self.held.as_mut()?;
        let Err(wait) = self.rates.pay(&mut held.toll) else {
            let frame = self.held.take()?.frame;
            let waits = asks_much(&frame) && !self.writer.is_empty();
            let input = Input::Frame(frame);
            if waits {
                self.later = Some(input);
                return None;
            }
            return Some(input);
        };
        // Nothing waits for it, and it is worth nothing later.
        if matches!(held.frame, Ok(Message::Ephemeral(_))) {
            self.held = None;
            self.context.metrics.ephemeral_dropped.inc();
            return Some(Input::EphemeralDropped(dropped(wait)));
        }
        let now = Instant::now();
        held.until = now + wait;
        if held.until <= held.since + limits::MAX_HOLD {
            return None;
        }
        self.muted_until = Some(held.until);
        self.held = None;
        Some(Input::RateLimited(too_fast(wait)))
    }

    /// Gives up a device that does not read. An ERROR would only wait behind everything else, so the stream is reset.
    fn cut(&mut self) {
        let code = ErrorCode::TooSlow;
        self.context.metrics.refuse(code);
        tracing::debug!(code = code.name(), "refused");
        let _ = self
            .writer
            .get_mut()
            .reset(VarInt::from_u32(code.number().into()));
    }

    async fn carry_out(&mut self, output: Output) -> Result<(), Gone> {
        match output {
            Output::Send(message) => self.send(&message),
            Output::OpenGroup {
                group_id,
                access_pub,
                epoch,
                create,
                chain,
                marks,
                after_cursor,
            } => {
                // Before the group is read, so that no commit falls between.
                self.membership = Some(self.context.groups.join(group_id));
                let (context, network) = (self.context.clone(), self.network);
                let open = OpenGroup {
                    group_id,
                    device: self.device,
                    access_pub,
                    epoch,
                    create,
                    chain,
                    max_groups: context.max_groups,
                    now: context.clock.now(),
                    renew_before: context.renew_before(),
                    marks,
                    after_cursor,
                };
                self.work.push(Box::pin(async move {
                    let clock = Arc::clone(&context.clock);
                    let opened = async move { open_or_found(&context, open, network).await };
                    Input::GroupOpened(to_its_end(opened).await, clock.now()).into()
                }));
            }
            Output::Store(mut blob) => {
                blob.ttl = blob.ttl.min(self.context.max_blob_ttl);
                self.store.store(blob).await.map_err(|_| Gone)?;
            }
            Output::Read {
                purpose,
                after,
                max_blobs,
                max_bytes,
            } => {
                let Some(group_id) = self.session.group() else {
                    return Ok(());
                };
                if purpose == Purpose::Stream {
                    let metrics = &self.context.metrics;
                    self.subscribed
                        .get_or_insert_with(|| Counted::new(&metrics.subscribers));
                    let now = self.context.clock.now();
                    let recent = self
                        .membership
                        .as_ref()
                        .and_then(|group| group.recent(after, max_blobs, max_bytes, now));
                    // With a page in its hands nobody waits: the memory would be taken already.
                    let recent = recent
                        .and_then(|page| Some((self.room.sending.try_take(cost(&page))?, page)));
                    if let Some((held, page)) = recent {
                        metrics.pages_from_memory.inc();
                        let input = Input::Read(purpose, Ok(page));
                        self.work
                            .push(Box::pin(std::future::ready(Done { input, held })));
                        return Ok(());
                    }
                    metrics.pages_from_storage.inc();
                }
                let storage = Arc::clone(&self.context.storage);
                self.answer(limits::PAGE_COST, async move {
                    let page = storage.read(group_id, after, max_blobs, max_bytes).await;
                    Input::Read(purpose, page.map_err(read_failed))
                });
            }
            Output::Has(ids) => {
                let Some(group_id) = self.session.group() else {
                    return Ok(());
                };
                let storage = Arc::clone(&self.context.storage);
                self.answer(limits::LIST_COST, async move {
                    Input::HasResult(storage.has(group_id, ids).await.map_err(read_failed))
                });
            }
            Output::Delete { group_id, delete } => {
                let context = self.context.clone();
                let deletion = Deletion {
                    group_id,
                    blob_id: delete.blob_id,
                    by: self.device,
                    force: delete.force,
                };
                self.work.push(Box::pin(async move {
                    let deleted = async move { self::delete(&context, deletion).await };
                    Input::Deleted(to_its_end(deleted).await).into()
                }));
            }
            Output::Devices => self.list_devices(),
            Output::Broadcast(said) => {
                if let Some((attending, _)) = &self.attending {
                    attending.say(&said);
                }
            }
            Output::StoreSnapshot(new) => {
                let context = self.context.clone();
                let part = std::mem::take(&mut self.arriving.held);
                self.work.push(Box::pin(async move {
                    let stored = store_snapshot(&context, *new).await;
                    drop(part);
                    Input::SnapshotStored(stored).into()
                }));
            }
            Output::ReadSnapshot { group_id, part } => {
                let storage = Arc::clone(&self.context.storage);
                self.answer(limits::PAGE_COST, async move {
                    let found = storage.snapshot_part(group_id, part).await;
                    Input::SnapshotRead(found.map_err(read_failed))
                });
            }
            Output::Keys {
                group_id,
                after_epoch,
            } => {
                self.superseded |= self.session.phase() == Phase::Behind;
                let (storage, device) = (Arc::clone(&self.context.storage), self.device);
                self.answer(limits::KEYS_COST, async move {
                    let since = storage.keys_since(group_id, device, after_epoch).await;
                    Input::Keys(since.map_err(read_failed))
                });
            }
            Output::Rotate(rotation) => {
                let context = self.context.clone();
                self.work.push(Box::pin(async move {
                    let rotated = async move { rotate(&context, *rotation).await };
                    Input::Rotated(to_its_end(rotated).await).into()
                }));
            }
            Output::KeepKeys {
                group_id,
                epoch,
                members,
                packets,
            } => {
                let keys = KeptKeys {
                    group_id,
                    epoch,
                    members,
                    packets,
                };
                // Nobody waits for it: devices that find no keys are told to come again, and the next member brings them.
                if let Err(error) = self.context.storage.keep_keys(keys).await {
                    read_failed(error);
                }
            }
            Output::Acked(cursor) => {
                if let Some(group_id) = self.session.group() {
                    self.seen(group_id, cursor);
                }
            }
            // The caller ends the session instead.
            Output::Close => {}
        }
        Ok(())
    }

    fn send(&mut self, message: &Message) {
        match message {
            Message::Error(error) => {
                self.context.metrics.refuse(error.code);
                tracing::debug!(code = error.code.name(), "refused");
            }
            Message::Welcome(_) => {
                if let Some(group_id) = self.session.group() {
                    self.seen(group_id, 0);
                    self.enter(group_id);
                }
            }
            Message::Ephemeral(_) => {
                self.context.metrics.ephemeral_forwarded.inc();
            }
            Message::Blob(blob) => self.delivered(std::slice::from_ref(blob)),
            Message::PullResponse(page) => self.delivered(&page.blobs),
            _ => {}
        }
        if self.writer.is_empty() {
            self.patience.begin(Instant::now());
        }
        self.flushed = false;
        self.writer.queue(message);
    }

    fn delivered(&self, blobs: &[Blob]) {
        let bytes: usize = blobs.iter().map(|blob| blob.payload.len()).sum();
        let metrics = &self.context.metrics;
        metrics.delivered.inc_by(blobs.len() as u64);
        metrics.delivered_bytes.inc_by(bytes as u64);
    }

    fn seen(&self, group_id: GroupId, acked: u64) {
        if self.run.is_over() {
            return;
        }
        let at = self.context.clock.now();
        self.context.writer.seen(Seen {
            group_id,
            device: self.device,
            acked,
            at,
        });
    }

    /// Ends the stream so that the last message arrives.
    async fn finish(mut self) {
        // Nothing more is read; the device learns it instead of filling a stream that nobody empties.
        let _ = self.reader.get_mut().stop(VarInt::from_u32(0));
        let arrived = async {
            self.writer.flush().await.map_err(|_| Gone)?;
            let stream = self.writer.get_mut();
            stream.finish().map_err(|_| Gone)?;
            stream.stopped().await.map_err(|_| Gone)
        };
        let _ = timeout(limits::CLOSE_TIMEOUT, arrived).await;
    }
}

/// About what a page takes.
fn cost(page: &Page) -> usize {
    let payloads: usize = page.blobs.iter().map(|blob| blob.payload.len()).sum();
    payloads + page.blobs.len() * limits::BLOB_COST
}

async fn revoked(admission: &mut Option<Admission>) -> WireError {
    match admission {
        Some(admission) => admission.revoked().await,
        None => std::future::pending().await,
    }
}

async fn news(membership: &mut Option<Membership>) -> News {
    match membership {
        Some(membership) => membership.news().await,
        None => std::future::pending().await,
    }
}
