//! The terminal client's parts that others use too: a device's data in a folder.

mod store;

pub use store::SqliteStore;
