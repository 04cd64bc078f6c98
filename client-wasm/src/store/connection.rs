//! Opening the database, and losing it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Event, IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbVersionChangeEvent};
use zerok_sync_client::store::StoreError;

use super::migrations;
use super::transaction::{failed, name_of};

/// An open database, until it is closed by us or by the browser.
pub(super) struct Connection {
    database: IdbDatabase,
    end: Rc<Cell<Option<End>>>,
    _on_version_change: Closure<dyn FnMut(Event)>,
    _on_close: Closure<dyn FnMut(Event)>,
}

/// Why a connection is over.
#[derive(Clone, Copy)]
enum End {
    /// The owner is done with it.
    Closed,
    /// Somebody wants to delete or to upgrade it.
    Taken,
    /// The browser has closed it: site data was cleared, or the disk failed.
    Lost,
}

impl Connection {
    pub(super) async fn open(name: &str) -> Result<Self, StoreError> {
        let request = factory()?
            .open_with_u32(name, migrations::VERSION)
            .map_err(|error| no_access(&error))?;
        let failure = Rc::new(RefCell::new(None));
        let upgrade = {
            let (request, failure) = (request.clone(), Rc::clone(&failure));
            move |event: IdbVersionChangeEvent| {
                if let Err(error) = migrations::run(&request, event.old_version()) {
                    *failure.borrow_mut() = Some(error);
                    // Fails only if the browser has aborted it already.
                    let _ = request.transaction().map(|transaction| transaction.abort());
                }
            }
        };
        request.set_onupgradeneeded(Some(Closure::once_into_js(upgrade).unchecked_ref()));
        if outcome(&request).await? == "blocked" {
            give_up(&request);
            return Err(StoreError::Failed(
                "another tab has an older version of this app open; close it and try again".into(),
            ));
        }
        if let Some(error) = failure.take() {
            return Err(failed(error));
        }
        match request.error().map_err(failed)? {
            Some(error) => Err(no_access(&error)),
            None => Ok(Self::watch(
                request.result().map_err(failed)?.unchecked_into(),
            )),
        }
    }

    fn watch(database: IdbDatabase) -> Self {
        let end = Rc::new(Cell::new(None));
        let on_version_change = {
            let (database, end) = (database.clone(), Rc::clone(&end));
            Closure::new(move |_: Event| {
                end.set(Some(End::Taken));
                database.close();
            })
        };
        let on_close = {
            let end = Rc::clone(&end);
            Closure::new(move |_: Event| end.set(Some(End::Lost)))
        };
        database.set_onversionchange(Some(on_version_change.as_ref().unchecked_ref()));
        database.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Self {
            database,
            end,
            _on_version_change: on_version_change,
            _on_close: on_close,
        }
    }

    /// The database, if it is still open.
    pub(super) fn database(&self) -> Result<&IdbDatabase, StoreError> {
        match self.end.get() {
            None => Ok(&self.database),
            Some(End::Closed) => Err(StoreError::Failed("the database is closed".into())),
            Some(End::Taken) => Err(StoreError::Taken),
            Some(End::Lost) => Err(StoreError::Failed(
                "the browser has closed the database, perhaps because this site's data was cleared; reload the page"
                    .into(),
            )),
        }
    }

    /// Transactions under way are still carried out.
    pub(super) fn close(&self) {
        if self.end.get().is_none() {
            self.end.set(Some(End::Closed));
        }
        self.database.close();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The closures are about to go; nothing may call them afterwards.
        self.database.set_onversionchange(None);
        self.database.set_onclose(None);
        self.database.close();
    }
}

/// Deletes a database, if there is one with this name.
pub(super) async fn delete(name: &str) -> Result<(), StoreError> {
    let request = factory()?
        .delete_database(name)
        .map_err(|error| no_access(&error))?;
    if outcome(&request).await? == "blocked" {
        return Err(StoreError::Failed(
            "another tab has this database open; close it and try again".into(),
        ));
    }
    match request.error().map_err(failed)? {
        Some(error) => Err(failed(error.into())),
        None => Ok(()),
    }
}

/// The first of `success`, `error` and `blocked` that happens.
async fn outcome(request: &IdbOpenDbRequest) -> Result<String, StoreError> {
    let ended = Promise::new(&mut |resolve, _| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&resolve));
        request.set_onblocked(Some(&resolve));
    });
    let event = JsFuture::from(ended)
        .await
        .map_err(failed)?
        .unchecked_into::<Event>();
    Ok(event.type_())
}

/// Nobody waits for this request any more, but the browser still carries it out when it can.
fn give_up(request: &IdbOpenDbRequest) {
    let close = {
        let request = request.clone();
        move |_: Event| {
            if let Ok(database) = request.result() {
                database.unchecked_into::<IdbDatabase>().close();
            }
        }
    };
    request.set_onsuccess(Some(Closure::once_into_js(close).unchecked_ref()));
}

fn factory() -> Result<IdbFactory, StoreError> {
    // In a sandboxed frame the mere look at it throws.
    let factory =
        Reflect::get(&js_sys::global(), &"indexedDB".into()).map_err(|error| no_access(&error))?;
    if factory.is_undefined() || factory.is_null() {
        return Err(StoreError::Failed(
            "there is no IndexedDB here; open with storage: \"memory\"".into(),
        ));
    }
    Ok(factory.unchecked_into())
}

/// Why a database can't be opened, and what to do.
fn no_access(error: &JsValue) -> StoreError {
    match name_of(error).as_str() {
        "SecurityError" | "InvalidStateError" | "NotAllowedError" => StoreError::Failed(
            "this browser doesn't let the page store data (a private window, or site data is blocked); allow it, or open \
             with storage: \"memory\""
                .into(),
        ),
        "VersionError" => StoreError::Failed(
            "the data was written by a newer version of this app; reload the page to get it".into(),
        ),
        _ => failed(error.clone()),
    }
}
