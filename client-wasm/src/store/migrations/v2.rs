//! What makes a device a member of a group lies apart from what changes with every blob.

use wasm_bindgen::JsValue;
use web_sys::IdbDatabase;

pub(super) fn run(database: &IdbDatabase) -> Result<(), JsValue> {
    database.create_object_store("memberships")?;
    Ok(())
}
