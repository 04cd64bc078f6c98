//! The device in a browser: `zerok_sync_client` behind the JavaScript class `CoreClient`, with its data in IndexedDB.
//!
//! - `client` is the class, `types` the JavaScript objects it takes and gives, `convert` what lies between them and Rust
//! - `error` is what a rejected promise carries
//! - [`store`] is IndexedDB
//! - `testing` (a feature) is what browser tests call, `echo` (the feature `bench`) what benchmarks compare with
#![cfg(target_family = "wasm")]

use wasm_bindgen::prelude::wasm_bindgen;

mod client;
mod convert;
#[cfg(feature = "bench")]
mod echo;
mod error;
pub mod store;
#[cfg(feature = "testing")]
mod testing;
mod types;

pub use client::CoreClient;

/// Runs once, when the module is instantiated: a panic says where it was before it traps.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}
