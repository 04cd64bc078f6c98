//! The relay's session fed any frames in any order, over a storage of its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use zerok_sync_shared::codec::{self, PREFIX_LEN};
use zerok_sync_shared::crypto::access::hello_proof;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::error::ErrorCode;
use zerok_sync_shared::ids::{BlobId, DeviceId, Incarnation};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{
    Blob, Ephemeral, Hello, Mark, Message, Pull, Push, RelayLimits, Subscribe, VERSION, WireError,
};
use zerok_sync_shared::session::{
    GroupInfo, Input, NewBlob, Output, Page, Purpose, Session, SessionConfig, Stored,
};
use zerok_sync_shared::time::Timestamp;

use crate::source::Source;

const RELAY: DeviceId = DeviceId([1; 32]);
const DEVICE: DeviceId = DeviceId([2; 32]);
const EXPORTER: [u8; 32] = [3; 32];
const PAGE: usize = 2_000;

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([1; 32]))
}

fn config() -> SessionConfig {
    SessionConfig {
        relay_id: RELAY,
        incarnation: Incarnation([5; 16]),
        run: Incarnation([9; 16]),
        device: DEVICE,
        exporter: EXPORTER,
        limits: RelayLimits {
            max_payload: 1_000,
            default_ttl: 60,
            group_quota: 0,
        },
        capabilities: Vec::new(),
        page_bytes: PAGE,
        max_storing_bytes: 4_000,
    }
}

fn hello() -> Hello {
    let keys = keys();
    let group_id = keys.founded_group();
    Hello {
        version: VERSION,
        group_id,
        epoch: 0,
        access_pub: keys.access_pub(),
        certificates: Vec::new(),
        proof: hello_proof(&keys, RELAY, DEVICE, group_id, &EXPORTER),
        after_cursor: 0,
        capabilities: Vec::new(),
        access_token: None,
        marks: Vec::new(),
        probe: false,
    }
}

/// The storage, and what it was asked and has not answered.
#[derive(Default)]
struct World {
    blobs: Vec<Blob>,
    stores: VecDeque<NewBlob>,
    reads: VecDeque<(Purpose, u64, u32, usize)>,
    has: VecDeque<Vec<BlobId>>,
    opening: bool,
    listing: bool,
    refused: bool,
    /// Where acknowledged blobs are.
    granted: BTreeMap<BlobId, u64>,
    welcomed: bool,
    closed: bool,
    subscribed_after: Option<u64>,
    last_sent: u64,
    unanswered: usize,
}

impl World {
    fn max(&self) -> u64 {
        self.blobs.len() as u64
    }

    fn store(&mut self, blob: NewBlob) -> Stored {
        let known = self
            .blobs
            .iter()
            .find(|known| known.blob_id == blob.blob_id);
        let cursor = known.map_or(self.max() + 1, |known| known.cursor);
        let stored = Stored {
            cursor,
            timestamp: Timestamp(cursor),
        };
        if known.is_none() {
            self.blobs.push(Blob {
                cursor,
                blob_id: blob.blob_id,
                sender: blob.sender,
                epoch: blob.epoch,
                timestamp: stored.timestamp,
                ttl: 60,
                payload: blob.payload,
            });
        }
        self.granted.insert(blob.blob_id, cursor);
        stored
    }

    fn page(&self, after: u64, max_blobs: u32, max_bytes: usize) -> Page {
        let mut blobs: Vec<Blob> = Vec::new();
        let mut size = 0;
        for blob in self.blobs.iter().filter(|blob| blob.cursor > after) {
            size += blob.payload.len();
            if !blobs.is_empty() && (size > max_bytes || blobs.len() >= max_blobs as usize) {
                break;
            }
            blobs.push(blob.clone());
        }
        let max_cursor = self.max();
        let last = blobs.last().map_or(max_cursor, |blob| blob.cursor);
        Page {
            blobs,
            up_to: last.max(after.min(max_cursor)),
            has_more: last < max_cursor,
            max_cursor,
        }
    }

    fn take_in(&mut self, output: Output) {
        assert!(!self.closed, "nothing happens after the end");
        match output {
            Output::OpenGroup { .. } => {
                assert!(!self.opening && !self.welcomed, "one group");
                self.opening = true;
            }
            Output::Close => self.closed = true,
            Output::Send(message) => self.sent(&message),
            other => {
                assert!(self.welcomed, "{other:?} before a proof was accepted");
                match other {
                    Output::Store(blob) => {
                        assert!(
                            blob.ttl > 0 && !blob.payload.is_empty() && blob.payload.len() <= 1_000
                        );
                        self.unanswered += 1;
                        self.stores.push_back(blob);
                    }
                    Output::Read {
                        purpose,
                        after,
                        max_blobs,
                        max_bytes,
                    } => {
                        assert!(max_blobs > 0 && max_blobs <= limits::MAX_PULL_BLOBS);
                        assert!(max_bytes <= limits::MAX_PULL_BYTES);
                        self.reads.push_back((purpose, after, max_blobs, max_bytes));
                    }
                    Output::Has(ids) => self.has.push_back(ids),
                    Output::Devices => {
                        assert!(!self.listing, "one question at a time");
                        self.listing = true;
                    }
                    Output::Broadcast(said) => {
                        assert_eq!((said.sender, said.epoch), (DEVICE, 0), "in its own name");
                        assert!(said.payload.len() <= limits::MAX_EPHEMERAL_PAYLOAD);
                    }
                    _ => {}
                }
            }
        }
    }

    fn sent(&mut self, message: &Message) {
        let frame = codec::encode(message);
        assert!(
            frame.len() <= PREFIX_LEN + limits::MAX_FRAME,
            "too long for a device"
        );
        assert_eq!(codec::decode(&frame[PREFIX_LEN..]).as_ref(), Ok(message));
        match message {
            Message::Welcome(_) => {
                assert!(!self.welcomed);
                self.welcomed = true;
            }
            Message::Error(_) => {}
            _ if !self.welcomed => panic!("{message:?} before a proof was accepted"),
            Message::PushAck(ack) => {
                assert_eq!(
                    self.granted.get(&ack.blob_id),
                    Some(&ack.cursor),
                    "only what is stored"
                );
            }
            Message::Blob(blob) => {
                assert!(blob.cursor > self.last_sent, "each once, in order");
                self.last_sent = blob.cursor;
            }
            _ => {}
        }
    }
}

struct Run {
    session: Session,
    world: World,
}

impl Run {
    fn feed(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.session.handle(input, &mut outputs);
        for output in outputs {
            self.world.take_in(output);
        }
        assert_eq!(self.session.is_closed(), self.world.closed);
    }

    /// As a driver does: only while the session wants frames, and only of the length that it allows.
    fn frame(&mut self, message: Message) {
        let frame = codec::encode(&message);
        self.bytes(&frame[PREFIX_LEN..]);
    }

    fn bytes(&mut self, frame: &[u8]) {
        if !self.session.wants_frames() || frame.len() > self.session.frame_limit() {
            return;
        }
        let message = codec::decode(frame);
        if self.session.group().is_some()
            && self.world.subscribed_after.is_none()
            && let Ok(Message::Subscribe(subscribe)) = &message
        {
            self.world.subscribed_after = Some(subscribe.after_cursor);
            self.world.last_sent = subscribe.after_cursor;
        }
        self.feed(Input::Frame(message));
    }

    fn answer_store(&mut self, fails: bool) {
        if let Some(blob) = self.world.stores.pop_front() {
            // As the storage owes: after a refusal nothing more of the session is stored.
            self.world.refused |= fails;
            let result = if self.world.refused {
                Err(WireError::new(ErrorCode::StorageFailed, "full"))
            } else {
                Ok(self.world.store(blob))
            };
            self.feed(Input::Stored(result));
        }
    }

    fn answer_read(&mut self, fails: bool) {
        if let Some((purpose, after, max_blobs, max_bytes)) = self.world.reads.pop_front() {
            let page = self.world.page(after, max_blobs, max_bytes);
            let result = if fails {
                Err(WireError::new(ErrorCode::StorageFailed, "unreadable"))
            } else {
                Ok(page)
            };
            self.feed(Input::Read(purpose, result));
        }
    }

    fn answer_has(&mut self) {
        if std::mem::take(&mut self.world.listing) {
            self.feed(Input::Devices(Ok(Vec::new())));
        }
        if let Some(ids) = self.world.has.pop_front() {
            let known = |id| self.world.blobs.iter().find(|blob| blob.blob_id == id);
            let marks = ids.into_iter().filter_map(known).map(|blob| Mark {
                cursor: blob.cursor,
                blob_id: blob.blob_id,
                timestamp: blob.timestamp,
            });
            let marks = marks.collect();
            self.feed(Input::HasResult(Ok(marks)));
        }
    }

    fn answer_opening(&mut self, source: &mut Source<'_>) {
        if std::mem::take(&mut self.world.opening) {
            let result = match source.u8() % 8 {
                0 => Err(WireError::new(ErrorCode::UnknownGroup, "unknown")),
                _ => Ok(GroupInfo {
                    founding: [0; 16],
                    snapshot: None,
                    lacking: false,
                    max_cursor: self.world.max(),
                    epoch: 0,
                    access_pub: keys().access_pub(),
                    marks: Vec::new(),
                    revoked: source.u8() == 1,
                }),
            };
            self.feed(Input::GroupOpened(result, Timestamp(1)));
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.u8() % 20 {
            0 => self.frame(Message::Hello(hello())),
            1 | 2 => self.bytes(source.bytes()),
            3 | 4 => {
                let (id, length) = (source.u8() % 32, usize::from(source.u16() % 1_200));
                let push = Push {
                    blob_id: BlobId([id; 16]),
                    epoch: u32::from(source.u8() % 2 == 200),
                    ttl: u32::from(source.u8()),
                    payload: Bytes::from(vec![id; length]),
                    origin: None,
                };
                self.frame(Message::Push(push));
            }
            5 => {
                let subscribe = Subscribe {
                    after_cursor: source.u64() % 8,
                    window: u32::from(source.u16()),
                };
                self.frame(Message::Subscribe(subscribe));
            }
            6 => {
                let pull = Pull {
                    after_cursor: source.u64() % 40,
                    limit: u32::from(source.u16()),
                };
                self.frame(Message::Pull(pull));
            }
            7 => {
                let blob_ids = source.take(4).iter().map(|id| BlobId([*id; 16])).collect();
                self.frame(Message::Has { blob_ids });
            }
            8 => self.frame(Message::Ack {
                cursor: source.u64(),
            }),
            9 | 10 => self.answer_opening(source),
            11 | 12 => self.answer_store(false),
            13 => self.answer_store(source.u8().is_multiple_of(8)),
            14 => self.answer_read(false),
            15 => self.answer_read(source.u8().is_multiple_of(8)),
            16 => self.answer_has(),
            17 => self.feed(Input::Flushed),
            18 => {
                // Another device has pushed.
                let blob = NewBlob {
                    group_id: keys().founded_group(),
                    blob_id: BlobId([source.u8().wrapping_add(100); 16]),
                    sender: RELAY,
                    epoch: 0,
                    ttl: 60,
                    payload: Bytes::from_static(b"of another device"),
                };
                self.world.store(blob);
                self.grown();
            }
            _ => match source.u8() {
                0..=9 => self.feed(Input::Shutdown {
                    retry_after_ms: 1_000,
                }),
                10..=19 => self.feed(Input::DeadlinePassed),
                _ => self.grown(),
            },
        }
    }

    fn grown(&mut self) {
        if self.session.group().is_some() {
            self.feed(Input::Grown(self.world.max()));
        }
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        self.answer_opening(&mut Source(&[1]));
        self.grown();
        for _ in 0..10_000 {
            let busy = !self.world.stores.is_empty()
                || !self.world.reads.is_empty()
                || !self.world.has.is_empty();
            self.answer_store(false);
            self.answer_read(false);
            self.answer_has();
            self.grown();
            self.feed(Input::Flushed);
            if !busy && self.world.reads.is_empty() {
                return;
            }
        }
        panic!("the session does not come to rest");
    }
}

pub fn run(data: &[u8]) {
    let mut source = Source(data);
    let mut run = Run {
        session: Session::new(config(), Timestamp(0)),
        world: World::default(),
    };
    while !source.is_empty() {
        run.step(&mut source);
    }
    run.settle();
    let world = &run.world;
    if let (false, Some(after)) = (world.closed, world.subscribed_after) {
        let all = world.last_sent == world.max().max(after);
        assert!(
            all,
            "a subscriber gets everything: {} of {}",
            world.last_sent,
            world.max()
        );
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    // HELLO, the group is opened, two pushes that are stored, SUBSCRIBE, a page, and so on.
    let open = vec![0, 9, 1];
    let pushes = vec![3, 1, 40, 0, 0, 9, 3, 2, 80, 1, 0, 9, 11, 11];
    let subscribe = [vec![5], vec![0; 8], vec![255, 255, 14, 17, 18, 7, 14, 17]].concat();
    let raw = |message: Message| {
        let frame = codec::encode(&message)[PREFIX_LEN..].to_vec();
        [vec![1, frame.len() as u8, 0], frame].concat()
    };
    let said = raw(Message::Ephemeral(Ephemeral {
        sender: DEVICE,
        epoch: 0,
        payload: Bytes::from_static(b"sealed"),
    }));
    vec![
        open.clone(),
        [open.clone(), pushes.clone()].concat(),
        [open.clone(), pushes.clone(), subscribe.clone()].concat(),
        [
            open.clone(),
            subscribe.clone(),
            pushes.clone(),
            raw(Message::Ack { cursor: 1 }),
        ]
        .concat(),
        [open.clone(), raw(Message::Devices), vec![16], said].concat(),
        [
            open.clone(),
            vec![6, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 14],
            vec![7, 1, 2, 3, 4, 16],
        ]
        .concat(),
        [open, pushes, vec![3, 3, 9, 0, 0, 0, 19, 0]].concat(),
    ]
}
