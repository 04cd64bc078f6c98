//! The engine under any input in any order. What fleets of engines achieve together is shown by the simulation.

use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::crypto::blob::{self, Address, Kind, Plain};
use crate::crypto::keys::Secret;
use crate::crypto::roster::SignedEntry;
use crate::failure::code;
use crate::ids::{BlobId, Incarnation, RelayId};
use crate::message::{Blob, PushAck, RelayLimits, Welcome, WireError};
use crate::store::{Batch, GroupState, Membership, Write};

mod choice;
mod deletes;
mod forks;
mod groups;
mod keys;
mod nodes;
mod outbox;
mod presence;
mod snapshots;

const RELAY: &str = "http://relay.test";
const RELAY_ID: RelayId = DeviceId([1; 32]);
const OTHER: DeviceId = DeviceId([3; 32]);

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([5; 32]))
}

fn group() -> GroupId {
    keys().founded_group()
}

fn device_keys() -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([2; 32]))
}

fn device() -> DeviceId {
    device_keys().id()
}

/// That of a device that has said who it is.
fn membership() -> Membership {
    let entry = SignedEntry::sign(group(), &device_keys(), "Laptop", "test", Timestamp(0));
    Membership {
        epochs: vec![(0, Secret::new([5; 32]))],
        relays: vec![RELAY.into()],
        roster: [(device(), entry)].into(),
        ..Membership::default()
    }
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
        membership: Some(membership()),
        unsent: vec![],
    };
    Engine::new(
        device_keys(),
        Profile::default(),
        vec![stored],
        Box::new(entropy),
    )
}

fn welcome(incarnation: u8, max_cursor: u64) -> Message {
    Message::Welcome(Welcome {
        version: 1,
        capabilities: vec![],
        relay_id: RELAY_ID,
        incarnation: Incarnation([incarnation; 16]),
        max_cursor,
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
    let payload = blob::seal(&keys(), &address, &plain, &mut |bytes: &mut [u8]| {
        bytes.fill(seq as u8)
    });
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

/// Runs an input; gives the outputs.
fn run(engine: &mut Engine, now: u64, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    engine.handle(Timestamp(now), input, &mut out);
    out
}

/// An engine with an open session, and its stream.
fn connected(now: u64) -> (Engine, StreamId) {
    let mut engine = engine();
    assert_eq!(
        run(&mut engine, now, Input::Tick),
        [Output::Connect {
            relay: RELAY.into()
        }]
    );
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(&mut engine, now, connected);
    let [
        Output::OpenStream { stream, .. },
        Output::Send {
            message: Message::Hello(_),
            ..
        },
    ] = out.as_slice()
    else {
        panic!("{out:?}");
    };
    let stream = *stream;
    let out = run(
        &mut engine,
        now,
        Input::Frame {
            stream,
            message: Ok(welcome(1, 0)),
        },
    );
    assert!(matches!(
        out[0],
        Output::Send {
            message: Message::Subscribe(_),
            ..
        }
    ));
    assert!(
        matches!(out[1], Output::Write(_)),
        "the bookmark's beginning is written"
    );
    run(&mut engine, now, Input::Written(Ok(())));
    (engine, stream)
}

fn receive(engine: &mut Engine, stream: StreamId, message: Message) -> Vec<Output> {
    run(
        engine,
        0,
        Input::Frame {
            stream,
            message: Ok(message),
        },
    )
}

fn bookmark_of(batch: &Batch) -> Option<u64> {
    batch.writes.iter().find_map(|write| match write {
        Write::State { state, .. } => state
            .bookmarks
            .get(&RELAY_ID)
            .map(|bookmark| bookmark.cursor),
        _ => None,
    })
}

#[test]
fn the_bookmark_moves_in_the_write_that_has_the_blob_and_never_by_an_ack() {
    let (mut engine, stream) = connected(0);
    let out = run(
        &mut engine,
        0,
        Input::Push {
            group: group(),
            body: "x".into(),
            ttl: 0,
            token: 1,
        },
    );
    let [Output::Write(_)] = out.as_slice() else {
        panic!("{out:?}")
    };
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    let Some(Output::Send {
        message: Message::Push(push),
        ..
    }) = out.last()
    else {
        panic!("{out:?}")
    };
    let ack = PushAck {
        blob_id: push.blob_id,
        cursor: 40,
        timestamp: Timestamp(3),
    };
    let out = receive(&mut engine, stream, Message::PushAck(ack));
    let [Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert!(matches!(
        batch.writes.last(),
        Some(Write::Sent { cursor: 40, .. })
    ));
    assert!(
        bookmark_of(batch).is_none_or(|cursor| cursor == 0),
        "blobs up to 40 have not been read"
    );
    run(&mut engine, 0, Input::Written(Ok(())));

    let out = receive(&mut engine, stream, Message::Blob(sealed(39, 1)));
    let [Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(bookmark_of(batch), Some(39));
    assert!(
        batch
            .writes
            .iter()
            .any(|write| matches!(write, Write::Append { record, .. } if record.cursor == 39))
    );
}

#[test]
fn a_failed_write_refuses_the_push_and_keeps_what_the_relay_sent() {
    let (mut engine, stream) = connected(0);
    receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    run(
        &mut engine,
        0,
        Input::Push {
            group: group(),
            body: "x".into(),
            ttl: 0,
            token: 7,
        },
    );
    let full = SyncError::passing(code::STORAGE_FULL, "full");
    let out = run(&mut engine, 0, Input::Written(Err(full.clone())));
    // The push came after that write began: it is tried at once, without the blob, which may be what does not fit.
    let Some(Output::Write(batch)) = out.last() else {
        panic!("{out:?}")
    };
    let appended = batch.writes.iter().filter_map(|write| match write {
        Write::Append { record, .. } => Some(record.sender),
        _ => None,
    });
    assert_eq!(appended.collect::<Vec<_>>(), [device()]);
    let out = run(&mut engine, 0, Input::Written(Err(full)));
    assert!(out.iter().any(|output| matches!(output, Output::Refused { token: 7, error } if error.code == code::STORAGE_FULL)));
    assert!(
        !out.iter().any(|output| matches!(output, Output::Write(_))),
        "and then it waits"
    );
    let wake = engine.next_wake().unwrap();
    let out = run(&mut engine, wake.0, Input::Tick);
    let [Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert!(
        matches!(&batch.writes[1], Write::Append { record, .. } if record.sender == OTHER && record.position == 1)
    );
}

#[test]
fn a_full_disk_does_not_keep_the_app_from_making_room() {
    let (mut engine, stream) = connected(0);
    let (other, membership) = groups::other();
    let add = Input::AddGroup {
        group: other,
        membership,
        token: 1,
    };
    run(&mut engine, 0, add);
    run(&mut engine, 0, Input::Written(Ok(())));
    receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    let full = SyncError::passing(code::STORAGE_FULL, "full");
    run(&mut engine, 0, Input::Written(Err(full)));
    let remove = Input::RemoveGroup {
        group: other,
        token: 2,
    };
    let out = run(&mut engine, 1, remove);
    let [Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(batch.writes, [Write::Remove { group: other }]);
    let out = run(&mut engine, 2, Input::Written(Ok(())));
    assert!(out.contains(&Output::Done { token: 2 }));
    let Some(Output::Write(batch)) = out.last() else {
        panic!("{out:?}")
    };
    let is_blob =
        |write: &Write| matches!(write, Write::Append { record, .. } if record.sender == OTHER);
    assert!(batch.writes.iter().any(is_blob), "there may be room now");
    let out = run(&mut engine, 2, Input::Written(Ok(())));
    assert!(!out.iter().any(|output| matches!(output, Output::Write(_))));
    assert_ne!(engine.view(group()).unwrap().state, State::Error);
}

#[test]
fn a_replayed_blob_enters_the_log_once() {
    let (mut engine, stream) = connected(0);
    receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    run(&mut engine, 0, Input::Written(Ok(())));
    // The same sequence again under another cursor, as after a repair.
    let out = receive(&mut engine, stream, Message::Blob(sealed(2, 1)));
    let [Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert!(
        !batch
            .writes
            .iter()
            .any(|write| matches!(write, Write::Append { .. }))
    );
    assert_eq!(bookmark_of(batch), Some(2));
}

#[test]
fn an_app_is_told_of_a_hole_when_everything_was_fetched() {
    let (mut engine, stream) = connected(0);
    receive(&mut engine, stream, Message::Blob(sealed(4, 4)));
    run(&mut engine, 0, Input::Written(Ok(())));
    receive(&mut engine, stream, Message::CaughtUp { max_cursor: 4 });
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    let gap = Event::Gap {
        group: group(),
        sender: OTHER,
        from: 1,
        to: 3,
    };
    assert!(out.contains(&Output::Event(gap)), "{out:?}");
}

/// An app that gives every other blob a short life, and a device that joins late.
#[test]
fn no_number_of_holes_makes_a_device_pass_over_what_comes() {
    let (mut engine, stream) = connected(0);
    let seqs = (1..=1_500).map(|n| n * 2).chain(3_001..=3_010);
    let mut deliver = |seq| {
        let mut out = receive(&mut engine, stream, Message::Blob(sealed(seq, seq)));
        let appends = out.iter().any(|output| match output {
            Output::Write(batch) => batch
                .writes
                .iter()
                .any(|write| matches!(write, Write::Append { record, .. } if record.seq == seq)),
            _ => false,
        });
        assert!(appends, "{seq} is new");
        out.extend(run(&mut engine, 0, Input::Written(Ok(()))));
        out
    };
    let mut told: Vec<Output> = seqs.flat_map(&mut deliver).collect();
    receive(&mut engine, stream, Message::CaughtUp { max_cursor: 3_010 });
    told.extend(run(&mut engine, 0, Input::Written(Ok(()))));
    let gaps = told.iter().filter_map(|output| match output {
        Output::Event(Event::Gap { from, to, .. }) => Some((*from, *to)),
        _ => None,
    });
    let missing: Vec<_> = (0..1_500).map(|n| (n * 2 + 1, n * 2 + 1)).collect();
    assert_eq!(gaps.collect::<Vec<_>>(), missing, "each is told once");
}

#[test]
fn an_app_is_told_once_when_a_relay_mixes_up_the_blobs_of_a_sender() {
    let (mut engine, stream) = connected(0);
    for (cursor, seq) in [(1, 1), (2, 4), (3, 3), (4, 2)] {
        receive(&mut engine, stream, Message::Blob(sealed(cursor, seq)));
    }
    let mut told = Vec::new();
    while !engine.is_idle() {
        let out = run(&mut engine, 0, Input::Written(Ok(())));
        told.extend(out.into_iter().filter_map(|output| match output {
            Output::Event(Event::Error { error, cursor, .. }) => Some((error.code, cursor)),
            _ => None,
        }));
    }
    assert_eq!(told, [(code::BLOB_OUT_OF_ORDER, Some(3))]);
    assert_eq!(engine.view(group()).unwrap().position, 4, "nothing is lost");
}

#[test]
fn a_refused_push_is_sent_again_in_another_session() {
    let (mut engine, stream) = connected(0);
    run(
        &mut engine,
        0,
        Input::Push {
            group: group(),
            body: "x".into(),
            ttl: 0,
            token: 1,
        },
    );
    run(&mut engine, 0, Input::Written(Ok(())));
    let refusal = WireError {
        retry_after_ms: Some(5000),
        ..WireError::new(ErrorCode::GroupQuotaExceeded, "full")
    };
    receive(&mut engine, stream, Message::Error(refusal));
    let view = engine.view(group()).unwrap();
    assert_eq!((view.state, view.pending), (State::Error, 1));
    assert!(
        view.error.unwrap().message.contains(RELAY),
        "the error names the relay"
    );
    assert_eq!(engine.next_wake(), Some(Timestamp(5000)));
    let out = run(&mut engine, 5000, Input::Tick);
    assert!(out.contains(&Output::CloseStream { stream }));
    let reopened = out.iter().any(|output| {
        matches!(
            output,
            Output::Send {
                message: Message::Hello(_),
                ..
            }
        )
    });
    assert!(reopened, "{out:?}");
}

/// An engine whose HELLO was sent and not answered, and its stream.
fn said_hello() -> (Engine, StreamId) {
    let mut engine = engine();
    run(&mut engine, 0, Input::Tick);
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(&mut engine, 0, connected);
    let stream = out.iter().find_map(|output| match output {
        Output::OpenStream { stream, .. } => Some(*stream),
        _ => None,
    });
    (engine, stream.unwrap())
}

#[test]
fn a_refused_hello_is_not_repeated_before_its_time() {
    let (mut engine, stream) = said_hello();
    let refusal = WireError {
        retry_after_ms: Some(60_000),
        ..WireError::new(ErrorCode::RateLimited, "later")
    };
    receive(&mut engine, stream, Message::Error(refusal));
    run(&mut engine, 1, Input::StreamEnded { stream });
    run(&mut engine, 2, Input::NetworkChanged { online: true });
    assert_eq!(engine.next_wake(), Some(Timestamp(60_000)));
    assert_eq!(run(&mut engine, 59_999, Input::Tick), []);
    let out = run(&mut engine, 60_000, Input::Tick);
    assert!(matches!(out[0], Output::OpenStream { .. }), "{out:?}");
}

#[test]
fn a_relay_that_says_when_to_come_back_is_left_alone_until_then() {
    let mut engine = engine();
    run(&mut engine, 0, Input::Tick);
    let error = SyncError {
        retry_after_ms: Some(120_000),
        ..SyncError::passing("RATE_LIMITED", "later")
    };
    let disconnected = Input::Disconnected {
        relay: RELAY.into(),
        error,
    };
    run(&mut engine, 0, disconnected);
    assert_eq!(engine.next_wake(), Some(Timestamp(120_000)));
    assert_eq!(run(&mut engine, 119_999, Input::Tick), []);
    for online in [true, false, true] {
        let woken = Input::NetworkChanged { online };
        assert_eq!(run(&mut engine, 60_000, woken), [], "by another tab, say");
    }
    assert_eq!(engine.next_wake(), Some(Timestamp(120_000)));
    let out = run(&mut engine, 120_000, Input::Tick);
    assert!(matches!(out[0], Output::Connect { .. }), "{out:?}");
}

#[test]
fn a_change_of_the_network_ends_what_a_device_chose_to_wait() {
    let mut engine = engine();
    run(&mut engine, 0, Input::Tick);
    let disconnected = Input::Disconnected {
        relay: RELAY.into(),
        error: SyncError::passing(code::RELAY_UNREACHABLE, "gone"),
    };
    run(&mut engine, 0, disconnected);
    let out = run(&mut engine, 1, Input::NetworkChanged { online: true });
    assert!(matches!(out[0], Output::Connect { .. }), "{out:?}");
}

#[test]
fn the_token_of_the_relay_is_in_hello() {
    let token = AccessToken::new("0kt_x").unwrap();
    let stored = StoredGroup {
        group: group(),
        state: GroupState::default(),
        membership: Some(Membership {
            tokens: [(RELAY.to_owned(), token.clone())].into(),
            ..membership()
        }),
        unsent: vec![],
    };
    let mut engine = Engine::new(
        device_keys(),
        Profile::default(),
        vec![stored],
        Box::new(|bytes: &mut [u8]| bytes.fill(1)),
    );
    run(&mut engine, 0, Input::Tick);
    assert_eq!(engine.token(RELAY), Some(&token));
    assert_eq!(engine.token("https://other.example"), None);
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(&mut engine, 0, connected);
    let said = out.iter().find_map(|output| match output {
        Output::Send {
            message: Message::Hello(hello),
            ..
        } => hello.access_token.as_deref(),
        _ => None,
    });
    assert_eq!(said, Some("0kt_x"));
}

#[test]
fn nobody_can_leave_a_sender_without_sequences() {
    let (mut engine, stream) = connected(0);
    for sender in [device(), OTHER] {
        let blob_id = BlobId([9; 16]);
        let address = Address {
            group_id: group(),
            epoch: 0,
            sender,
            blob_id,
        };
        let plain = Plain {
            kind: Kind::App,
            seq: u64::MAX,
            witness: None,
            body: Bytes::from_static(b"forged by a member"),
        };
        let payload = blob::seal(&keys(), &address, &plain, &mut |bytes: &mut [u8]| {
            bytes.fill(1)
        });
        let message = Ok(Message::Blob(Blob {
            sender,
            blob_id,
            payload,
            ..sealed(1, 1)
        }));
        let mut out = run(&mut engine, 0, Input::Frame { stream, message });
        out.extend(run(&mut engine, 0, Input::Written(Ok(()))));
        let rejected = out.iter().any(|output| {
            matches!(output, Output::Event(Event::Error { error, .. }) if error.code == code::BLOB_REJECTED)
        });
        assert!(rejected, "{out:?}");
    }
    let push = Input::Push {
        group: group(),
        body: Bytes::from_static(b"mine"),
        ttl: 0,
        token: 1,
    };
    run(&mut engine, 0, Input::Written(Ok(())));
    let out = run(&mut engine, 0, push);
    let sequence = out.iter().find_map(|output| match output {
        Output::Write(batch) => batch.writes.iter().find_map(|write| match write {
            Write::Append { record, .. } => Some(record.seq),
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(sequence, Some(1));
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => (1u8..3, 0u64..30).prop_map(|(incarnation, max)| welcome(incarnation, max)),
        8 => (1u64..30, 1u64..20).prop_map(|(cursor, seq)| Message::Blob(sealed(cursor, seq))),
        2 => (1u64..30, 1u64..20).prop_map(|(cursor, seq)| Message::Blob(Blob { payload: Bytes::new(), ..sealed(cursor, seq) })),
        2 => (1u64..30).prop_map(|cursor| Message::Blob(Blob { sender: device(), payload: Bytes::new(), ..sealed(cursor, 1) })),
        1 => any::<u64>().prop_map(|cursor| Message::Blob(sealed(cursor, 250))),
        3 => any::<u64>().prop_map(|max_cursor| Message::CaughtUp { max_cursor: max_cursor % 40 }),
        2 => (any::<u8>(), any::<u64>()).prop_map(|(id, cursor)| Message::PushAck(PushAck { blob_id: BlobId([id; 16]), cursor, timestamp: Timestamp(1) })),
        2 => Just(Message::HasResponse { marks: vec![] }),
        1 => any::<u16>().prop_map(|code| Message::Error(WireError::new(code.into(), "x"))),
        1 => any::<u64>().prop_map(|ms| Message::Error(WireError { retry_after_ms: Some(ms), ..WireError::new(ErrorCode::RateLimited, "x") })),
        1 => Just(Message::Bye { reason: String::new() }),
        1 => Just(Message::Ack { cursor: 1 }),
    ]
}

fn any_blob_id() -> impl Strategy<Value = BlobId> {
    (1u8..4).prop_map(|n| BlobId([n; 16]))
}

/// What a store could find.
fn in_log(blob_id: BlobId, position: u64) -> crate::store::LogRecord {
    let blob = sealed(1, blob_id.0[0].into());
    crate::store::LogRecord {
        position,
        blob_id,
        sender: OTHER,
        epoch: 0,
        seq: blob_id.0[0].into(),
        kind: Kind::App,
        ttl: 60,
        cursor: 1,
        timestamp: Timestamp(9),
        payload: blob.payload,
    }
}

fn any_input() -> impl Strategy<Value = Input> {
    let error = || SyncError::passing(code::STORAGE_FULL, "x");
    let stream = || (0u64..12).prop_map(StreamId);
    prop_oneof![
        14 => (stream(), any_message()).prop_map(|(stream, message)| Input::Frame { stream, message: Ok(message) }),
        1 => stream().prop_map(|stream| Input::Frame { stream, message: Err(DecodeError::Malformed) }),
        2 => stream().prop_map(|stream| Input::StreamEnded { stream }),
        4 => (0usize..2000, any::<u64>()).prop_map(|(len, token)| Input::Push { group: group(), body: vec![0; len].into(), ttl: 0, token }),
        1 => any::<u64>().prop_map(|token| Input::Push { group: GroupId([0; 32]), body: Bytes::new(), ttl: 0, token }),
        1 => any::<u64>().prop_map(|token| Input::RemoveGroup { group: group(), token }),
        1 => any::<u64>().prop_map(|token| Input::AddGroup { group: group(), membership: Box::new(membership()), token }),
        5 => Just(Input::Connected { relay: RELAY.into(), relay_id: RELAY_ID, exporter: [0; 32] }),
        1 => Just(Input::Connected { relay: "http://other.test".into(), relay_id: OTHER, exporter: [0; 32] }),
        2 => Just(Input::Disconnected { relay: RELAY.into(), error: error() }),
        10 => Just(Input::Written(Ok(()))),
        1 => Just(Input::Written(Err(error()))),
        2 => Just(Input::Loaded { group: group(), purpose: LoadPurpose::Repair, records: Ok(vec![]) }),
        1 => Just(Input::Loaded { group: group(), purpose: LoadPurpose::Outbox, records: Err(error()) }),
        1 => any::<bool>().prop_map(|online| Input::NetworkChanged { online }),
        2 => (any_blob_id(), any::<bool>(), any::<u64>()).prop_map(|(blob_id, force, token)| Input::Delete { group: group(), blob_id, force, token }),
        2 => (any_blob_id(), 1u64..3).prop_map(|(blob_id, position)| Input::Loaded { group: group(), purpose: LoadPurpose::Deletion, records: Ok(vec![in_log(blob_id, position)]) }),
        1 => Just(Input::Loaded { group: group(), purpose: LoadPurpose::Deletion, records: Err(error()) }),
        6 => Just(Input::Tick),
    ]
}

#[test]
fn a_relay_that_says_when_to_come_back_is_believed_and_nobody_is_alarmed() {
    let (mut engine, stream) = connected(0);
    let farewell = Message::Error(WireError {
        code: ErrorCode::RelayShuttingDown,
        message: "restarting".into(),
        retry_after_ms: Some(2_500),
    });
    let mut told = run(
        &mut engine,
        100,
        Input::Frame {
            stream,
            message: Ok(farewell),
        },
    );
    told.extend(run(&mut engine, 150, Input::StreamEnded { stream }));
    let relay = RELAY.into();
    assert_eq!(told.last(), Some(&Output::Disconnect { relay }));
    let alarm = |output: &Output| matches!(output, Output::Event(Event::Error { .. }));
    assert!(!told.iter().any(alarm), "{told:?}");
    assert_ne!(engine.view(group()).unwrap().state, State::Error);
    run(&mut engine, 200, Input::Written(Ok(())));
    assert_eq!(engine.next_wake(), Some(Timestamp(2_600)));
    let connect = Output::Connect {
        relay: RELAY.into(),
    };
    assert_eq!(run(&mut engine, 2_599, Input::Tick), []);
    assert_eq!(run(&mut engine, 2_600, Input::Tick), [connect]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_input_in_no_order_breaks_an_invariant(inputs in proptest::collection::vec((any_input(), 0u64..9000), 0..120)) {
        let mut engine = engine();
        let (mut now, mut writing, mut position) = (0, false, 0u64);
        let mut appended = 0;
        for (input, pause) in inputs {
            now += pause;
            let durable = matches!(input, Input::Written(Ok(())));
            if matches!(input, Input::Written(_)) && writing {
                writing = false;
                position += if durable { appended } else { 0 };
            }
            let out = run(&mut engine, now, input);
            for output in out {
                match output {
                    Output::Write(batch) => {
                        prop_assert!(!writing, "one write at a time");
                        writing = true;
                        appended = 0;
                        for write in batch.writes {
                            match write {
                                Write::Append { record, .. } => {
                                    appended += 1;
                                    prop_assert_eq!(record.position, position + appended, "positions are gapless");
                                }
                                Write::Replace { record, .. } => {
                                    prop_assert!((1..=position).contains(&record.position), "what is replaced was written");
                                }
                                Write::Remove { .. }
                                | Write::State { .. }
                                | Write::Membership { .. }
                                | Write::Sent { .. } => {}
                            }
                        }
                    }
                    Output::Event(Event::GroupLeft(_)) => position = 0,
                    _ => {}
                }
            }
            prop_assert!(engine.next_wake().is_none_or(|wake| wake.0 > now), "never waked for nothing");
        }
    }
}
