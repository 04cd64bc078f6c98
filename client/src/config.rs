//! How a client is opened, and what it tells.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use url::Url;
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::engine::{DeviceView, GroupView};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId};
use zerok_sync_shared::limits;

use crate::store::Store;

/// How the relay is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Path {
    /// By UDP where that works, otherwise through the relay's WebSocket. A browser has only the latter.
    #[default]
    Any,
    /// Only through the relay's WebSocket, as a browser does.
    WebSocket,
}

/// Called with everything that happens, in order, before the call that caused it returns. It must not block.
#[cfg(not(target_family = "wasm"))]
pub type EventHandler = Box<dyn Fn(ClientEvent) + Send + Sync>;
/// Called with everything that happens, in order, before the call that caused it returns. It must not block.
#[cfg(target_family = "wasm")]
pub type EventHandler = Box<dyn Fn(ClientEvent)>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// The device as a whole stands differently.
    Status(DeviceView),
    /// A group stands differently.
    Group {
        /// The group.
        group: GroupId,
        /// How it stands now.
        view: GroupView,
    },
    /// This device is now in the group.
    GroupJoined(GroupId),
    /// This device has forgotten the group.
    GroupLeft(GroupId),
    /// A relay has the blob durably.
    Pushed {
        /// The group.
        group: GroupId,
        /// The blob.
        blob_id: BlobId,
        /// Its place in the log.
        position: u64,
        /// Its cursor at the relay.
        cursor: u64,
    },
    /// The first blob of a device.
    DeviceJoined {
        /// The group.
        group: GroupId,
        /// The device.
        device: DeviceId,
        /// What it calls itself, if it has said so.
        name: Option<String>,
    },
    /// A device was revoked: whoever stays has new keys. It may be this one.
    DeviceRevoked {
        /// The group.
        group: GroupId,
        /// Who is out.
        device: DeviceId,
        /// Who revoked it.
        by: DeviceId,
        /// Why.
        reason: Reason,
        /// The first epoch without it.
        epoch: u32,
    },
    /// A blob was deleted, and is gone from this device. Told once: who is closed in between finds that the log does not have it any more.
    Deleted {
        /// The group.
        group: GroupId,
        /// The blob.
        blob_id: BlobId,
        /// The device that deleted it.
        by: DeviceId,
        /// Its place in the log, which stays empty.
        position: u64,
        /// Whether its sender has asked relays to erase it at once.
        forced: bool,
    },
    /// [`crate::Client::devices`] answers differently now: somebody came, went, joined, was renamed or revoked.
    Devices(GroupId),
    /// Another device says something to those who are there now. It is kept nowhere.
    Broadcast {
        /// The group.
        group: GroupId,
        /// Who.
        sender: DeviceId,
        /// What.
        data: Bytes,
    },
    /// The app's state is wanted, with everything in the log up to this position and in the snapshot that this device holds: to be
    /// answered by [`crate::Client::give_snapshot`]. Only where [`crate::Client::provide_snapshots`] was called.
    SnapshotWanted {
        /// Of this group.
        group: GroupId,
        /// To be named in the answer.
        request: u64,
        /// The newest position of the log.
        position: u64,
    },
    /// A state of the app that another device has given is here, the last of [`crate::Client::snapshots`]: it stands in for blobs that
    /// this device did not get.
    Snapshot {
        /// Of this group.
        group: GroupId,
        /// Everything in the log up to here is in it.
        position: u64,
    },
    /// Blobs that no relay has any more.
    Gap {
        /// The group.
        group: GroupId,
        /// Whose.
        sender: DeviceId,
        /// First missing sequence.
        from: u64,
        /// Last missing sequence.
        to: u64,
    },
    /// Something went wrong, and the rest goes on.
    Error {
        /// In this group, or in general.
        group: Option<GroupId>,
        /// What.
        error: SyncError,
        /// At this cursor, when it is about one blob.
        cursor: Option<u64>,
    },
}

/// What a client needs.
pub struct Config {
    /// URLs of relays, in order of preference: those of the groups that this device founds.
    pub relays: Vec<String>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// How people call this device: what the other members see, until it is renamed in a group.
    pub device_name: String,
    /// What it runs on, for the other members.
    pub platform: String,
    /// For `relays` that are not open to everybody. Devices that join by an invite of this one are given it.
    pub access_token: Option<String>,
    /// Called with everything that happens.
    pub on_event: EventHandler,
    /// How the relay is reached.
    pub path: Path,
}

impl Config {
    /// The defaults around relays and a store.
    #[must_use]
    pub fn new(relays: Vec<String>, store: Arc<dyn Store>) -> Self {
        Self {
            relays,
            store,
            device_name: String::new(),
            platform: String::new(),
            access_token: None,
            on_event: Box::new(|_| {}),
            path: Path::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("relays", &self.relays)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A relay's URL in its one form: http or https, no query, no fragment, no slash at the end.
pub(crate) fn normal_url(text: &str) -> Result<String, SyncError> {
    let wrong = |why: &str| {
        SyncError::new(
            code::INVALID_ARGUMENT,
            format!("{text:?} is not a relay URL: {why}"),
        )
    };
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it must start with http:// or https://"));
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(wrong("it must not have a user, a query or a fragment"));
    }
    let normal = url.as_str().trim_end_matches('/').to_owned();
    if normal.len() > limits::MAX_RELAY_URL {
        return Err(wrong("it is too long"));
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::normal_url;

    #[test]
    fn relay_urls_have_one_form() {
        assert_eq!(
            normal_url(" https://Sync.Example.com/ ").unwrap(),
            "https://sync.example.com"
        );
        assert_eq!(
            normal_url("http://localhost:8080").unwrap(),
            "http://localhost:8080"
        );
        assert_eq!(
            normal_url("https://example.com/sync/").unwrap(),
            "https://example.com/sync"
        );
        for wrong in [
            "",
            "localhost:8080",
            "ftp://example.com",
            "https://a@example.com",
            "https://example.com/?x=1",
            "https://example.com/#x",
        ] {
            assert_eq!(
                normal_url(wrong).unwrap_err().code,
                "INVALID_ARGUMENT",
                "{wrong}"
            );
        }
    }
}
