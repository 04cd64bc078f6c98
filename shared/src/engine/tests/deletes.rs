//! Deleting, by this device and by others.

use super::*;
use crate::codec;
use crate::crypto::tombstone::Tombstone;
use crate::message::{Delete, capability};
use crate::store::LogRecord;

/// An engine with an open session at a relay that takes DELETE.
fn able() -> (Engine, StreamId) {
    let mut engine = engine();
    run(&mut engine, 0, Input::Tick);
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    let out = run(&mut engine, 0, connected);
    let [Output::OpenStream { stream, .. }, ..] = out.as_slice() else {
        panic!("{out:?}");
    };
    let stream = *stream;
    let Message::Welcome(mut welcome) = welcome(1, 0) else {
        unreachable!()
    };
    welcome.capabilities = vec![capability::DELETE.into()];
    receive(&mut engine, stream, Message::Welcome(welcome));
    run(&mut engine, 0, Input::Written(Ok(())));
    (engine, stream)
}

fn written(out: &[Output]) -> Vec<Write> {
    let batches = out.iter().filter_map(|output| match output {
        Output::Write(batch) => Some(batch.writes.clone()),
        _ => None,
    });
    batches.flatten().collect()
}

fn appended(out: &[Output]) -> LogRecord {
    let writes = written(out);
    let record = writes.into_iter().find_map(|write| match write {
        Write::Append { record, .. } => Some(record),
        _ => None,
    });
    record.expect("something was appended")
}

fn opened(record: &LogRecord) -> Plain {
    blob::open(&keys(), &record.address(group()), &record.payload).expect("it opens")
}

fn sent(out: &[Output]) -> Vec<&Message> {
    let messages = out.iter().filter_map(|output| match output {
        Output::Send { message, .. } => Some(message),
        _ => None,
    });
    messages.collect()
}

/// A tombstone of the other device.
fn tombstone(cursor: u64, seq: u64, about: Tombstone) -> Message {
    let mut blob = sealed(cursor, seq);
    let address = Address {
        group_id: group(),
        epoch: 0,
        sender: OTHER,
        blob_id: blob.blob_id,
    };
    let plain = Plain {
        kind: Kind::Tombstone,
        seq,
        witness: None,
        body: codec::to_bytes(&about).into(),
    };
    blob.payload = blob::seal(&keys(), &address, &plain, &mut |bytes: &mut [u8]| {
        bytes.fill(9)
    });
    Message::Blob(blob)
}

fn about(record: &LogRecord, forced: bool) -> Tombstone {
    Tombstone {
        blob_id: record.blob_id,
        sender: record.sender,
        seq: record.seq,
        forced,
    }
}

fn searched(engine: &mut Engine, records: Vec<LogRecord>) -> Vec<Output> {
    let loaded = Input::Loaded {
        group: group(),
        purpose: LoadPurpose::Deletion,
        records: Ok(records),
    };
    run(engine, 0, loaded)
}

fn delete(engine: &mut Engine, blob_id: BlobId, force: bool) -> Vec<Output> {
    let delete = Input::Delete {
        group: group(),
        blob_id,
        force,
        token: 9,
    };
    run(engine, 0, delete)
}

fn push(engine: &mut Engine) -> LogRecord {
    let push = Input::Push {
        group: group(),
        body: "secret".into(),
        ttl: 0,
        token: 1,
    };
    appended(&run(engine, 0, push))
}

fn done(token: Token) -> Output {
    Output::Done { token }
}

#[test]
fn what_was_not_sent_yet_is_sent_empty_in_its_place_and_named_after_it() {
    let mut engine = engine();
    let record = push(&mut engine);
    run(&mut engine, 0, Input::Written(Ok(())));
    delete(&mut engine, record.blob_id, false);
    let out = searched(&mut engine, vec![record.clone()]);
    assert!(!out.contains(&done(9)), "not before it is durable");
    let writes = written(&out);
    let replaced = writes.iter().find_map(|write| match write {
        Write::Replace { record, unsent, .. } => Some((record, *unsent)),
        _ => None,
    });
    let (replaced, unsent) = replaced.expect("it is replaced");
    let nothing = opened(replaced);
    assert!(unsent && nothing.body.is_empty());
    assert_eq!((nothing.kind, nothing.seq), (Kind::Tombstone, record.seq));
    let stone = opened(&appended(&out));
    assert_eq!((stone.kind, stone.seq), (Kind::Tombstone, record.seq + 1));
    assert_eq!(
        Tombstone::read(&stone.body, device()),
        Some(about(&record, false))
    );
    let payload = replaced.payload.clone();
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(out.contains(&done(9)));
    let deleted = Event::Deleted {
        group: group(),
        blob_id: record.blob_id,
        by: device(),
        position: 1,
        forced: false,
    };
    assert!(out.contains(&Output::Event(deleted)));
    // What goes out is what is in the log now.
    run(&mut engine, 0, Input::Tick);
    let connected = Input::Connected {
        relay: RELAY.into(),
        relay_id: RELAY_ID,
        exporter: [0; 32],
    };
    run(&mut engine, 0, connected);
    let stream = StreamId(0);
    let out = receive(&mut engine, stream, welcome(1, 0));
    let more = run(&mut engine, 0, Input::Written(Ok(())));
    let messages = [sent(&out), sent(&more)].concat();
    let pushed = messages.iter().find_map(|message| match message {
        Message::Push(push) if push.blob_id == record.blob_id => Some(push),
        _ => None,
    });
    assert_eq!(pushed.expect("it is sent").payload, payload);
}

#[test]
fn a_tombstone_counts_as_sent_when_the_relay_has_let_go_of_the_blob() {
    let (mut engine, stream) = able();
    let out = receive(&mut engine, stream, Message::Blob(sealed(1, 1)));
    let record = appended(&out);
    run(&mut engine, 0, Input::Written(Ok(())));
    delete(&mut engine, record.blob_id, false);
    let out = searched(&mut engine, vec![record.clone()]);
    assert!(
        written(&out).iter().any(|write| matches!(write,
            Write::Replace { record, unsent: false, .. } if record.payload.is_empty())),
        "what relays have is erased"
    );
    let stone = appended(&out);
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(
        matches!(sent(&out).as_slice(), [Message::Push(push)] if push.blob_id == stone.blob_id)
    );
    let ack = PushAck {
        blob_id: stone.blob_id,
        cursor: 2,
        timestamp: Timestamp(3),
    };
    let out = receive(&mut engine, stream, Message::PushAck(ack));
    assert_eq!(written(&out), [], "it waits for the answer");
    let blob_id = record.blob_id;
    let asked = Message::Delete(Delete {
        blob_id,
        force: false,
    });
    assert_eq!(sent(&out), [&asked]);
    assert_eq!(engine.view(group()).unwrap().unsent, 1);
    let other = Message::Deleted {
        blob_id: stone.blob_id,
    };
    assert_eq!(written(&receive(&mut engine, stream, other)), []);
    let out = receive(&mut engine, stream, Message::Deleted { blob_id });
    assert!(matches!(
        written(&out).last(),
        Some(Write::Sent { cursor: 2, .. })
    ));
    run(&mut engine, 0, Input::Written(Ok(())));
    assert_eq!(engine.view(group()).unwrap().unsent, 0);
}

#[test]
fn a_relay_that_knows_no_deletion_is_not_asked_for_it() {
    let (mut engine, stream) = connected(0);
    let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
    run(&mut engine, 0, Input::Written(Ok(())));
    delete(&mut engine, record.blob_id, false);
    let stone = appended(&searched(&mut engine, vec![record]));
    run(&mut engine, 0, Input::Written(Ok(())));
    let ack = PushAck {
        blob_id: stone.blob_id,
        cursor: 2,
        timestamp: Timestamp(3),
    };
    let out = receive(&mut engine, stream, Message::PushAck(ack));
    assert_eq!(sent(&out), [] as [&Message; 0]);
    assert!(matches!(
        written(&out).last(),
        Some(Write::Sent { cursor: 2, .. })
    ));
}

#[test]
fn a_tombstone_wins_also_when_it_comes_first() {
    let (mut engine, stream) = connected(0);
    let blob = sealed(9, 1);
    let named = Tombstone {
        blob_id: blob.blob_id,
        sender: OTHER,
        seq: 1,
        forced: false,
    };
    receive(&mut engine, stream, tombstone(1, 2, named));
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(
        !out.iter()
            .any(|output| matches!(output, Output::Load { .. })),
        "nothing to look for"
    );
    assert_eq!(
        engine.view(group()).unwrap().version_vector.get(&OTHER),
        Some(&2),
        "nothing is missing"
    );
    let out = receive(&mut engine, stream, Message::Blob(blob));
    assert!(
        !written(&out)
            .iter()
            .any(|write| matches!(write, Write::Append { .. }))
    );
}

#[test]
fn a_grave_is_kept_until_the_blob_was_found_and_erased() {
    let (mut engine, stream) = connected(0);
    let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
    run(&mut engine, 0, Input::Written(Ok(())));
    let out = receive(&mut engine, stream, tombstone(2, 2, about(&record, true)));
    let graves = |out: &[Output]| {
        let states = written(out).into_iter().filter_map(|write| match write {
            Write::State { state, .. } => Some(state.graves.len()),
            _ => None,
        });
        states.last()
    };
    assert_eq!(graves(&out), Some(1), "it survives a crash");
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert!(out.iter().any(|output| matches!(
        output,
        Output::Load {
            purpose: LoadPurpose::Deletion,
            ..
        }
    )));
    // The store does not read for a while.
    let failed = Input::Loaded {
        group: group(),
        purpose: LoadPurpose::Deletion,
        records: Err(SyncError::passing(code::STORAGE_FAILED, "no")),
    };
    run(&mut engine, 0, failed);
    let searches = |output: &Output| matches!(output, Output::Load { .. });
    let mut wakes = 0;
    loop {
        let wake = engine.next_wake().expect("it tries again");
        if run(&mut engine, wake.0, Input::Tick).iter().any(searches) {
            break;
        }
        wakes += 1;
        assert!(wakes < 9, "it tries again");
    }
    let out = searched(&mut engine, vec![record.clone()]);
    assert_eq!(graves(&out), Some(0));
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    let deleted = Event::Deleted {
        group: group(),
        blob_id: record.blob_id,
        by: OTHER,
        position: 1,
        forced: true,
    };
    assert!(out.contains(&Output::Event(deleted)));
}

#[test]
fn what_a_tombstone_says_wrongly_erases_nothing() {
    let (mut engine, stream) = connected(0);
    let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
    run(&mut engine, 0, Input::Written(Ok(())));
    let own = push(&mut engine);
    run(&mut engine, 0, Input::Written(Ok(())));
    let wrong = [
        // Forced by somebody who has not sent it; another sequence; a blob that is not here.
        about(&own, true),
        Tombstone {
            seq: 2,
            ..about(&record, false)
        },
        Tombstone {
            blob_id: BlobId([77; 16]),
            ..about(&record, false)
        },
    ];
    for (at, wrong) in (3..).zip(wrong) {
        receive(&mut engine, stream, tombstone(at, at, wrong));
        run(&mut engine, 0, Input::Written(Ok(())));
        let out = searched(&mut engine, vec![record.clone(), own.clone()]);
        let erases = |write: &Write| matches!(write, Write::Replace { .. });
        assert!(!written(&out).iter().any(erases), "{wrong:?}");
        run(&mut engine, 0, Input::Written(Ok(())));
        let out = searched(&mut engine, vec![]);
        assert!(!written(&out).iter().any(erases), "{wrong:?}");
        run(&mut engine, 0, Input::Written(Ok(())));
    }
    assert!(engine.is_idle(), "and nothing of it is looked for for ever");
}

fn erases(out: &[Output]) -> bool {
    let replaces = |write: &Write| matches!(write, Write::Replace { .. });
    written(out).iter().any(replaces)
}

/// Who was revoked has them.
#[test]
fn the_keys_of_an_old_epoch_delete_nothing_newer() {
    for (epoch, goes) in [(0, true), (1, false)] {
        let (mut engine, stream) = connected(0);
        let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
        run(&mut engine, 0, Input::Written(Ok(())));
        receive(&mut engine, stream, tombstone(2, 2, about(&record, true)));
        run(&mut engine, 0, Input::Written(Ok(())));
        let out = searched(&mut engine, vec![LogRecord { epoch, ..record }]);
        assert_eq!(erases(&out), goes);
    }
}

#[test]
fn a_false_tombstone_is_not_in_the_way_of_the_true_one() {
    let (mut engine, stream) = connected(0);
    let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
    run(&mut engine, 0, Input::Written(Ok(())));
    appended(&receive(&mut engine, stream, Message::Blob(sealed(2, 2))));
    run(&mut engine, 0, Input::Written(Ok(())));
    let false_one = Tombstone {
        seq: 2,
        ..about(&record, false)
    };
    receive(&mut engine, stream, tombstone(3, 3, false_one));
    receive(&mut engine, stream, tombstone(4, 4, about(&record, false)));
    for _ in 0..2 {
        run(&mut engine, 0, Input::Written(Ok(())));
    }
    assert!(erases(&searched(&mut engine, vec![record])));
}

/// It could be followed by blobs of that device otherwise, and nobody would have been told of it.
#[test]
fn a_device_that_only_a_tombstone_names_is_told_of() {
    let (mut engine, stream) = connected(0);
    let unheard = DeviceId([44; 32]);
    let named = Tombstone {
        blob_id: BlobId([1; 16]),
        sender: unheard,
        seq: 1,
        forced: false,
    };
    receive(&mut engine, stream, tombstone(1, 1, named));
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    let joined = out.iter().filter_map(|output| match output {
        Output::Event(Event::DeviceJoined { device, .. }) => Some(*device),
        _ => None,
    });
    assert_eq!(joined.collect::<Vec<_>>(), [OTHER, unheard]);
}

#[test]
fn what_cannot_be_deleted_is_refused() {
    let (mut engine, stream) = connected(0);
    let record = appended(&receive(&mut engine, stream, Message::Blob(sealed(1, 1))));
    run(&mut engine, 0, Input::Written(Ok(())));
    let code = |out: &[Output]| {
        let refused = out.iter().find_map(|output| match output {
            Output::Refused { token: 9, error } => Some(error.code),
            _ => None,
        });
        refused.map(str::to_owned)
    };
    delete(&mut engine, record.blob_id, true);
    let out = searched(&mut engine, vec![record.clone()]);
    assert_eq!(code(&out).as_deref(), Some("NOT_BLOB_OWNER"));
    delete(&mut engine, BlobId([77; 16]), false);
    let out = searched(&mut engine, vec![record.clone()]);
    assert_eq!(code(&out).as_deref(), Some(code::NOT_FOUND));
    delete(&mut engine, record.blob_id, false);
    searched(&mut engine, vec![record.clone()]);
    let full = SyncError::passing(code::STORAGE_FULL, "full");
    let out = run(&mut engine, 0, Input::Written(Err(full)));
    assert_eq!(code(&out).as_deref(), Some(code::STORAGE_FULL));
    // What is deleted stays deleted, and nobody is told again.
    let erased = LogRecord {
        kind: Kind::Tombstone,
        payload: Bytes::new(),
        ..record
    };
    delete(&mut engine, erased.blob_id, false);
    let out = searched(&mut engine, vec![erased]);
    assert_eq!((written(&out), out.contains(&done(9))), (vec![], true));
}
