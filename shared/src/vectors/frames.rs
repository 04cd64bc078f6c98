//! Every frame of the wire.

use super::*;

/// One message of every type, and of every shape of its optional fields.
fn messages() -> Vec<(&'static str, Message)> {
    let made = rotation();
    let certificate: Bytes = codec::to_bytes(&made.certificate).into();
    let revoke = Revoke {
        certificate: certificate.clone(),
        after_cursor: 300,
        members: made.members.clone(),
        packets: made.packets[..1].to_vec(),
    };
    let keys = KeyPackets {
        members: made.members,
        packets: made.packets[..1].to_vec(),
    };
    let blob = Blob {
        cursor: 5,
        blob_id: BlobId(counting(0x80)),
        sender: DeviceId(counting(0x40)),
        epoch: 0,
        timestamp: Timestamp(1_700_000_000_000),
        ttl: 60,
        payload: Bytes::from_static(b"\x01\x02\x03"),
    };
    let hello = Hello {
        version: 1,
        group_id: GroupId(counting(0)),
        epoch: 0,
        access_pub: counting(0x20),
        certificates: vec![],
        proof: counting(0x40),
        after_cursor: 9,
        capabilities: vec![],
        access_token: None,
        marks: Vec::new(),
        probe: false,
    };
    let push = Push {
        blob_id: BlobId(counting(0x80)),
        epoch: 0,
        ttl: 0,
        payload: Bytes::from_static(b"\x01\x02\x03"),
        origin: None,
    };
    let error = WireError {
        retry_after_ms: Some(1500),
        ..WireError::new(ErrorCode::RateLimited, "slow down")
    };
    let snapshot_part = SnapshotPart {
        snapshot_id: BlobId(counting(0x80)),
        author: DeviceId(counting(0x40)),
        epoch: 0,
        covers: 300,
        part: 1,
        parts: 2,
        payload: Bytes::from_static(b"\x01\x02\x03"),
    };
    let welcome = Welcome {
        version: 1,
        capabilities: vec!["has".into()],
        relay_id: DeviceId(counting(0x20)),
        incarnation: Incarnation(counting(0x50)),
        max_cursor: 300,
        epoch: 0,
        snapshot: None,
        limits: RelayLimits {
            max_payload: 1_081_384,
            default_ttl: 2_592_000,
            group_quota: 0,
        },
        now: Timestamp(1_700_000_000_000),
        marks: Vec::new(),
        lacking: false,
        run: None,
    };
    vec![
        ("HELLO", Message::Hello(hello.clone())),
        (
            "HELLO with options",
            Message::Hello(Hello {
                certificates: vec![Bytes::from_static(b"cert")],
                capabilities: vec!["presence".into()],
                access_token: Some("token".into()),
                ..hello.clone()
            }),
        ),
        (
            "HELLO that asks",
            Message::Hello(Hello {
                probe: true,
                ..hello.clone()
            }),
        ),
        ("WELCOME", Message::Welcome(welcome.clone())),
        (
            "WELCOME with run",
            Message::Welcome(Welcome {
                capabilities: vec![capability::DELETE.into()],
                run: Some(Incarnation(counting(0x60))),
                ..welcome.clone()
            }),
        ),
        (
            "WELCOME with a snapshot",
            Message::Welcome(Welcome {
                snapshot: Some(200),
                lacking: true,
                ..welcome
            }),
        ),
        (
            "SUBSCRIBE",
            Message::Subscribe(Subscribe {
                after_cursor: 5,
                window: 1_048_576,
            }),
        ),
        ("BLOB", Message::Blob(blob.clone())),
        ("CAUGHT_UP", Message::CaughtUp { max_cursor: 300 }),
        ("ACK", Message::Ack { cursor: 300 }),
        ("PUSH", Message::Push(push.clone())),
        (
            "PUSH with origin",
            Message::Push(Push {
                ttl: 60,
                origin: Some(DeviceId(counting(0x40))),
                ..push
            }),
        ),
        (
            "PUSH_ACK",
            Message::PushAck(PushAck {
                blob_id: blob.blob_id,
                cursor: 5,
                timestamp: blob.timestamp,
            }),
        ),
        (
            "PULL",
            Message::Pull(Pull {
                after_cursor: 5,
                limit: 100,
            }),
        ),
        (
            "PULL_RESPONSE",
            Message::PullResponse(PullResponse {
                blobs: vec![blob.clone()],
                has_more: true,
                max_cursor: 300,
            }),
        ),
        (
            "HAS",
            Message::Has {
                blob_ids: vec![blob.blob_id, BlobId(counting(0))],
            },
        ),
        (
            "HAS_RESPONSE",
            Message::HasResponse {
                marks: vec![Mark {
                    cursor: blob.cursor,
                    blob_id: blob.blob_id,
                    timestamp: blob.timestamp,
                }],
            },
        ),
        (
            "DELETE",
            Message::Delete(Delete {
                blob_id: blob.blob_id,
                force: false,
            }),
        ),
        (
            "DELETE at once",
            Message::Delete(Delete {
                blob_id: blob.blob_id,
                force: true,
            }),
        ),
        (
            "DELETED",
            Message::Deleted {
                blob_id: blob.blob_id,
            },
        ),
        ("SNAPSHOT", Message::Snapshot(snapshot_part)),
        (
            "SNAPSHOT_ANSWER",
            Message::SnapshotAnswer(SnapshotAnswer {
                part: 1,
                refused: None,
            }),
        ),
        (
            "SNAPSHOT_ANSWER that refuses",
            Message::SnapshotAnswer(SnapshotAnswer {
                part: 0,
                refused: Some(WireError::new(ErrorCode::NotFound, "no snapshot")),
            }),
        ),
        ("GET_SNAPSHOT", Message::GetSnapshot { part: 1 }),
        ("REVOKE_DEVICE", Message::Revoke(revoke)),
        (
            "DEVICE_REVOKED",
            Message::Revoked {
                certificates: vec![certificate.clone()],
            },
        ),
        (
            "KEY_PACKET",
            Message::KeyPacket(KeyPacket {
                certificates: vec![certificate],
                members: keys.members.clone(),
                packet: keys.packets[0].1.clone(),
            }),
        ),
        ("KEY_PACKETS", Message::KeyPackets(keys)),
        ("CHAIN", Message::Chain { after_epoch: 0 }),
        (
            "BYE",
            Message::Bye {
                reason: "done".into(),
            },
        ),
        ("ERROR", Message::Error(error)),
        (
            "ERROR without time",
            Message::Error(WireError::new(ErrorCode::Unauthorized, "no")),
        ),
    ]
}

#[test]
fn frames_json() {
    let frames: Vec<_> = messages()
        .into_iter()
        .chain(presence::messages())
        .map(|(name, message)| {
            let frame = codec::encode(&message);
            assert_eq!(
                codec::decode(&frame[codec::PREFIX_LEN..]),
                Ok(message.clone()),
                "{name}"
            );
            if let Message::Blob(blob) = &message {
                let (head, payload) = codec::encode_blob(blob);
                assert_eq!(
                    [head.as_slice(), &payload].concat(),
                    frame,
                    "the frame without a copy is the same"
                );
            }
            json!({ "name": name, "code": message.code(), "frame": hex(frame) })
        })
        .collect();
    check("frames.json", &json!(frames));
}

#[test]
fn every_cut_or_extended_frame_is_refused() {
    for (name, message) in messages() {
        let frame = codec::encode(&message);
        let body = &frame[codec::PREFIX_LEN..];
        for len in 0..body.len() {
            assert!(codec::decode(&body[..len]).is_err(), "{name} cut to {len}");
        }
        assert!(
            codec::decode(&[body, &[0]].concat()).is_err(),
            "{name} with a byte more"
        );
    }
}

#[test]
fn flipping_any_byte_of_a_frame_never_panics() {
    for (_, message) in messages() {
        let mut frame = codec::encode(&message);
        for at in 0..frame.len() {
            for bit in 0..8 {
                frame[at] ^= 1 << bit;
                let _ = codec::decode(&frame[codec::PREFIX_LEN..]);
                frame[at] ^= 1 << bit;
            }
        }
    }
}
