//! Who is there by the relay's word, and what devices say to each other.

use super::*;
use crate::crypto::ephemeral;
use crate::message::{Ephemeral, ListedDevice, Presence, capability};

/// An engine whose relay tells who is there, and that knows of [`OTHER`] by a blob; and its stream.
fn attending() -> (Engine, StreamId) {
    let mut engine = engine();
    run(&mut engine, 0, Input::Tick);
    let stream = reconnect(&mut engine, 0);
    run(&mut engine, 0, Input::Written(Ok(())));
    receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    run(&mut engine, 0, Input::Written(Ok(())));
    (engine, stream)
}

fn reconnect(engine: &mut Engine, now: u64) -> StreamId {
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(engine, now, connected);
    let Some(Output::OpenStream { stream, .. }) = out.first() else {
        panic!("{out:?}");
    };
    let stream = *stream;
    let Message::Welcome(mut welcome) = welcome(1, 1) else {
        unreachable!()
    };
    welcome.capabilities = vec!["something".into(), capability::PRESENCE.into()];
    let frame = Input::Frame {
        stream,
        message: Ok(Message::Welcome(welcome)),
    };
    let out = run(engine, now, frame);
    assert!(
        out.contains(&Output::Send {
            stream,
            message: Message::Devices
        }),
        "{out:?}"
    );
    stream
}

fn listed(online: bool, last_seen: u64) -> Message {
    let device = ListedDevice {
        device: OTHER,
        last_seen: Timestamp(last_seen),
        acked: 0,
        online,
    };
    // Somebody that no member knows.
    let stranger = ListedDevice {
        device: DeviceId([9; 32]),
        ..device
    };
    Message::DevicesResponse {
        devices: vec![device, stranger],
    }
}

/// Whether the other device is there, and since when not.
fn other(engine: &Engine) -> (bool, Option<u64>) {
    let devices = engine.devices(group());
    assert_eq!(devices.len(), 2, "the relay's word brings nobody in");
    let other = devices.iter().find(|info| info.device == OTHER).unwrap();
    (other.online, other.last_seen.map(|at| at.0))
}

#[test]
fn a_relay_that_does_not_know_is_not_asked() {
    let (mut engine, stream) = connected(0);
    let out = run(
        &mut engine,
        0,
        Input::Broadcast {
            group: group(),
            body: "here".into(),
        },
    );
    assert_eq!(out, [], "it would end the stream");
    receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    run(&mut engine, 0, Input::Written(Ok(())));
    assert_eq!(other(&engine), (false, None));
}

#[test]
fn devices_come_and_go_by_the_relays_word() {
    let (mut engine, stream) = attending();
    assert_eq!(other(&engine), (false, None));
    receive(&mut engine, stream, listed(true, 50));
    assert_eq!(other(&engine), (true, Some(50)));
    let gone = Presence {
        device: OTHER,
        online: false,
        last_seen: Timestamp(60),
    };
    engine.take_changed();
    receive(&mut engine, stream, Message::Presence(gone));
    assert_eq!(other(&engine), (false, Some(60)));
    assert!(engine.take_changed().contains(&group()));
    let own = engine.devices(group());
    assert!(own.iter().any(|info| info.own && info.online));
}

#[test]
fn a_short_loss_of_the_session_makes_nobody_go() {
    let lost = || Input::Disconnected {
        relay: RELAY.into(),
        error: SyncError::passing(code::RELAY_UNREACHABLE, "x"),
    };
    let (mut engine, stream) = attending();
    receive(&mut engine, stream, listed(true, 50));
    run(&mut engine, 0, lost());
    assert!(other(&engine).0, "it may be back at once");
    let again = engine.next_wake().unwrap().0;
    run(&mut engine, again, Input::Tick);
    let stream = reconnect(&mut engine, again);
    receive(&mut engine, stream, listed(true, 70));
    let later = again + 60_000;
    run(&mut engine, later, Input::Tick);
    assert_eq!(other(&engine), (true, Some(70)));

    run(&mut engine, later, lost());
    let end = later + limits::PRESENCE_GRACE.as_millis() as u64;
    assert!(engine.next_wake().unwrap().0 <= end);
    run(&mut engine, end, Input::Tick);
    assert_eq!(other(&engine), (false, Some(70)));
    assert!(
        engine.next_wake().is_none_or(|at| at.0 > end),
        "nothing that passed without effect"
    );
}

/// What [`OTHER`] says.
fn said(run: u8, count: u64) -> Ephemeral {
    let address = ephemeral::Address {
        group_id: group(),
        epoch: 0,
        sender: OTHER,
    };
    let plain = ephemeral::Plain {
        kind: Kind::Ephemeral,
        run: [run; 16],
        count,
        body: Bytes::from(format!("{run} {count}")),
    };
    let payload = ephemeral::seal(&keys(), &address, &plain, &mut |bytes: &mut [u8]| {
        bytes.fill(1)
    });
    Ephemeral {
        sender: OTHER,
        epoch: 0,
        payload,
    }
}

/// What the app hears of it.
fn heard(engine: &mut Engine, stream: StreamId, said: Ephemeral) -> Option<Bytes> {
    let out = receive(engine, stream, Message::Ephemeral(said));
    match out.as_slice() {
        [] => None,
        [
            Output::Event(Event::Broadcast {
                sender: OTHER,
                data,
                ..
            }),
        ] => Some(data.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_heard_once_and_nothing_of_it_is_kept() {
    let (mut engine, stream) = attending();
    let first = Some(Bytes::from_static(b"1 1"));
    assert_eq!(heard(&mut engine, stream, said(1, 1)), first);
    assert_eq!(heard(&mut engine, stream, said(1, 1)), None, "a replay");
    assert!(heard(&mut engine, stream, said(2, 1)).is_some());
    assert!(heard(&mut engine, stream, said(1, 2)).is_some());
    assert_eq!(heard(&mut engine, stream, said(1, 2)), None);
    assert_eq!(heard(&mut engine, stream, said(2, 1)), None);
    assert!(engine.is_idle());
    let older = Ephemeral {
        epoch: 1,
        ..said(3, 1)
    };
    assert_eq!(heard(&mut engine, stream, older), None);
}

#[test]
fn neither_is_a_message_taken_for_a_blob_nor_a_blob_for_a_message() {
    let (mut engine, stream) = attending();
    let stored = sealed(2, 2);
    let as_message = Ephemeral {
        sender: OTHER,
        epoch: 0,
        payload: stored.payload.clone(),
    };
    let rejected = |out: &[Output]| {
        out.iter().any(|output| {
            matches!(output, Output::Event(Event::Error { error, .. }) if error.code == code::BLOB_REJECTED)
        })
    };
    let out = receive(&mut engine, stream, Message::Ephemeral(as_message));
    assert!(rejected(&out) && out.len() == 1, "{out:?}");
    let as_blob = Blob {
        payload: said(1, 1).payload,
        ..stored
    };
    let mut out = receive(&mut engine, stream, Message::Blob(as_blob));
    out.extend(run(&mut engine, 0, Input::Written(Ok(()))));
    assert!(rejected(&out), "{out:?}");
    assert_eq!(
        engine.view(group()).unwrap().place,
        1,
        "the log has only the first blob"
    );
}

#[test]
fn what_this_device_says_is_sealed_with_a_rising_count_and_a_refusal_leaves_the_session_alone() {
    let (mut engine, stream) = attending();
    let mut say = |text: &'static str| {
        let body = Bytes::from_static(text.as_bytes());
        let input = Input::Broadcast {
            group: group(),
            body,
        };
        let out = run(&mut engine, 0, input);
        let [
            Output::Send {
                message: Message::Ephemeral(said),
                ..
            },
        ] = out.as_slice()
        else {
            panic!("{out:?}");
        };
        assert_eq!((said.sender, said.epoch), (device(), 0));
        let address = ephemeral::Address {
            group_id: group(),
            epoch: 0,
            sender: device(),
        };
        ephemeral::open(&keys(), &address, &said.payload).unwrap()
    };
    let (first, second) = (say("one"), say("two"));
    assert_eq!((&first.body[..], first.count), (&b"one"[..], 1));
    assert_eq!((second.run, second.count), (first.run, 2));

    let dropped = WireError::new(ErrorCode::EphemeralDropped, "too much");
    let out = receive(&mut engine, stream, Message::Error(dropped));
    let [Output::Event(Event::Error { error, .. })] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert!(error.code == "RATE_LIMITED" && error.retryable);
    assert_eq!(engine.view(group()).unwrap().error, None);
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
    assert!(matches!(out.as_slice(), [Output::Write(_)]));
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(matches!(
        out.last(),
        Some(Output::Send {
            message: Message::Push(_),
            ..
        })
    ));
}

#[test]
fn a_device_that_is_not_connected_says_nothing() {
    let mut engine = engine();
    let input = Input::Broadcast {
        group: group(),
        body: "here".into(),
    };
    let out = run(&mut engine, 0, input);
    assert!(
        matches!(out.as_slice(), [Output::Connect { .. }]),
        "{out:?}"
    );
}
