//! An empty list of root certificates for the browser build.
//!
//! In a browser the page never sets up TLS to a relay, the browser does. The real list is linked in
//! all the same and costs 43 KB of the compressed download, so `client-wasm/Cargo.toml` replaces it.
//! If anything did try to verify a certificate against this list, it would be refused.

#![no_std]

use pki_types::TrustAnchor;

/// No certificate authority at all.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
