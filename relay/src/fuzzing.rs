//! Ways into what is otherwise private, for the fuzzer.

use std::collections::HashSet;

use zerok_sync_shared::ids::{DeviceId, GroupId, RelayId};

use crate::access::HashedToken;
use crate::attendance::Attendance;
use crate::cluster::Notice;

/// The tokens that a file has, or what is wrong with it.
///
/// # Errors
/// As people are told.
pub fn token_file(content: &[u8]) -> Result<Vec<HashedToken>, String> {
    crate::access::read_tokens(content)
}

/// How many groups a node would look at, told by another node that data has changed; `None` for all.
#[must_use]
pub fn notice(text: &str) -> Option<usize> {
    match Notice::parse(text) {
        Notice::Everything => None,
        Notice::News { grown, erased } => Some(grown.len() + erased.len()),
    }
}

/// The nodes that this one takes for those of a device, after another node has told who is there with it.
#[must_use]
pub fn live_notice(text: &str, own: RelayId, group: GroupId, device: DeviceId) -> HashSet<RelayId> {
    let attendance = std::sync::Arc::new(Attendance::new(
        std::sync::Arc::default(),
        std::sync::Arc::default(),
    ));
    let _here = attendance.enter(group, device);
    attendance.notice(own, text);
    attendance.nodes_of(group, device)
}
