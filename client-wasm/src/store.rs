//! A device's data in IndexedDB.
//!
//! **Layout.** Six object stores, described in `layout`. Records of the log are MessagePack in one byte array each;
//! what a relay says later about a record that was sent lies beside it in a store of its own, so that it costs neither
//! reading back nor writing again up to a mebibyte of payload.
//!
//! **One transaction per batch.** Every request of a batch is issued before anything is awaited: a browser ends a
//! transaction that has nothing to do. It is opened with `transaction::DURABILITY`.
//!
//! **One owner.** Opening the database raises its `fence`. Each write transaction reads the fence first and undoes
//! itself if another owner has raised it since: a tab that slept through its replacement can't write.
//!
//! **Secrets.** The device key and the memberships, which hold the keys of groups and access tokens, are wrapped (`wrapping`).
//! Whoever reads the records gets none of them. It does not stop a script in the page, which can have them unwrapped while the
//! page is open; nor, unless this device is locked, somebody with the browser's whole profile folder: Chromium keeps the wrapping
//! key there as it is. A lock changes the key and leaves what gives it back in one transaction with everything that it wraps.

use std::cell::RefCell;

use async_trait::async_trait;
use futures_util::lock::Mutex;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbCursorDirection;
use zerok_sync_client::store::{Loaded, Store, StoreError};
use zerok_sync_shared::codec;
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::ids::GroupId;
use zerok_sync_shared::store::{Batch, GroupState, LogRecord, StoredGroup};

use connection::Connection;
use layout::{GROUPS, LOG, MEMBERSHIPS, META, SENT, UNSENT};
use tails::Tails;
use transaction::{Reading, Writing, answer, failed};
use wrapping::{Place, Wrapping};

mod connection;
mod layout;
mod migrations;
mod page;
mod puts;
mod tails;
mod transaction;
mod wrapping;

/// What every database of this package is called, before its own name.
const NAME_PREFIX: &str = "0k-sync:";

/// A [`Store`] in the IndexedDB of this origin.
///
/// A commit whose future is dropped before it is done is undone, unless the browser was already writing it.
pub struct IndexedDbStore {
    connection: Connection,
    /// What `fence` was set to when this owner came.
    fence: f64,
    /// Changed only by who holds the lock below.
    wrapping: RefCell<Wrapping>,
    /// Where each log ends; `None` until it is needed and after a commit of which it isn't known whether it happened.
    /// The lock is what makes commits wait for each other.
    tails: Mutex<Option<Tails>>,
}

impl IndexedDbStore {
    /// Opens or makes the database with this name, and takes it over from whoever has it open. `wrap_key` is the key of WebCrypto's
    /// that its secrets are wrapped with.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with what the user can do: there is no IndexedDB here, this window may not store
    /// anything, a tab with an older version is in the way, or the data was written by a newer version.
    pub async fn open(name: &str, wrap_key: JsValue) -> Result<Self, StoreError> {
        let connection = Connection::open(&database_name(name)).await?;
        let fence = take_over(&connection).await?;
        Ok(Self {
            connection,
            fence,
            wrapping: RefCell::new(Wrapping::new(wrap_key)),
            tails: Mutex::new(None),
        })
    }

    /// Forgets the database with this name. Waits for those who have it open.
    ///
    /// # Errors
    /// [`StoreError::Failed`]
    pub async fn delete(name: &str) -> Result<(), StoreError> {
        connection::delete(&database_name(name)).await
    }

    /// Wraps all secrets with another key, and puts `lock` where the package looks for it, or nothing. Both or neither.
    ///
    /// # Errors
    /// As of every commit; then nothing has changed.
    pub async fn set_lock(&self, wrap_key: JsValue, lock: &JsValue) -> Result<(), StoreError> {
        // No commit wraps with the old key meanwhile.
        let _commits_wait = self.tails.lock().await;
        let (old, new) = (self.wrapping(), Wrapping::new(wrap_key));
        let reading = self.begin_read(&[META, MEMBERSHIPS])?;
        let device_key = answer(reading.store(META)?.get(&layout::DEVICE_KEY.into()))?;
        let memberships = reading.store(MEMBERSHIPS)?;
        let keys = answer(memberships.get_all_keys())?;
        let records = answer(memberships.get_all())?;

        let device_key = old.unwrap(Place::DeviceKey, &device_key.await?).await?;
        let device_key = new.wrap(Place::DeviceKey, &device_key).await?;
        let records = records.await?.unchecked_into::<Array>();
        let mut members = Vec::new();
        for (key, record) in keys
            .await?
            .unchecked_into::<Array>()
            .iter()
            .zip(records.iter())
        {
            let place = Place::Membership(layout::read_group_key(&key)?);
            let secret = old.unwrap(place, &record).await?;
            members.push((key, new.wrap(place, &secret).await?));
        }

        let writing = self.write()?;
        let (meta, memberships) = (writing.store(META)?, writing.store(MEMBERSHIPS)?);
        let issue = || -> Result<(), JsValue> {
            meta.put_with_key(&device_key, &layout::DEVICE_KEY.into())?;
            for (key, record) in &members {
                memberships.put_with_key(record, key)?;
            }
            if lock.is_undefined() {
                meta.delete(&layout::LOCK.into())?;
            } else {
                meta.put_with_key(lock, &layout::LOCK.into())?;
            }
            Ok(())
        };
        issue().map_err(failed)?;
        writing.finish().await?;
        *self.wrapping.borrow_mut() = new;
        Ok(())
    }

    fn wrapping(&self) -> Wrapping {
        self.wrapping.borrow().clone()
    }

    fn write(&self) -> Result<Writing, StoreError> {
        Writing::begin(self.connection.database()?, self.fence)
    }

    fn begin_read(&self, stores: &[&str]) -> Result<Reading, StoreError> {
        Reading::begin(self.connection.database()?, stores)
    }

    async fn read_device_key(&self, wrapped: &JsValue) -> Result<Option<Secret>, StoreError> {
        if wrapped.is_undefined() {
            return Ok(None);
        }
        let bytes = self.wrapping().unwrap(Place::DeviceKey, wrapped).await?;
        Ok(Some(Secret::new(bytes.try_into().map_err(unreadable)?)))
    }

    /// Fails for an owner that was replaced: it must not take another's log for its own.
    async fn read_tails(&self) -> Result<Tails, StoreError> {
        let reading = self.begin_read(&[META, GROUPS, LOG])?;
        let fence = answer(reading.store(META)?.get(&layout::FENCE.into()))?;
        let groups = answer(reading.store(GROUPS)?.get_all_keys())?;
        if fence.await?.as_f64() != Some(self.fence) {
            return Err(StoreError::Taken);
        }
        let groups = groups.await?;
        let log = reading.store(LOG)?;
        let mut newest = Vec::new();
        for key in groups.unchecked_into::<Array>().iter() {
            let group = layout::read_group_key(&key)?;
            let range = layout::log_range(group).map_err(failed)?;
            newest.push((
                group,
                answer(
                    log.open_key_cursor_with_range_and_direction(&range, IdbCursorDirection::Prev),
                )?,
            ));
        }
        let mut tails = Tails::default();
        for (group, cursor) in newest {
            let last = match cursor.await?.dyn_into::<web_sys::IdbCursor>() {
                Ok(cursor) => layout::read_log_key(&cursor.key().map_err(failed)?)?.1,
                // No entry, so no cursor.
                Err(_) => 0,
            };
            tails.insert(group, last);
        }
        Ok(tails)
    }
}

/// Raises the fence, after which earlier owners can't write any more. Gives its new height.
async fn take_over(connection: &Connection) -> Result<f64, StoreError> {
    let writing = Writing::begin_unfenced(connection.database()?)?;
    let meta = writing.store(META)?;
    let fence = answer(meta.get(&layout::FENCE.into()))?
        .await?
        .as_f64()
        .unwrap_or_default()
        + 1.0;
    meta.put_with_key(&fence.into(), &layout::FENCE.into())
        .map_err(failed)?;
    writing.finish().await?;
    Ok(fence)
}

#[async_trait(?Send)]
impl Store for IndexedDbStore {
    async fn load(&self) -> Result<Loaded, StoreError> {
        let reading = self.begin_read(&[META, GROUPS, MEMBERSHIPS, UNSENT])?;
        let (groups, unsent) = (reading.store(GROUPS)?, reading.store(UNSENT)?);
        let memberships = reading.store(MEMBERSHIPS)?;
        let members = (
            answer(memberships.get_all_keys())?,
            answer(memberships.get_all())?,
        );
        let device_key = answer(reading.store(META)?.get(&layout::DEVICE_KEY.into()))?;
        let (ids, states) = (answer(groups.get_all_keys())?, answer(groups.get_all())?);
        let (waiting, lengths) = (answer(unsent.get_all_keys())?, answer(unsent.get_all())?);

        let device_key = self.read_device_key(&device_key.await?).await?;
        let mut loaded = Loaded {
            device_key,
            groups: Vec::new(),
        };
        let states = states.await?.unchecked_into::<Array>();
        for (id, state) in ids
            .await?
            .unchecked_into::<Array>()
            .iter()
            .zip(states.iter())
        {
            let state: GroupState =
                codec::from_bytes(&Uint8Array::new(&state).to_vec()).map_err(unreadable)?;
            let group = layout::read_group_key(&id)?;
            loaded.groups.push(StoredGroup {
                group,
                state,
                membership: None,
                unsent: Vec::new(),
            });
        }
        let records = members.1.await?.unchecked_into::<Array>();
        let keys = members.0.await?.unchecked_into::<Array>();
        for (key, record) in keys.iter().zip(records.iter()) {
            let group = layout::read_group_key(&key)?;
            let place = Place::Membership(group);
            let membership = codec::from_bytes(&self.wrapping().unwrap(place, &record).await?);
            let at = position_of(&loaded.groups, group)?;
            loaded.groups[at].membership = Some(membership.map_err(unreadable)?);
        }
        let lengths = lengths.await?.unchecked_into::<Array>();
        for (key, length) in waiting
            .await?
            .unchecked_into::<Array>()
            .iter()
            .zip(lengths.iter())
        {
            let (group, position) = layout::read_log_key(&key)?;
            let at = position_of(&loaded.groups, group)?;
            loaded.groups[at]
                .unsent
                .push((position, layout::read_length(&length)?));
        }
        Ok(loaded)
    }

    async fn keep_device_key(&self, key: &Secret) -> Result<Secret, StoreError> {
        let wrapped = self.wrapping().wrap(Place::DeviceKey, key.expose()).await?;
        let writing = self.write()?;
        let meta = writing.store(META)?;
        // Write transactions wait for each other, so nobody adds a key between these two requests.
        let kept = match answer(meta.get(&layout::DEVICE_KEY.into()))?.await {
            Ok(kept) => kept,
            Err(error) => return Err(writing.finish().await.err().unwrap_or(error)),
        };
        if kept.is_undefined() {
            meta.put_with_key(&wrapped, &layout::DEVICE_KEY.into())
                .map_err(failed)?;
        }
        writing.finish().await?;
        let kept = self.read_device_key(&kept).await?;
        Ok(kept.unwrap_or_else(|| key.clone()))
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let mut kept = self.tails.lock().await;
        let mut tails = match kept.take() {
            Some(tails) => tails,
            None => self.read_tails().await?,
        };
        let changes = match tails.check(batch) {
            Ok(changes) => changes,
            Err(error) => {
                *kept = Some(tails);
                return Err(error);
            }
        };
        let values = puts::prepare(batch, &self.wrapping()).await?;
        let writing = self.write()?;
        puts::issue(&writing, batch, &values)?;
        writing.finish().await?;
        tails.apply(changes);
        *kept = Some(tails);
        Ok(())
    }

    async fn read(
        &self,
        group: GroupId,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let reading = self.begin_read(&[LOG, SENT])?;
        page::read(&reading, group, after, max_records, max_bytes).await
    }

    async fn close(&self) {
        self.connection.close();
    }
}

/// Where a group is among those that were read, which are sorted by the bytes of their ids.
fn position_of(groups: &[StoredGroup], group: GroupId) -> Result<usize, StoreError> {
    groups
        .binary_search_by_key(&group, |stored| stored.group)
        .map_err(unreadable)
}

fn database_name(name: &str) -> String {
    format!("{NAME_PREFIX}{name}")
}

/// Something is there that this version didn't write.
fn unreadable<E>(_: E) -> StoreError {
    StoreError::Failed(
        "the database holds something that this version can't read; reload the page to get the newest".into(),
    )
}
