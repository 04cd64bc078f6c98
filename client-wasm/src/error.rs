//! What a rejected promise carries: an `Error` with `code` and `retryable`, and where they apply `reason` and
//! `retryAfterMs`.

use wasm_bindgen::{JsCast, JsValue};
use zerok_sync_client::SyncError;
use zerok_sync_client::store::StoreError;
use zerok_sync_shared::failure::code;

use crate::types::{CoreError, empty};

/// A [`SyncError`] on its way to JavaScript.
pub struct Failure(SyncError);

impl Failure {
    /// The caller has passed something unusable.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self(SyncError::new(code::INVALID_ARGUMENT, message))
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for JsValue {
    fn from(Failure(error): Failure) -> Self {
        let thrown = js_sys::Error::new(&error.message);
        describe(thrown.unchecked_ref(), &error);
        thrown.into()
    }
}

/// An error that is told, not thrown: a plain object, which survives being posted to another thread.
pub fn plain(error: &SyncError) -> CoreError {
    let object = empty::<CoreError>();
    object.set_message(&error.message);
    describe(&object, error);
    object
}

fn describe(object: &CoreError, error: &SyncError) {
    object.set_code(error.code);
    object.set_retryable(error.retryable);
    if let Some(reason) = error.reason {
        object.set_reason(reason);
    }
    if let Some(wait) = error.retry_after_ms {
        object.set_retry_after_ms(wait as f64);
    }
}
