//! The first layout: `meta`, `groups`, `log`, `unsent`, `sent`, all with keys of their own.

use wasm_bindgen::JsValue;
use web_sys::IdbDatabase;

pub(super) fn run(database: &IdbDatabase) -> Result<(), JsValue> {
    // Written out: what a migration did stays what it was when the layout moves on.
    for name in ["meta", "groups", "log", "unsent", "sent"] {
        database.create_object_store(name)?;
    }
    Ok(())
}
