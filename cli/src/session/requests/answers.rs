//! What comes back, and what requests are made of. In the words of the other clients, so that it can be printed as it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zerok_sync_client::shared::engine::DeviceInfo;
use zerok_sync_client::shared::ids::GroupId;
use zerok_sync_client::{GroupView, State};

use crate::failure::Failure;

/// Answer to `Overview`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceStatus {
    pub device_id: String,
    pub groups: Vec<GroupStatus>,
}

/// How a group stands, in the words of the other clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    pub id: String,
    pub state: String,
    pub pending: usize,
    pub progress: Option<Progress>,
    pub relay: Option<String>,
    pub relays: Vec<RelayStatus>,
    pub last_synced_at: Option<u64>,
    pub error: Option<Failure>,
    /// This device was removed from it.
    pub revoked: bool,
    pub position: u64,
    pub version_vector: std::collections::BTreeMap<String, u64>,
}

/// How far a catch-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// One of a group's relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    pub url: String,
    pub connected: bool,
}

/// What an app puts into a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Data(#[serde(with = "base64")] pub Bytes);

/// Part of the answer to `Push`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pushed {
    pub id: String,
    pub position: u64,
}

/// Answer to `Pull`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    pub blobs: Vec<Blob>,
    pub has_more: bool,
    pub next: u64,
}

/// A blob of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blob {
    pub id: String,
    pub position: u64,
    pub sender: String,
    pub own: bool,
    pub cursor: u64,
    pub timestamp: u64,
    #[serde(with = "base64")]
    pub data: Bytes,
}

/// Answer to `Watch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    pub version: u64,
    pub failed_attempts: u64,
    pub notes: Vec<Note>,
    /// Other devices wait for more than blobs: this one's name, or that one is removed.
    pub owes: bool,
    pub status: GroupStatus,
}

/// A device of a group, as its members know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDevice {
    pub id: String,
    pub name: String,
    pub platform: String,
    #[serde(rename = "self")]
    pub own: bool,
    pub revoked: bool,
    pub revoking: bool,
    pub online: bool,
    /// Milliseconds since 1970, as far as the relay knows.
    #[serde(rename = "lastSeen")]
    pub last_seen: Option<u64>,
}

impl From<DeviceInfo> for MemberDevice {
    fn from(info: DeviceInfo) -> Self {
        Self {
            id: info.device.to_string(),
            name: info.name,
            platform: info.platform,
            own: info.own,
            revoked: info.revoked,
            revoking: info.revoking,
            online: info.online,
            last_seen: info.last_seen.map(|at| at.0),
        }
    }
}

/// Something that happened and that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub group: Option<String>,
    pub code: String,
    pub message: String,
}

/// Answer to `Invite`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Invited {
    pub link: String,
    pub code: Option<String>,
    pub lookup: String,
    pub expires_at: u64,
}

/// A device that uses an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joiner {
    pub device: String,
    pub name: String,
    pub comparison_code: String,
}

/// Answer to `LookAtInvite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InviteLook {
    Open,
    Requested(Joiner),
    Claimed(Option<Joiner>),
    Over,
}

impl From<zerok_sync_client::InviteState> for InviteLook {
    fn from(state: zerok_sync_client::InviteState) -> Self {
        use zerok_sync_client::InviteState;
        let joiner = |joiner: zerok_sync_client::Joiner| Joiner {
            device: joiner.device.to_string(),
            name: joiner.name,
            comparison_code: joiner.comparison_code.to_string(),
        };
        match state {
            InviteState::Open => Self::Open,
            InviteState::Requested(who) => Self::Requested(joiner(who)),
            InviteState::Claimed(who) => Self::Claimed(who.map(joiner)),
            InviteState::Over => Self::Over,
        }
    }
}

/// A group's id as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName(pub String);

impl GroupName {
    pub(super) fn id(&self) -> Result<GroupId, Failure> {
        self.0
            .parse()
            .map_err(|error| Failure::usage(format!("not a group's id: {error}")))
    }
}

impl GroupStatus {
    pub(super) fn new(group: GroupId, view: GroupView, revoked: bool) -> Self {
        // It lasts, so it counts more than what the network is doing.
        let error = match revoked {
            true => Some(Failure::revoked()),
            false => view.error.map(Failure::from),
        };
        let state = match revoked {
            true => State::Error,
            false => view.state,
        };
        Self {
            id: group.to_string(),
            state: state.name().to_owned(),
            pending: view.pending,
            progress: view.progress.map(|progress| Progress {
                done: progress.done,
                total: progress.total,
            }),
            relay: view.relay,
            relays: view
                .relays
                .into_iter()
                .map(|(url, connected)| RelayStatus { url, connected })
                .collect(),
            last_synced_at: view.last_synced.map(|time| time.0),
            error,
            revoked,
            position: view.position,
            version_vector: view
                .version_vector
                .iter()
                .map(|(device, seq)| (device.to_string(), *seq))
                .collect(),
        }
    }
}

/// Bytes as text.
mod base64 {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map(Bytes::from).map_err(D::Error::custom)
    }
}
