//! The hot cryptographic calls of 0k-Sync, alone in a crate.
//!
//! The published WebAssembly is compiled for size, which makes ciphers 2–5 times slower. Generic code is compiled in
//! the crate that uses it, so only non-generic functions in a crate of their own can be given another optimisation
//! level. Nothing else belongs here.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// Bytes that a sealed message is longer than its plaintext, without the nonce.
pub const TAG_LEN: usize = 16;
/// Length of an XChaCha20-Poly1305 nonce.
pub const NONCE_LEN: usize = 24;

/// The ciphertext was not made with this key, nonce and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

/// Encrypts `message[from..]` in place and appends the tag (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03).
#[inline(never)]
pub fn seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    message: &mut Vec<u8>,
    from: usize,
) {
    let cipher = XChaCha20Poly1305::new(key.into());
    // Fails only for messages over 256 GiB, which cannot be held in memory here.
    if let Ok(tag) =
        cipher.encrypt_inout_detached(&XNonce::from(*nonce), aad, (&mut message[from..]).into())
    {
        message.extend_from_slice(&tag);
    }
}

/// Decrypts a message that ends with its tag; `message` holds the plaintext afterwards.
///
/// # Errors
/// [`Forged`] when the tag does not fit; `message` is then cleared, so unauthenticated bytes cannot be used.
#[inline(never)]
pub fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    message: &mut Vec<u8>,
) -> Result<(), Forged> {
    let Some(len) = message.len().checked_sub(TAG_LEN) else {
        message.clear();
        return Err(Forged);
    };
    let mut tag = [0u8; TAG_LEN];
    tag.copy_from_slice(&message[len..]);
    message.truncate(len);
    let cipher = XChaCha20Poly1305::new(key.into());
    let opened = cipher.decrypt_inout_detached(
        &XNonce::from(*nonce),
        aad,
        message.as_mut_slice().into(),
        &Tag::from(tag),
    );
    opened.map_err(|_| {
        message.clear();
        Forged
    })
}

/// SHA-256 over the concatenation of `parts`.
#[inline(never)]
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let mut message = b"headhello".to_vec();
        seal(&[7; 32], &[1; 24], b"aad", &mut message, 4);
        assert_eq!(&message[..4], b"head");
        let sealed = message.split_off(4);
        assert_eq!(sealed.len(), 5 + TAG_LEN);

        let mut good = sealed.clone();
        assert_eq!(open(&[7; 32], &[1; 24], b"aad", &mut good), Ok(()));
        assert_eq!(good, b"hello");

        let mut wrong_aad = sealed.clone();
        assert_eq!(
            open(&[7; 32], &[1; 24], b"AAD", &mut wrong_aad),
            Err(Forged)
        );
        assert!(wrong_aad.is_empty());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(open(&[7; 32], &[1; 24], b"aad", &mut flipped), Err(Forged));
        }
        assert_eq!(
            open(&[7; 32], &[1; 24], b"aad", &mut vec![1, 2]),
            Err(Forged)
        );
    }
}
