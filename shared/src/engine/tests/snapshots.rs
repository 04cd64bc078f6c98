//! Which snapshots of a relay a device takes, and which it replaces.

use super::*;
use crate::crypto::snapshot::{self, Header, Name};
use crate::message::{SnapshotPart, capability};
use crate::store::{HeldSnapshot, Sequences};

const STATE: &[u8] = b"state";

fn author(seed: u8) -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([seed; 32]))
}

fn header(seen: Sequences) -> Header {
    let state = Bytes::from_static(STATE);
    let hashes: Vec<_> = snapshot::bodies(&state)
        .map(|body| zerok_sync_aead::sha256(&[&body]))
        .collect();
    Header {
        relay_id: RELAY_ID,
        incarnation: Incarnation([1; 16]),
        cursor: 10,
        seen: [(OTHER, seen)].into(),
        roster: Vec::new(),
        len: STATE.len() as u64,
        hash: snapshot::hash_of(&hashes),
    }
}

/// The parts of a snapshot, and what the relay says of it.
fn parts(author: &DeviceKeys, keys: &EpochKeys, header: Header) -> Vec<SnapshotPart> {
    let state = Bytes::from_static(STATE);
    let name = Name {
        group_id: group(),
        author: author.id(),
        snapshot_id: BlobId([8; 16]),
        epoch: keys.epoch(),
        parts: snapshot::parts_of(state.len()),
    };
    let mut fill = |bytes: &mut [u8]| bytes.fill(4);
    let covers = 10;
    let payloads = [
        name.seal_header(keys, author, header, &mut fill).unwrap(),
        name.seal_part(keys, 1, &state, &mut fill),
    ];
    let part = |(part, payload)| SnapshotPart {
        snapshot_id: name.snapshot_id,
        author: name.author,
        epoch: name.epoch,
        covers,
        part,
        parts: name.parts,
        payload,
    };
    (0..).zip(payloads).map(part).collect()
}

fn opened(engine: &mut Engine) -> StreamId {
    run(engine, 0, Input::Tick);
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(engine, 0, connected);
    let stream = out.iter().find_map(|output| match output {
        Output::OpenStream { stream, .. } => Some(*stream),
        _ => None,
    });
    stream.unwrap()
}

/// A relay that has deleted ten blobs and has a snapshot with them; whether the device takes it, and what it says of it.
fn offered(engine: &mut Engine, parts: &[SnapshotPart]) -> (bool, Option<String>) {
    let stream = opened(engine);
    let Message::Welcome(welcome) = welcome(1, 10) else {
        unreachable!()
    };
    let welcome = Welcome {
        snapshot: Some(10),
        lacking: true,
        capabilities: vec![capability::SNAPSHOTS.into()],
        ..welcome
    };
    let mut out = receive(engine, stream, Message::Welcome(welcome));
    for part in parts {
        out.extend(receive(engine, stream, Message::Snapshot(part.clone())));
    }
    for _ in 0..4 {
        out.extend(run(engine, 0, Input::Written(Ok(()))));
    }
    let taken = |output: &Output| matches!(output, Output::Event(Event::Snapshot { .. }));
    let error = out.iter().find_map(|output| match output {
        Output::Event(Event::Error { error, .. }) => Some(error.message.clone()),
        _ => None,
    });
    (out.iter().any(taken), error)
}

#[test]
fn a_snapshot_of_a_member_is_taken() {
    let parts = parts(&author(7), &keys(), header(Sequences::up_to(5)));
    let mut engine = engine();
    assert_eq!(offered(&mut engine, &parts), (true, None));
    let seen = &engine.groups.get(&group()).unwrap().state.seen;
    assert_eq!(seen.get(&OTHER), Some(&Sequences::up_to(5)));
}

/// Its bookmark would pass over blobs otherwise that nothing here stands in for.
#[test]
fn a_snapshot_that_a_device_has_no_room_for_moves_nothing() {
    let mut engine = engine();
    let held = engine.groups.get_mut(&group()).unwrap();
    let state = GroupState {
        snapshots: (0..limits::HELD_SNAPSHOTS as u8)
            .map(|n| HeldSnapshot {
                first: 1,
                parts: 0,
                place: 0,
                seen: [(DeviceId([100 + n; 32]), Sequences::up_to(1))].into(),
            })
            .collect(),
        ..GroupState::default()
    };
    *held = Group::load(group(), state, held.membership.clone(), Vec::new());
    let (taken, error) = offered(
        &mut engine,
        &parts(&author(7), &keys(), header(Sequences::up_to(5))),
    );
    assert!(!taken && error.unwrap().contains("one more"));
    let state = &engine.groups.get(&group()).unwrap().state;
    assert_eq!(state.bookmarks.get(&RELAY_ID).map(|at| at.cursor), Some(0));
}

#[test]
fn a_snapshot_that_claims_what_cannot_be_is_not_taken() {
    let made = |contiguous: u64, above: &[(u64, u64)]| {
        let bytes = crate::codec::to_bytes(&(contiguous, above.to_vec()));
        crate::codec::from_bytes::<Sequences>(&bytes).unwrap()
    };
    let far = limits::MAX_SEQUENCE_JUMP + 1;
    let beyond = Header {
        cursor: u64::MAX,
        ..header(Sequences::up_to(5))
    };
    for bad in [
        header(made(u64::MAX, &[(1, 1)])),
        header(made(0, &[(0, 0)])),
        header(made(0, &[(5, u64::MAX), (6, 7)])),
        header(Sequences::up_to(far)),
        beyond,
    ] {
        let mut engine = engine();
        let text = format!("{bad:?}");
        let (taken, error) = offered(&mut engine, &parts(&author(7), &keys(), bad));
        assert!(!taken && error.is_some(), "{text}");
        let seen = &engine.groups.get(&group()).unwrap().state.seen;
        assert_eq!(seen.get(&OTHER), None, "{text}");
    }
}
