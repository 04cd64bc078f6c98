//! Which relay of its list a group uses: devices that use different ones don't see each other.

use super::*;

const LATER: &str = "http://later.test";
const LATER_ID: RelayId = DeviceId([8; 32]);
/// Longer than the first wait before a look with its jitter, and shorter than the second.
const A_LOOK: u64 = 400_000;

fn two_relays() -> Engine {
    let mut membership = membership();
    membership.relays.push(LATER.into());
    let stored = StoredGroup {
        group: group(),
        state: GroupState::default(),
        membership: Some(membership),
        unsent: vec![],
    };
    let entropy = Box::new(|bytes: &mut [u8]| bytes.fill(1));
    let mut engine = Engine::new(device_keys(), Profile::default(), vec![stored], entropy);
    assert_eq!(run(&mut engine, 0, Input::Tick), [connect(RELAY)]);
    engine
}

fn connect(relay: &str) -> Output {
    Output::Connect {
        relay: relay.into(),
    }
}

fn disconnect(relay: &str) -> Output {
    Output::Disconnect {
        relay: relay.into(),
    }
}

fn found(relay: &str) -> Input {
    let relay_id = if relay == RELAY { RELAY_ID } else { LATER_ID };
    Input::Connected {
        relay: relay.into(),
        relay_id,
        exporter: [0; 32],
    }
}

fn lost(relay: &str) -> Input {
    Input::Disconnected {
        relay: relay.into(),
        error: SyncError::passing(code::RELAY_UNREACHABLE, "gone"),
    }
}

/// Where HELLO goes to.
fn greeted(out: &[Output]) -> Option<(StreamId, &str)> {
    out.iter().find_map(|output| match output {
        Output::OpenStream { stream, relay } => Some((*stream, relay.as_str())),
        _ => None,
    })
}

/// Connects to a relay that is being tried, and is welcomed there.
fn welcomed(engine: &mut Engine, now: u64, relay: &str) -> StreamId {
    let out = run(engine, now, found(relay));
    let (stream, greeted) = greeted(&out).expect("HELLO");
    assert_eq!(greeted, relay);
    welcomed_on(engine, now, relay, stream);
    stream
}

fn welcomed_on(engine: &mut Engine, now: u64, relay: &str, stream: StreamId) {
    let Message::Welcome(mut answer) = welcome(1, 0) else {
        panic!("a WELCOME");
    };
    if relay == LATER {
        answer.relay_id = LATER_ID;
        answer.incarnation = Incarnation([7; 16]);
    }
    let message = Ok(Message::Welcome(answer));
    run(engine, now, Input::Frame { stream, message });
    run(engine, now, Input::Written(Ok(())));
    let message = Ok(Message::CaughtUp { max_cursor: 0 });
    run(engine, now, Input::Frame { stream, message });
    run(engine, now, Input::Written(Ok(())));
    assert_eq!(used(engine).as_deref(), Some(relay));
}

fn used(engine: &Engine) -> Option<String> {
    engine.view(group()).unwrap().relay
}

/// The first has said that it is going, and the group went on at the later one.
fn at_the_later_one() -> Engine {
    let mut engine = two_relays();
    let stream = welcomed(&mut engine, 0, RELAY);
    let farewell = WireError {
        retry_after_ms: Some(2_500),
        ..WireError::new(ErrorCode::RelayShuttingDown, "restarting")
    };
    receive(&mut engine, stream, Message::Error(farewell));
    let out = run(&mut engine, 0, Input::StreamEnded { stream });
    assert!(out.contains(&connect(LATER)), "{out:?}");
    welcomed(&mut engine, 0, LATER);
    engine
}

/// Lets the time come at which the device looks for the first relay.
fn look(engine: &mut Engine, now: u64, outs: &[Output]) -> u64 {
    let wake = engine.next_wake().expect("a time to look").0;
    assert!(wake > now, "{wake}");
    assert_eq!(run(engine, wake - 1, Input::Tick), []);
    assert_eq!(run(engine, wake, Input::Tick), outs);
    wake
}

#[test]
fn who_loses_a_relay_that_worked_begins_again_at_the_first() {
    let mut engine = two_relays();
    let out = run(&mut engine, 0, lost(RELAY));
    assert!(out.contains(&connect(LATER)), "{out:?}");
    welcomed(&mut engine, 1_000, LATER);
    let out = run(&mut engine, 2_000, lost(LATER));
    assert!(out.contains(&connect(RELAY)), "{out:?}");
    // It goes on only when that has failed.
    let out = run(&mut engine, 2_100, lost(RELAY));
    assert!(out.contains(&connect(LATER)), "{out:?}");
}

#[test]
fn the_first_relay_is_tried_again_before_another() {
    let mut engine = two_relays();
    welcomed(&mut engine, 0, RELAY);
    let out = run(&mut engine, 0, lost(RELAY));
    assert!(!out.contains(&connect(LATER)), "{out:?}");
    let again = engine.next_wake().unwrap().0;
    assert_eq!(run(&mut engine, again, Input::Tick), [connect(RELAY)]);
    let out = run(&mut engine, again, lost(RELAY));
    assert!(out.contains(&connect(LATER)), "{out:?}");
}

#[test]
fn from_a_later_relay_a_device_returns_to_the_first_when_that_is_back() {
    let mut engine = at_the_later_one();
    let now = look(&mut engine, 300_000, &[connect(RELAY)]);
    assert!(now < A_LOOK);
    assert_eq!(used(&engine).as_deref(), Some(LATER), "it goes on there");
    let out = run(&mut engine, now, found(RELAY));
    let bye = |output: &Output| {
        matches!(
            output,
            Output::Send {
                message: Message::Bye { .. },
                ..
            }
        )
    };
    let at = |found: &dyn Fn(&Output) -> bool| out.iter().position(found).expect("it is there");
    let end = at(&|output| matches!(output, Output::CloseStream { .. }));
    assert!(at(&bye) < end);
    assert!(end < at(&|output| *output == disconnect(LATER)));
    let (stream, relay) = greeted(&out).expect("HELLO");
    assert_eq!(relay, RELAY);
    welcomed_on(&mut engine, now, RELAY, stream);
    assert_eq!(engine.next_wake(), None, "there is nothing better");
}

#[test]
fn a_look_that_fails_leaves_the_session_alone_and_the_next_is_later() {
    let mut engine = at_the_later_one();
    let mut now = look(&mut engine, 300_000, &[connect(RELAY)]);
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(run(&mut engine, now, lost(RELAY)), [], "nobody has to know");
        assert_eq!(used(&engine).as_deref(), Some(LATER));
        let next = look(&mut engine, now, &[connect(RELAY)]);
        waits.push((next - now) / 60_000);
        now = next;
    }
    assert_eq!(waits, [10, 20, 40, 60, 60, 60], "minutes");
    // It is back: the next trouble begins with a short wait.
    let out = run(&mut engine, now, found(RELAY));
    let (stream, _) = greeted(&out).expect("HELLO");
    welcomed_on(&mut engine, now, RELAY, stream);
    run(&mut engine, now, lost(RELAY));
    let again = engine.next_wake().unwrap().0;
    run(&mut engine, again, Input::Tick);
    run(&mut engine, again, lost(RELAY));
    welcomed(&mut engine, again, LATER);
    let next = look(&mut engine, again, &[connect(RELAY)]);
    assert!(next - again < A_LOOK);
}

#[test]
fn a_relay_that_asks_to_be_left_alone_is_not_looked_for_before() {
    let mut engine = at_the_later_one();
    let now = look(&mut engine, 300_000, &[connect(RELAY)]);
    let error = SyncError {
        retry_after_ms: Some(3_000_000),
        ..SyncError::passing("RATE_LIMITED", "later")
    };
    let relay = RELAY.into();
    run(&mut engine, now, Input::Disconnected { relay, error });
    assert_eq!(engine.next_wake(), Some(Timestamp(now + 3_000_000)));
}

#[test]
fn where_the_first_relay_refuses_a_device_it_goes_back_and_asks_less_often() {
    type Refuse = fn(&mut Engine, u64, StreamId) -> Vec<Output>;
    let refusals: [Refuse; 3] = [
        |engine, now, stream| {
            let refusal = WireError::new(ErrorCode::Unauthorized, "a token is needed");
            let message = Ok(Message::Error(refusal));
            run(engine, now, Input::Frame { stream, message })
        },
        |engine, now, stream| run(engine, now, Input::StreamEnded { stream }),
        |engine, now, _| {
            let late = now + limits::WELCOME_TIMEOUT.as_millis() as u64;
            run(engine, late, Input::Tick)
        },
    ];
    for refuse in refusals {
        let mut engine = at_the_later_one();
        let now = look(&mut engine, 300_000, &[connect(RELAY)]);
        let out = run(&mut engine, now, found(RELAY));
        let (stream, _) = greeted(&out).expect("HELLO");
        let out = refuse(&mut engine, now, stream);
        assert!(out.contains(&connect(LATER)), "{out:?}");
        assert!(out.contains(&disconnect(RELAY)), "{out:?}");
        let now = now + 20_000;
        welcomed(&mut engine, now, LATER);
        let next = look(&mut engine, now, &[connect(RELAY)]);
        assert!(next - now > A_LOOK, "{next}");
    }
}

#[test]
fn without_a_network_nothing_is_looked_for() {
    let mut engine = at_the_later_one();
    let now = look(&mut engine, 300_000, &[connect(RELAY)]);
    let out = run(&mut engine, now, Input::NetworkChanged { online: false });
    assert_eq!(out, [LATER, RELAY].map(disconnect));
    let out = run(&mut engine, now, Input::NetworkChanged { online: true });
    assert_eq!(out, [connect(LATER)]);
}

#[test]
fn a_relay_that_has_forked_is_not_returned_to() {
    let mut engine = two_relays();
    let stream = welcomed(&mut engine, 0, RELAY);
    for n in 1..=3 {
        receive(&mut engine, stream, Message::Blob(sealed(n, n)));
        run(&mut engine, 0, Input::Written(Ok(())));
    }
    receive(&mut engine, stream, super::forks::contradicted(4));
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(out.contains(&connect(LATER)), "{out:?}");
    welcomed(&mut engine, 0, LATER);
    assert_eq!(engine.next_wake(), None, "nothing is looked for");
    assert_eq!(run(&mut engine, 8_000_000, Input::Tick), []);
    let out = run(&mut engine, 8_000_000, lost(LATER));
    assert!(!out.contains(&connect(RELAY)), "{out:?}");
}
