//! What end-to-end tests and benchmarks share: real relay processes, and a proxy that breaks connections.

pub mod proxy;
pub mod relay;
