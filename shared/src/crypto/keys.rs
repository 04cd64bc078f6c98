//! Secrets and what is derived from them.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{access, domain};
use crate::codec::wire::wire_as;
use crate::ids::GroupId;

/// 32 secret bytes: wiped when dropped, `[redacted]` in `Debug`, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for whoever has to use or store them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// HKDF-SHA256 (RFC 5869) without salt.
    #[must_use]
    pub(crate) fn derive(&self, info: &[u8]) -> Self {
        let mut out = [0; 32];
        // Only a length over 255 blocks is refused.
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(info, &mut out);
        debug_assert!(expanded.is_ok());
        Self(out)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

wire_as!(Secret as [u8; 32], |secret| secret.0, Secret);

/// The keys of one epoch of a group.
#[derive(Clone)]
pub struct EpochKeys {
    epoch: u32,
    secret: Secret,
    blob: Secret,
    access: SigningKey,
}

impl EpochKeys {
    /// Derives them from the epoch's secret.
    #[must_use]
    pub fn derive(epoch: u32, secret: Secret) -> Self {
        let blob = secret.derive(domain::BLOB);
        let access = SigningKey::from_bytes(secret.derive(domain::ACCESS).expose());
        Self {
            epoch,
            secret,
            blob,
            access,
        }
    }

    /// The generation they belong to.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What they were derived from.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Public half of the access key.
    #[must_use]
    pub fn access_pub(&self) -> [u8; 32] {
        self.access.verifying_key().to_bytes()
    }

    /// The group that these keys found, if they are those of epoch 0.
    #[must_use]
    pub fn founded_group(&self) -> GroupId {
        access::group_id(&self.access_pub())
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.access.sign(text).to_bytes()
    }

    pub(crate) const fn blob(&self) -> &Secret {
        &self.blob
    }
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys")
            .field("epoch", &self.epoch)
            .field("secret", &self.secret)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let keys = EpochKeys::derive(3, Secret::new([0xAB; 32]));
        assert_eq!(
            format!("{keys:?}"),
            "EpochKeys { epoch: 3, secret: [redacted] }"
        );
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "[redacted]");
    }

    #[test]
    fn keys_of_different_purposes_differ() {
        let secret = Secret::new([9; 32]);
        assert_ne!(secret.derive(domain::BLOB), secret.derive(domain::ACCESS));
        assert_ne!(secret.derive(domain::BLOB), secret);
    }
}
