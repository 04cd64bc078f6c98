//! Presence and ephemeral messages.

use super::*;
use crate::crypto::ephemeral::{self, Address, Plain};
use crate::message::{Ephemeral, ListedDevice, Presence};

/// Their frames.
pub(super) fn messages() -> Vec<(&'static str, Message)> {
    let device = DeviceId(counting(0x40));
    let last_seen = Timestamp(1_700_000_000_000);
    let listed = ListedDevice {
        device,
        last_seen,
        acked: 300,
        online: true,
    };
    vec![
        (
            "PRESENCE",
            Message::Presence(Presence {
                device,
                online: false,
                last_seen,
            }),
        ),
        (
            "EPHEMERAL",
            Message::Ephemeral(Ephemeral {
                sender: device,
                epoch: 2,
                payload: Bytes::from_static(b"\x01\x02\x03"),
            }),
        ),
        ("DEVICES", Message::Devices),
        (
            "DEVICES_RESPONSE",
            Message::DevicesResponse {
                devices: vec![listed],
            },
        ),
    ]
}

#[test]
fn ephemeral_json() {
    let keys = keys();
    let address = Address {
        group_id: keys.founded_group(),
        epoch: 0,
        sender: DeviceId(counting(0x40)),
    };
    let cases = ["here", ""].map(|body| {
        let plain = Plain {
            kind: Kind::Ephemeral,
            run: counting(0x80),
            count: 300,
            body: body.into(),
        };
        let payload = ephemeral::seal(&keys, &address, &plain, &mut |bytes: &mut [u8]| {
            bytes.copy_from_slice(&counting::<24>(0xA0))
        });
        assert_eq!(
            ephemeral::open(&keys, &address, &payload),
            Ok(plain.clone())
        );
        json!({
            "group_id": address.group_id.to_string(),
            "epoch": 0,
            "sender": address.sender.to_string(),
            "nonce": hex(counting::<24>(0xA0)),
            "run": hex(plain.run),
            "count": plain.count,
            "body_utf8": body,
            "plaintext_unpadded": hex(codec::to_bytes(&plain)),
            "payload": hex(payload),
        })
    });
    check(
        "ephemeral.json",
        &json!({ "secret": hex(keys.secret().expose()), "messages": cases }),
    );
}
