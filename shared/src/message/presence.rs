//! Who of a group is there now, and what they say to those who are: nothing of it is stored.

use bytes::Bytes;

use crate::codec::wire::wire_struct;
use crate::ids::DeviceId;
use crate::time::Timestamp;

/// A device of a group, as the relay knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedDevice {
    /// The device.
    pub device: DeviceId,
    /// When it was there last, on the relay's clock.
    pub last_seen: Timestamp,
    /// The newest cursor that it has acknowledged.
    pub acked: u64,
    /// Whether it is there now.
    pub online: bool,
}

/// R→C: a device of the group came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// Whether it is there now.
    pub online: bool,
    /// When it was there last, on the relay's clock.
    pub last_seen: Timestamp,
}

/// C→R and R→C: for those who are there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    /// The device that sealed it. A relay takes a message only from that device itself.
    pub sender: DeviceId,
    /// The epoch of its key.
    pub epoch: u32,
    /// [`crate::crypto::ephemeral`].
    pub payload: Bytes,
}

wire_struct!(ListedDevice {
    device,
    last_seen,
    acked,
    online
});
wire_struct!(Presence {
    device,
    online,
    last_seen
});
wire_struct!(Ephemeral {
    sender,
    epoch,
    payload
});
