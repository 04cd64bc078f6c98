//! A backlog that is larger than what is kept of it in memory.

use std::collections::VecDeque;

use super::*;
use crate::engine::outbox::{Next, Outbox};
use crate::store::LogRecord;

/// An engine with a log in memory and a relay that acknowledges one blob at a time.
struct Backlog {
    engine: Engine,
    stream: Option<StreamId>,
    log: Vec<LogRecord>,
    /// Given to the relay and not acknowledged.
    in_flight: VecDeque<BlobId>,
    pushed: Vec<BlobId>,
    loads: usize,
    max_payload: u32,
    /// What the device's clock says.
    now: u64,
}

impl Backlog {
    /// A device that starts with blobs that were never sent.
    fn new(unsent: u64, len: usize) -> Self {
        Self::starting(unsent, len, true)
    }

    fn starting(blobs: u64, len: usize, unsent: bool) -> Self {
        let seen = crate::store::Sequences::up_to(blobs);
        let log: Vec<_> = (1..=blobs).map(|at| own(at, len)).collect();
        let lengths = log
            .iter()
            .map(|own| (own.position, own.payload.len() as u32));
        let stored = StoredGroup {
            group: group(),
            state: GroupState {
                position: blobs,
                seen: [(device(), seen)].into(),
                ..GroupState::default()
            },
            membership: Some(membership()),
            unsent: lengths.filter(|_| unsent).collect(),
        };
        let mut number = 0u64;
        let entropy = move |bytes: &mut [u8]| {
            for byte in bytes {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (number >> 56) as u8;
            }
        };
        let entropy = Box::new(entropy);
        Self {
            engine: Engine::new(device_keys(), Profile::default(), vec![stored], entropy),
            stream: None,
            log,
            in_flight: VecDeque::new(),
            pushed: Vec::new(),
            loads: 0,
            max_payload: limits::MAX_PAYLOAD as u32,
            now: 0,
        }
    }

    /// Carries an input and everything that follows from it out, but for the relay's answers.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in run(&mut self.engine, self.now, input) {
                match output {
                    Output::Write(batch) => {
                        for write in batch.writes {
                            match write {
                                Write::Append { record, .. } => self.log.push(record),
                                Write::Replace { record, .. } => {
                                    let at = record.position as usize - 1;
                                    self.log[at] = record;
                                }
                                _ => {}
                            }
                        }
                        inputs.push_back(Input::Written(Ok(())));
                    }
                    Output::Load {
                        purpose,
                        after,
                        max_records,
                        max_bytes,
                        ..
                    } => {
                        self.loads += usize::from(purpose == LoadPurpose::Outbox);
                        assert!(self.loads < 200, "it reads the same again and again");
                        let mut bytes = 0;
                        let fits = |record: &&LogRecord| {
                            bytes += record.payload.len();
                            bytes <= max_bytes || bytes == record.payload.len()
                        };
                        let rest = self.log.iter().skip(after as usize).take(max_records);
                        let records = Ok(rest.take_while(fits).cloned().collect());
                        inputs.push_back(Input::Loaded {
                            group: group(),
                            purpose,
                            records,
                        });
                    }
                    Output::OpenStream { stream, .. } => {
                        self.stream = Some(stream);
                        inputs.push_back(Input::Frame {
                            stream,
                            message: Ok(self.welcome()),
                        });
                    }
                    Output::Send {
                        stream,
                        message: Message::Has { .. },
                    } => inputs.push_back(Input::Frame {
                        stream,
                        message: Ok(Message::HasResponse { marks: vec![] }),
                    }),
                    Output::Send {
                        message: Message::Push(push),
                        ..
                    } => {
                        self.in_flight.push_back(push.blob_id);
                        self.pushed.push(push.blob_id);
                    }
                    _ => {}
                }
            }
        }
    }

    fn welcome(&self) -> Message {
        let Message::Welcome(mut answer) = welcome(1, 0) else {
            panic!("a WELCOME");
        };
        answer.limits.max_payload = self.max_payload;
        Message::Welcome(answer)
    }

    fn connect(&mut self) {
        self.feed(Input::Tick);
        self.feed(Input::Connected {
            relay: RELAY.into(),
            relay_id: RELAY_ID,
            exporter: [0; 32],
        });
    }

    fn push(&mut self, len: usize) {
        self.feed(Input::Push {
            group: group(),
            body: vec![0; len].into(),
            ttl: 0,
            token: 0,
        });
    }

    /// The relay answers the oldest.
    fn acknowledge(&mut self) {
        let blob_id = self.in_flight.pop_front().expect("something is in flight");
        let cursor = (self.pushed.len() - self.in_flight.len()) as u64;
        let ack = PushAck {
            blob_id,
            cursor,
            timestamp: Timestamp(1),
        };
        let stream = self.stream.expect("a stream");
        self.feed(Input::Frame {
            stream,
            message: Ok(Message::PushAck(ack)),
        });
    }

    fn in_log(&self) -> Vec<BlobId> {
        self.log.iter().map(|record| record.blob_id).collect()
    }
}

fn own(position: u64, len: usize) -> LogRecord {
    LogRecord {
        position,
        blob_id: BlobId([position as u8; 16]),
        sender: device(),
        epoch: 0,
        seq: position,
        kind: Kind::App,
        ttl: 0,
        cursor: 0,
        timestamp: Timestamp(0),
        payload: vec![0; len].into(),
    }
}

const MIB: usize = 1024 * 1024;

#[test]
fn a_backlog_that_does_not_fit_memory_is_sent_in_the_order_of_the_log() {
    let mut backlog = Backlog::new(5, MIB);
    for _ in 0..4 {
        backlog.push(MIB - 1000);
    }
    assert_eq!(backlog.pushed, [], "nobody is there yet");
    backlog.connect();
    for _ in 0..9 {
        backlog.acknowledge();
    }
    assert_eq!(backlog.pushed, backlog.in_log());
    assert_eq!(backlog.engine.view(group()).unwrap().pending, 0);
}

#[test]
fn what_is_pushed_while_a_backlog_is_being_sent_does_not_take_its_room() {
    let mut backlog = Backlog::new(12, MIB);
    backlog.connect();
    for _ in 0..8 {
        backlog.acknowledge();
        backlog.push(MIB - 1000);
    }
    while !backlog.in_flight.is_empty() {
        backlog.acknowledge();
    }
    assert_eq!(backlog.pushed, backlog.in_log());
}

#[test]
fn a_backlog_is_read_about_once() {
    let mut backlog = Backlog::new(60, 300 * 1024);
    backlog.connect();
    while !backlog.in_flight.is_empty() {
        backlog.acknowledge();
    }
    assert_eq!(backlog.pushed, backlog.in_log());
    assert!(backlog.loads <= 60 / 13 + 1, "{} loads", backlog.loads);
}

/// Otherwise it would have to be read for every blob that follows it.
#[test]
fn what_is_too_large_for_the_relay_keeps_no_room() {
    let mut backlog = Backlog::new(0, 0);
    for _ in 0..5 {
        backlog.push(MIB - 1000);
    }
    for _ in 0..5 {
        backlog.push(200 * 1024);
    }
    let small = backlog.in_log().split_off(5);
    backlog.max_payload = 512 * 1024;
    backlog.connect();
    assert_eq!(backlog.pushed, small);
}

#[test]
fn what_was_erased_while_it_was_being_read_is_not_sent() {
    let mut outbox = Outbox::new(vec![(1, 10), (2, 10)]);
    let next = |outbox: &mut Outbox| match outbox.next(MIB) {
        Next::Record(record) => Some(record.payload.len()),
        Next::Load { .. } => {
            outbox.on_loading();
            None
        }
        Next::Nothing => panic!("something waits"),
    };
    assert_eq!(next(&mut outbox), None);
    outbox.replace(own(2, 1));
    outbox.on_loaded(vec![own(1, 10), own(2, 10)]);
    assert_eq!(next(&mut outbox), None, "it is read again");
    outbox.on_loaded(vec![own(1, 10), own(2, 1)]);
    for len in [10, 1] {
        assert_eq!(next(&mut outbox), Some(len));
        outbox.sent(&own(u64::from(len == 1) + 1, len));
    }
}

/// What is left of a blob's time is a matter of the clock of relays: this device's may run ahead.
#[test]
fn a_relay_that_lost_everything_gets_it_back_from_a_device_with_a_wrong_clock() {
    let mut device = Backlog::starting(3, 100, false);
    device.now = 40 * 24 * 3600 * 1000;
    device.connect();
    assert_eq!(device.pushed, device.in_log());
}
