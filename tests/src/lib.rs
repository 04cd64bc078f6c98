//! What end-to-end tests, simulations and benchmarks share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is for tests: a broken promise ends them"
)]

pub mod bare;
pub mod canary;
pub mod measure;
pub mod postgres {
    //! A PostgreSQL server for a test.

    pub use zerok_sync_test_postgres::Postgres;
}
pub mod kill;
pub mod proxy;
pub mod raw;
pub mod relay;
