//! Revocations: that they are carried out for everybody, and what happens to one that cannot be.

use super::*;
use crate::crypto::rotation::{self, Reason, Rotation};
use crate::message::{KeyPacket, Revoke};

fn other_keys(number: u8) -> DeviceKeys {
    DeviceKeys::derive(&Secret::new([number; 32]))
}

fn entry(keys: &DeviceKeys) -> SignedEntry {
    SignedEntry::sign(group(), keys, "Phone", "test", Timestamp(0))
}

fn with(membership: Membership) -> Engine {
    let stored = StoredGroup {
        group: group(),
        state: GroupState::default(),
        membership: Some(membership),
        unsent: vec![],
    };
    let mut next = 0u8;
    let entropy = move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(31);
            *byte = next;
        }
    };
    Engine::new(
        device_keys(),
        Profile::default(),
        vec![stored],
        Box::new(entropy),
    )
}

/// Carries out an input with a relay that has nothing but a chain; gives what came of it.
fn drive(engine: &mut Engine, chain: Option<&Rotation>, input: Input) -> Vec<Output> {
    let mut inputs = std::collections::VecDeque::from([input]);
    let mut all = Vec::new();
    while let Some(input) = inputs.pop_front() {
        for output in run(engine, 0, input) {
            let mut answer = |stream, message| {
                let message = Ok(message);
                inputs.push_back(Input::Frame { stream, message });
            };
            match &output {
                Output::Write(_) => inputs.push_back(Input::Written(Ok(()))),
                Output::Connect { relay } => inputs.push_back(Input::Connected {
                    relay: relay.clone(),
                    relay_id: RELAY_ID,
                    exporter: [0; 32],
                }),
                Output::OpenStream { stream, .. } => answer(*stream, welcome(1, 0)),
                Output::Send { stream, message } => match (message, chain) {
                    (Message::Subscribe(_), _) => {
                        answer(*stream, Message::CaughtUp { max_cursor: 0 });
                    }
                    (Message::Chain { .. }, Some(chain)) => {
                        let keys = KeyPacket {
                            certificates: vec![crate::codec::to_bytes(&chain.certificate).into()],
                            members: chain.members.clone(),
                            packet: Bytes::new(),
                        };
                        answer(*stream, Message::KeyPacket(keys));
                    }
                    _ => {}
                },
                _ => {}
            }
            all.push(output);
        }
    }
    all
}

fn revoke(device: DeviceId) -> Input {
    Input::Revoke {
        group: group(),
        device,
        reason: Reason::Lost,
        token: 7,
    }
}

fn sent(out: &[Output]) -> Option<(StreamId, &Revoke)> {
    out.iter().find_map(|output| match output {
        Output::Send {
            stream,
            message: Message::Revoke(revoke),
        } => Some((*stream, revoke)),
        _ => None,
    })
}

#[test]
fn a_device_that_was_invited_again_gives_no_keys_to_whom_others_have_revoked() {
    let [author, gone, next] = [11, 12, 13].map(other_keys);
    let roster = |of: &[&DeviceKeys]| -> Vec<_> {
        let entries = of.iter().map(|keys| (keys.id(), entry(keys)));
        entries.collect()
    };
    let mut held = membership();
    for (id, signed) in roster(&[&author, &gone, &next]) {
        held.roster.insert(id, signed);
    }
    let stay = [entry(&author), entry(&device_keys()), entry(&next)];
    let seed = Secret::new([21; 32]);
    let chain = rotation::rotate(
        &keys(),
        group(),
        &author,
        &seed,
        (Some(gone.id()), Reason::Lost),
        stay.iter().map(|signed| &signed.entry),
        &mut |bytes: &mut [u8]| bytes.fill(3),
    );
    let claims = &chain.certificate.claims;
    let (_, packet) = chain
        .packets
        .iter()
        .find(|(to, _)| *to == device())
        .expect("a packet");
    let newest = rotation::open_packet(&device_keys(), claims, packet).expect("it opens");
    let mut engine = with(held.clone());
    let again = Input::AddGroup {
        group: group(),
        membership: Box::new(Membership {
            epochs: vec![(1, newest)],
            relays: held.relays,
            ..Membership::default()
        }),
        token: 1,
    };
    drive(&mut engine, Some(&chain), Input::Tick);
    drive(&mut engine, Some(&chain), again);
    let known = engine.devices(group());
    let info = known.iter().find(|info| info.device == gone.id());
    assert!(info.is_none_or(|info| info.revoked), "{known:?}");
    let out = drive(&mut engine, Some(&chain), revoke(next.id()));
    let (_, revoke) = sent(&out).expect("it revokes");
    let mut to: Vec<_> = revoke.packets.iter().map(|(to, _)| *to).collect();
    to.sort_unstable();
    let mut stay = [author.id(), device()];
    stay.sort_unstable();
    assert_eq!(to, stay);
}

#[test]
fn where_keys_cannot_change_any_more_a_revocation_is_refused() {
    let signed = entry(&other_keys(11));
    let mut full = membership();
    full.roster.insert(signed.entry.device, signed.clone());
    full.epochs = vec![(limits::MAX_CERTIFICATES as u32, Secret::new([5; 32]))];
    let out = run(&mut with(full), 0, revoke(signed.entry.device));
    let refused = out.iter().any(|output| {
        matches!(output, Output::Refused { token: 7, error } if error.code == code::INVALID_ARGUMENT)
    });
    assert!(refused, "{out:?}");
}

/// Nothing else is sent before a revocation is carried out.
#[test]
fn a_revocation_that_a_relay_cannot_read_does_not_end_all_sending() {
    let signed = entry(&other_keys(11));
    let mut membership = membership();
    membership
        .roster
        .insert(signed.entry.device, signed.clone());
    let mut engine = with(membership);
    drive(&mut engine, None, Input::Tick);
    let out = drive(&mut engine, None, revoke(signed.entry.device));
    let (stream, _) = sent(&out).expect("it revokes");
    let message = Ok(Message::Error(WireError::new(
        ErrorCode::InvalidMessage,
        "the group has changed its keys as often as it can",
    )));
    let out = drive(&mut engine, None, Input::Frame { stream, message });
    let told = out.iter().any(|output| {
        matches!(output, Output::Event(Event::Error { error, .. }) if error.code == "INVALID_MESSAGE")
    });
    assert!(told, "{out:?}");
    let kept = out.iter().any(|output| {
        match output {
        Output::Write(batch) => batch.writes.iter().any(|write| {
            matches!(write, Write::Membership { membership, .. } if membership.wishes.is_empty())
        }),
        _ => false,
    }
    });
    assert!(kept, "{out:?}");
    let wake = engine.next_wake().expect("it comes back");
    let out = run(&mut engine, wake.0, Input::Tick);
    assert!(sent(&out).is_none());
    assert!(!engine.devices(group()).iter().any(|info| info.revoking));
}
