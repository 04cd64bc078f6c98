//! Proof of membership: a relay learns that a device holds the group's access key, and can't use the proof elsewhere.

use super::device::signed;
use super::domain;
use super::keys::EpochKeys;
use crate::ids::{DeviceId, GroupId, RelayId};
use crate::message::Hello;

/// Label of the TLS exporter (RFC 5705, RFC 8446 section 7.5) that binds a proof to its connection; no context.
pub const EXPORTER_LABEL: &[u8] = domain::HELLO;

/// The group that an access key of epoch 0 founds.
#[must_use]
pub fn group_id(access_pub: &[u8; 32]) -> GroupId {
    GroupId(zerok_sync_aead::sha256(&[access_pub]))
}

fn proof_text(
    relay: RelayId,
    device: DeviceId,
    group: GroupId,
    epoch: u32,
    exporter: &[u8; 32],
) -> Vec<u8> {
    [
        domain::HELLO,
        relay.as_bytes(),
        device.as_bytes(),
        group.as_bytes(),
        &epoch.to_le_bytes(),
        exporter,
    ]
    .concat()
}

/// The `proof` of a HELLO on the connection that `exporter` comes from.
#[must_use]
pub fn hello_proof(
    keys: &EpochKeys,
    relay: RelayId,
    device: DeviceId,
    group: GroupId,
    exporter: &[u8; 32],
) -> [u8; 64] {
    keys.sign(&proof_text(relay, device, group, keys.epoch(), exporter))
}

/// Whether the HELLO was made for this connection by a holder of the access key that it names.
#[must_use]
pub fn verify_hello(hello: &Hello, relay: RelayId, device: DeviceId, exporter: &[u8; 32]) -> bool {
    let text = proof_text(relay, device, hello.group_id, hello.epoch, exporter);
    signed(&hello.access_pub, &text, &hello.proof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::Secret;
    use crate::message::VERSION;

    #[test]
    fn a_proof_holds_for_its_connection_only() {
        let keys = EpochKeys::derive(0, Secret::new([5; 32]));
        let (relay, device, exporter) = (DeviceId([1; 32]), DeviceId([2; 32]), [3; 32]);
        let group = keys.founded_group();
        let hello = Hello {
            version: VERSION,
            group_id: group,
            epoch: 0,
            access_pub: keys.access_pub(),
            certificates: vec![],
            proof: hello_proof(&keys, relay, device, group, &exporter),
            after_cursor: 0,
            capabilities: vec![],
            access_token: None,
            marks: Vec::new(),
            probe: false,
        };
        assert!(verify_hello(&hello, relay, device, &exporter));
        assert!(
            !verify_hello(&hello, DeviceId([9; 32]), device, &exporter),
            "another relay"
        );
        assert!(
            !verify_hello(&hello, relay, DeviceId([9; 32]), &exporter),
            "another device"
        );
        assert!(
            !verify_hello(&hello, relay, device, &[9; 32]),
            "another connection"
        );
        let other_group = Hello {
            group_id: GroupId([9; 32]),
            ..hello.clone()
        };
        assert!(!verify_hello(&other_group, relay, device, &exporter));
        let other_epoch = Hello {
            epoch: 1,
            ..hello.clone()
        };
        assert!(!verify_hello(&other_epoch, relay, device, &exporter));
        let other_key = EpochKeys::derive(0, Secret::new([6; 32]));
        let stranger = Hello {
            access_pub: other_key.access_pub(),
            ..hello
        };
        assert!(!verify_hello(&stranger, relay, device, &exporter));
    }
}
