//! Between JavaScript's values and ours.

use std::str::FromStr;

use js_sys::{Array, JsString, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use zerok_sync_client::{
    ClientEvent, ComparisonCode, DeviceView, GroupView, InviteState, Page, Progress, State,
    SyncError,
};
use zerok_sync_shared::engine::DeviceInfo;
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, InviteLookup};
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::time::Timestamp;

use crate::error::{Failure, plain};
use crate::types::{
    self, CoreBlob, CoreConfig, CoreEvent, CoreInviteState, CorePage, SyncStatus, empty,
};

/// Largest integer that JavaScript's numbers hold exactly together with its neighbours.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// What `CoreClient.open` was asked for.
pub struct Options {
    pub relays: Vec<String>,
    pub name: String,
    pub device_name: String,
    pub platform: String,
    pub access_token: Option<String>,
    pub storage: Storage,
    /// For IndexedDB.
    pub wrap_key: JsValue,
}

/// Where a device keeps its data.
pub enum Storage {
    IndexedDb,
    Memory,
}

impl TryFrom<&CoreConfig> for Options {
    type Error = Failure;

    fn try_from(config: &CoreConfig) -> Result<Self, Failure> {
        if !config.is_object() {
            return Err(Failure::invalid("open() needs an object of options"));
        }
        let storage = match string("storage", &config.storage())?.as_str() {
            "indexeddb" => Storage::IndexedDb,
            "memory" => Storage::Memory,
            _ => {
                return Err(Failure::invalid(
                    "storage must be \"indexeddb\" or \"memory\"",
                ));
            }
        };
        let relays = config.relays().dyn_into::<Array>();
        let relays = relays.map_err(|_| Failure::invalid("relays must be an array of URLs"))?;
        let access_token = config.access_token();
        Ok(Self {
            relays: relays
                .iter()
                .map(|url| string("a relay's URL", &url))
                .collect::<Result<_, _>>()?,
            name: string("name", &config.name())?,
            device_name: string("deviceName", &config.device_name())?,
            platform: string("platform", &config.platform())?,
            access_token: match access_token.is_undefined() || access_token.is_null() {
                true => None,
                false => Some(string("accessToken", &access_token)?),
            },
            storage,
            wrap_key: config.wrap_key(),
        })
    }
}

fn string(what: &str, value: &JsValue) -> Result<String, Failure> {
    value
        .as_string()
        .ok_or_else(|| Failure::invalid(format!("{what} must be a string")))
}

/// A group's id as JavaScript has it.
pub fn group_id(text: &str) -> Result<GroupId, Failure> {
    GroupId::from_str(text).map_err(|_| Failure::invalid("a group's id is 64 hex digits"))
}

/// A device's id as JavaScript has it.
pub fn device_id(text: &str) -> Result<DeviceId, Failure> {
    DeviceId::from_str(text).map_err(|_| Failure::invalid("a device's id is 64 hex digits"))
}

/// A blob's id as JavaScript has it.
pub fn blob_id(text: &str) -> Result<BlobId, Failure> {
    BlobId::from_str(text).map_err(|_| Failure::invalid("a blob's id is 32 hex digits"))
}

/// Where an invite lies, as JavaScript has it.
pub fn invite_lookup(text: &str) -> Result<InviteLookup, Failure> {
    InviteLookup::from_str(text)
        .map_err(|_| Failure::invalid("an invite's lookup is 32 hex digits"))
}

/// A number that counts something.
pub fn whole(what: &str, number: f64) -> Result<u64, Failure> {
    if (0.0..=MAX_SAFE_INTEGER).contains(&number) && number.fract() == 0.0 {
        Ok(number as u64)
    } else {
        Err(Failure::invalid(format!(
            "{what} must be a whole number that is not negative"
        )))
    }
}

/// Counters and times of day stay far below 2^53.
pub const fn number(value: u64) -> f64 {
    value as f64
}

/// One page of the log.
pub fn page(page: &Page, with_sealed: bool) -> CorePage {
    // Most blobs of a page are by few devices, and making a string costs more than copying a reference to it.
    let mut senders: SortedMap<DeviceId, JsValue> = SortedMap::new();
    let blobs = Array::new();
    for blob in &page.blobs {
        let object = empty::<CoreBlob>();
        object.set_id(&blob.blob_id.to_string());
        object.set_position(number(blob.position));
        object.set_sender(senders.get_or_insert_with(blob.sender, || {
            JsString::from(blob.sender.to_string()).into()
        }));
        object.set_own(blob.own);
        object.set_cursor(number(blob.cursor));
        object.set_timestamp(number(blob.timestamp.0));
        object.set_data(&Uint8Array::from(blob.data.as_ref()));
        if with_sealed {
            object.set_sealed(&Uint8Array::from(blob.sealed.as_ref()));
        }
        blobs.push(&object);
    }
    let object = empty::<CorePage>();
    object.set_blobs(&blobs);
    object.set_has_more(page.has_more);
    object.set_next(number(page.next));
    object
}

/// An event for the callback.
pub fn event(event: &ClientEvent) -> CoreEvent {
    let object = empty::<CoreEvent>();
    match event {
        ClientEvent::Status(view) => {
            object.set_type("status");
            object.set_status(&device_status(view));
        }
        ClientEvent::Group { group, view } => {
            object.set_type("group");
            object.set_group(&group.to_string());
            object.set_status(&group_status(view));
            object.set_version_vector(&version_vector(&view.version_vector));
            object.set_position(number(view.position));
            object.set_ready(view.ready);
        }
        ClientEvent::GroupJoined(group) => {
            object.set_type("group-joined");
            object.set_group(&group.to_string());
        }
        ClientEvent::GroupLeft(group) => {
            object.set_type("group-left");
            object.set_group(&group.to_string());
        }
        ClientEvent::Pushed {
            group,
            blob_id,
            position,
            cursor,
        } => {
            object.set_type("pushed");
            object.set_group(&group.to_string());
            object.set_id(&blob_id.to_string());
            object.set_position(number(*position));
            object.set_cursor(number(*cursor));
        }
        ClientEvent::DeviceJoined {
            group,
            device,
            name,
        } => {
            object.set_type("device-joined");
            object.set_group(&group.to_string());
            object.set_device(&device.to_string());
            object.set_name(name.as_deref());
        }
        ClientEvent::DeviceRevoked {
            group,
            device,
            by,
            reason,
            ..
        } => {
            object.set_type("device-revoked");
            object.set_group(&group.to_string());
            object.set_device(&device.to_string());
            object.set_by(&by.to_string());
            object.set_reason(reason.name());
        }
        ClientEvent::Deleted {
            group,
            blob_id,
            by,
            position,
            forced,
        } => {
            object.set_type("deleted");
            object.set_group(&group.to_string());
            object.set_id(&blob_id.to_string());
            object.set_by(&by.to_string());
            object.set_position(number(*position));
            object.set_forced(*forced);
        }
        ClientEvent::Devices(group) => {
            object.set_type("devices");
            object.set_group(&group.to_string());
        }
        ClientEvent::Broadcast {
            group,
            sender,
            data,
        } => {
            object.set_type("broadcast");
            object.set_group(&group.to_string());
            object.set_sender(&sender.to_string());
            object.set_data(&Uint8Array::from(data.as_ref()));
        }
        ClientEvent::SnapshotWanted {
            group,
            request,
            position,
        } => {
            object.set_type("snapshot-wanted");
            object.set_group(&group.to_string());
            object.set_request(number(*request));
            object.set_position(number(*position));
        }
        ClientEvent::Snapshot { group, .. } => {
            object.set_type("snapshot");
            object.set_group(&group.to_string());
        }
        ClientEvent::Gap {
            group,
            sender,
            from,
            to,
        } => {
            object.set_type("gap");
            object.set_group(&group.to_string());
            object.set_sender(&sender.to_string());
            object.set_from(number(*from));
            object.set_to(number(*to));
        }
        ClientEvent::Error {
            group,
            error,
            cursor,
        } => {
            object.set_type("error");
            if let Some(group) = group {
                object.set_group(&group.to_string());
            }
            object.set_error(&plain(error));
            if let Some(cursor) = cursor {
                object.set_cursor(number(*cursor));
            }
        }
    }
    object
}

/// The event with what the two devices compare.
pub fn comparison_code(joining: u32, code: ComparisonCode) -> CoreEvent {
    let object = empty::<CoreEvent>();
    object.set_type("comparison-code");
    object.set_joining(joining);
    object.set_code(&code.to_string());
    object
}

/// What has become of an invite.
pub fn invite_state(state: InviteState) -> CoreInviteState {
    let (name, joiner) = match state {
        InviteState::Open => ("open", None),
        InviteState::Requested(joiner) => ("requested", Some(joiner)),
        InviteState::Claimed(joiner) => ("claimed", joiner),
        InviteState::Over => ("over", None),
    };
    let object = empty::<CoreInviteState>();
    object.set_state(name);
    if let Some(joiner) = joiner {
        let told = empty::<types::CoreJoiner>();
        told.set_device(&joiner.device.to_string());
        told.set_name(&joiner.name);
        told.set_comparison_code(&joiner.comparison_code.to_string());
        object.set_joiner(&told);
    }
    object
}

/// The devices of a group.
pub fn devices(devices: &[DeviceInfo]) -> Array {
    let device = |info: &DeviceInfo| {
        let object = empty::<types::CoreDevice>();
        object.set_id(&info.device.to_string());
        object.set_name(&info.name);
        object.set_platform(&info.platform);
        object.set_self(info.own);
        object.set_revoked(info.revoked);
        object.set_revoking(info.revoking);
        object.set_online(info.online);
        object.set_last_seen(
            &info
                .last_seen
                .map_or(JsValue::NULL, |at| number(at.0).into()),
        );
        object
    };
    devices.iter().map(device).collect()
}

fn version_vector(vector: &SortedMap<DeviceId, u64>) -> Object {
    let object = Object::new();
    for (device, sequence) in vector.iter() {
        // Setting a property of a fresh object is never refused.
        let _ = Reflect::set(
            &object,
            &device.to_string().into(),
            &number(*sequence).into(),
        );
    }
    object
}

fn group_status(view: &GroupView) -> SyncStatus {
    let relays = view
        .relays
        .iter()
        .map(|(url, connected)| (url.as_str(), *connected));
    status(&Parts {
        state: view.state,
        pending: view.pending,
        progress: view.progress,
        relay: view.relay.as_deref(),
        last_synced: view.last_synced,
        error: view.error.as_ref(),
        relays: relays.map(relay).collect(),
    })
}

fn device_status(view: &DeviceView) -> SyncStatus {
    let relays = view
        .relays
        .iter()
        .map(|(url, connected)| (url.as_str(), *connected));
    status(&Parts {
        state: view.state,
        pending: view.pending,
        progress: view.progress,
        relay: view.relay.as_deref(),
        last_synced: view.last_synced,
        error: view.error.as_ref(),
        relays: relays.map(relay).collect(),
    })
}

/// What both views have.
struct Parts<'a> {
    state: State,
    pending: usize,
    progress: Option<Progress>,
    relay: Option<&'a str>,
    last_synced: Option<Timestamp>,
    error: Option<&'a SyncError>,
    relays: Array,
}

fn status(parts: &Parts<'_>) -> SyncStatus {
    let object = empty::<SyncStatus>();
    object.set_state(parts.state.name());
    object.set_pending(parts.pending as f64);
    object.set_progress(&parts.progress.map_or(JsValue::NULL, |progress| {
        let object = empty::<types::Progress>();
        object.set_done(number(progress.done));
        object.set_total(number(progress.total));
        object.into()
    }));
    object.set_relay(&parts.relay.map_or(JsValue::NULL, JsValue::from_str));
    object.set_relays(&parts.relays);
    object.set_last_synced_at(
        &parts
            .last_synced
            .map_or(JsValue::NULL, |at| number(at.0).into()),
    );
    object.set_error(
        &parts
            .error
            .map_or(JsValue::NULL, |error| plain(error).into()),
    );
    object
}

fn relay((url, connected): (&str, bool)) -> types::Relay {
    let object = empty::<types::Relay>();
    object.set_url(url);
    object.set_connected(connected);
    object
}
