//! What lies where in the database, and how keys and small values are packed.
//!
//! | object store | key | value |
//! |---|---|---|
//! | `meta` | name | `device-key`: 32 bytes, wrapped; `fence`: number; `lock`: what the package unlocks this device with, if it is locked |
//! | `groups` | group id | MessagePack of its state |
//! | `memberships` | group id | MessagePack of this device's membership, wrapped |
//! | `log` | group id, position | MessagePack of the record as it was appended |
//! | `unsent` | group id, position | length of the payload, as a number |
//! | `sent` | group id, position | position, cursor, timestamp |
//!
//! Keys are byte arrays, which IndexedDB orders byte by byte: a group's records lie together, in the order of their
//! big-endian positions. Numbers of 64 bits are packed the same way in `sent`; JavaScript's would not hold them.

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use web_sys::IdbKeyRange;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::time::Timestamp;

use super::transaction::failed;
use super::unreadable;

pub(super) const META: &str = "meta";
pub(super) const GROUPS: &str = "groups";
pub(super) const MEMBERSHIPS: &str = "memberships";
pub(super) const LOG: &str = "log";
pub(super) const UNSENT: &str = "unsent";
pub(super) const SENT: &str = "sent";
/// All of them.
pub(super) const STORES: [&str; 6] = [META, GROUPS, MEMBERSHIPS, LOG, UNSENT, SENT];

/// Key in `meta`: the device's secret key.
pub(super) const DEVICE_KEY: &str = "device-key";
/// Key in `meta`: what the package gets the wrapping key from when this device is locked.
pub(super) const LOCK: &str = "lock";
/// Key in `meta`: how often the database was taken over.
pub(super) const FENCE: &str = "fence";

const POSITION_LEN: usize = size_of::<u64>();
const LOG_KEY_LEN: usize = GroupId::LEN + POSITION_LEN;

/// What a relay said of a record after it was appended.
pub(super) struct SentMark {
    pub(super) position: u64,
    pub(super) cursor: u64,
    pub(super) timestamp: Timestamp,
}

impl SentMark {
    pub(super) fn pack(&self) -> Uint8Array {
        let words = [self.position, self.cursor, self.timestamp.0];
        Uint8Array::from(words.map(u64::to_be_bytes).as_flattened())
    }

    pub(super) fn read(value: &JsValue) -> Result<Self, StoreError> {
        let bytes: [u8; 3 * POSITION_LEN] = Uint8Array::new(value)
            .to_vec()
            .try_into()
            .map_err(unreadable)?;
        let (words, _) = bytes.as_chunks();
        let [position, cursor, timestamp] = [words[0], words[1], words[2]].map(u64::from_be_bytes);
        Ok(Self {
            position,
            cursor,
            timestamp: Timestamp(timestamp),
        })
    }
}

pub(super) fn group_key(group: GroupId) -> Uint8Array {
    Uint8Array::from(group.as_bytes().as_slice())
}

pub(super) fn read_group_key(key: &JsValue) -> Result<GroupId, StoreError> {
    GroupId::try_from(Uint8Array::new(key).to_vec().as_slice()).map_err(unreadable)
}

pub(super) fn log_key(group: GroupId, position: u64) -> Uint8Array {
    let mut key = [0; LOG_KEY_LEN];
    key[..GroupId::LEN].copy_from_slice(group.as_bytes());
    key[GroupId::LEN..].copy_from_slice(&position.to_be_bytes());
    Uint8Array::from(key.as_slice())
}

pub(super) fn read_log_key(key: &JsValue) -> Result<(GroupId, u64), StoreError> {
    let key: [u8; LOG_KEY_LEN] = Uint8Array::new(key)
        .to_vec()
        .try_into()
        .map_err(unreadable)?;
    let (group, position) = key.split_at(GroupId::LEN);
    let position = position.try_into().map_err(unreadable)?;
    Ok((
        GroupId::try_from(group).map_err(unreadable)?,
        u64::from_be_bytes(position),
    ))
}

/// All positions of a group.
pub(super) fn log_range(group: GroupId) -> Result<IdbKeyRange, JsValue> {
    IdbKeyRange::bound(&log_key(group, 0), &log_key(group, u64::MAX))
}

/// The positions of a group after this one; `None` where there can't be any.
pub(super) fn log_range_after(
    group: GroupId,
    after: u64,
) -> Result<Option<IdbKeyRange>, StoreError> {
    let Some(first) = after.checked_add(1) else {
        return Ok(None);
    };
    IdbKeyRange::bound(&log_key(group, first), &log_key(group, u64::MAX))
        .map(Some)
        .map_err(failed)
}

/// A payload's length.
pub(super) fn read_length(value: &JsValue) -> Result<u32, StoreError> {
    match value.as_f64() {
        Some(length) if (0.0..=f64::from(u32::MAX)).contains(&length) => Ok(length as u32),
        _ => Err(unreadable(())),
    }
}
