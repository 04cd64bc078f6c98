//! The class that JavaScript sees.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Reflect, Uint8Array};
use tokio::sync::oneshot;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use zerok_sync_client::store::{MemoryStore, Store};
use zerok_sync_client::{Client, ComparisonCode, Config, InviteOptions, JoinOptions};
use zerok_sync_shared::crypto::passphrase::{Passphrase, Profile};
use zerok_sync_shared::crypto::rotation::Reason;
use zerok_sync_shared::map::SortedMap;

use crate::convert::{self, Options, Storage, group_id, number, whole};
use crate::error::Failure;
use crate::store::IndexedDbStore;
use crate::types::{
    CoreConfig, CoreCursor, CoreEvent, CoreInvite, CoreInviteState, CorePage, CorePushed,
    CoreSnapshot, OnEvent, empty,
};

/// One open device.
#[wasm_bindgen]
pub struct CoreClient {
    client: Client,
    /// The store, where it keeps secrets.
    database: Option<Arc<IndexedDbStore>>,
    on_event: Rc<OnEvent>,
    /// What ends the waiting of each call of `join`.
    joining: RefCell<SortedMap<u32, oneshot::Sender<()>>>,
}

#[wasm_bindgen]
impl CoreClient {
    /// Opens the device of this name, or makes a new one. Works without a network. In IndexedDB, `wrapKey` wraps its secrets.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `STORAGE_FAILED`
    pub async fn open(
        config: CoreConfig,
        #[wasm_bindgen(js_name = onEvent)] on_event: OnEvent,
    ) -> Result<CoreClient, Failure> {
        let options = Options::try_from(&config)?;
        if !on_event.is_function() {
            return Err(Failure::invalid(
                "open() needs a function that takes events",
            ));
        }
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "the client wants an Arc; there is one thread here"
        )]
        let database = match options.storage {
            Storage::IndexedDb => Some(Arc::new(
                IndexedDbStore::open(&options.name, options.wrap_key).await?,
            )),
            Storage::Memory => None,
        };
        let store: Arc<dyn Store> = match &database {
            Some(database) => database.clone(),
            None => Arc::new(MemoryStore::new()),
        };
        let mut config = Config::new(options.relays, store);
        config.device_name = options.device_name;
        config.platform = options.platform;
        config.access_token = options.access_token;
        let on_event = Rc::new(on_event);
        let told = on_event.clone();
        config.on_event = Box::new(move |event| tell(&told, &convert::event(&event)));
        Ok(Self {
            client: Client::open(config).await?,
            database,
            on_event,
            joining: RefCell::default(),
        })
    }

    /// This device's id, 64 hex digits.
    #[wasm_bindgen(js_name = deviceId)]
    #[must_use]
    pub fn device_id(&self) -> String {
        self.client.device_id().to_string()
    }

    /// Founds a group with a random secret and gives its id. Works without a network.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` without relays; `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    #[wasm_bindgen(js_name = createGroup)]
    pub async fn create_group(&self) -> Result<String, Failure> {
        Ok(self.client.create_group().await?.to_string())
    }

    /// Joins a group by an invite link or a short code, and gives its id. `joining` is the caller's number for this: the event
    /// with the comparison code has it, and `cancelJoin` takes it.
    ///
    /// # Errors
    /// `INVITE_INVALID`, `INVITE_EXPIRED`, `INVITE_REJECTED`, `CANCELLED`, `RELAY_UNREACHABLE`, `STORAGE_FULL`,
    /// `STORAGE_FAILED`, `CLOSED`
    pub async fn join(&self, invitation: String, joining: u32) -> Result<String, Failure> {
        let (give_up, given_up) = oneshot::channel();
        self.joining.borrow_mut().insert(joining, give_up);
        let options = JoinOptions {
            on_comparison_code: |code: ComparisonCode| {
                tell(&self.on_event, &convert::comparison_code(joining, code));
            },
            cancelled: async {
                if given_up.await.is_err() {
                    pending().await
                }
            },
        };
        let joined = self.client.join_with(&invitation, options).await;
        self.joining.borrow_mut().remove(&joining);
        Ok(joined?.to_string())
    }

    /// Ends the waiting of a call of `join`.
    #[wasm_bindgen(js_name = cancelJoin)]
    #[expect(clippy::unused_async, reason = "a promise, as all calls give")]
    pub async fn cancel_join(&self, joining: u32) {
        if let Some(give_up) = self.joining.borrow_mut().remove(&joining) {
            // Not there any more: it has ended by itself.
            let _ = give_up.send(());
        }
    }

    /// Joins the group of this name and passphrase in this app, and gives its id. With `found` the group is made if no relay
    /// has it, at a cost that a device with `memory` GiB affords. Name and passphrase are taken as they are: the package has
    /// brought them into their one form and has judged the passphrase.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `GROUP_NOT_FOUND`, `GROUP_CLOSED`, `RELAY_UNREACHABLE`, `OUT_OF_MEMORY`, `STORAGE_FULL`,
    /// `STORAGE_FAILED`, `CLOSED`
    #[wasm_bindgen(js_name = passphraseGroup)]
    pub async fn passphrase_group(
        &self,
        app: String,
        name: String,
        passphrase: String,
        found: bool,
        memory: Option<f64>,
    ) -> Result<String, Failure> {
        let passphrase = Passphrase::new(&app, &name, passphrase)
            .map_err(|error| Failure::invalid(error.to_string()))?;
        // A number that is none of memory becomes 0: little.
        let memory = memory.map(|gib| (gib * 1024.0) as u32);
        let found = found.then(|| Profile::affordable(memory));
        let group = self.client.passphrase_group(passphrase, found).await?;
        Ok(group.to_string())
    }

    /// Pushes a blob; resolves when it is durable on this device. The data is copied before this returns.
    ///
    /// # Errors
    /// `BLOB_TOO_LARGE`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `INVALID_ARGUMENT`, `CLOSED`
    pub async fn push(
        &self,
        group: String,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array")] data: Vec<u8>,
        #[wasm_bindgen(js_name = ttlSeconds)] ttl_seconds: Option<f64>,
    ) -> Result<CorePushed, Failure> {
        let ttl = match ttl_seconds {
            None => 0,
            Some(seconds) => u32::try_from(whole("ttl", seconds)?)
                .map_err(|_| Failure::invalid("ttl is longer than any relay keeps a blob"))?,
        };
        let pushed = self
            .client
            .push(group_id(&group)?, data.into(), ttl)
            .await?;
        let object = empty::<CorePushed>();
        object.set_id(&pushed.blob_id.to_string());
        object.set_position(number(pushed.position));
        Ok(object)
    }

    /// Resolves when a relay has the blob at this position durably.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when nothing is at this position; `UNKNOWN_GROUP`, `STORAGE_FAILED`, `CLOSED`
    #[wasm_bindgen(js_name = waitPushed, unchecked_return_type = "{ cursor: number }")]
    pub async fn wait_pushed(&self, group: String, position: f64) -> Result<CoreCursor, Failure> {
        let cursor = self
            .client
            .wait_pushed(group_id(&group)?, whole("position", position)?)
            .await?;
        let object = empty::<CoreCursor>();
        object.set_cursor(number(cursor));
        Ok(object)
    }

    /// One page of the local log after a position. With `sealed`, blobs also have what a relay sees of them.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `STORAGE_FAILED`
    pub async fn pull(
        &self,
        group: String,
        after: f64,
        limit: f64,
        #[wasm_bindgen(js_name = includeOwn)] include_own: bool,
        sealed: bool,
    ) -> Result<CorePage, Failure> {
        let limit = usize::try_from(whole("limit", limit)?).unwrap_or(usize::MAX);
        let page = self
            .client
            .pull(
                group_id(&group)?,
                whole("after", after)?,
                limit,
                include_own,
            )
            .await?;
        Ok(convert::page(&page, sealed))
    }

    /// Resolves when nothing waits to be sent.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `CLOSED`
    pub async fn flush(&self, group: String) -> Result<(), Failure> {
        Ok(self.client.flush(group_id(&group)?).await?)
    }

    /// Resolves when the group was complete on this device once: an empty log is an empty group then.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `CLOSED`
    pub async fn ready(&self, group: String) -> Result<(), Failure> {
        Ok(self.client.ready(group_id(&group)?).await?)
    }

    /// Makes a single-use invite. `appUrl` is the page that its link opens; `code` asks for a short code as well; with `confirm`
    /// this device lets the other one in, or not.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `RELAY_UNREACHABLE`, `RATE_LIMITED`, `OUT_OF_MEMORY`
    #[wasm_bindgen(js_name = createInvite)]
    pub async fn create_invite(
        &self,
        group: String,
        #[wasm_bindgen(js_name = appUrl)] app_url: Option<String>,
        code: bool,
        confirm: bool,
    ) -> Result<CoreInvite, Failure> {
        let options = InviteOptions {
            app_url,
            code,
            confirm,
        };
        let invite = self
            .client
            .create_invite(group_id(&group)?, options)
            .await?;
        let object = empty::<CoreInvite>();
        object.set_link(&invite.link);
        object.set_code(invite.code.map(|code| code.to_string()));
        object.set_lookup(&invite.lookup.to_string());
        object.set_expires_at(number(invite.expires.0));
        Ok(object)
    }

    /// What has become of an invite that this client made.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `RELAY_UNREACHABLE`, `RATE_LIMITED`
    #[wasm_bindgen(js_name = inviteState)]
    pub async fn invite_state(&self, lookup: String) -> Result<CoreInviteState, Failure> {
        let lookup = convert::invite_lookup(&lookup)?;
        Ok(convert::invite_state(
            self.client.invite_state(lookup).await?,
        ))
    }

    /// Lets the device in that waits, or turns it away.
    ///
    /// # Errors
    /// `INVITE_EXPIRED`, `INVITE_INVALID`, `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `RELAY_UNREACHABLE`, `RATE_LIMITED`
    #[wasm_bindgen(js_name = answerInvite)]
    pub async fn answer_invite(&self, lookup: String, accept: bool) -> Result<(), Failure> {
        let lookup = convert::invite_lookup(&lookup)?;
        Ok(self.client.answer_invite(lookup, accept).await?)
    }

    /// Takes back an invite that this client made.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `RELAY_UNREACHABLE`
    #[wasm_bindgen(js_name = cancelInvite)]
    pub async fn cancel_invite(&self, lookup: String) -> Result<(), Failure> {
        Ok(self
            .client
            .cancel_invite(convert::invite_lookup(&lookup)?)
            .await?)
    }

    /// The devices of a group, as its members know them, and which of them are there now.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`
    #[wasm_bindgen(unchecked_return_type = "CoreDevice[]")]
    pub async fn devices(&self, group: String) -> Result<Array, Failure> {
        Ok(convert::devices(&self.client.devices(group_id(&group)?)?))
    }

    /// Says something to the devices of a group that are there now; nobody answers. The data is copied before this returns.
    ///
    /// # Errors
    /// `BLOB_TOO_LARGE`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `INVALID_ARGUMENT`, `CLOSED`
    #[expect(clippy::unused_async, reason = "a promise, as all calls give")]
    pub async fn broadcast(
        &self,
        group: String,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array")] data: Vec<u8>,
    ) -> Result<(), Failure> {
        Ok(self.client.broadcast(group_id(&group)?, data.into())?)
    }

    /// Says whether this client answers `snapshot-wanted` for a group.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, `INVALID_ARGUMENT`
    #[wasm_bindgen(js_name = provideSnapshots)]
    #[expect(clippy::unused_async, reason = "a promise, as all calls give")]
    pub async fn provide_snapshots(&self, group: String, available: bool) -> Result<(), Failure> {
        Ok(self
            .client
            .provide_snapshots(group_id(&group)?, available)?)
    }

    /// Answers `snapshot-wanted`: with the app's state, or without one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`
    #[wasm_bindgen(js_name = giveSnapshot)]
    #[expect(clippy::unused_async, reason = "a promise, as all calls give")]
    pub async fn give_snapshot(
        &self,
        group: String,
        request: f64,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | undefined")] state: Option<Vec<u8>>,
    ) -> Result<(), Failure> {
        let (group, request) = (group_id(&group)?, whole("request", request)?);
        let state = state.map(Into::into);
        self.client.give_snapshot(group, request, state);
        Ok(())
    }

    /// The snapshots of other devices that were taken in and that no newer one has all of, the newest last.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `UNKNOWN_GROUP`, `STORAGE_FAILED`
    #[wasm_bindgen(unchecked_return_type = "CoreSnapshot[]")]
    pub async fn snapshots(&self, group: String) -> Result<Array, Failure> {
        let snapshots = Array::new();
        for snapshot in self.client.snapshots(group_id(&group)?).await? {
            let object = empty::<CoreSnapshot>();
            object.set_data(&Uint8Array::from(snapshot.data.as_ref()));
            object.set_position(number(snapshot.position));
            snapshots.push(&object);
        }
        Ok(snapshots)
    }

    /// Removes another device from a group. With `wait`, resolves when a relay has done it; else when it is certain to happen.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn revoke(
        &self,
        group: String,
        device: String,
        reason: String,
        wait: bool,
    ) -> Result<(), Failure> {
        let (group, device) = (group_id(&group)?, convert::device_id(&device)?);
        let reason = Reason::from_name(&reason).ok_or_else(|| {
            Failure::invalid("the reason is \"lost\", \"decommissioned\" or \"compromised\"")
        })?;
        self.client.revoke(group, device, reason).await?;
        if wait {
            self.client.wait_revoked(group, device).await?;
        }
        Ok(())
    }

    /// Gives this device another name in a group.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    pub async fn rename(&self, group: String, name: String) -> Result<(), Failure> {
        Ok(self.client.rename(group_id(&group)?, &name).await?)
    }

    /// Deletes a blob, here and everywhere.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, `NOT_BLOB_OWNER`, `DEVICE_REVOKED`, `UNKNOWN_GROUP`, `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    #[wasm_bindgen(js_name = deleteBlob)]
    pub async fn delete_blob(&self, group: String, id: String, force: bool) -> Result<(), Failure> {
        let (group, id) = (group_id(&group)?, convert::blob_id(&id)?);
        Ok(self.client.delete(group, id, force).await?)
    }

    /// Forgets a group, its keys and its log on this device.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `STORAGE_FAILED`, `CLOSED`
    pub async fn leave(&self, group: String) -> Result<(), Failure> {
        Ok(self.client.leave(group_id(&group)?).await?)
    }

    /// Wraps this device's secrets with another key from now on. `lock` is kept beside them, for the package to get that key by;
    /// without it, there is none.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` in memory; `STORAGE_FULL`, `STORAGE_FAILED`, `CLOSED`
    #[wasm_bindgen(js_name = setLock)]
    pub async fn set_lock(
        &self,
        #[wasm_bindgen(js_name = wrapKey, unchecked_param_type = "CryptoKey")] wrap_key: JsValue,
        #[wasm_bindgen(unchecked_param_type = "object | undefined")] lock: JsValue,
    ) -> Result<(), Failure> {
        let Some(database) = &self.database else {
            return Err(Failure::invalid("in memory there is nothing to lock"));
        };
        Ok(database.set_lock(wrap_key, &lock).await?)
    }

    /// Says that the network came, went or changed, or that the page woke up. Without an argument the browser is asked
    /// whether it is online.
    #[wasm_bindgen(js_name = networkChanged)]
    pub fn network_changed(&self, online: Option<bool>) {
        self.client
            .network_changed(online.unwrap_or_else(browser_is_online));
    }

    /// Brings to an end what was accepted, and lets go of network and database.
    pub async fn close(&self) {
        self.client.close().await;
    }
}

/// Calls the app's function. What it throws is its own matter and must not stop the device.
fn tell(on_event: &OnEvent, event: &CoreEvent) {
    if let Err(error) = on_event.call1(&JsValue::UNDEFINED, event) {
        web_sys::console::error_2(&"0k-sync: the event handler has thrown".into(), &error);
    }
}

/// `navigator.onLine`, and true where there is none: trying does no harm.
fn browser_is_online() -> bool {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into());
    let online = navigator.and_then(|navigator| Reflect::get(&navigator, &"onLine".into()));
    online
        .ok()
        .and_then(|online| online.as_bool())
        .unwrap_or(true)
}
