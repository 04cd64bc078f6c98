//! Requests and transactions of IndexedDB as futures, and their failures as [`StoreError`].

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Event, IdbDatabase, IdbObjectStore, IdbRequest, IdbTransaction};
use zerok_sync_client::store::StoreError;

use super::layout;

/// How durable a batch is when its commit returns: on the disk, not only in the operating system's buffers.
///
/// There is no batch for which less would do. A push was promised to the app, and a bookmark that survives a crash
/// without the blobs it covers, or after which the relay may forget them, loses data.
pub(super) const DURABILITY: &str = "strict";

// web-sys has these only behind a flag for the whole build.
#[wasm_bindgen]
extern "C" {
    type TransactionOptions;
    #[wasm_bindgen(method, setter)]
    fn set_durability(this: &TransactionOptions, durability: &str);

    type TransactionSource;
    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &TransactionSource,
        stores: &Array,
        mode: &str,
        options: &TransactionOptions,
    ) -> Result<IdbTransaction, JsValue>;
}

/// A transaction that reads.
pub(super) struct Reading {
    transaction: IdbTransaction,
}

impl Reading {
    pub(super) fn begin(database: &IdbDatabase, stores: &[&str]) -> Result<Self, StoreError> {
        open(
            database,
            stores,
            "readonly",
            &Object::new().unchecked_into(),
        )
        .map(|transaction| Self { transaction })
    }

    pub(super) fn store(&self, name: &str) -> Result<IdbObjectStore, StoreError> {
        self.transaction.object_store(name).map_err(failed)
    }
}

/// A transaction that writes. It is undone when it is dropped before [`Self::finish`] is through.
pub(super) struct Writing {
    transaction: IdbTransaction,
    ended: JsFuture,
    taken: Rc<Cell<bool>>,
}

impl Writing {
    /// Begins one that undoes itself if the fence is not at this height.
    pub(super) fn begin(database: &IdbDatabase, fence: f64) -> Result<Self, StoreError> {
        let writing = Self::begin_unfenced(database)?;
        let request = writing
            .store(layout::META)?
            .get(&layout::FENCE.into())
            .map_err(failed)?;
        let (transaction, taken) = (writing.transaction.clone(), Rc::clone(&writing.taken));
        let check = {
            let request = request.clone();
            move |_: Event| {
                if request.result().ok().and_then(|found| found.as_f64()) != Some(fence) {
                    taken.set(true);
                    // Refused only if the transaction is over, and it is not before this has returned.
                    let _ = transaction.abort();
                }
            }
        };
        // It belongs to JavaScript, so it works even if nobody here waits for the transaction any more.
        request.set_onsuccess(Some(Closure::once_into_js(check).unchecked_ref()));
        Ok(writing)
    }

    /// Begins one that writes in any case.
    pub(super) fn begin_unfenced(database: &IdbDatabase) -> Result<Self, StoreError> {
        let options: TransactionOptions = Object::new().unchecked_into();
        options.set_durability(DURABILITY);
        let transaction = open(database, &layout::STORES, "readwrite", &options)?;
        // Not `onerror`: an error is followed by `abort`, and only then the transaction knows why it failed.
        let ended = Promise::new(&mut |resolve, _| {
            transaction.set_oncomplete(Some(&resolve));
            transaction.set_onabort(Some(&resolve));
        });
        Ok(Self {
            ended: ended.into(),
            transaction,
            taken: Rc::default(),
        })
    }

    pub(super) fn store(&self, name: &str) -> Result<IdbObjectStore, StoreError> {
        self.transaction.object_store(name).map_err(failed)
    }

    /// Waits until everything is durable, or nothing has happened.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        let event = (&mut self.ended)
            .await
            .map_err(failed)?
            .unchecked_into::<Event>();
        if event.type_() == "complete" {
            Ok(())
        } else if self.taken.get() {
            Err(StoreError::Taken)
        } else {
            Err(failed(
                self.transaction
                    .error()
                    .map_or(JsValue::UNDEFINED, Into::into),
            ))
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // After the end of the transaction this is refused and changes nothing.
        let _ = self.transaction.abort();
    }
}

fn open(
    database: &IdbDatabase,
    stores: &[&str],
    mode: &str,
    options: &TransactionOptions,
) -> Result<IdbTransaction, StoreError> {
    let stores: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
    database
        .unchecked_ref::<TransactionSource>()
        .transaction(&stores, mode, options)
        .map_err(failed)
}

/// The result of a request that was just issued. Listens from now on, not only when it is first polled.
pub(super) fn answer(
    request: Result<IdbRequest, JsValue>,
) -> Result<impl Future<Output = Result<JsValue, StoreError>>, StoreError> {
    let request = request.map_err(failed)?;
    // Both ways resolve: a promise that is rejected after nobody waits for it any more would be reported by the browser.
    let ended = JsFuture::from(Promise::new(&mut |resolve, _| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&resolve));
    }));
    Ok(async move {
        ended.await.map_err(failed)?;
        match request.error().map_err(failed)? {
            Some(error) => Err(failed(error.into())),
            None => request.result().map_err(failed),
        }
    })
}

/// What the browser threw, or gave as a reason.
pub(super) fn failed(error: JsValue) -> StoreError {
    match name_of(&error).as_str() {
        "QuotaExceededError" => StoreError::Full,
        "" => StoreError::Failed("the browser gave no reason".into()),
        name => StoreError::Failed(format!("{name}: {}", text(&error, "message"))),
    }
}

/// The name of an exception; they differ in class between browsers, but all have one.
pub(super) fn name_of(error: &JsValue) -> String {
    text(error, "name")
}

fn text(object: &JsValue, property: &str) -> String {
    // Refused for what is no object.
    Reflect::get(object, &property.into())
        .ok()
        .and_then(|value| value.as_string())
        .unwrap_or_default()
}
