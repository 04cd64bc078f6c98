//! What end-to-end tests, simulations and benchmarks share.

pub mod proxy;
pub mod relay;
pub mod sim;
