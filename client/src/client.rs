//! The client: what a program calls.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use zerok_sync_shared::crypto::blob::{self, Kind};
use zerok_sync_shared::crypto::device::DeviceKeys;
use zerok_sync_shared::crypto::keys::{EpochKeys, Secret};
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::crypto::token::AccessToken;
use zerok_sync_shared::engine::{DeviceInfo, DeviceView, Engine, GroupView, Profile};
use zerok_sync_shared::failure::{SyncError, code};
use zerok_sync_shared::ids::{BlobId, DeviceId, GroupId, InviteLookup};
use zerok_sync_shared::limits;
use zerok_sync_shared::map::SortedMap;
use zerok_sync_shared::store::{LogRecord, Membership};
use zerok_sync_shared::time::Timestamp;

use crate::config::{Config, normal_url};
use crate::driver::{self, Command, GroupMirror, Mirror, Reply, closed};
use crate::network::{EVENT_QUEUE, LazyEndpoint, Network};
use crate::platform;
use crate::store::{Store, StoreError};

mod pairing;
mod passphrase;
mod snapshots;

pub use pairing::JoinOptions;
pub use snapshots::Snapshot;

/// Payload bytes of one page of [`Client::pull`], but at least one blob.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most blobs in one page of [`Client::pull`].
const MAX_PAGE: usize = 1_000;

/// A blob that is durable on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Its id.
    pub blob_id: BlobId,
    /// Its place in the log.
    pub position: u64,
}

/// A blob of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedBlob {
    /// Its id.
    pub blob_id: BlobId,
    /// Its place in this device's log.
    pub position: u64,
    /// The device that pushed it.
    pub sender: DeviceId,
    /// Whether that is this device.
    pub own: bool,
    /// Its cursor at the relay; 0 until a relay has it.
    pub cursor: u64,
    /// When a relay stored it; until then, when it was pushed.
    pub timestamp: Timestamp,
    /// The data.
    pub data: Bytes,
    /// What a relay sees of it: nonce and ciphertext.
    pub sealed: Bytes,
}

/// One page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of the log.
    pub blobs: Vec<ReceivedBlob>,
    /// Whether the log goes on.
    pub has_more: bool,
    /// Position to go on after.
    pub next: u64,
}

/// A device. Clones are handles to the same one; it stops with [`Client::close`] or when the last handle is dropped.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    device: DeviceId,
    relays: Vec<String>,
    /// For those relays.
    token: Option<AccessToken>,
    store: Arc<dyn Store>,
    endpoint: Arc<LazyEndpoint>,
    commands: mpsc::UnboundedSender<Command>,
    mirror: Arc<Mirror>,
    /// What people call it.
    name: String,
    /// Invites that were made here.
    invites: Mutex<SortedMap<InviteLookup, pairing::Made>>,
}

impl Client {
    /// Opens the device that lives in the store, or makes a new one. Works without a network.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a relay URL or an access token that is none; `STORAGE_FAILED`
    pub async fn open(config: Config) -> Result<Self, SyncError> {
        let relays = config
            .relays
            .iter()
            .map(|url| normal_url(url))
            .collect::<Result<Vec<_>, _>>()?;
        let token = config.access_token.as_deref().map(access_token);
        let token = token.transpose()?;
        let mut loaded = config.store.load().await?;
        for stored in &mut loaded.groups {
            if let Some(kept) = &mut stored.membership {
                kept.relays = merged_relays(&kept.relays, &relays, kept.founded);
                add_token(&mut kept.tokens, &relays, token.as_ref());
            }
        }
        let key = match loaded.device_key {
            Some(key) => key,
            None => {
                let mut fresh = [0; 32];
                platform::fill_random(&mut fresh);
                config.store.keep_device_key(&Secret::new(fresh)).await?
            }
        };
        let keys = DeviceKeys::derive(&key);
        let device = keys.id();
        let profile = Profile {
            name: config.device_name.clone(),
            platform: config.platform,
        };
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let network = Network::new(&key, config.path, events);
        let endpoint = network.endpoint();
        let entropy = |bytes: &mut [u8]| platform::fill_random(bytes);
        let engine = Engine::new(keys, profile, loaded.groups, Box::new(entropy));
        let (commands, mirror) = driver::start(
            engine,
            config.store.clone(),
            network,
            event_queue,
            config.on_event,
        );
        let (store, name, invites) = (config.store, config.device_name, Mutex::default());
        Ok(Self {
            inner: Arc::new(Inner {
                device,
                relays,
                token,
                store,
                endpoint,
                commands,
                mirror,
                name,
                invites,
            }),
        })
    }

    /// This device's id.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.inner.device
    }

    /// The groups on this device.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.inner.mirror.groups()
    }

    /// How the device stands.
    #[must_use]
    pub fn status(&self) -> DeviceView {
        self.inner.mirror.device()
    }

    /// How a group stands; `None` if it is not on this device.
    #[must_use]
    pub fn group_view(&self, group: GroupId) -> Option<GroupView> {
        self.inner.mirror.group(group).map(|group| group.view)
    }

    /// Founds a group with a random secret. Works without a network.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` without relays; `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn create_group(&self) -> Result<GroupId, SyncError> {
        if self.inner.relays.is_empty() {
            return Err(SyncError::new(
                code::INVALID_ARGUMENT,
                "a group needs at least one relay URL",
            ));
        }
        let mut secret = [0; 32];
        platform::fill_random(&mut secret);
        let secret = Secret::new(secret);
        let group = EpochKeys::derive(0, secret.clone()).founded_group();
        let relays = self.inner.relays.clone();
        let membership = self.membership(vec![(0, secret)], relays, SortedMap::new(), true);
        self.request(|reply| Command::AddGroup {
            group,
            membership: Box::new(membership),
            reply,
        })
        .await?;
        Ok(group)
    }

    /// Pushes a blob; returns when it is durable on this device. `ttl` in seconds, 0 leaves it to the relay.
    ///
    /// # Errors
    /// `BLOB_TOO_LARGE`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn push(&self, group: GroupId, body: Bytes, ttl: u32) -> Result<Pushed, SyncError> {
        let (blob_id, position) = self
            .request(|reply| Command::Push {
                group,
                body,
                ttl,
                reply,
            })
            .await?;
        let places = self.mirror(group)?.view.places;
        let position = places.position_of(position);
        Ok(Pushed { blob_id, position })
    }

    /// Says something to the devices of a group that are there now: cursors, who is typing. Nothing of it is kept, nobody
    /// answers, and while this device is not connected, or under load, nobody hears it.
    ///
    /// # Errors
    /// `BLOB_TOO_LARGE`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `CLOSED`
    pub fn broadcast(&self, group: GroupId, body: Bytes) -> Result<(), SyncError> {
        if body.len() > limits::MAX_EPHEMERAL {
            let text = format!(
                "{} bytes do not fit a broadcast, at most {} do; push what is larger",
                body.len(),
                limits::MAX_EPHEMERAL
            );
            return Err(SyncError::new(code::BLOB_TOO_LARGE, text));
        }
        if is_removed(&self.mirror(group)?) {
            return Err(removed());
        }
        let said = self.inner.commands.send(Command::Broadcast { group, body });
        said.map_err(|_| closed())
    }

    /// The devices of a group, as its members know them, and which of them are there now, by the relay's word.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`
    pub fn devices(&self, group: GroupId) -> Result<Vec<DeviceInfo>, SyncError> {
        Ok(self.mirror(group)?.devices.to_vec())
    }

    /// Removes another device from a group: everybody else gets new keys, and it reads nothing that is pushed from then on.
    /// Returns when that is certain to happen; it has happened when `DeviceRevoked` is told, which needs a relay.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for this device itself, `NOT_FOUND`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`,
    /// `STORAGE_FAILED`, `CLOSED`
    pub async fn revoke(
        &self,
        group: GroupId,
        device: DeviceId,
        reason: Reason,
    ) -> Result<(), SyncError> {
        self.request(|reply| Command::Revoke {
            group,
            device,
            reason,
            reply,
        })
        .await
    }

    /// Returns when a device is revoked: when a relay has changed the keys and this device has the new ones.
    ///
    /// # Errors
    /// `NOT_FOUND` when nobody is about to revoke it; `UNKNOWN_GROUP`, `CLOSED`
    pub async fn wait_revoked(&self, group: GroupId, device: DeviceId) -> Result<(), SyncError> {
        let mut changes = self.inner.mirror.changed.clone();
        loop {
            changes.borrow_and_update();
            let devices = self.devices(group)?;
            match devices.iter().find(|info| info.device == device) {
                Some(info) if info.revoked => return Ok(()),
                Some(info) if info.revoking => changes.changed().await.map_err(|_| closed())?,
                _ => {
                    let text = "nobody is about to revoke this device";
                    return Err(SyncError::new(code::NOT_FOUND, text));
                }
            }
        }
    }

    /// Gives this device another name in a group.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn rename(&self, group: GroupId, name: &str) -> Result<(), SyncError> {
        let name = name.to_owned();
        self.request(|reply| Command::Rename { group, name, reply })
            .await
    }

    /// Deletes a blob: its data is gone from this device when this returns, and from the others as soon as they hear of it,
    /// also from those that are away now. Every member may do that; other blobs keep their positions. Relays let go of it
    /// once all active devices have read past it, and at once with `force`, which only the device that pushed it may use. What
    /// is deleted already stays deleted.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_BLOB_OWNER`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn delete(
        &self,
        group: GroupId,
        blob_id: BlobId,
        force: bool,
    ) -> Result<(), SyncError> {
        self.request(|reply| Command::Delete {
            group,
            blob_id,
            force,
            reply,
        })
        .await
    }

    /// Returns when a relay has the blob at this position durably, with its cursor there.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when nothing is at this position; `DEVICE_REVOKED` when this device was removed before a relay had it;
    /// `UNKNOWN_GROUP`, `STORAGE_FAILED`, `CLOSED`
    pub async fn wait_pushed(&self, group: GroupId, position: u64) -> Result<u64, SyncError> {
        let mut changes = self.inner.mirror.changed.clone();
        loop {
            changes.borrow_and_update();
            let place = self.mirror(group)?.view.places.place_of(position);
            let records = self.read(group, place.saturating_sub(1), 1, 1).await?;
            let record = records.into_iter().find(|record| record.position == place);
            match record {
                None => {
                    return Err(SyncError::new(
                        code::INVALID_ARGUMENT,
                        "nothing is at this position of the log",
                    ));
                }
                Some(record) if record.cursor != 0 => return Ok(record.cursor),
                // No relay takes anything from it any more.
                Some(_) if is_removed(&self.mirror(group)?) => return Err(removed()),
                Some(_) => changes.changed().await.map_err(|_| closed())?,
            }
        }
    }

    /// One page of the log after a position. An entry that this device's disk has damaged is left out and told as an
    /// error event.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, `STORAGE_FAILED`
    pub async fn pull(
        &self,
        group: GroupId,
        after: u64,
        limit: usize,
        include_own: bool,
    ) -> Result<Page, SyncError> {
        let GroupMirror { keys, .. } = self.mirror(group)?;
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = Page {
            blobs: Vec::new(),
            has_more: false,
            next: after,
        };
        let mut bytes = 0;
        let mut place = self.mirror(group)?.view.places.place_of(after);
        loop {
            let wanted = limit - page.blobs.len();
            let full = wanted == 0 || bytes >= MAX_PAGE_BYTES;
            let mut records = Vec::new();
            if !full {
                let room = MAX_PAGE_BYTES - bytes;
                records = self.read(group, place, wanted, room).await?;
            }
            // Asked for after the read, and nothing beyond it is given: which places are the app's is known for those only.
            let view = self.mirror(group)?.view;
            records.retain(|record| record.position <= view.place);
            if records.is_empty() {
                page.next = page.next.max(view.places.position_of(place));
                page.has_more = full && view.position > page.next;
                return Ok(page);
            }
            for mut record in records {
                place = record.position;
                record.position = view.places.position_of(place);
                bytes += record.payload.len();
                if record.kind == Kind::App && (include_own || record.sender != self.inner.device) {
                    match open_record(group, record, &keys, self.inner.device) {
                        Ok(blob) => page.blobs.push(blob),
                        // One bad entry must not hide all that follow it.
                        Err(error) => self.tell(group, error),
                    }
                }
            }
        }
    }

    /// Returns when nothing waits to be sent.
    ///
    /// # Errors
    /// `DEVICE_REVOKED` when something waits and this device was removed; `UNKNOWN_GROUP`, `CLOSED`
    pub async fn flush(&self, group: GroupId) -> Result<(), SyncError> {
        self.wait_for(group, |mirror| match mirror.view.unsent {
            0 => Ok(true),
            _ if is_removed(mirror) => Err(removed()),
            _ => Ok(false),
        })
        .await
    }

    /// Returns when the group was complete on this device once: an empty log is an empty group then.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, `CLOSED`
    pub async fn ready(&self, group: GroupId) -> Result<(), SyncError> {
        self.wait_for(group, |mirror| Ok(mirror.view.ready)).await
    }

    /// Forgets a group, its keys and its log on this device.
    ///
    /// # Errors
    /// `STORAGE_FAILED`, `CLOSED`
    pub async fn leave(&self, group: GroupId) -> Result<(), SyncError> {
        self.request(|reply| Command::RemoveGroup { group, reply })
            .await
    }

    /// Says that the device's network came, went or changed, or that the device woke up.
    pub fn network_changed(&self, online: bool) {
        let _ = self.inner.commands.send(Command::NetworkChanged { online });
    }

    /// Brings to an end what was accepted, and lets go of network and store.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.inner.commands.send(Command::Close { reply }).is_ok() {
            let _ = answer.await;
        }
    }

    fn tell(&self, group: GroupId, error: SyncError) {
        let _ = self.inner.commands.send(Command::Tell { group, error });
    }

    fn mirror(&self, group: GroupId) -> Result<GroupMirror, SyncError> {
        self.inner.mirror.group(group).ok_or_else(|| {
            SyncError::new(
                code::UNKNOWN_GROUP,
                "this group is not on this device; join it, or create one",
            )
        })
    }

    fn membership(
        &self,
        epochs: Vec<(u32, Secret)>,
        relays: Vec<String>,
        mut tokens: SortedMap<String, AccessToken>,
        founded: bool,
    ) -> Membership {
        add_token(&mut tokens, &self.inner.relays, self.inner.token.as_ref());
        Membership {
            epochs,
            relays,
            founded,
            tokens,
            ..Membership::default()
        }
    }

    async fn read(
        &self,
        group: GroupId,
        after: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<LogRecord>, SyncError> {
        let mirror = &self.inner.mirror;
        if let Some(records) = mirror.recent(group, after, records, bytes) {
            return Ok(records);
        }
        if mirror
            .group(group)
            .is_some_and(|group| after >= group.view.place)
        {
            return Ok(Vec::new());
        }
        self.inner
            .store
            .read(group, after, records, bytes)
            .await
            .map_err(|error| match error {
                StoreError::Taken => closed(),
                other => other.into(),
            })
    }

    async fn wait_for(
        &self,
        group: GroupId,
        holds: impl Fn(&GroupMirror) -> Result<bool, SyncError>,
    ) -> Result<(), SyncError> {
        let mut changes = self.inner.mirror.changed.clone();
        loop {
            changes.borrow_and_update();
            if holds(&self.mirror(group)?)? {
                return Ok(());
            }
            changes.changed().await.map_err(|_| closed())?;
        }
    }

    async fn request<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SyncError> {
        let (reply, answer) = oneshot::channel();
        self.inner
            .commands
            .send(command(reply))
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("device", &self.inner.device)
            .finish_non_exhaustive()
    }
}

/// Whether this device is out of the group.
fn is_removed(mirror: &GroupMirror) -> bool {
    let mut own = mirror.devices.iter().filter(|info| info.own);
    own.any(|info| info.revoked)
}

fn removed() -> SyncError {
    let text = "this device was removed from the group";
    SyncError::new(code::DEVICE_REVOKED, text)
}

fn access_token(text: &str) -> Result<AccessToken, SyncError> {
    AccessToken::new(text).ok_or_else(|| {
        let text = format!(
            "an access token has 1 to {} visible ASCII characters; copy it again",
            limits::MAX_ACCESS_TOKEN
        );
        SyncError::new(code::INVALID_ARGUMENT, text)
    })
}

/// The token that the program has now counts more than one that was given by an invite.
fn add_token(
    tokens: &mut SortedMap<String, AccessToken>,
    relays: &[String],
    token: Option<&AccessToken>,
) {
    for url in relays {
        if let Some(token) = token {
            tokens.insert(url.clone(), token.clone());
        }
    }
}

/// Relays of a group when the program names others than before. Who founded the group decides where it lives; elsewhere
/// the new ones are a way out when the old ones are gone.
fn merged_relays(stored: &[String], configured: &[String], founded: bool) -> Vec<String> {
    let (first, then) = if founded {
        (configured, stored)
    } else {
        (stored, configured)
    };
    let mut relays = first.to_vec();
    for url in then {
        if !relays.contains(url) {
            relays.push(url.clone());
        }
    }
    relays
}

fn open_record(
    group: GroupId,
    record: LogRecord,
    keys: &[EpochKeys],
    device: DeviceId,
) -> Result<ReceivedBlob, SyncError> {
    let plain = keys
        .iter()
        .find(|keys| keys.epoch() == record.epoch)
        .ok_or(blob::OpenError::UnknownEpoch)
        .and_then(|keys| blob::open(keys, &record.address(group), &record.payload))
        // It was opened once when it was taken into the log, so the device's disk has changed it.
        .map_err(|_| {
            let text = format!(
                "the entry at position {} of the log is damaged on this device",
                record.position
            );
            SyncError::new(code::STORAGE_FAILED, text).because("damaged")
        })?;
    Ok(ReceivedBlob {
        blob_id: record.blob_id,
        position: record.position,
        sender: record.sender,
        own: record.sender == device,
        cursor: record.cursor,
        timestamp: record.timestamp,
        data: plain.body,
        sealed: record.payload,
    })
}
