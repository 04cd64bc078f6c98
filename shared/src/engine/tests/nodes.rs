//! Relays that share a database, and relays that only say so.

use super::*;
use crate::message::{Hello, Mark};

const NODE: RelayId = DeviceId([9; 32]);

/// An engine that has read one blob from a relay, which is then lost; what the next relay is told and asked.
fn meets_another(incarnation: u8, mark: Mark) -> (Engine, Hello, Vec<Output>) {
    let (mut engine, stream) = connected(0);
    receive(&mut engine, stream, Message::Blob(sealed(7, 1)));
    run(&mut engine, 0, Input::Written(Ok(())));
    receive(&mut engine, stream, Message::CaughtUp { max_cursor: 7 });
    run(&mut engine, 0, Input::Written(Ok(())));
    let lost = Input::Disconnected {
        relay: RELAY.into(),
        error: SyncError::passing(code::RELAY_UNREACHABLE, "gone"),
    };
    run(&mut engine, 0, lost);
    let later = 60_000;
    run(&mut engine, later, Input::Tick);
    let found = Input::Connected {
        relay: RELAY.into(),
        relay_id: NODE,
        exporter: [0; 32],
    };
    let out = run(&mut engine, later, found);
    let [
        Output::OpenStream { stream, .. },
        Output::Send {
            message: Message::Hello(hello),
            ..
        },
    ] = out.as_slice()
    else {
        panic!("{out:?}");
    };
    let (stream, hello) = (*stream, hello.clone());
    let Message::Welcome(mut answer) = welcome(incarnation, 7) else {
        panic!("a WELCOME");
    };
    answer.relay_id = NODE;
    answer.marks = vec![mark];
    let out = receive(&mut engine, stream, Message::Welcome(answer));
    (engine, hello, out)
}

fn known() -> Mark {
    let blob = sealed(7, 1);
    Mark {
        cursor: 7,
        blob_id: blob.blob_id,
        timestamp: blob.timestamp,
    }
}

fn subscribed_after(out: &[Output]) -> u64 {
    out.iter()
        .find_map(|output| match output {
            Output::Send {
                message: Message::Subscribe(subscribe),
                ..
            } => Some(subscribe.after_cursor),
            _ => None,
        })
        .expect("it subscribes")
}

fn told(out: &[Output]) -> Vec<&'static str> {
    let error = |output: &Output| match output {
        Output::Event(Event::Error { error, .. }) => Some(error.code),
        _ => None,
    };
    out.iter().filter_map(error).collect()
}

#[test]
fn another_node_of_the_same_database_takes_over_the_bookmark() {
    let (mut engine, hello, out) = meets_another(1, known());
    let asked: Vec<_> = hello.marks.clone();
    assert_eq!((hello.after_cursor, asked), (7, vec![7]));
    assert_eq!(subscribed_after(&out), 7, "nothing is read again");
    assert_eq!(told(&out), [] as [&str; 0], "and nothing is wrong");
    let [.., Output::Write(batch)] = out.as_slice() else {
        panic!("{out:?}");
    };
    let [Write::State { state, .. }] = batch.writes.as_slice() else {
        panic!("{batch:?}");
    };
    assert_eq!(state.bookmarks.keys().collect::<Vec<_>>(), [&NODE]);
    assert_eq!(state.bookmarks.get(&NODE).unwrap().cursor, 7);
    let asks = |out: &[Output]| {
        out.iter().any(|output| {
            matches!(
                output,
                Output::Send {
                    message: Message::Has { .. } | Message::Push(_),
                    ..
                }
            )
        })
    };
    let later = run(&mut engine, 60_000, Input::Written(Ok(())));
    assert!(!asks(&out) && !asks(&later), "and nothing is given back");
}

/// What a device does at the moment when a relay's last session has ended, which had said that it is going for a minute.
fn left_by(mut engine: Engine, stream: StreamId) -> (Engine, Vec<Output>) {
    let going = WireError {
        retry_after_ms: Some(60_000),
        ..WireError::new(ErrorCode::RelayShuttingDown, "back in a minute")
    };
    receive(&mut engine, stream, Message::Error(going));
    let out = run(&mut engine, 0, Input::StreamEnded { stream });
    (engine, out)
}

#[test]
fn a_relay_that_is_going_is_waited_for() {
    let (engine, stream) = connected(0);
    let (mut engine, out) = left_by(engine, stream);
    let connects = |out: &[Output]| {
        out.iter()
            .any(|output| matches!(output, Output::Connect { .. }))
    };
    assert!(!connects(&out), "{out:?}");
    assert!(!connects(&run(&mut engine, 59_999, Input::Tick)));
    assert!(connects(&run(&mut engine, 60_000, Input::Tick)));
}

#[test]
fn where_a_relay_that_is_going_has_other_nodes_a_device_goes_on_there_at_once() {
    let (mut engine, stream) = connected(0);
    let told = Input::OtherNodes {
        relay: RELAY.into(),
    };
    run(&mut engine, 0, told);
    let (mut engine, out) = left_by(engine, stream);
    let [left, reached] = out.as_slice() else {
        panic!("{out:?}");
    };
    let relay = RELAY.to_owned();
    assert_eq!(
        *left,
        Output::Disconnect {
            relay: relay.clone()
        }
    );
    assert_eq!(
        *reached,
        Output::Connect {
            relay: relay.clone()
        }
    );
    let found = Input::Connected {
        relay,
        relay_id: NODE,
        exporter: [0; 32],
    };
    let out = run(&mut engine, 1, found);
    assert!(matches!(out[0], Output::OpenStream { .. }), "{out:?}");
}

#[test]
fn a_group_with_another_relay_goes_on_there_at_once() {
    let other = "http://other.test";
    let mut membership = membership();
    membership.relays.push(other.into());
    let stored = StoredGroup {
        group: group(),
        state: GroupState::default(),
        membership: Some(membership),
        unsent: vec![],
    };
    let entropy = Box::new(|bytes: &mut [u8]| bytes.fill(1));
    let mut engine = Engine::new(device_keys(), Profile::default(), vec![stored], entropy);
    run(&mut engine, 0, Input::Tick);
    let found = |relay: &str, relay_id| Input::Connected {
        relay: relay.into(),
        relay_id,
        exporter: [0; 32],
    };
    let out = run(&mut engine, 0, found(RELAY, RELAY_ID));
    let Output::OpenStream { stream, .. } = &out[0] else {
        panic!("{out:?}");
    };
    receive(&mut engine, *stream, welcome(1, 0));
    run(&mut engine, 0, Input::Written(Ok(())));
    let (mut engine, out) = left_by(engine, *stream);
    let reached = Output::Connect {
        relay: other.into(),
    };
    assert!(out.contains(&reached), "{out:?}");
    let out = run(&mut engine, 1, found(other, NODE));
    assert!(matches!(out[0], Output::OpenStream { .. }), "{out:?}");
}

#[test]
fn a_relay_of_another_past_begins_at_nought_and_is_told_of() {
    let other = Mark {
        blob_id: BlobId([77; 16]),
        ..known()
    };
    for (incarnation, mark) in [(2, known()), (1, other)] {
        let (_, _, out) = meets_another(incarnation, mark);
        assert_eq!(subscribed_after(&out), 0);
        assert_eq!(told(&out), [code::RELAY_IDENTITY_CHANGED]);
    }
}
