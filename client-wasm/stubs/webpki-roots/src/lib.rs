//! In place of the root certificates, for the browser build: one that nothing can be verified against.
//!
//! In a browser the page never sets up TLS to a relay, the browser does. The real list is linked in
//! all the same and costs 43 KB of the compressed download, so `client-wasm/Cargo.toml` replaces it.
//! It can't be empty: rustls makes no verifier without a root, and iroh no endpoint without a verifier.
//! If anything did try to verify a certificate against it, it would be refused: the key is not a key.

#![no_std]

use pki_types::{Der, TrustAnchor};

/// A certificate authority without a name and without a key.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[TrustAnchor {
    subject: Der::from_slice(&[]),
    subject_public_key_info: Der::from_slice(&[]),
    name_constraints: None,
}];
