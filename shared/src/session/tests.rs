//! The relay's session under any input in any order.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::DecodeError;
use crate::crypto::keys::{EpochKeys, Secret};
use crate::ids::BlobId;
use crate::message::{
    Blob, Delete, Ephemeral, ListedDevice, Presence, Pull, Push, Subscribe, VERSION,
};

mod presence;

const RELAY: RelayId = DeviceId([1; 32]);
const DEVICE: DeviceId = DeviceId([2; 32]);
const EXPORTER: [u8; 32] = [3; 32];

fn config() -> SessionConfig {
    SessionConfig {
        relay_id: RELAY,
        incarnation: Incarnation([4; 16]),
        run: Incarnation([9; 16]),
        device: DEVICE,
        exporter: EXPORTER,
        limits: RelayLimits {
            max_payload: 1000,
            default_ttl: 60,
            group_quota: 0,
        },
        capabilities: vec![],
        page_bytes: 4096,
        max_storing_bytes: 10_000,
    }
}

fn keys() -> EpochKeys {
    EpochKeys::derive(0, Secret::new([5; 32]))
}

fn hello(keys: &EpochKeys) -> Hello {
    let group_id = keys.founded_group();
    Hello {
        version: VERSION,
        group_id,
        epoch: keys.epoch(),
        access_pub: keys.access_pub(),
        certificates: vec![],
        proof: access::hello_proof(keys, RELAY, DEVICE, group_id, &EXPORTER),
        after_cursor: 0,
        capabilities: vec![],
        access_token: None,
        marks: Vec::new(),
        probe: false,
    }
}

fn blob(cursor: u64, sender: DeviceId) -> Blob {
    let payload = Bytes::from_static(b"sealed");
    Blob {
        cursor,
        blob_id: BlobId([cursor as u8; 16]),
        sender,
        epoch: 0,
        timestamp: Timestamp(9),
        ttl: 60,
        payload,
    }
}

fn run(session: &mut Session, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    session.handle(input, &mut out);
    out
}

fn info(max_cursor: u64) -> GroupInfo {
    GroupInfo {
        founding: [0; 16],
        snapshot: None,
        lacking: false,
        max_cursor,
        epoch: 0,
        access_pub: keys().access_pub(),
        marks: Vec::new(),
        revoked: false,
    }
}

fn open(max_cursor: u64) -> Session {
    let mut session = Session::new(config(), Timestamp(0));
    let out = run(
        &mut session,
        Input::Frame(Ok(Message::Hello(hello(&keys())))),
    );
    assert!(matches!(
        out.as_slice(),
        [Output::OpenGroup { create: true, .. }]
    ));
    let opened = Input::GroupOpened(Ok(info(max_cursor)), Timestamp(0));
    let out = run(&mut session, opened);
    assert!(matches!(
        out.as_slice(),
        [Output::Send(Message::Welcome(_))]
    ));
    session
}

fn refusal(out: &[Output]) -> Option<ErrorCode> {
    match out {
        [Output::Send(Message::Error(error)), Output::Close] => Some(error.code),
        _ => None,
    }
}

#[test]
fn a_group_that_was_founded_anew_is_another_life() {
    let life = |founding| {
        let mut session = Session::new(config(), Timestamp(0));
        run(
            &mut session,
            Input::Frame(Ok(Message::Hello(hello(&keys())))),
        );
        let info = GroupInfo {
            founding,
            ..info(0)
        };
        let out = run(&mut session, Input::GroupOpened(Ok(info), Timestamp(0)));
        match out.as_slice() {
            [Output::Send(Message::Welcome(welcome))] => welcome.incarnation,
            _ => panic!("{out:?}"),
        }
    };
    assert_eq!(life([0; 16]), config().incarnation, "from before foundings");
    assert_ne!(life([1; 16]), life([2; 16]));
    assert_eq!(life([1; 16]), life([1; 16]));
}

#[test]
fn a_pull_goes_on_over_pages_that_have_nothing() {
    let mut session = open(9_000);
    let limit = 3;
    let pull = Message::Pull(Pull {
        after_cursor: 5,
        limit,
    });
    let out = run(&mut session, Input::Frame(Ok(pull)));
    assert!(matches!(out[..], [Output::Read { after: 5, .. }]));
    let page = |up_to| Page {
        blobs: vec![],
        up_to,
        has_more: up_to < 9_000,
        max_cursor: 9_000,
    };
    let pulled = |page| Input::Read(Purpose::Pull, Ok(page));
    let out = run(&mut session, pulled(page(4_100)));
    let next = Output::Read {
        purpose: Purpose::Pull,
        after: 4_100,
        max_blobs: limit,
        max_bytes: limits::MAX_PULL_BYTES,
    };
    assert_eq!(out, [next]);
    assert!(!session.wants_frames());
    let out = run(&mut session, pulled(page(9_000)));
    assert!(
        matches!(&out[..], [Output::Send(Message::PullResponse(page))] if !page.has_more),
        "{out:?}"
    );
    assert!(session.wants_frames());
}

#[test]
fn a_deletion_is_answered_before_anything_else_is_read() {
    let mut session = open(3);
    let delete = Delete {
        blob_id: BlobId([7; 16]),
        force: true,
    };
    let asks = || Input::Frame(Ok(Message::Delete(delete)));
    let out = run(&mut session, asks());
    let group_id = keys().founded_group();
    assert_eq!(out, [Output::Delete { group_id, delete }]);
    assert!(!session.wants_frames());
    let out = run(&mut session, Input::Deleted(Ok(())));
    let blob_id = delete.blob_id;
    assert_eq!(out, [Output::Send(Message::Deleted { blob_id })]);
    assert!(session.wants_frames());
    run(&mut session, asks());
    let refused = WireError::new(ErrorCode::NotBlobOwner, "another's");
    let out = run(&mut session, Input::Deleted(Err(refused.clone())));
    assert_eq!(out, [Output::Send(Message::Error(refused))]);
    assert!(session.wants_frames() && !session.is_closed(), "it goes on");
}

#[test]
fn a_hello_that_proves_nothing_is_refused() {
    let good = hello(&keys());
    let stranger = EpochKeys::derive(0, Secret::new([6; 32]));
    let cases = [
        (
            Hello {
                proof: [0; 64],
                ..good.clone()
            },
            ErrorCode::Unauthorized,
        ),
        (
            Hello {
                group_id: stranger.founded_group(),
                ..good.clone()
            },
            ErrorCode::Unauthorized,
        ),
        (
            Hello {
                access_pub: stranger.access_pub(),
                ..good.clone()
            },
            ErrorCode::Unauthorized,
        ),
        (
            Hello {
                version: 0,
                ..good.clone()
            },
            ErrorCode::UnsupportedVersion,
        ),
    ];
    for (hello, code) in cases {
        let mut session = Session::new(config(), Timestamp(0));
        let out = run(&mut session, Input::Frame(Ok(Message::Hello(hello))));
        assert_eq!(refusal(&out), Some(code));
        assert!(session.is_closed());
    }
    let mut elsewhere = Session::new(
        SessionConfig {
            exporter: [9; 32],
            ..config()
        },
        Timestamp(0),
    );
    let out = run(&mut elsewhere, Input::Frame(Ok(Message::Hello(good))));
    assert_eq!(
        refusal(&out),
        Some(ErrorCode::Unauthorized),
        "a proof of another connection"
    );
}

#[test]
fn a_device_that_only_asks_makes_no_group() {
    let mut session = Session::new(config(), Timestamp(0));
    let asking = Hello {
        probe: true,
        ..hello(&keys())
    };
    let out = run(&mut session, Input::Frame(Ok(Message::Hello(asking))));
    assert!(matches!(
        out.as_slice(),
        [Output::OpenGroup { create: false, .. }]
    ));
    let unknown = WireError::new(ErrorCode::UnknownGroup, "not here");
    let out = run(&mut session, Input::GroupOpened(Err(unknown), Timestamp(0)));
    assert_eq!(refusal(&out), Some(ErrorCode::UnknownGroup));
}

#[test]
fn a_stream_without_hello_ends_at_its_deadline() {
    let mut session = Session::new(config(), Timestamp(0));
    assert_eq!(session.deadline(), Some(Timestamp(10_000)));
    assert_eq!(
        refusal(&run(&mut session, Input::DeadlinePassed)),
        Some(ErrorCode::InvalidMessage)
    );
    assert_eq!(open(0).deadline(), None);
}

#[test]
fn after_a_refused_push_nothing_is_stored_in_this_session() {
    let mut session = open(0);
    let push = |n: u8, len: usize| {
        let payload = vec![1; len].into();
        Input::Frame(Ok(Message::Push(Push {
            blob_id: BlobId([n; 16]),
            epoch: 0,
            ttl: 0,
            payload,
            origin: None,
        })))
    };
    assert!(matches!(
        run(&mut session, push(1, 10)).as_slice(),
        [Output::Store(_)]
    ));
    assert!(matches!(
        run(&mut session, push(2, 10)).as_slice(),
        [Output::Store(_)]
    ));
    let full = WireError::new(ErrorCode::GroupQuotaExceeded, "full");
    let out = run(&mut session, Input::Stored(Err(full.clone())));
    assert_eq!(out, [Output::Send(Message::Error(full.clone()))]);
    assert_eq!(
        run(&mut session, Input::Stored(Err(full))),
        [],
        "one answer is enough"
    );
    assert_eq!(
        run(&mut session, push(3, 10)),
        [],
        "an order that has a hole is not stored"
    );
    assert!(!session.is_closed(), "it still receives");

    let mut session = open(0);
    let out = run(&mut session, push(1, 1001));
    assert!(
        matches!(out.as_slice(), [Output::Send(Message::Error(e))] if e.code == ErrorCode::BlobTooLarge)
    );
    assert_eq!(run(&mut session, push(2, 10)), []);
}

#[test]
fn own_blobs_of_this_session_come_back_without_their_payload() {
    let mut session = open(0);
    let subscribe = Subscribe {
        after_cursor: 0,
        window: 1000,
    };
    let out = run(
        &mut session,
        Input::Frame(Ok(Message::Subscribe(subscribe))),
    );
    assert_eq!(out, [Output::Send(Message::CaughtUp { max_cursor: 0 })]);
    let push = Push {
        blob_id: BlobId([1; 16]),
        epoch: 0,
        ttl: 0,
        payload: Bytes::from_static(b"sealed"),
        origin: None,
    };
    run(&mut session, Input::Frame(Ok(Message::Push(push))));
    run(
        &mut session,
        Input::Stored(Ok(Stored {
            cursor: 1,
            timestamp: Timestamp(9),
        })),
    );
    run(&mut session, Input::Grown(2));
    let page = Page {
        blobs: vec![blob(1, DEVICE), blob(2, RELAY)],
        up_to: 2,
        has_more: false,
        max_cursor: 2,
    };
    let out = run(&mut session, Input::Read(Purpose::Stream, Ok(page)));
    let payloads: Vec<_> = out
        .iter()
        .map(|output| match output {
            Output::Send(Message::Blob(blob)) => blob.payload.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(payloads, [0, 6]);
}

#[test]
fn the_next_page_is_read_when_the_last_has_left() {
    let mut session = open(3);
    let subscribe = Subscribe {
        after_cursor: 1,
        window: 1000,
    };
    let out = run(
        &mut session,
        Input::Frame(Ok(Message::Subscribe(subscribe))),
    );
    assert!(matches!(
        out.as_slice(),
        [Output::Read {
            purpose: Purpose::Stream,
            after: 1,
            ..
        }]
    ));
    let page = Page {
        blobs: vec![blob(2, RELAY)],
        up_to: 2,
        has_more: true,
        max_cursor: 3,
    };
    let out = run(&mut session, Input::Read(Purpose::Stream, Ok(page)));
    assert!(matches!(out.as_slice(), [Output::Send(Message::Blob(_))]));
    assert_eq!(
        run(&mut session, Input::Grown(4)),
        [],
        "the stream is still busy"
    );
    let out = run(&mut session, Input::Flushed);
    assert!(matches!(out.as_slice(), [Output::Read { after: 2, .. }]));
}

#[test]
fn a_session_that_sends_too_fast_goes_on_reading_and_stores_nothing_more() {
    let mut session = open(0);
    let push = |id| {
        Input::Frame(Ok(Message::Push(Push {
            blob_id: BlobId([id; 16]),
            epoch: 0,
            ttl: 0,
            payload: Bytes::from_static(b"sealed"),
            origin: None,
        })))
    };
    run(&mut session, push(1));
    let limited = Input::RateLimited(WireError::new(ErrorCode::RateLimited, "x"));
    let out = run(&mut session, limited.clone());
    assert!(matches!(out.as_slice(), [Output::Send(Message::Error(_))]));
    assert_eq!(session.phase(), Phase::Refusing);
    assert_eq!(
        run(&mut session, push(2)),
        [],
        "it would overtake what was dropped"
    );
    assert_eq!(run(&mut session, limited), [], "said once");
    let stored = Stored {
        cursor: 1,
        timestamp: Timestamp(1),
    };
    assert_eq!(run(&mut session, Input::Stored(Ok(stored))).len(), 1);
}

fn any_input() -> impl Strategy<Value = Input> {
    let page = (0u64..20, 0u64..6, any::<bool>()).prop_map(|(from, count, has_more)| {
        let blobs = (from + 1..=from + count)
            .map(|cursor| blob(cursor, if cursor % 3 == 0 { DEVICE } else { RELAY }))
            .collect();
        Page {
            blobs,
            up_to: from + count,
            has_more,
            max_cursor: from + count + u64::from(has_more),
        }
    });
    let push =
        (any::<u8>(), 0usize..1200, 0u32..2, any::<u32>()).prop_map(|(id, len, epoch, ttl)| {
            let payload = vec![0; len].into();
            Message::Push(Push {
                blob_id: BlobId([id; 16]),
                epoch,
                ttl,
                payload,
                origin: None,
            })
        });
    let message = prop_oneof![
        3 => Just(Message::Hello(hello(&keys()))),
        5 => push,
        3 => (any::<u64>(), any::<u32>()).prop_map(|(after, window)| Message::Subscribe(Subscribe { after_cursor: after % 25, window })),
        1 => any::<u64>().prop_map(|after_cursor| Message::Subscribe(Subscribe { after_cursor, window: 0 })),
        1 => any::<u64>().prop_map(|cursor| Message::Ack { cursor }),
        1 => any::<u32>().prop_map(|limit| Message::Pull(Pull { after_cursor: 0, limit })),
        1 => Just(Message::Has { blob_ids: vec![] }),
        1 => Just(Message::CaughtUp { max_cursor: 1 }),
        2 => Just(Message::Devices),
        2 => (0u32..2).prop_map(|epoch| Message::Ephemeral(Ephemeral { sender: DEVICE, epoch, payload: Bytes::from_static(b"x") })),
        1 => Just(Message::Bye { reason: String::new() }),
        1 => Just(Message::Error(WireError::new(ErrorCode::Other(7), ""))),
    ];
    prop_oneof![
        12 => message.prop_map(|message| Input::Frame(Ok(message))),
        1 => Just(Input::Frame(Err(DecodeError::Malformed))),
        4 => (0u64..9).prop_map(|max_cursor| Input::GroupOpened(Ok(GroupInfo { founding: [0; 16], snapshot: None, lacking: false, max_cursor, epoch: 0, access_pub: keys().access_pub(), marks: Vec::new(), revoked: false }), Timestamp(1))),
        6 => (1u64..30).prop_map(|cursor| Input::Stored(Ok(Stored { cursor, timestamp: Timestamp(1) }))),
        1 => Just(Input::Stored(Err(WireError::new(ErrorCode::StorageFailed, "x")))),
        8 => page.clone().prop_map(|page| Input::Read(Purpose::Stream, Ok(page))),
        1 => page.prop_map(|page| Input::Read(Purpose::Pull, Ok(page))),
        1 => Just(Input::HasResult(Ok(vec![]))),
        2 => Just(Input::Devices(Ok(vec![]))),
        1 => Just(Input::Presence(Presence { device: RELAY, online: true, last_seen: Timestamp(1) })),
        1 => Just(Input::Said(Ephemeral { sender: RELAY, epoch: 0, payload: Bytes::from_static(b"x") })),
        1 => Just(Input::EphemeralDropped(WireError::new(ErrorCode::EphemeralDropped, "x"))),
        4 => any::<u64>().prop_map(|cursor| Input::Grown(cursor % 40)),
        1 => any::<u64>().prop_map(Input::Grown),
        8 => Just(Input::Flushed),
        1 => Just(Input::DeadlinePassed),
        1 => (0u64..5_000).prop_map(|retry_after_ms| Input::Shutdown { retry_after_ms }),
        1 => Just(Input::Revoked(WireError::new(ErrorCode::Unauthorized, "x"))),
        1 => Just(Input::RateLimited(WireError::new(ErrorCode::RateLimited, "x"))),
    ]
}

fn push(id: u8, payload: &'static [u8]) -> Message {
    Message::Push(Push {
        blob_id: BlobId([id; 16]),
        epoch: 0,
        ttl: 0,
        payload: Bytes::from_static(payload),
        origin: None,
    })
}

/// What a stop says at the end of a session.
fn farewell(outputs: &[Output]) -> Option<u64> {
    match outputs {
        [Output::Send(Message::Error(error)), Output::Close]
            if error.code == ErrorCode::RelayShuttingDown =>
        {
            error.retry_after_ms
        }
        _ => None,
    }
}

#[test]
fn a_relay_that_stops_answers_what_it_took_in_and_says_when_to_come_back() {
    let stop = || Input::Shutdown {
        retry_after_ms: 1_500,
    };
    let mut new = Session::new(config(), Timestamp(0));
    assert_eq!(farewell(&run(&mut new, stop())), Some(1_500));

    let mut session = open(0);
    run(&mut session, Input::Frame(Ok(push(1, b"one"))));
    run(&mut session, Input::Frame(Ok(push(2, b"two"))));
    assert_eq!(run(&mut session, stop()), []);
    assert!(!session.wants_frames());
    let late = run(&mut session, Input::Frame(Ok(push(3, b"late"))));
    assert_eq!(late, [], "nothing more is taken in");
    let stored = |cursor| {
        Input::Stored(Ok(Stored {
            cursor,
            timestamp: Timestamp(9),
        }))
    };
    assert_eq!(run(&mut session, stored(1)).len(), 1);
    let last = run(&mut session, stored(2));
    assert!(matches!(last[0], Output::Send(Message::PushAck(ack)) if ack.cursor == 2));
    assert_eq!(farewell(&last[1..]), Some(1_500));
    assert!(session.is_closed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_input_in_no_order_breaks_a_promise(inputs in proptest::collection::vec(any_input(), 0..80)) {
        let mut session = Session::new(config(), Timestamp(0));
        let (mut welcomed, mut closed, mut last_cursor, mut stores, mut acks, mut caught_up) = (false, false, 0, 0usize, 0usize, 0);
        let mut granted = 0usize;
        for input in inputs {
            if let Input::Stored(Ok(_)) = &input {
                granted += 1;
            }
            for output in run(&mut session, input) {
                prop_assert!(!closed, "nothing happens after the end");
                match output {
                    Output::Send(Message::Welcome(_)) => {
                        prop_assert!(!welcomed);
                        welcomed = true;
                    }
                    Output::Send(Message::Error(_) | Message::Bye { .. }) | Output::OpenGroup { .. } => {}
                    Output::Close => closed = true,
                    output => {
                        prop_assert!(welcomed, "{output:?} before a proof was accepted");
                        match output {
                            Output::Send(Message::Blob(blob)) => {
                                prop_assert!(blob.cursor > last_cursor, "each once, in order");
                                last_cursor = blob.cursor;
                            }
                            Output::Send(Message::PushAck(_)) => acks += 1,
                            Output::Send(Message::CaughtUp { .. }) => caught_up += 1,
                            Output::Store(blob) => {
                                prop_assert!(blob.ttl > 0 && !blob.payload.is_empty() && blob.payload.len() <= 1000);
                                stores += 1;
                            }
                            _ => {}
                        }
                    }
                }
            }
            prop_assert!(acks <= granted && acks <= stores, "an answer only for what was stored");
            prop_assert!(caught_up <= 1);
            prop_assert_eq!(session.is_closed(), closed);
            if closed {
                prop_assert!(!session.wants_frames());
            }
        }
    }
}
