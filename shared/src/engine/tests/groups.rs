//! Joining and leaving while an earlier request is being written.

use super::*;

pub(super) fn other() -> (GroupId, Box<Membership>) {
    let keys = EpochKeys::derive(0, Secret::new([6; 32]));
    let group = keys.founded_group();
    let entry = SignedEntry::sign(group, &device_keys(), "Laptop", "test", Timestamp(0));
    let membership = Membership {
        epochs: vec![(0, Secret::new([6; 32]))],
        roster: [(device(), entry)].into(),
        ..Membership::default()
    };
    (group, Box::new(membership))
}

fn join(engine: &mut Engine, token: Token) -> Vec<Output> {
    let (group, membership) = other();
    let input = Input::AddGroup {
        group,
        membership,
        token,
    };
    run(engine, 0, input)
}

fn is_write(output: &Output) -> bool {
    matches!(output, Output::Write(_))
}

fn joins(out: &[Output]) -> usize {
    let joined = |output: &&Output| matches!(output, Output::Event(Event::GroupJoined(_)));
    out.iter().filter(joined).count()
}

/// A second membership over the first would have forgotten what came in between, and had two sessions.
#[test]
fn a_group_that_is_being_joined_is_joined_once() {
    let mut engine = engine();
    assert!(join(&mut engine, 1).iter().any(is_write));
    assert_eq!(join(&mut engine, 2), [], "it is not durable yet");
    let out = run(&mut engine, 0, Input::Written(Ok(())));
    assert_eq!(joins(&out), 1);
    for token in [1, 2] {
        assert!(out.contains(&Output::Done { token }), "{out:?}");
    }
    assert!(!out.iter().any(is_write), "{out:?}");
}

#[test]
fn who_asks_again_for_a_group_that_could_not_be_written_joins_then() {
    let mut engine = engine();
    join(&mut engine, 1);
    join(&mut engine, 2);
    let full = SyncError::passing(code::STORAGE_FULL, "full");
    let mut out = run(&mut engine, 0, Input::Written(Err(full.clone())));
    let (token, error) = (1, full);
    assert!(out.contains(&Output::Refused { token, error }), "{out:?}");
    out.extend(run(&mut engine, 0, Input::Written(Ok(()))));
    assert_eq!(joins(&out), 1);
    assert!(out.contains(&Output::Done { token: 2 }), "{out:?}");
}

#[test]
fn a_group_that_is_left_while_it_is_being_joined_is_left() {
    let mut engine = engine();
    let (group, _) = other();
    join(&mut engine, 1);
    let out = run(&mut engine, 0, Input::RemoveGroup { group, token: 2 });
    assert_eq!(out, []);
    join(&mut engine, 3);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend(run(&mut engine, 0, Input::Written(Ok(()))));
    }
    let done = all.iter().filter_map(|output| match output {
        Output::Done { token } => Some(*token),
        _ => None,
    });
    assert_eq!(done.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(joins(&all), 2);
    assert!(engine.is_idle() && engine.view(group).is_some());
}
