//! What both ends of a connection share: the TLS of every iroh endpoint of the system, and frames on QUIC streams.
//!
//! - [`tls`]: the crypto provider, with post-quantum key exchange that also works in WebAssembly
//! - [`endpoint`]: how an iroh endpoint is built, so that both sides agree on ALPN, windows and time-outs
//! - [`frames`]: messages from and to streams

pub mod endpoint;
pub mod frames;
pub mod tls;
