//! How a database of an older version becomes one of this version: one step per version, in a file each.

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{IdbDatabase, IdbOpenDbRequest};

mod v1;
mod v2;

/// What this build reads and writes.
pub(super) const VERSION: u32 = 2;

/// Takes the steps that are missing, in the transaction of the upgrade.
pub(super) fn run(request: &IdbOpenDbRequest, old_version: f64) -> Result<(), JsValue> {
    let database = request.result()?.unchecked_into::<IdbDatabase>();
    if old_version < 1.0 {
        v1::run(&database)?;
    }
    if old_version < 2.0 {
        v2::run(&database)?;
    }
    Ok(())
}
