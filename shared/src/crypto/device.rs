//! The keys of a device. Both are derived from the one secret that a device keeps, which is also its iroh key.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::domain;
use super::exchange::{ExchangePublic, ExchangeSecret};
use super::keys::Secret;
use crate::ids::DeviceId;

/// What a device proves itself with, and is sent keys with.
pub struct DeviceKeys {
    signing: SigningKey,
    exchange: ExchangeSecret,
}

impl DeviceKeys {
    /// Derives them: the secret is the seed of the Ed25519 key, `KDF(secret, "0k-sync/1 key exchange")` that of the X-Wing
    /// key.
    #[must_use]
    pub fn derive(secret: &Secret) -> Self {
        Self {
            signing: SigningKey::from_bytes(secret.expose()),
            exchange: ExchangeSecret::new(secret.derive(domain::EXCHANGE)),
        }
    }

    /// The device.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId(self.signing.verifying_key().to_bytes())
    }

    /// What others seal keys to.
    #[must_use]
    pub fn exchange_public(&self) -> ExchangePublic {
        self.exchange.public()
    }

    pub(crate) const fn exchange(&self) -> &ExchangeSecret {
        &self.exchange
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.signing.sign(text).to_bytes()
    }
}

impl core::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DeviceKeys({:?})", self.id())
    }
}

/// Whether the holder of an Ed25519 key signed the text. Strict: no small-order keys, one encoding of each signature.
pub(crate) fn signed(key: &[u8; 32], text: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| {
        key.verify_strict(text, &Signature::from_bytes(signature))
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_print() {
        let keys = DeviceKeys::derive(&Secret::new([3; 32]));
        assert_eq!(
            format!("{keys:?}"),
            format!("DeviceKeys({:?})", keys.id()),
            "only the public half"
        );
    }
}
