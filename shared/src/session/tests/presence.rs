//! Who is there, and what they say: never in the way of what is stored.

use super::*;

fn said(sender: DeviceId, epoch: u32) -> Ephemeral {
    Ephemeral {
        sender,
        epoch,
        payload: Bytes::from_static(b"sealed"),
    }
}

fn frame(message: Message) -> Input {
    Input::Frame(Ok(message))
}

/// A session whose device has asked for the list and has it.
fn listening() -> Session {
    let mut session = open(0);
    assert_eq!(
        run(&mut session, frame(Message::Devices)),
        [Output::Devices]
    );
    assert!(
        !session.wants_frames() && !session.listens(),
        "the list comes first"
    );
    let device = ListedDevice {
        device: RELAY,
        last_seen: Timestamp(7),
        acked: 3,
        online: true,
    };
    let out = run(&mut session, Input::Devices(Ok(vec![device])));
    let devices = vec![device];
    assert_eq!(out, [Output::Send(Message::DevicesResponse { devices })]);
    assert!(session.wants_frames() && session.listens());
    session
}

#[test]
fn who_has_not_asked_is_told_nothing() {
    let presence = Presence {
        device: RELAY,
        online: true,
        last_seen: Timestamp(7),
    };
    let mut session = open(0);
    assert!(session.is_present() && !session.listens());
    for input in [
        Input::Presence(presence),
        Input::Said(said(RELAY, 0)),
        Input::Devices(Ok(vec![])),
    ] {
        assert_eq!(run(&mut session, input), []);
    }
    let mut session = listening();
    let out = run(&mut session, Input::Presence(presence));
    assert_eq!(out, [Output::Send(Message::Presence(presence))]);
    let out = run(&mut session, Input::Said(said(RELAY, 0)));
    assert_eq!(out, [Output::Send(Message::Ephemeral(said(RELAY, 0)))]);
    let out = run(&mut session, Input::Said(said(RELAY, 1)));
    assert_eq!(out, [], "its device cannot read it");
}

#[test]
fn a_device_that_only_asks_for_a_group_is_not_there() {
    let mut session = Session::new(config(), Timestamp(0));
    let asking = Hello {
        probe: true,
        ..hello(&keys())
    };
    run(&mut session, frame(Message::Hello(asking)));
    let info = GroupInfo {
        founding: [0; 16],
        snapshot: None,
        lacking: false,
        max_cursor: 0,
        epoch: 0,
        access_pub: keys().access_pub(),
        marks: Vec::new(),
        revoked: false,
    };
    let out = run(&mut session, Input::GroupOpened(Ok(info), Timestamp(0)));
    assert!(matches!(out[0], Output::Send(Message::Welcome(_))));
    assert!(!session.is_present());
}

#[test]
fn a_device_speaks_for_itself_and_in_the_groups_epoch() {
    let mut session = open(0);
    let own = frame(Message::Ephemeral(said(DEVICE, 0)));
    assert_eq!(run(&mut session, own), [Output::Broadcast(said(DEVICE, 0))]);
    let old = frame(Message::Ephemeral(said(DEVICE, 1)));
    assert_eq!(run(&mut session, old), []);
    assert!(!session.is_closed());
    let others = frame(Message::Ephemeral(said(RELAY, 0)));
    let out = run(&mut session, others);
    assert_eq!(refusal(&out), Some(ErrorCode::InvalidMessage));
}

#[test]
fn what_is_dropped_is_told_once_and_stops_no_push() {
    let mut session = open(0);
    let dropped =
        || Input::EphemeralDropped(WireError::new(ErrorCode::EphemeralDropped, "too much"));
    let out = run(&mut session, dropped());
    assert!(matches!(
        out.as_slice(),
        [Output::Send(Message::Error(error))] if error.code == ErrorCode::EphemeralDropped
    ));
    assert_eq!(run(&mut session, dropped()), []);
    assert_eq!(session.phase(), Phase::Open);
    let out = run(&mut session, frame(push(1, b"stored")));
    assert!(matches!(out.as_slice(), [Output::Store(_)]));
    run(&mut session, frame(Message::Ephemeral(said(DEVICE, 0))));
    assert_eq!(
        run(&mut session, dropped()).len(),
        1,
        "after one that passed"
    );
}

#[test]
fn a_session_whose_group_has_newer_keys_says_nothing_more() {
    let mut session = listening();
    run(&mut session, Input::EpochChanged(1));
    assert!(!session.listens());
    let own = frame(Message::Ephemeral(said(DEVICE, 0)));
    assert_eq!(run(&mut session, own), []);
}
