//! Secrets for one device: the holder of a key-exchange key, and nobody else, opens what is sealed to its public half.
//!
//! X-Wing (draft-connolly-cfrg-xwing-kem-06: X25519 and ML-KEM-768), so that whoever breaks one of the two still has to
//! break the other. It does not say who sealed something: what is sealed here is bound, by its associated data, to something
//! that does.

use core::fmt;

use x_wing::{
    DecapsulationKeyRejectNonContrib, Decapsulator as _, EncapsulationKey, KeyExport as _,
    TryDecapsulate as _,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::keys::Secret;
use crate::Entropy;
use crate::codec::wire::{put_bytes, take_bytes};
use crate::codec::{DecodeError, Wire};

/// Length of a public key.
pub const PUBLIC_LEN: usize = x_wing::ENCAPSULATION_KEY_SIZE;
/// Length of an encapsulated secret.
pub const CIPHERTEXT_LEN: usize = x_wing::CIPHERTEXT_SIZE;
/// Bytes that a sealed message is longer than its plaintext.
pub const SEAL_OVERHEAD: usize =
    CIPHERTEXT_LEN + zerok_sync_aead::NONCE_LEN + zerok_sync_aead::TAG_LEN;

/// The private half: the 32-byte seed of X-Wing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeSecret(Secret);

impl ExchangeSecret {
    /// From its seed.
    #[must_use]
    pub const fn new(seed: Secret) -> Self {
        Self(seed)
    }

    /// A fresh one.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self(Secret::new(crate::random(entropy)))
    }

    fn key(&self) -> DecapsulationKeyRejectNonContrib {
        (*self.0.expose()).into()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> ExchangePublic {
        ExchangePublic::of(self.key().encapsulation_key().clone())
    }

    /// The secret that [`ExchangePublic::encapsulate`] made together with this ciphertext. One that was altered, or made for
    /// another key, gives another secret: only what is sealed with it tells. `None` when the sender's X25519 key is one with
    /// which every secret is the same.
    #[must_use]
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Option<Secret> {
        let shared = self.key().try_decapsulate(&(*ciphertext).into());
        shared.ok().map(secret_of)
    }

    /// Opens what [`ExchangePublic::seal`] made for the same domain and associated data.
    #[must_use]
    pub fn open(&self, domain: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (ciphertext, rest) = sealed.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let key = self.decapsulate(ciphertext)?.derive(domain);
        let mut message = rest.to_vec();
        zerok_sync_aead::open(key.expose(), nonce, &bound(domain, aad), &mut message).ok()?;
        Some(message)
    }
}

/// The public half.
#[derive(Clone, PartialEq, Eq)]
pub struct ExchangePublic(Box<(EncapsulationKey, [u8; PUBLIC_LEN])>);

impl ExchangePublic {
    fn of(key: EncapsulationKey) -> Self {
        let bytes = key.to_bytes().0;
        Self(Box::new((key, bytes)))
    }

    /// Reads one; `None` for what is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = EncapsulationKey::try_from(bytes).ok()?;
        let bytes = bytes.try_into().ok()?;
        Some(Self(Box::new((key, bytes))))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.0.1
    }

    /// A fresh secret, and the ciphertext from which the holder of the private half gets the same.
    pub fn encapsulate(&self, entropy: &mut dyn Entropy) -> ([u8; CIPHERTEXT_LEN], Secret) {
        let mut randomness = Zeroizing::new([0; x_wing::ENCAPSULATION_RANDOMNESS_SIZE]);
        entropy.fill(randomness.as_mut_slice());
        let (ciphertext, shared) = self.0.0.encapsulate_deterministic((&*randomness).into());
        (ciphertext.0, secret_of(shared))
    }

    /// Seals a message to the holder of the private half: ciphertext || nonce || XChaCha20-Poly1305 under KDF(secret, domain),
    /// with domain || `aad` as associated data.
    pub fn seal(
        &self,
        domain: &[u8],
        aad: &[u8],
        message: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Vec<u8> {
        let (ciphertext, shared) = self.encapsulate(entropy);
        let nonce: [u8; zerok_sync_aead::NONCE_LEN] = crate::random(entropy);
        let mut out = [ciphertext.as_slice(), &nonce, message].concat();
        let key = shared.derive(domain);
        let from = ciphertext.len() + nonce.len();
        zerok_sync_aead::seal(key.expose(), &nonce, &bound(domain, aad), &mut out, from);
        out
    }
}

fn secret_of(mut shared: x_wing::SharedKey) -> Secret {
    let secret = Secret::new(shared.0);
    shared.0.zeroize();
    secret
}

fn bound(domain: &[u8], aad: &[u8]) -> Vec<u8> {
    [domain, aad].concat()
}

impl fmt::Debug for ExchangePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = data_encoding::HEXLOWER.encode(&self.as_bytes()[..4]);
        write!(f, "ExchangePublic({start}…)")
    }
}

impl Wire for ExchangePublic {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Self::from_bytes(take_bytes(input)?).ok_or(DecodeError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &[u8] = b"0k-sync/1 test";

    fn pair() -> (ExchangeSecret, ExchangePublic) {
        let secret = ExchangeSecret::new(Secret::new([7; 32]));
        let public = secret.public();
        (secret, public)
    }

    fn seal(public: &ExchangePublic) -> Vec<u8> {
        let mut entropy = |bytes: &mut [u8]| bytes.fill(3);
        public.seal(DOMAIN, b"for you", b"milk", &mut entropy)
    }

    #[test]
    fn what_is_sealed_to_a_key_is_opened_by_its_holder_alone() {
        let (secret, public) = pair();
        let sealed = seal(&public);
        assert_eq!(sealed.len(), 4 + SEAL_OVERHEAD);
        assert_eq!(secret.open(DOMAIN, b"for you", &sealed).unwrap(), b"milk");
        let other = ExchangeSecret::new(Secret::new([8; 32]));
        assert_eq!(other.open(DOMAIN, b"for you", &sealed), None);
        assert_eq!(secret.open(b"0k-sync/1 other", b"for you", &sealed), None);
        assert_eq!(secret.open(DOMAIN, b"for me", &sealed), None);
    }

    #[test]
    fn whatever_is_flipped_cut_or_added_does_not_open() {
        let (secret, public) = pair();
        let sealed = seal(&public);
        // Every byte of what is short, and of the ciphertext a part: opening takes a while in a debug build.
        for at in (0..CIPHERTEXT_LEN)
            .step_by(37)
            .chain(CIPHERTEXT_LEN..sealed.len())
        {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x40;
            assert_eq!(secret.open(DOMAIN, b"for you", &flipped), None, "{at}");
        }
        for len in [0, 31, CIPHERTEXT_LEN, CIPHERTEXT_LEN + 24, sealed.len() - 1] {
            assert_eq!(secret.open(DOMAIN, b"for you", &sealed[..len]), None);
        }
        let longer = [sealed.as_slice(), &[0]].concat();
        assert_eq!(secret.open(DOMAIN, b"for you", &longer), None);
    }

    #[test]
    fn a_ciphertext_that_everybody_could_have_made_is_refused() {
        let (secret, public) = pair();
        let (mut ciphertext, _) = public.encapsulate(&mut |b: &mut [u8]| b.fill(3));
        assert!(secret.decapsulate(&ciphertext).is_some());
        // The neutral element: the shared X25519 secret is zero whatever our key is.
        ciphertext[CIPHERTEXT_LEN - 32..].fill(0);
        assert_eq!(secret.decapsulate(&ciphertext), None);
    }

    #[test]
    fn what_is_not_a_public_key_is_refused() {
        let (_, public) = pair();
        let bytes = public.as_bytes();
        assert_eq!(ExchangePublic::from_bytes(bytes).as_ref(), Some(&public));
        for len in [0, 32, PUBLIC_LEN - 1] {
            let refused = ExchangePublic::from_bytes(&bytes[..len]);
            assert_eq!(refused, None);
        }
        // A coefficient that is not below the modulus of ML-KEM (FIPS 203, 7.2).
        let mut over = *bytes;
        over[..3].fill(0xFF);
        assert_eq!(ExchangePublic::from_bytes(&over), None);
        let mut wire = Vec::new();
        public.put(&mut wire);
        assert_eq!(ExchangePublic::take(&mut wire.as_slice()), Ok(public));
    }
}
