//! A device fed any frames by a relay that may lie, over a store that may fail.

use std::collections::VecDeque;

use bytes::Bytes;
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::blob::{self, Address, Kind, Plain};
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::engine::{Engine, Event, Input, LoadPurpose, Output, Profile, StreamId};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, Incarnation};
use zerok_sync_shared::limits;
use zerok_sync_shared::message::{
    Blob, Mark, Message, PushAck, RelayLimits, Welcome, WireError, capability,
};
use zerok_sync_shared::store::{GroupState, LogRecord, Membership, StoredGroup, Write};
use zerok_sync_shared::time::Timestamp;

use crate::source::Source;

const RELAY: &str = "https://relay.test";
const RELAY_ID: DeviceId = DeviceId([1; 32]);
const OTHER: DeviceId = DeviceId([3; 32]);

fn device_keys() -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([2; 32]))
}

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([5; 32]))
}

fn group() -> GroupId {
    keys().founded_group()
}

fn engine() -> Engine {
    let mut next = 0u8;
    let entropy = move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(31);
            *byte = next;
        }
    };
    let stored = StoredGroup {
        group: group(),
        state: GroupState::default(),
        membership: Some(Membership {
            epochs: vec![(0, Secret::new([5; 32]))],
            relays: vec![RELAY.into()],
            ..Membership::default()
        }),
        unsent: vec![],
    };
    Engine::new(
        device_keys(),
        Profile::default(),
        vec![stored],
        Box::new(entropy),
    )
}

fn welcome(source: &mut Source<'_>) -> Message {
    Message::Welcome(Welcome {
        version: 1,
        capabilities: vec![capability::PRESENCE.to_owned()],
        relay_id: RELAY_ID,
        incarnation: Incarnation([source.u8() % 2; 16]),
        max_cursor: source.u64() % 40,
        epoch: 0,
        snapshot: None,
        limits: RelayLimits {
            max_payload: limits::MAX_PAYLOAD as u32,
            default_ttl: 1000,
            group_quota: 0,
        },
        now: Timestamp(0),
        marks: Vec::new(),
        run: Some(Incarnation([9; 16])),
        lacking: false,
    })
}

/// A blob of another member.
fn sealed(cursor: u64, seq: u64) -> Blob {
    let blob_id = BlobId([seq as u8; 16]);
    let address = Address {
        group_id: group(),
        epoch: 0,
        sender: OTHER,
        blob_id,
    };
    let plain = Plain {
        kind: Kind::App,
        seq,
        witness: None,
        body: Bytes::from(format!("blob {seq}")),
    };
    let nonce = &mut |bytes: &mut [u8]| bytes.fill(seq as u8);
    let payload = blob::seal(&keys(), &address, &plain, nonce);
    Blob {
        cursor,
        blob_id,
        sender: OTHER,
        epoch: 0,
        timestamp: Timestamp(9),
        ttl: 60,
        payload,
    }
}

struct World {
    engine: Engine,
    now: u64,
    /// The device's disk.
    log: Vec<LogRecord>,
    writing: Option<Vec<LogRecord>>,
    leaves: bool,
    /// Entries that the write under way puts in the place of others.
    replaced: Vec<LogRecord>,
    streams: Vec<StreamId>,
    /// Ids that the relay was sent.
    pushed: VecDeque<BlobId>,
    loads: VecDeque<(LoadPurpose, u64, usize)>,
}

impl World {
    fn feed(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.engine.handle(Timestamp(self.now), input, &mut outputs);
        for output in outputs {
            self.take_in(output);
        }
        let wake = self.engine.next_wake();
        assert!(
            wake.is_none_or(|wake| wake.0 > self.now),
            "never waked for nothing"
        );
    }

    fn take_in(&mut self, output: Output) {
        match output {
            Output::Write(batch) => {
                assert!(self.writing.is_none(), "one write at a time");
                let mut appended = Vec::new();
                for write in batch.writes {
                    match write {
                        Write::Append { record, .. } => {
                            let next = (self.log.len() + appended.len()) as u64 + 1;
                            assert_eq!(record.position, next, "positions are gapless");
                            let opened =
                                blob::open(&keys(), &record.address(group()), &record.payload);
                            assert!(opened.is_ok(), "only what opens gets into the log");
                            appended.push(record);
                        }
                        Write::Replace { record, .. } => {
                            let former = self.log.iter().find(|r| r.position == record.position);
                            let former = former.map(|former| former.blob_id);
                            assert_eq!(former, Some(record.blob_id), "only what is in it changes");
                            self.replaced.push(record);
                        }
                        Write::Remove { .. } => self.leaves = true,
                        Write::State { .. } | Write::Membership { .. } | Write::Sent { .. } => {}
                    }
                }
                self.writing = Some(appended);
            }
            Output::OpenStream { stream, .. } => self.streams.push(stream),
            Output::Send { message, .. } => {
                let frame = codec::encode(&message);
                assert_eq!(
                    codec::decode(&frame[codec::PREFIX_LEN..]).as_ref(),
                    Ok(&message)
                );
                if let Message::Push(push) = message {
                    let stored = self.log.iter().any(|record| record.blob_id == push.blob_id);
                    assert!(stored || self.leaves, "nothing is sent that is not durable");
                    self.pushed.push_back(push.blob_id);
                }
            }
            Output::Load {
                purpose,
                after,
                max_records,
                ..
            } => self.loads.push_back((purpose, after, max_records)),
            Output::Event(Event::Error { error, .. }) => assert!(!error.message.is_empty()),
            _ => {}
        }
    }

    fn frame(&mut self, source: &mut Source<'_>, message: Message) {
        let back = usize::from(source.u8().is_multiple_of(8));
        let stream = self.streams.iter().rev().nth(back).copied();
        if let Some(stream) = stream.filter(|stream| self.engine.wants_frames(*stream)) {
            self.feed(Input::Frame {
                stream,
                message: Ok(message),
            });
        }
    }

    fn written(&mut self, result: Result<(), SyncError>) {
        if let Some(appended) = self.writing.take() {
            if result.is_ok() {
                if std::mem::take(&mut self.leaves) {
                    self.log.clear();
                }
                self.log.extend(appended);
                for record in self.replaced.drain(..) {
                    let former = self.log.iter_mut().find(|r| r.position == record.position);
                    if let Some(former) = former {
                        *former = record;
                    }
                }
            }
            self.replaced.clear();
            self.leaves = false;
            self.feed(Input::Written(result));
        }
    }

    fn loaded(&mut self) {
        if let Some((purpose, after, max)) = self.loads.pop_front() {
            let records = self.log.iter().filter(|record| record.position > after);
            self.feed(Input::Loaded {
                group: group(),
                purpose,
                records: Ok(records.take(max).cloned().collect()),
            });
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let failed = || SyncError::passing(code::STORAGE_FULL, "full");
        match source.u8() % 20 {
            0 => self.feed(Input::Tick),
            1 => self.feed(Input::Connected {
                relay: RELAY.into(),
                relay_id: RELAY_ID,
                exporter: [0; 32],
            }),
            2 => {
                let message = welcome(source);
                self.frame(source, message);
            }
            3..=5 => {
                let (cursor, seq) = (source.u64() % 40, u64::from(source.u8() % 20) + 1);
                self.frame(source, Message::Blob(sealed(cursor, seq)));
            }
            6 => {
                let mut blob = sealed(source.u64() % 40, u64::from(source.u8() % 20) + 1);
                let mut payload = blob.payload.to_vec();
                let at = usize::from(source.u8()) % payload.len();
                payload[at] ^= source.u8();
                blob.payload = payload.into();
                self.frame(source, Message::Blob(blob));
            }
            7 | 8 => {
                let message = codec::decode(source.bytes());
                if let Some(stream) = self.streams.last().copied() {
                    self.feed(Input::Frame { stream, message });
                }
            }
            9 => {
                let max_cursor = source.u64() % 40;
                self.frame(source, Message::CaughtUp { max_cursor });
            }
            10 => {
                if let Some(blob_id) = self.pushed.pop_front() {
                    let ack = PushAck {
                        blob_id,
                        cursor: source.u64() % 40,
                        timestamp: Timestamp(9),
                    };
                    self.frame(source, Message::PushAck(ack));
                }
            }
            11 => {
                let marks = self
                    .log
                    .iter()
                    .take(usize::from(source.u8()))
                    .map(|record| Mark {
                        cursor: record.position,
                        blob_id: record.blob_id,
                        timestamp: Timestamp(9),
                    });
                let marks = marks.collect();
                self.frame(source, Message::HasResponse { marks });
            }
            12 => {
                let error = WireError {
                    retry_after_ms: Some(source.u64()),
                    ..WireError::new(source.u16().into(), "refused")
                };
                self.frame(source, Message::Error(error));
            }
            13 | 14 => self.written(Ok(())),
            15 => self.written(Err(failed())),
            16 => self.loaded(),
            17 => {
                let body = Bytes::from(vec![1; usize::from(source.u16() % 2_000)]);
                self.feed(Input::Push {
                    group: group(),
                    body,
                    ttl: u32::from(source.u8()),
                    token: 1,
                });
                // And sometimes something of the log goes again.
                let blob_id = self.log.first().map(|record| record.blob_id);
                if let Some(blob_id) = blob_id.filter(|_| source.u8().is_multiple_of(4)) {
                    self.feed(Input::Delete {
                        group: group(),
                        blob_id,
                        force: source.u8().is_multiple_of(2),
                        token: 2,
                    });
                }
            }
            18 => {
                self.now += u64::from(source.u16());
                self.feed(Input::Tick);
            }
            _ => match source.u8() {
                0..=99 => self.feed(Input::Disconnected {
                    relay: RELAY.into(),
                    error: SyncError::passing(code::RELAY_UNREACHABLE, "cut"),
                }),
                100..=179 => {
                    if let Some(stream) = self.streams.last().copied() {
                        self.feed(Input::StreamEnded { stream });
                    }
                }
                online => self.feed(Input::NetworkChanged {
                    online: online.is_multiple_of(2),
                }),
            },
        }
    }
}

pub fn run(data: &[u8]) {
    let mut source = Source(data);
    let mut world = World {
        engine: engine(),
        now: 1,
        log: Vec::new(),
        writing: None,
        leaves: false,
        replaced: Vec::new(),
        streams: Vec::new(),
        pushed: VecDeque::new(),
        loads: VecDeque::new(),
    };
    while !source.is_empty() {
        world.step(&mut source);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let number = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
    let open = [vec![0, 1, 2, 0], number(5).to_vec(), vec![1, 13]].concat();
    let blob = |cursor: u8, seq: u8| [vec![3], number(cursor).to_vec(), vec![seq - 1, 1]].concat();
    let push = vec![17, 20, 0, 0, 13, 13];
    vec![
        open.clone(),
        [open.clone(), blob(1, 1), blob(2, 2), vec![13, 13]].concat(),
        [
            open.clone(),
            push.clone(),
            vec![10, 6, 0, 0, 0, 0, 0, 0, 0, 1, 13],
        ]
        .concat(),
        [
            open.clone(),
            blob(1, 2),
            vec![6, 2, 0, 0, 0, 0, 0, 0, 0, 1, 9, 1, 1, 13],
        ]
        .concat(),
        [open, push, vec![19, 0, 18, 255, 255, 1, 2, 1]].concat(),
    ]
}
