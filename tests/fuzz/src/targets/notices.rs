//! What nodes tell each other through their database: of what is stored, and of who is there. Whoever may write to the
//! database could say anything.

use zerok_sync_relay::fuzzing::{live_notice, notice};
use zerok_sync_shared::ids::{DeviceId, GroupId, RelayId};

const OWN: RelayId = DeviceId([1; 32]);
const OTHER: RelayId = DeviceId([2; 32]);
const GROUP: GroupId = GroupId([3; 32]);
const DEVICE: DeviceId = DeviceId([4; 32]);

pub fn run(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Some(groups) = notice(text) {
        assert_eq!(groups, text.split(',').count(), "none is passed over");
    }
    let nodes = live_notice(text, OWN, GROUP, DEVICE);
    assert!(!nodes.contains(&OWN), "a node hears nothing of itself");
    assert!(nodes.len() <= 1, "a notice is one node's");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let id = |bytes: &[u8; 32]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let (own, other) = (id(&OWN.0), id(&OTHER.0));
    let (group, device) = (id(&GROUP.0), id(&DEVICE.0));
    let texts = [
        "*".to_owned(),
        format!("{group}:7,!{group},{device}:9:2"),
        format!("{other} x f:{group}:{device}"),
        format!("{other} f:{group}:{device}.{own} m:{group}:{other} w:{group}"),
        format!("{own} f:{group}:{device}"),
        format!("{other} e:{group}:{device}:0:AAAA x"),
    ];
    texts.map(String::into_bytes).into()
}
