//! What others have seen of a relay, compared.

use super::*;
use crate::crypto::blob::Witness;
use crate::engine::forks::{head_after, life};

const RUN: Incarnation = Incarnation([9; 16]);

/// A blob of the other device that says what it had seen.
fn saying(cursor: u64, seq: u64, witness: Witness) -> Message {
    let mut blob = sealed(cursor, seq);
    let address = Address {
        group_id: group(),
        epoch: 0,
        sender: OTHER,
        blob_id: blob.blob_id,
    };
    let plain = Plain {
        kind: Kind::App,
        seq,
        witness: Some(witness),
        body: Bytes::new(),
    };
    blob.payload = blob::seal(&keys(), &address, &plain, &mut |bytes: &mut [u8]| {
        bytes.fill(9)
    });
    Message::Blob(blob)
}

/// The head of a history: sequences of the other device, in the order in which the relay has them.
fn head(seqs: &[u8]) -> [u8; 32] {
    let mut head = [0; 32];
    for (cursor, seq) in (1..).zip(seqs) {
        head = head_after(&head, cursor, BlobId([*seq; 16]), OTHER);
    }
    head
}

fn witness(cursor: u64, seqs: &[u8]) -> Witness {
    Witness {
        relay_id: RELAY_ID,
        incarnation: life(Incarnation([1; 16]), RUN),
        cursor,
        head: head(seqs),
    }
}

/// Says of the first three blobs that they came in another order.
pub(super) fn contradicted(at: u64) -> Message {
    saying(at, at, witness(3, &[1, 3, 2]))
}

/// What the app is told of a fork, after a message.
fn alarms(engine: &mut Engine, stream: StreamId, message: Message) -> Vec<String> {
    let mut out = receive(engine, stream, message);
    out.extend(run(engine, 0, Input::Written(Ok(()))));
    let alarm = |output| match output {
        Output::Event(Event::Error { error, .. }) if error.code == code::RELAY_FORKED => {
            Some(error.message)
        }
        _ => None,
    };
    out.into_iter().filter_map(alarm).collect()
}

/// A device that has read the first three blobs of the other one, in their order.
fn has_read_three() -> (Engine, StreamId) {
    let (mut engine, stream) = connected(0);
    for n in 1..=3 {
        let told = alarms(&mut engine, stream, Message::Blob(sealed(n, n)));
        assert!(told.is_empty());
    }
    (engine, stream)
}

#[test]
fn a_relay_that_shows_another_order_is_caught_once() {
    let (mut engine, stream) = has_read_three();
    let same = witness(2, &[1, 2]);
    assert!(alarms(&mut engine, stream, saying(4, 4, same)).is_empty());
    let told = alarms(&mut engine, stream, saying(5, 5, witness(3, &[1, 3, 2])));
    assert_eq!(told.len(), 1);
    for head in [head(&[1, 2, 3]), head(&[1, 3, 2])] {
        assert!(told[0].contains(&DeviceId(head).to_string()), "{told:?}");
    }
    let again = alarms(&mut engine, stream, saying(6, 6, witness(3, &[3, 2, 1])));
    assert!(again.is_empty(), "once for each relay");
}

#[test]
fn a_relay_that_puts_another_blob_in_the_place_of_one_is_caught() {
    let (mut engine, stream) = has_read_three();
    let other = witness(2, &[1, 7]);
    assert_eq!(alarms(&mut engine, stream, saying(4, 4, other)).len(), 1);
}

#[test]
fn what_is_of_another_life_of_the_relay_is_not_compared() {
    let (mut engine, stream) = has_read_three();
    let wrong = witness(3, &[3, 2, 1]);
    let others = [
        // The database is older than the process: it may have been set back between.
        Witness {
            incarnation: life(Incarnation([1; 16]), Incarnation([8; 16])),
            ..wrong.clone()
        },
        Witness {
            incarnation: life(Incarnation([2; 16]), RUN),
            ..wrong.clone()
        },
        Witness {
            relay_id: OTHER,
            ..wrong.clone()
        },
        // More than can have been there when it was sealed.
        Witness {
            cursor: 40,
            ..wrong
        },
    ];
    for (at, other) in (4..).zip(others) {
        assert!(alarms(&mut engine, stream, saying(at, at, other)).is_empty());
    }
}

#[test]
fn after_a_hole_a_device_believes_the_next_witness_and_compares_from_there_on() {
    let (mut engine, stream) = has_read_three();
    // Cursor 4 has expired, or was deleted.
    for n in 5..=6 {
        let told = alarms(&mut engine, stream, Message::Blob(sealed(n, n)));
        assert!(told.is_empty());
    }
    // What it cannot know it does not contradict, and does not say.
    let right = witness(5, &[1, 2, 3, 4, 5]);
    assert!(alarms(&mut engine, stream, saying(7, 7, right)).is_empty());
    let still = witness(6, &[1, 2, 3, 4, 5, 6]);
    assert!(alarms(&mut engine, stream, saying(8, 8, still)).is_empty());
    let wrong = witness(6, &[1, 2, 3, 4, 6, 5]);
    assert_eq!(alarms(&mut engine, stream, saying(9, 9, wrong)).len(), 1);
}

#[test]
fn a_device_says_what_it_has_seen_when_it_has_seen_everything() {
    let (mut engine, stream) = has_read_three();
    let mut pushed = |token| {
        let push = Input::Push {
            group: group(),
            body: "x".into(),
            ttl: 0,
            token,
        };
        let out = run(&mut engine, 0, push);
        let record = out.iter().find_map(|output| match output {
            Output::Write(batch) => batch.writes.iter().find_map(|write| match write {
                Write::Append { record, .. } => Some(record.clone()),
                _ => None,
            }),
            _ => None,
        });
        let record = record.expect("it is written");
        let plain = blob::open(&keys(), &record.address(group()), &record.payload);
        let witness = plain.expect("it opens").witness;
        run(&mut engine, 0, Input::Written(Ok(())));
        if witness.is_none() {
            receive(&mut engine, stream, Message::CaughtUp { max_cursor: 3 });
            run(&mut engine, 0, Input::Written(Ok(())));
        }
        witness
    };
    assert_eq!(pushed(1), None, "more may come that makes it void");
    assert_eq!(pushed(2), Some(witness(3, &[1, 2, 3])));
}
