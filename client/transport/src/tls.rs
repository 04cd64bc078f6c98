//! The crypto provider of every endpoint: rustls on ring, ChaCha20 first, and X25519MLKEM768 before X25519.
//!
//! ring has no post-quantum key exchange, and the providers that do don't build for WebAssembly, so the hybrid group of
//! draft-ietf-tls-ecdhe-mlkem is put together here from X25519 and the `ml-kem` crate. Why ChaCha20 comes first:
//! in WebAssembly ring's AES runs without hardware, several times slower.

use std::sync::Arc;

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use rustls::crypto::ring::cipher_suite;
#[cfg(not(target_family = "wasm"))]
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

#[cfg(any(target_family = "wasm", test))]
mod x25519;
#[cfg(target_family = "wasm")]
use x25519::X25519;

/// Length of an ML-KEM-768 encapsulation key: the first part of a client's share.
const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Length of an ML-KEM-768 ciphertext: the first part of a server's share.
const CIPHERTEXT_LEN: usize = 1088;
/// Length of an X25519 share: the second part of both.
const X25519_LEN: usize = 32;
/// Length of what each half contributes to the secret.
const HALF_SECRET_LEN: usize = 32;

const INVALID_KEY_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The provider for client and server configurations.
///
/// AES-128-GCM stays in the list because QUIC's Initial packets are defined with it.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![X25519_MLKEM768, X25519],
        ..signatures()
    })
}

/// Everything that ring has: native devices meet relays with any kind of certificate.
#[cfg(not(target_family = "wasm"))]
fn signatures() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Nothing: in a browser, rustls only ever meets the raw public keys of endpoints, which iroh signs and verifies by
/// itself. What is not named here is not downloaded.
#[cfg(target_family = "wasm")]
fn signatures() -> CryptoProvider {
    use rustls::crypto::{KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::SigningKey;

    #[derive(Debug)]
    struct NoKeys;

    impl KeyProvider for NoKeys {
        fn load_private_key(
            &self,
            _: PrivateKeyDer<'static>,
        ) -> Result<Arc<dyn SigningKey>, Error> {
            Err(Error::General("no keys of certificates".into()))
        }
    }

    #[derive(Debug)]
    struct Random;

    impl SecureRandom for Random {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
            getrandom::fill(bytes).map_err(|_| GetRandomFailed)
        }
    }

    CryptoProvider {
        cipher_suites: Vec::new(),
        kx_groups: Vec::new(),
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: &[],
            mapping: &[],
        },
        secure_random: &Random,
        key_provider: &NoKeys,
    }
}

/// X25519MLKEM768 of draft-ietf-tls-ecdhe-mlkem; TLS 1.3 only.
pub static X25519_MLKEM768: &dyn SupportedKxGroup = &X25519MlKem768;

#[derive(Debug)]
struct X25519MlKem768;

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = X25519.start()?;
        let mut seed = Zeroizing::new(ml_kem::Seed::default());
        fill_random(&mut seed)?;
        let decapsulation = DecapsulationKey::from_seed(*seed);
        let share = concat(
            &decapsulation.encapsulation_key().to_bytes(),
            classical.pub_key(),
        );
        Ok(Box::new(Started {
            classical,
            decapsulation,
            share,
        }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, classical_share) = split(client_share, ENCAPSULATION_KEY_LEN)?;
        // Also checks the key itself: coefficients that are out of range are refused, as FIPS 203 asks.
        let key = key
            .try_into()
            .ok()
            .and_then(|bytes| EncapsulationKey::new(bytes).ok())
            .ok_or(INVALID_KEY_SHARE)?;
        let classical = X25519.start_and_complete(classical_share)?;

        let mut message = Zeroizing::new(ml_kem::B32::default());
        fill_random(&mut message)?;
        let (ciphertext, secret) = key.encapsulate_deterministic(&message);
        let secret = Zeroizing::new(secret);
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: concat(&ciphertext, &classical.pub_key),
            secret: combine(&secret, &classical.secret),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A client's key exchange that waits for the server's share.
struct Started {
    classical: Box<dyn ActiveKeyExchange>,
    decapsulation: DecapsulationKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, classical_share) = split(server_share, CIPHERTEXT_LEN)?;
        let ciphertext: &Ciphertext = ciphertext.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        let classical = self.classical.complete(classical_share)?;
        let secret = Zeroizing::new(self.decapsulation.decapsulate(ciphertext));
        Ok(combine(&secret, &classical))
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.classical.group(), self.classical.pub_key()))
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        server_share: &[u8],
    ) -> Result<SharedSecret, Error> {
        self.classical.complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|_| GetRandomFailed.into())
}

/// A share as its ML-KEM part, of a known length, and its X25519 part.
fn split(share: &[u8], first_len: usize) -> Result<(&[u8], &[u8]), Error> {
    if share.len() == first_len + X25519_LEN {
        Ok(share.split_at(first_len))
    } else {
        Err(INVALID_KEY_SHARE)
    }
}

fn concat(first: &[u8], second: &[u8]) -> Vec<u8> {
    [first, second].concat()
}

/// The secret of the handshake: ML-KEM's, then X25519's. `SharedSecret` wipes its bytes when it is dropped.
fn combine(post_quantum: &[u8], classical: &SharedSecret) -> SharedSecret {
    // Exactly as long as needed, so that no copy is left behind by growing.
    let mut secret = Vec::with_capacity(2 * HALF_SECRET_LEN);
    secret.extend_from_slice(post_quantum);
    secret.extend_from_slice(classical.secret_bytes());
    SharedSecret::from(secret)
}

#[cfg(test)]
mod tests;
