//! What the two devices of an invite tell each other before one lets the other in.
//!
//! The joiner's claim carries a *request*: who it is, sealed under the invite key. Both devices show the same six digits,
//! the *comparison code*, from the invite key and both device ids. Where the creator wants to confirm, the group's secrets
//! are not at the relay at all: the request also carries a fresh key-exchange key, the creator answers with a nonce, and
//! after a person has compared the codes with a *grant*, the secrets sealed to that key.
//!
//! The nonce is what makes six digits enough. Whoever stands between both devices, with a copied invite on one side and an
//! invite of its own on the other, could try device ids until both codes are equal. But the offer holds a commitment to the
//! nonce, which is revealed only when the joiner's key is known: each side's code is fixed by the other's random choice.

use core::fmt;

use super::{InviteError, InviteKey, Secrets, VERSION};
use crate::codec::wire::wire_struct;
use crate::crypto::domain;
use crate::crypto::exchange::{ExchangePublic, ExchangeSecret};
use crate::crypto::keys::Secret;
use crate::ids::DeviceId;
use crate::{Entropy, codec, limits};

/// Codes are numbers below this.
const CODES: u64 = 1_000_000;

/// What a joining device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The device.
    pub device: DeviceId,
    /// What people call it, at most [`limits::MAX_DEVICE_NAME`] bytes.
    pub name: String,
    /// What the creator seals the group's secrets to, if it wants to confirm.
    pub exchange: Option<ExchangePublic>,
}

wire_struct!(JoinRequest {
    device,
    name,
    exchange
});

/// What only the device that made an invite has: what it proves itself with to the relay, and its part of the comparison
/// code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteOwner(Secret);

impl InviteOwner {
    /// A fresh one.
    #[must_use]
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Self(Secret::new(crate::random(entropy)))
    }

    /// The one with this seed.
    #[must_use]
    pub const fn new(seed: Secret) -> Self {
        Self(seed)
    }

    /// The token that sees requests and answers them. A relay keeps its SHA-256.
    #[must_use]
    pub fn token(&self) -> [u8; 32] {
        *self.0.derive(domain::INVITE_OWNER).expose()
    }

    /// Its part of the comparison code.
    #[must_use]
    pub fn nonce(&self) -> [u8; 32] {
        *self.0.derive(domain::INVITE_NONCE).expose()
    }

    /// What the offer holds of the nonce.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        commitment(&self.nonce())
    }
}

fn commitment(nonce: &[u8; 32]) -> [u8; 32] {
    zerok_sync_aead::sha256(&[domain::INVITE_NONCE, nonce])
}

/// Six digits that two people compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparisonCode(u32);

impl fmt::Display for ComparisonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// Both devices, and what they added where the creator confirms.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The device that made the invite.
    pub creator: DeviceId,
    /// The device that joins.
    pub joiner: DeviceId,
    /// The joiner's key and the creator's nonce.
    pub confirmed: Option<(&'a ExchangePublic, &'a [u8; 32])>,
}

impl Pair<'_> {
    fn text(&self) -> Vec<u8> {
        let mut text = [self.creator.0, self.joiner.0].concat();
        if let Some((exchange, nonce)) = self.confirmed {
            text.extend_from_slice(&zerok_sync_aead::sha256(&[exchange.as_bytes()]));
            text.extend_from_slice(nonce);
        }
        text
    }
}

impl InviteKey {
    /// The code that both devices show.
    #[must_use]
    pub fn comparison_code(&self, pair: &Pair<'_>) -> ComparisonCode {
        let info = [domain::INVITE_COMPARISON, &pair.text()].concat();
        let digest = self.secret.derive(&info);
        let [a, b, c, d, e, f, g, h, ..] = *digest.expose();
        // 2⁶⁴ is so much larger that no code is noticeably likelier than another.
        let code = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % CODES;
        ComparisonCode(u32::try_from(code).unwrap_or_default())
    }

    /// Seals what the joiner says of itself. A name that is too long is cut.
    #[must_use]
    pub fn seal_request(&self, mut request: JoinRequest, entropy: &mut dyn Entropy) -> Vec<u8> {
        let end = (0..=limits::MAX_DEVICE_NAME.min(request.name.len()))
            .rev()
            .find(|end| request.name.is_char_boundary(*end));
        request.name.truncate(end.unwrap_or_default());
        self.seal_part(domain::INVITE_REQUEST, &codec::to_bytes(&request), entropy)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`InviteError::WrongKey`] or [`InviteError::Version`]
    pub fn open_request(&self, sealed: &[u8]) -> Result<JoinRequest, InviteError> {
        let plain = self.open_part(domain::INVITE_REQUEST, sealed)?;
        codec::from_bytes::<JoinRequest>(&plain)
            .ok()
            .filter(|request| request.name.len() <= limits::MAX_DEVICE_NAME)
            .ok_or(InviteError::Version)
    }

    /// Seals the creator's nonce.
    #[must_use]
    pub fn seal_nonce(&self, nonce: &[u8; 32], entropy: &mut dyn Entropy) -> Vec<u8> {
        self.seal_part(domain::INVITE_NONCE, nonce, entropy)
    }

    /// Opens the creator's nonce, if it is the one that the offer is committed to.
    ///
    /// # Errors
    /// [`InviteError::WrongKey`]
    pub fn open_nonce(&self, sealed: &[u8], committed: &[u8; 32]) -> Result<[u8; 32], InviteError> {
        let plain = self.open_part(domain::INVITE_NONCE, sealed)?;
        let nonce: [u8; 32] = plain.try_into().map_err(|_| InviteError::WrongKey)?;
        if commitment(&nonce) == *committed {
            Ok(nonce)
        } else {
            Err(InviteError::WrongKey)
        }
    }

    /// Seals the group's secrets to the joiner: to its key-exchange key, and that under the invite key. `None` if the pair
    /// has no such key.
    #[must_use]
    pub fn seal_grant(
        &self,
        pair: &Pair<'_>,
        secrets: &Secrets,
        entropy: &mut dyn Entropy,
    ) -> Option<Vec<u8>> {
        let (exchange, _) = pair.confirmed?;
        let bound = self.grant_data(pair);
        let plain = zeroize::Zeroizing::new(codec::to_bytes(secrets));
        let sealed = exchange.seal(domain::INVITE_GRANT, &bound, &plain, entropy);
        Some(self.seal_part(domain::INVITE_GRANT, &sealed, entropy))
    }

    /// Opens it, with the private half of the joiner's key.
    ///
    /// # Errors
    /// [`InviteError::WrongKey`] or [`InviteError::Version`]
    pub fn open_grant(
        &self,
        pair: &Pair<'_>,
        exchange: &ExchangeSecret,
        sealed: &[u8],
    ) -> Result<Secrets, InviteError> {
        let sealed = self.open_part(domain::INVITE_GRANT, sealed)?;
        let plain = exchange
            .open(domain::INVITE_GRANT, &self.grant_data(pair), &sealed)
            .ok_or(InviteError::WrongKey)?;
        codec::from_bytes(&plain).map_err(|_| InviteError::Version)
    }

    fn grant_data(&self, pair: &Pair<'_>) -> Vec<u8> {
        [&[VERSION], self.lookup.as_bytes().as_slice(), &pair.text()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InviteLookup;
    use crate::map::SortedMap;

    fn key(n: u8) -> InviteKey {
        InviteKey {
            lookup: InviteLookup([n; 16]),
            secret: Secret::new([n; 32]),
        }
    }

    fn fixed(bytes: &mut [u8]) {
        bytes.fill(6);
    }

    const CREATOR: DeviceId = DeviceId([1; 32]);
    const JOINER: DeviceId = DeviceId([2; 32]);

    #[test]
    fn the_code_depends_on_everything_that_both_know() {
        let exchange = ExchangeSecret::new(Secret::new([3; 32])).public();
        let other = ExchangeSecret::new(Secret::new([4; 32])).public();
        let pair = |creator, joiner, confirmed| Pair {
            creator,
            joiner,
            confirmed,
        };
        let nonce = [5; 32];
        let all = [
            key(1).comparison_code(&pair(CREATOR, JOINER, None)),
            key(2).comparison_code(&pair(CREATOR, JOINER, None)),
            key(1).comparison_code(&pair(JOINER, CREATOR, None)),
            key(1).comparison_code(&pair(CREATOR, DeviceId([3; 32]), None)),
            key(1).comparison_code(&pair(CREATOR, JOINER, Some((&exchange, &nonce)))),
            key(1).comparison_code(&pair(CREATOR, JOINER, Some((&other, &nonce)))),
            key(1).comparison_code(&pair(CREATOR, JOINER, Some((&exchange, &[6; 32])))),
        ];
        for (at, code) in all.iter().enumerate() {
            assert_eq!(code.to_string().len(), 6);
            assert!(!all[..at].contains(code), "{at}");
        }
        assert_eq!(ComparisonCode(42).to_string(), "000042");
    }

    #[test]
    fn a_request_opens_with_its_invite_only_and_its_name_is_cut() {
        let request = JoinRequest {
            device: JOINER,
            name: "ä".repeat(limits::MAX_DEVICE_NAME),
            exchange: Some(ExchangeSecret::new(Secret::new([3; 32])).public()),
        };
        let sealed = key(1).seal_request(request.clone(), &mut fixed);
        assert!(sealed.len() <= limits::MAX_INVITE);
        let opened = key(1).open_request(&sealed).unwrap();
        assert_eq!(opened.name, "ä".repeat(limits::MAX_DEVICE_NAME / 2));
        assert_eq!(opened.exchange, request.exchange);
        assert_eq!(key(2).open_request(&sealed), Err(InviteError::WrongKey));
        let long = key(1).seal_part(
            domain::INVITE_REQUEST,
            &codec::to_bytes(&request),
            &mut fixed,
        );
        assert_eq!(key(1).open_request(&long), Err(InviteError::Version));
    }

    #[test]
    fn another_nonce_than_the_committed_one_is_refused() {
        let (ours, other) = (
            InviteOwner::new(Secret::new([7; 32])),
            InviteOwner::new(Secret::new([8; 32])),
        );
        let sealed = key(1).seal_nonce(&ours.nonce(), &mut fixed);
        assert_eq!(
            key(1).open_nonce(&sealed, &ours.commitment()),
            Ok(ours.nonce())
        );
        let refused = Err(InviteError::WrongKey);
        assert_eq!(key(1).open_nonce(&sealed, &other.commitment()), refused);
        assert_eq!(key(2).open_nonce(&sealed, &ours.commitment()), refused);
        assert_ne!(ours.token(), ours.nonce());
        assert_ne!(ours.token(), other.token());
    }

    #[test]
    fn a_grant_is_for_one_joiner_of_one_invite() {
        let (ours, other) = (
            ExchangeSecret::new(Secret::new([3; 32])),
            ExchangeSecret::new(Secret::new([4; 32])),
        );
        let (public, nonce) = (ours.public(), [5; 32]);
        let pair = Pair {
            creator: CREATOR,
            joiner: JOINER,
            confirmed: Some((&public, &nonce)),
        };
        let secrets = Secrets {
            epochs: vec![(0, Secret::new([9; 32]))],
            tokens: SortedMap::new(),
        };
        let sealed = key(1).seal_grant(&pair, &secrets, &mut fixed).unwrap();
        assert_eq!(key(1).open_grant(&pair, &ours, &sealed), Ok(secrets));
        let refused = Err(InviteError::WrongKey);
        assert_eq!(key(1).open_grant(&pair, &other, &sealed), refused);
        assert_eq!(key(2).open_grant(&pair, &ours, &sealed), refused);
        for wrong in [
            Pair {
                creator: JOINER,
                ..pair
            },
            Pair {
                joiner: CREATOR,
                ..pair
            },
            Pair {
                confirmed: Some((&public, &[6; 32])),
                ..pair
            },
        ] {
            assert_eq!(key(1).open_grant(&wrong, &ours, &sealed), refused);
        }
        assert_eq!(
            key(1).open_request(&sealed),
            Err(InviteError::WrongKey),
            "a part is not another"
        );
    }
}
